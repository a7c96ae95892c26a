"""The collector against kills, stops, floods, strangers and a Redis that comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psutil
import pytest
import redis

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppProcess, AppServer, fetch
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from tests.support.ws_clients import Listener, ResumingClient, open_silent_client

pytestmark = [pytest.mark.redis, pytest.mark.fault]

QUIET: dict[str, Any] = {"stats_interval_sec": 3600}


def bridge(server: RedisServer, **fields: Any) -> BridgeSettings:
    return BridgeSettings(redis_url=server.url, **fields)


@contextlib.contextmanager
def publishing(settings: BridgeSettings) -> Iterator[EventBus]:
    bus = EventBus.connect(settings)
    try:
        yield bus
    finally:
        bus.shutdown(2)


def publish(bus: EventBus, kind: str, **fields: Any) -> None:
    bus.publish(MonitoringEvent.model_validate({"event_type": kind, **fields}))


def log_task_ids(server: RedisServer) -> list[str]:
    """Task ids in the log's order; the collector's own stats carry none."""
    with server.client() as client:
        events = [
            json.loads(fields[b"e"]) for _, fields in client.xrange(DEFAULT_KEYS.log_stream())
        ]
    return [event["task_id"] for event in events if "task_id" in event]


@contextlib.asynccontextmanager
async def resuming(
    count: int, urls: list[str], **query: Any
) -> AsyncIterator[list[ResumingClient]]:
    clients = [ResumingClient(urls, **query).start() for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            await client.stop()


async def until(condition: Any, what: str, timeout_sec: float = 30) -> None:
    await asyncio.to_thread(wait_until, condition, what, timeout_sec)


async def test_kill_9_with_fifty_clients_loses_and_doubles_nothing(own_redis: RedisServer) -> None:
    """A collector killed under load and started again: 50 clients resume, 0 holes, 0 doubles."""
    settings = bridge(own_redis)
    with AppProcess({"redis_url": own_redis.url}) as app, publishing(settings) as bus:
        async with resuming(50, [app.ws_url], batch_ms=20) as clients:
            await until(lambda: all(client.is_following for client in clients), "50 clients")
            load = Load(bus, per_sec=500).start()
            for _ in range(2):
                seen = len(clients[0].task_ids)
                await until(
                    lambda seen=seen: all(len(client.task_ids) > seen + 300 for client in clients),
                    "events for everybody",
                )
                await asyncio.to_thread(app.kill)
                await asyncio.to_thread(app.start)
            seen = len(clients[0].task_ids)
            await until(lambda: len(clients[0].task_ids) > seen + 300, "events after the restart")
            count = await asyncio.to_thread(load.stop)
            assert await asyncio.to_thread(bus.flush, 10)
            expected = [str(number) for number in range(count)]
            await until(
                lambda: all(client.task_ids[-1] == expected[-1] for client in clients), "the end"
            )
    for client in clients:
        assert client.task_ids == expected
        assert client.gaps == []
        assert client.connects >= 3


async def test_two_collectors_serve_the_same_and_take_over_each_other(
    own_redis: RedisServer,
) -> None:
    """Clients that hop between two collectors miss and double nothing; one of the two leads."""
    options: dict[str, Any] = {"stats_interval_sec": 0.2}
    settings = bridge(own_redis)
    with (
        AppProcess({"redis_url": own_redis.url}, **options) as one,
        AppProcess({"redis_url": own_redis.url}, **options) as two,
        publishing(settings) as bus,
    ):
        async with (
            resuming(5, [one.ws_url, two.ws_url], snapshot="true") as hopping,
            resuming(5, [two.ws_url], batch_ms=20) as steady,
        ):
            clients = [*hopping, *steady]
            await until(lambda: all(client.is_following for client in clients), "10 clients")
            load = Load(bus, per_sec=500).start()
            await until(lambda: len(steady[0].task_ids) > 300, "events")
            ready = [fetch(f"{app.url}/readyz").json()["leader"] for app in (one, two)]
            await until(lambda: _leaders(one, two) == 1, "one leader")
            await asyncio.to_thread(one.kill)
            await until(lambda: fetch(f"{two.url}/readyz").json()["leader"], "the other to lead")
            count = await asyncio.to_thread(load.stop)
            assert await asyncio.to_thread(bus.flush, 10)
            expected = [str(number) for number in range(count)]
            await until(
                lambda: all(client.task_ids[-1] == expected[-1] for client in clients), "the end"
            )
    assert len(ready) == 2
    for client in clients:
        assert client.task_ids == expected
        assert client.gaps == []


async def _until_events(listener: Listener, count: int) -> None:
    await listener.until(lambda one: len(one.events) == count)


def _serves(port: int, client_port: int) -> bool:
    """Whether this process holds the server's end of a connection."""
    return any(
        found.laddr.port == port and found.raddr and found.raddr.port == client_port
        for found in psutil.Process().net_connections("tcp")
    )


