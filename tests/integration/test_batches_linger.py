"""How long publishers collect events for a batch: set by the leader, read from each reply."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.http import HttpSender
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppProcess, AppServer, fetch
from tests.support.crowd import Crowd, sends_of
from tests.support.faults import FakeClock
from tests.support.lingering import META, Leading
from tests.support.redis_server import Kind, RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

MakeSettings = Callable[..., BridgeSettings]
EVENT = Outgoing(b'{"event_type":"task_started"}', None)


@pytest.fixture(scope="module", params=["redis", "oldest", "valkey"])
def shared(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """One server of each kind; what a test left there is removed before the next."""
    kind: Kind = request.param
    with RedisServer(kind=kind) as made:
        yield made


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    with shared.client() as client:
        client.flushdb()
    return shared


def test_the_reply_has_the_linger_until_its_time(
    server: RedisServer, make_settings: MakeSettings
) -> None:
    """Also for a batch that the log has already; past its time, or unreadable, it is 0."""
    sender = RedisSender(server.url, make_settings())
    assert sender.send("a", 1, [EVENT]).linger_ms == 0
    with server.client() as client:
        seconds, _ = client.time()
        for linger, until, expected in (
            (25, seconds + 60, 25),
            (25, seconds - 60, 0),
            (0, seconds + 60, 0),
            ("soon", seconds + 60, 0),
            (25, "never", 0),
        ):
            until_ms = until * 1000 if isinstance(until, int) else until
            client.hset(META, mapping={"linger_ms": linger, "linger_until_ms": until_ms})
            assert sender.send("a", 1, [EVENT])[1:] == (1, 0, 0, 0, expected)
        client.hdel(META, "linger_until_ms")
        assert sender.send("a", 2, [EVENT]).linger_ms == 0
    sender.close()


def test_a_publisher_by_http_gets_it_from_the_collector(
    own_redis: RedisServer, make_settings: MakeSettings
) -> None:
    """The collector's answer has the linger of its own reply; one of 0.2.0 sends none."""
    with own_redis.client() as client, AppServer(make_settings(bus_url=own_redis.url)) as site:
        until_ms = (client.time()[0] + 60) * 1000
        client.hset(META, mapping={"linger_ms": 25, "linger_until_ms": until_ms})
        sender = HttpSender(site.url, make_settings(send_timeout_ms=5000))
        assert sender.send("a", 1, [EVENT]).linger_ms == 25
        sender.close()


def held(server: RedisServer) -> bytes | None:
    with server.client() as client:
        found: bytes | None = client.hget(META, "linger_ms")
        return found


def scripts_of(server: RedisServer) -> int:
    """Calls of scripts by their hash since the server started."""
    with server.client() as client:
        return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


async def test_batches_grow_with_the_crowd_and_back(
    server: RedisServer, make_settings: MakeSettings
) -> None:
    """
    The leader sets it at over 5,000 scripts a second, a publisher's events then share a script.

    When it is quiet again the leader takes it back, and an event is sent as it comes. The
    publisher's clock stands still: a script comes only when the test moves it.
    """
    clock = FakeClock()
    bus = EventBus(RedisSender(server.url, make_settings()), make_settings(), clock=clock)

    waiting = bus._publisher.send_buffer

    async def buffered(count: int) -> None:
        await asyncio.to_thread(wait_until, lambda: len(waiting) == count, "the send buffer")

    async def publish(count: int) -> None:
        for number in range(count):
            bus.publish(MonitoringEvent(event_type="task_started", task_id=str(number)))
            await buffered(number + 1)

    async def published(count: int, after_sec: float = 0) -> None:
        def is_published() -> bool:
            clock.advance(after_sec)  # again: the thread may begin to wait after the first
            return bus.counters.published == count

        await asyncio.to_thread(wait_until, is_published, f"{count} events")

    async with Leading(server.url, FakeClock()) as leading:
        bus.publish(MonitoringEvent(event_type="task_started"))
        await published(1)
        assert await leading.round(600, 700) is None  # it has nothing to compare with yet
        assert held(server) is None
        assert [await leading.round(600, 700) for _ in range(4)] == [10, 25, 50, 50]
        bus.publish(MonitoringEvent(event_type="task_started"))
        await published(2)  # its reply has the linger
        before = scripts_of(server)
        await publish(20)
        assert scripts_of(server) == before
        await published(22, after_sec=0.05)
        assert scripts_of(server) == before + 1
        assert [await leading.round(1, 1) for _ in range(9)] == [50, 50, 25, 25, 25, 10, 10, 10, 0]
        bus.publish(MonitoringEvent(event_type="task_started"))
        await published(23, after_sec=0.05)
        assert held(server) == b"0"
        for number in range(24, 28):
            bus.publish(MonitoringEvent(event_type="task_started"))
            await published(number)
    assert await asyncio.to_thread(bus.shutdown, 5)


