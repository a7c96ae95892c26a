"""Publishing while Redis is killed, stopped, emptied, cut off: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from otel_bridge.cancellation import cancel
from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports.memory import MemoryLog
from otel_bridge.publish.transports.redis_receiver import RedisReceiver
from otel_bridge.settings import BridgeSettings
from tests.support.faults import TcpProxy
from tests.support.load import Load, numbers_in_log
from tests.support.push_server import PushServer
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.fault]

MakeSettings = Callable[..., BridgeSettings]
SHORT_AND_LONG = [
    pytest.param(1.0, id="short"),
    pytest.param(5.0, id="long", marks=pytest.mark.chaos),
]


@contextmanager
def bus_to(url: str, make_settings: MakeSettings, **options: Any) -> Iterator[EventBus]:
    bus = EventBus.connect(make_settings(bus_url=url, **options))
    try:
        yield bus
    finally:
        bus.shutdown(10)


def pause(seconds: float) -> None:
    """Let the load run on for a while: time is what this fault is made of."""
    threading.Event().wait(seconds)


@pytest.mark.parametrize("outage_sec", SHORT_AND_LONG)
def test_a_killed_redis_costs_no_event(
    own_redis: RedisServer, make_settings: MakeSettings, outage_sec: float
) -> None:
    """SIGKILL and restart at 1,000 events/s: all events are in the log once, in order."""
    with bus_to(own_redis.url, make_settings) as bus:
        load = Load(bus).start()
        wait_until(lambda: bus.counters.published > 300, "a running start")
        own_redis.kill()
        pause(outage_sec)
        own_redis.start()
        wait_until(lambda: bus.counters.is_connected, "the reconnect")
        pause(0.3)
        count = load.stop()
        assert bus.flush(20)
        assert numbers_in_log(own_redis) == {"w": list(range(count))}
        assert (bus.counters.published, bus.counters.dropped) == (count, 0)


@pytest.mark.parametrize("outage_sec", SHORT_AND_LONG)
def test_a_stopped_redis_costs_no_event(
    own_redis: RedisServer, make_settings: MakeSettings, outage_sec: float
) -> None:
    """SIGSTOP and SIGCONT at 1,000 events/s: all events are in the log once, in order."""
    with bus_to(own_redis.url, make_settings) as bus:
        load = Load(bus).start()
        wait_until(lambda: bus.counters.published > 300, "a running start")
        own_redis.stop()
        pause(outage_sec)
        own_redis.resume()
        wait_until(lambda: bus.counters.is_connected, "the reconnect")
        count = load.stop()
        assert bus.flush(20)
        assert numbers_in_log(own_redis) == {"w": list(range(count))}


@pytest.mark.parametrize(
    "chaos_sec",
    [pytest.param(4.0, id="short"), pytest.param(60.0, id="long", marks=pytest.mark.chaos)],
)
def test_random_stops_cost_no_event_and_make_no_duplicate(
    own_redis: RedisServer, make_settings: MakeSettings, chaos_sec: float
) -> None:
    """Two producers under random SIGSTOPs: each one's events once, in strict order."""
    chance = random.Random(20_261_124)
    # A minute makes 144,000 events: more than the log keeps by default, and all are compared.
    # Stops of 10 to 350 ms let some batches time out.
    options = {"stream_max_events": 1_000_000, "send_timeout_ms": 100}
    with (
        bus_to(own_redis.url, make_settings, **options) as first,
        bus_to(own_redis.url, make_settings, **options) as second,
    ):
        loads = [Load(first, "a", 1200).start(), Load(second, "b", 1200).start()]
        spent = 0.0
        while spent < chaos_sec:
            running, stopped = chance.uniform(0.01, 0.4), chance.uniform(0.01, 0.35)
            pause(running)
            own_redis.stop()
            pause(stopped)
            own_redis.resume()
            spent += running + stopped
        counts = [load.stop() for load in loads]
        assert first.flush(30)
        assert second.flush(30)
        assert numbers_in_log(own_redis) == {
            "a": list(range(counts[0])),
            "b": list(range(counts[1])),
        }
        # Without resent batches this proved nothing about duplicates.
        assert first.counters.failed_attempts + second.counters.failed_attempts > 0


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.chaos)])
def test_cut_connections_cost_no_event(
    own_redis: RedisServer, make_settings: MakeSettings, kills: int
) -> None:
    """CLIENT KILL again and again: all events once, in order."""
    with bus_to(own_redis.url, make_settings) as bus, own_redis.client() as admin:
        load = Load(bus, per_sec=2000).start()
        for _ in range(kills):
            pause(0.02)
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        count = load.stop()
        assert bus.flush(20)
        assert numbers_in_log(own_redis) == {"w": list(range(count))}