def _leaders(*apps: AppProcess) -> int:
    return sum(fetch(f"{app.url}/readyz").json()["leader"] for app in apps)


async def test_silent_client_costs_little_and_is_cut(redis_url: str) -> None:
    """A client that reads nothing is cut and its descriptor freed; another one misses nothing."""
    settings = BridgeSettings(redis_url=redis_url)
    limit = 256 * 1024
    options: dict[str, Any] = {**QUIET, "client_timeout_sec": 1, "client_buffer_bytes": limit}
    with AppServer(settings, **options) as server, publishing(settings) as bus:
        hub = server.collector.hub
        async with Listener(server.ws_url) as good:
            await until(lambda: len(hub) == 1, "the good client")
            silent = open_silent_client(server.port)
            await until(lambda: len(hub) == 2, "the silent client")
            assert _serves(server.port, silent.getsockname()[1])
            peak = count = 0
            while hub.counters.slow_closed == 0:
                for _ in range(200):
                    publish(bus, "task_started", task_id=str(count), message="x" * 1000)
                    count += 1
                await _until_events(good, count)
                peak = max([peak, *(s.sink.buffered_bytes() for s in list(hub._sessions))])
                assert count < 200_000, "never cut"
            port = silent.getsockname()[1]
            await until(lambda: not _serves(server.port, port), "the descriptor to be freed")
            silent.close()
    assert peak < limit + 1024 * 1024
    assert [event["task_id"] for event in good.events] == [str(n) for n in range(count)]
    assert good.controls == []