async def test_the_next_leader_goes_on_from_what_is_set(own_redis: RedisServer) -> None:
    """A leader that dies leaves it for a while: another one takes it over, or it has expired."""
    with own_redis.client() as client:
        client.xadd(DEFAULT_KEYS.log_stream(), {"e": "{}"})
        async with Leading(own_redis.url, FakeClock()) as first:
            for _ in range(3):
                await first.round(600, 700)
        assert held(own_redis) == b"25"
        until = int(client.hget(META, "linger_until_ms"))
        assert 9_000 < until - 1000 * client.time()[0] < 12_000
        async with Leading(own_redis.url, FakeClock()) as second:
            await second.round()
            assert await second.round(600, 700) == 50
        client.hset(META, "linger_until_ms", 1)
        async with Leading(own_redis.url, FakeClock()) as third:
            await third.round()
            assert await third.round(600, 700) == 10


async def test_counts_that_began_again_are_no_rates(own_redis: RedisServer) -> None:
    """After a failover or ``CONFIG RESETSTAT`` the leader leaves it as it is for a round."""
    with own_redis.client() as client:
        async with Leading(own_redis.url, FakeClock()) as leading:
            assert [await leading.round(600, 700) for _ in range(2)] == [None, 10]
            client.config_resetstat()
            assert await leading.round(0, 700) is None
            assert held(own_redis) == b"10"
            assert await leading.round(600, 700) == 25


async def test_without_the_permission_it_is_one_line(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A user without ``+info`` leads all the same; it is tried again a minute later."""
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "c", "on", ">pw", "~*", "+@all", "-info")
        url = f"redis://c:pw@127.0.0.1:{own_redis.port}"
        with caplog.at_level(logging.INFO):
            async with Leading(url, FakeClock()) as leading:
                for _ in range(3):
                    assert await leading.round(600, 700) is None
                leading.clock.advance(60)
                assert await leading.round() is None
                (line,) = caplog.messages
                assert "+info" in line
                assert "MONITORING_LINGER_MAX_MS=0" in line
                client.execute_command("ACL", "SETUSER", "c", "+info")
                leading.clock.advance(60)
                await leading.round()
                assert await leading.round(600, 700) == 10
    assert len(caplog.messages) == 2  # the second says that it is set


def test_the_leader_measures_and_the_page_shows_it(
    own_redis: RedisServer, make_settings: MakeSettings
) -> None:
    """``/metrics`` of the leader has the linger, the scripts and the mean batch, once measured."""
    bus = EventBus.connect(make_settings(bus_url=own_redis.url))
    with AppServer(make_settings(bus_url=own_redis.url), stats_interval_sec=0.1) as site:

        def numbers() -> dict[str, float]:
            text = fetch(f"{site.url}/metrics").body.decode()
            found = re.findall(r"^(otel_bridge_\w+) (\S+)$", text, flags=re.MULTILINE)
            return {name: float(value) for name, value in found}

        def is_measured() -> bool:
            bus.publish(MonitoringEvent(event_type="task_started"))
            found = numbers()
            return found.get("otel_bridge_append_batch_events", 0) >= 1

        wait_until(is_measured, "a round with events")
        found = numbers()
        assert found["otel_bridge_linger_ms"] == 0
        assert found["otel_bridge_append_scripts_per_second"] >= 0
    assert bus.shutdown(5)
    assert held(own_redis) is None


@pytest.mark.chaos
@pytest.mark.timeout(180)
def test_it_outlives_its_leader_and_expires_without_one(own_redis: RedisServer) -> None:
    """
    Two hundred connections with small batches: the leader raises it, step by step.

    A real publisher with 100 events a second then sends five at once. After SIGKILL of the leader
    the next one keeps it up. Without any collector it ends by itself.
    """
    bridge = {"bus_url": own_redis.url, "redis_url": own_redis.url}
    sends = sends_of(200, 3, rate=100, events=10_000)
    with ExitStack() as stack:
        client = stack.enter_context(own_redis.client())
        crowd = Crowd(own_redis, stack)

        def state() -> tuple[int, int]:
            found = client.hmget(META, "linger_ms", "linger_until_ms")
            return int(found[0] or 0), int(found[1] or 0)

        def is_raised() -> bool:
            crowd.cost(sends)
            return state()[0] == 50

        first = stack.enter_context(AppProcess(bridge))
        wait_until(lambda: client.get(DEFAULT_KEYS.collector_leader), "the first leads")
        second = stack.enter_context(AppProcess(bridge))
        wait_until(is_raised, "50 ms", timeout_sec=60)
        bus = EventBus.connect(BridgeSettings(bus_url=own_redis.url))
        before, count = scripts_of(own_redis), 0
        stop = threading.Event()
        while count < 300 and not stop.wait(0.01):
            bus.publish(MonitoringEvent(event_type="task_started"))
            count += 1
        assert bus.flush(10)
        assert scripts_of(own_redis) - before < count / 2
        first.kill()
        _, until_ms = state()

        def is_renewed() -> bool:
            crowd.cost(sends)
            linger_ms, renewed_ms = state()
            assert linger_ms >= 25
            return renewed_ms > until_ms + 15_000

        wait_until(is_renewed, "the next leader", timeout_sec=60)
        second.kill()
        sender = RedisSender(own_redis.url, BridgeSettings(bus_url=own_redis.url))
        numbers = itertools.count(1)
        wait_until(
            lambda: sender.send("last", next(numbers), [EVENT]).linger_ms == 0,
            "the end of it",
            timeout_sec=30,
            every_sec=0.2,
        )
        assert state()[0] >= 25
        sender.close()
        assert bus.shutdown(5)