def test_lost_answers_and_half_open_links_cost_no_event(
    own_redis: RedisServer, make_settings: MakeSettings
) -> None:
    """A link that swallows answers, then everything, then is cut: all events once, in order."""
    with TcpProxy(own_redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        # Three attempts of each fault wait for the time-out; on a busy machine it only fails more.
        with bus_to(url, make_settings, send_timeout_ms=300) as bus:
            load = Load(bus).start()
            for fault in (proxy.swallow_answers, proxy.stall, proxy.refuse) * 2:
                wait_until(lambda: bus.counters.is_connected, "a connection")
                enough = bus.counters.failed_attempts + 3
                fault()
                wait_until(partial(_has_failed, bus, enough), "three failed attempts")
                proxy.heal()
            count = load.stop()
            assert bus.flush(20)
            assert numbers_in_log(own_redis) == {"w": list(range(count))}
            assert bus.counters.skipped > 0


def _has_failed(bus: EventBus, times: int) -> bool:
    return bus.counters.failed_attempts >= times


@pytest.mark.parametrize(
    ("buffer", "outage_sec"),
    [(300, 1.0), pytest.param(2000, 10.0, marks=pytest.mark.chaos)],
)
def test_an_outage_longer_than_the_buffer_is_counted_exactly(
    own_redis: RedisServer, make_settings: MakeSettings, buffer: int, outage_sec: float
) -> None:
    """Dropped as counted is what is missing in the log, and what is there is in order."""
    with bus_to(own_redis.url, make_settings, buffer_max_events=buffer) as bus:
        load = Load(bus).start()
        wait_until(lambda: bus.counters.published > 100, "a running start")
        own_redis.kill()
        wait_until(lambda: bus.counters.dropped > 0, "a full buffer")
        pause(outage_sec)
        own_redis.start()
        wait_until(lambda: bus.counters.is_connected, "the reconnect")
        count = load.stop()
        assert bus.flush(20)
        found = numbers_in_log(own_redis)["w"]
        missing = set(range(count)) - set(found)
        assert found == sorted(set(found))
        assert (bus.counters.dropped, bus.counters.published) == (len(missing), len(found))
        assert len(missing) > 0


async def test_a_redis_restarted_empty_costs_a_live_reader_nothing(
    make_settings: MakeSettings,
) -> None:
    """What the reader had seen and what still waited make all events; the reader is told."""
    with RedisServer() as server, bus_to(server.url, make_settings) as bus:
        receiver = RedisReceiver(server.url, make_settings())
        seen: list[int] = []
        losses: list[str] = []
        reading = asyncio.create_task(_follow(receiver, seen, losses))
        load = Load(bus).start()
        await asyncio.to_thread(wait_until, lambda: len(seen) > 200, "a running start")
        # Stopped first, so that the reader has everything the log will forget.
        load.stop()
        assert await asyncio.to_thread(bus.flush, 10)
        await asyncio.to_thread(wait_until, lambda: len(seen) == load.count, "the reader")
        server.kill()
        for number in range(load.count, load.count + 500):
            _publish(bus, number)
        await asyncio.to_thread(wait_until, lambda: not bus.counters.is_connected, "the outage")
        await asyncio.to_thread(server.start)
        assert await asyncio.to_thread(bus.flush, 20)
        total = load.count + 500
        await asyncio.to_thread(wait_until, lambda: len(seen) >= total, "the rest")
        await cancel([reading])
        await receiver.close()
        assert seen == list(range(total))
        assert losses == ["epoch"]


def _publish(bus: EventBus, number: int) -> None:
    bus.publish(MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED, task_id=str(number)))


async def _follow(receiver: RedisReceiver, seen: list[int], losses: list[str]) -> None:
    """Read for ever, as the collector's feed does."""
    position: str | None = None
    while True:
        try:
            if position is None:
                position = await receiver.open()
            for entry in await receiver.read(position, wait_ms=200):
                seen.append(int(json.loads(entry.data)["task_id"]))
                position = entry.position
        except PositionLostError as error:
            losses.append(error.reason)
            position = None
        except TransportError:
            await asyncio.sleep(0.02)


def test_a_collector_that_goes_and_comes_costs_no_event(make_settings: MakeSettings) -> None:
    """``http://``: answers lost, 503 with Retry-After, then well again: all once, in order."""
    log = MemoryLog()
    with PushServer(log) as server, bus_to(server.url, make_settings) as bus:
        load = Load(bus).start()
        wait_until(lambda: bus.counters.published > 200, "a running start")
        server.loses_answers = True
        wait_until(lambda: bus.counters.failed_attempts >= 3, "lost answers")
        server.loses_answers = False
        wait_until(lambda: bus.counters.is_connected, "the reconnect")
        server.refuse_with = (503, {"Retry-After": "1"})
        before = bus.counters.failed_attempts
        wait_until(lambda: bus.counters.failed_attempts > before, "a refusal")
        asked = server.requests
        pause(0.5)
        assert server.requests == asked
        server.refuse_with = None
        wait_until(lambda: bus.counters.is_connected, "the end of the outage")
        count = load.stop()
        assert bus.flush(20)
        entries = log.entries_after(f"{log.epoch}:0", 1_000_000)
        assert [int(json.loads(e.data)["task_id"]) for e in entries] == list(range(count))
        assert bus.counters.skipped > 0