async def test_ten_thousand_malformed_messages(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nonsense in the log is counted and passed by, the good events between it all arrive."""
    nonsense = [
        b"",
        b"{",
        b"[]",
        b"[" * 5000,
        b'{"event_type":7}',
        b"\xff\xfe",
        b'{"event_type":"task_started","meta":{"a":NaN}}',
        b'{"event_type":"task_started","message":"' + b"x" * 9000 + b'"}',
    ]
    settings = BridgeSettings(redis_url=redis_url)
    caplog.set_level(logging.WARNING, "collector")
    with AppServer(settings, **QUIET) as server, publishing(settings) as bus:
        collector = server.collector
        async with Listener(server.ws_url) as listener:
            publish(bus, "task_started", task_id="first")
            await listener.until(lambda one: one.events)
            with redis.Redis.from_url(redis_url) as client:
                for block in range(50):
                    pipeline = client.pipeline(transaction=False)
                    for number in range(200):
                        pipeline.xadd(
                            DEFAULT_KEYS.log_stream(), {"e": nonsense[number % len(nonsense)]}
                        )
                    pipeline.execute()
                    publish(bus, "task_started", task_id=f"good{block}")
                    assert await asyncio.to_thread(bus.flush, 10)
            await listener.until(lambda one: len(one.events) == 51)
            await until(
                lambda: sum(collector.feed.counters.unreadable.values()) == 10_000, "all counted"
            )
    assert [e["task_id"] for e in listener.events] == ["first", *(f"good{n}" for n in range(50))]
    assert collector.feed.counters.restarts == 0
    lines = [r for r in caplog.records if "unreadable" in r.message]
    seconds = lines[-1].created - lines[0].created
    assert len(lines) <= seconds + 1.5


async def test_strangers_on_the_channel_are_adopted(redis_url: str) -> None:
    """Plain PUBLISH messages reach the clients by way of the log, and nothing comes twice."""
    channels: dict[str, Any] = {
        "events_channel": "test:adopt",
        "project_channel_prefix": "test:adopt:p:",
    }
    settings = BridgeSettings(redis_url=redis_url, stats_channel="test:adopt:s", **channels)
    with AppServer(settings, **QUIET) as server, publishing(settings) as bus:
        async with Listener(server.ws_url) as listener:
            with redis.Redis.from_url(redis_url) as client:
                await until(
                    lambda: client.pubsub_numsub("test:adopt:collectors")[0][1] == 1,
                    "the subscription",
                )
                await listener.until(lambda _: len(server.collector.hub) == 1)
                stranger = {"event_type": "task_started", "task_id": "stranger"}
                for data in (b"nonsense", json.dumps(stranger).encode()):
                    client.publish("test:adopt", data)
                await listener.until(lambda one: one.events)
                publish(bus, "task_completed", task_id="ours")
                await listener.until(lambda one: len(one.events) == 2)
                client.publish("test:adopt", json.dumps({**stranger, "task_id": "last"}).encode())
                await listener.until(lambda one: len(one.events) == 3)
    assert [event["task_id"] for event in listener.events] == ["stranger", "ours", "last"]
    assert len({event["position"] for event in listener.events}) == 3
    assert "event_id" in listener.events[0]


async def test_redis_killed_and_restarted_loses_nothing(own_redis: RedisServer) -> None:
    """While Redis is away /readyz says so; when it is back every event arrives, in order, once."""
    settings = bridge(own_redis)
    with AppServer(settings, **QUIET) as server, publishing(settings) as bus:
        async with Listener(server.ws_url) as listener:
            load = Load(bus, per_sec=500).start()
            await listener.until(lambda one: len(one.events) > 200)
            own_redis.kill()
            await until(lambda: fetch(f"{server.url}/readyz").status == 503, "not ready")
            assert fetch(f"{server.url}/healthz").status == 200
            own_redis.start()
            await until(lambda: fetch(f"{server.url}/readyz").status == 200, "ready again")
            seen = len(listener.events)
            await listener.until(lambda one: len(one.events) > seen + 200)
            count = await asyncio.to_thread(load.stop)
            assert await asyncio.to_thread(bus.flush, 10)
            await listener.until(lambda one: one.events[-1]["task_id"] == str(count - 1))
        restarts = server.collector.feed.counters.restarts
    assert [event["task_id"] for event in listener.events] == [str(n) for n in range(count)]
    assert listener.controls == []
    assert restarts >= 1


async def test_wiped_log_is_a_gap_and_life_goes_on(own_redis: RedisServer) -> None:
    """A wiped stream gives every client a gap, a snapshot client a fresh snapshot, then events."""
    settings = bridge(own_redis)
    with AppServer(settings, **QUIET) as server, publishing(settings) as bus:
        async with (
            Listener(server.ws_url) as plain,
            Listener(server.ws_url, snapshot="true") as wants,
        ):
            publish(bus, "task_started", task_id="before", parent_task_id="t")
            await plain.until(lambda one: one.events and wants.events)
            with own_redis.client() as client:
                client.delete(DEFAULT_KEYS.log_stream())
            publish(bus, "task_started", task_id="after", parent_task_id="t")
            await plain.until(lambda one: one.controls and len(wants.events) == 2)
            publish(bus, "task_started", task_id="later", parent_task_id="t")
            await plain.until(lambda one: len(one.events) == 3 and len(wants.events) == 3)
        card = fetch(f"{server.url}/monitor/snapshot").json()["tasks"][0]
    # The epoch is looked at once a second: the gap may come after the first new event.
    for listener, kinds in ((plain, ["gap"]), (wants, ["snapshot", "gap", "snapshot"])):
        assert [event["task_id"] for event in listener.events] == ["before", "after", "later"]
        found = [item for item in listener.controls if item["type"] != "tick"]
        assert [item["type"] for item in found] == kinds
        assert {item["reason"] for item in found if item["type"] == "gap"} == {"epoch"}
    assert card["pending"] == 3


async def test_burst_over_the_streams_length_is_a_gap(own_redis: RedisServer) -> None:
    """Events trimmed before a stopped collector could read them are a gap, not silence."""
    fields: dict[str, Any] = {"redis_url": own_redis.url, "stream_max_events": 1000}
    settings = BridgeSettings(**fields)
    with AppProcess(fields, **QUIET) as app, publishing(settings) as bus:
        async with Listener(app.ws_url, batch_ms=20) as listener:
            publish(bus, "task_started", task_id="first")
            await listener.until(lambda one: one.events)
            os.kill(app.pid, signal.SIGSTOP)
            for number in range(10_000):
                publish(bus, "task_started", task_id=str(number))
            assert await asyncio.to_thread(bus.flush, 20)
            os.kill(app.pid, signal.SIGCONT)
            await listener.until(lambda one: one.events[-1]["task_id"] == "9999")
    held = log_task_ids(own_redis)
    kinds = [item.get("reason", item.get("task_id")) for item in listener.items]
    kinds = [kind for kind in kinds if kind is not None]
    gap = kinds.index("trimmed")
    # Before it: what a read that was under way when the collector was stopped had been given.
    assert kinds[:gap] == ["first", *(str(number) for number in range(gap - 1))]
    assert kinds[gap + 1 :] == held


async def test_restart_in_the_middle_of_a_task_shows_the_same_cards(redis_url: str) -> None:
    """A collector started later folds the log into the same tasks, workers and failures."""
    settings = BridgeSettings(redis_url=redis_url)
    task: dict[str, Any] = {"project_id": "p", "parent_task_id": "t"}
    with publishing(settings) as bus:
        publish(bus, "worker_started", worker_id=1, meta={"host": "h", "pid": 1})
        publish(bus, "task_started", **task, task_id="t", meta={"title": "T"})
        publish(bus, "phase_started", **task, phase="a", counts={"total": 5})
        for number in range(3):
            job: dict[str, Any] = {**task, "task_id": f"j{number}", "phase": "a", "worker_id": 1}
            publish(bus, "task_started", **job)
            publish(bus, "task_failed" if number == 2 else "task_completed", **job, error="E")
        assert await asyncio.to_thread(bus.flush, 10)
        shown = []
        for _ in range(2):
            with AppServer(settings, **QUIET) as server:
                await until(lambda: fetch(f"{server.url}/readyz").status == 200, "ready")
                shown.append(fetch(f"{server.url}/monitor/snapshot").json())
    for part in ("tasks", "workers", "failures", "position", "events"):
        assert shown[0][part] == shown[1][part]
    assert shown[0]["tasks"][0]["phases"][0]["completed"] == 2


@pytest.mark.parametrize("action", ["report", "requeue", "fail"])
async def test_stalled_job_is_told_once_by_two_collectors(redis_url: str, action: str) -> None:
    """A job of a silent worker is told stalled once; the action does what it says, once."""
    fields: dict[str, Any] = {
        "redis_url": redis_url,
        "heartbeat_interval_sec": 0.1,
        "heartbeat_ttl_sec": 0.4,
    }
    settings = BridgeSettings(**fields)
    options: dict[str, Any] = {"stats_interval_sec": 0.1, "stalled_action": action}
    job: dict[str, Any] = {
        "parent_task_id": "t",
        "task_id": "j",
        "worker_id": "w",
        "retry_count": 0,
    }
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.set(DEFAULT_KEYS.task_status("j"), "processing")
        client.hset(
            DEFAULT_KEYS.task_lease("j"),
            mapping={"queue": DEFAULT_KEYS.queue("high"), "worker": "w"},
        )
        with (
            publishing(settings) as bus,
            AppServer(settings, **options) as one,
            AppServer(settings, **options) as two,
        ):
            async with Listener(two.ws_url, types="task_stalled,task_failed") as listener:
                publish(bus, "worker_started", worker_id="w")
                publish(bus, "task_started", **job)
                await listener.until(lambda found: found.events)
                if action == "fail":
                    await listener.until(lambda found: len(found.events) == 2)
                # Ten more rounds of the leader, and a change of leaders.
                reporters = [s.collector.stalled_reporter for s in (one, two)]
                leader = next(s for s in (one, two) if s.collector.leader.is_leader)
                leader.call(leader.collector.leader.stop)
                other = two if leader is one else one
                await until(lambda: other.collector.leader.is_leader, "the other to lead", 10)
                rounds = other.collector.stats.events_in
                publish(bus, "task_started", task_id="later")
                await until(lambda: other.collector.stats.events_in > rounds, "another round")
        types = [event["event_type"] for event in listener.events]
        if action == "report":
            assert types == ["task_stalled"]
            assert client.get(DEFAULT_KEYS.task_status("j")) == "processing"
        elif action == "requeue":
            assert types == ["task_stalled"]
            assert client.get(DEFAULT_KEYS.task_status("j")) == "pending"
            assert client.lrange(DEFAULT_KEYS.queue("high"), 0, -1) == ["j"]
        else:
            assert types == ["task_stalled", "task_failed"]
            assert client.get(DEFAULT_KEYS.task_status("j")) == "failed"
            assert client.lrange(DEFAULT_KEYS.dead_letters, 0, -1) == ["j"]
    assert sum(reporter.reported for reporter in reporters) == 1


@pytest.mark.parametrize("action", ["requeue", "fail"])
async def test_a_job_that_another_worker_has_is_left_alone(redis_url: str, action: str) -> None:
    """Events that give another's job to a worker who then falls silent do not touch it."""
    fields: dict[str, Any] = {
        "redis_url": redis_url,
        "heartbeat_interval_sec": 0.1,
        "heartbeat_ttl_sec": 0.4,
    }
    settings = BridgeSettings(**fields)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for job, worker in (("j", "w"), ("lost", "ghost")):
            client.set(DEFAULT_KEYS.task_status(job), "processing")
            client.hset(
                DEFAULT_KEYS.task_lease(job),
                mapping={"queue": DEFAULT_KEYS.queue("high"), "worker": worker},
            )
        client.zadd(DEFAULT_KEYS.leases, {"j": 1e18})
        options: dict[str, Any] = {"stats_interval_sec": 0.1, "stalled_action": action}
        with publishing(settings) as bus, AppServer(settings, **options):
            publish(bus, "worker_started", worker_id="ghost")
            for job in ("j", "lost"):  # in the order in which the leader looks at them
                publish(bus, "task_started", parent_task_id="t", task_id=job, worker_id="ghost")
            await until(
                lambda: client.get(DEFAULT_KEYS.task_status("lost")) != "processing", "its turn"
            )
        assert client.get(DEFAULT_KEYS.task_status("j")) == "processing"
        assert client.zscore(DEFAULT_KEYS.leases, "j") == 1e18
        assert "j" not in client.lrange(DEFAULT_KEYS.dead_letters, 0, -1)


def test_a_busy_loop_does_not_lose_the_log(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A callback of 3 s is no silent Redis: the reader goes on, on the connection that it had."""
    settings = BridgeSettings(redis_url=redis_url)
    with AppServer(settings, **QUIET) as app, publishing(settings) as bus:

        def connections() -> set[str]:
            with redis.Redis.from_url(redis_url) as client:
                return {one["id"] for one in client.client_list() if "xread" in one["cmd"]}

        wait_until(connections, "the reader to wait for events")
        before = connections()

        async def keep_busy() -> None:
            publish(bus, "task_started", parent_task_id="meanwhile")
            until = time.monotonic() + 3
            while time.monotonic() < until:
                pass

        app.call(keep_busy)
        publish(bus, "task_started", parent_task_id="afterwards")
        tasks = app.collector.model.tasks.by_id
        wait_until(lambda: "afterwards" in tasks, "the event to be folded")
        assert "meanwhile" in tasks
        assert app.collector.feed.counters.restarts == 0
        assert app.collector.feed.is_live
        wait_until(lambda: before <= connections(), "the same connection to wait again")
    assert "cannot read" not in caplog.text
    assert "lost the log" not in caplog.text
