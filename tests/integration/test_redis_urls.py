"""Every way to write a Redis URL, and servers that do not do what the URL says."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.bridge import configure
from otel_bridge.commands.startup import open_redis
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.lines.line import encode_line
from otel_bridge.orchestration.queue.leases import synchronous_client
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import QueuedJob
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_clients import aclose, close, connect, connect_async
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.transports.base import SpanLines
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from otel_bridge.workers.heartbeat import HeartbeatKeys
from tests.support.app_server import AppServer, fetch
from tests.support.redis_groups import RedisCluster, SentinelGroup
from tests.support.redis_server import Kind, RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

SHARED_OPTIONS = (
    "?protocol=3&decode_responses=true&socket_timeout=0.2&max_connections=1&retry_on_timeout=true"
    "&health_check_interval=1&encoding=utf-16"
)
"""What other programs write into a URL, and what would break a connection of ours."""


@pytest.fixture
def socket_server() -> Iterator[tuple[RedisServer, str]]:
    """A server that listens on a socket in the file system too, and the URL of it."""
    with tempfile.TemporaryDirectory(prefix="ob-") as directory:  # paths of sockets must be short
        path = str(Path(directory) / "redis.sock")
        with RedisServer(unixsocket=path) as server:
            yield server, f"unix://{path}?db=3"


def event(task_id: str) -> MonitoringEvent:
    return MonitoringEvent.model_validate({"event_type": "task_started", "task_id": task_id})


def has(site: AppServer, text: str) -> bool:
    """Whether a text is in the events that the collector has read."""
    return text in fetch(f"{site.url}/monitor/events").body.decode()


def store_lines(url: str) -> None:
    """Log lines of ten nodes, over 1 MiB; those of the first are the oldest."""
    settings = BridgeSettings(redis_url=url, send_timeout_ms=5000)
    line = encode_line(1, 20, "app", "x" * 1000, 1)
    with closing(RedisSender(url, settings)) as sender:
        for number in range(10):
            assert sender.store_lines([SpanLines(str(number) * 16, [line] * 200)]) == 0


def check_everything(url: str) -> None:
    """Events, heartbeats, log lines, a leader and what it does, by one URL."""
    settings = BridgeSettings(redis_url=url)
    bus = EventBus.connect(settings)
    store_lines(url)
    with AppServer(settings, stats_interval_sec=0.1, lines_max_bytes=1_048_576) as site:
        bus.publish(event("j1"))
        assert bus.flush(10), bus.outage
        wait_until(lambda: has(site, "j1"), "the event")
        wait_until(lambda: site.collector.leader.is_leader, "a leader")
        wait_until(lambda: has(site, "stats_snapshot"), "statistics")
        lines = site.collector.lines
        wait_until(lambda: lines.trimmer.trimmed > 0, "log lines to be trimmed")
        found = site.call(lambda: lines.reader.last({"0" * 16: 200, "9" * 16: 200}))
        assert [len(one) for one in found] == [0, 200]
        HeartbeatKeys(settings).refresh("w1")
        with closing(connect(url)) as client:
            assert client.exists(DEFAULT_KEYS.worker_heartbeat("w1"))
            channel = settings.events_channel
            wait_until(lambda: client.publish(channel, event("j2").to_json()), "a subscriber")
        wait_until(lambda: site.collector.feed.counters.external >= 1, "the raw message")
        assert fetch(f"{site.url}/readyz").status == 200
        assert site.collector.feed.counters.restarts == 0
    assert bus.shutdown(5)


async def check_queue(url: str) -> None:
    """A job through the reference queue, and the client of its leases."""
    async with open_redis(BridgeSettings(redis_url=url)) as client:
        assert client is not None
        queue = TaskQueue(client)
        await queue.submit(QueuedJob(id="j", type="search"))
        claim = await queue.claim("w")
        assert claim is not None
        synchronous = synchronous_client(client)
        assert synchronous.zcard(DEFAULT_KEYS.leases) == 1
        close(synchronous)
        await queue.complete(claim, "{}")


async def test_a_socket_in_the_file_system(socket_server: tuple[RedisServer, str]) -> None:
    """``unix://`` serves the log, the heartbeats, the leader and the queue, in its database."""
    server, url = socket_server
    await asyncio.to_thread(check_everything, url)
    await check_queue(url)
    with server.client(db=3) as client:
        assert client.exists(DEFAULT_KEYS.log_stream())


@pytest.mark.parametrize("kind", ["oldest", "valkey"])
async def test_valkey_is_another_word(kind: Kind) -> None:
    """``valkey://`` is ``redis://``, whichever of the two answers."""
    with RedisServer(kind=kind) as server:
        url = f"valkey://127.0.0.1:{server.port}/1"
        await asyncio.to_thread(check_everything, url)
        await check_queue(url)


async def test_leases_are_renewed_behind_sentinels() -> None:
    """The client of the leases finds the master that the client of the queue uses."""
    with SentinelGroup() as group:
        await check_queue(group.url)


async def test_options_for_other_programs_break_nothing(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A shared URL works everywhere; one line in all names the options that are ignored."""
    url = own_redis.url + SHARED_OPTIONS
    caplog.set_level(logging.WARNING)
    await asyncio.to_thread(check_everything, url)
    await check_queue(url)
    provider = TracerProvider(shutdown_on_exit=False)
    configure(tracer_provider=provider, redis_url=url).shutdown()
    lines = [r.getMessage() for r in caplog.records if "are ignored" in r.getMessage()]
    assert len(lines) == 1
    assert "protocol, decode_responses, socket_timeout, max_connections" in lines[0]
    provider.shutdown()


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_no_connection_names_its_library(kind: Kind) -> None:
    """No client of ours sends ``CLIENT SETINFO``, which an ACL may deny and would then log."""
    with RedisServer(kind=kind) as server:
        with server.client() as client:
            client.config_set("slowlog-log-slower-than", 0)
        await asyncio.to_thread(check_everything, server.url)
        await check_queue(server.url)
        with redis.Redis(port=server.port, decode_responses=True) as client:
            found = client.info("commandstats")
        names = [name for name in found if "client|" in name or name in ("cmdstat_client",)]
        ours = [name for name in names if "setinfo" in name]
        # The test's own clients are the only ones that do.
        assert sum(found[name]["calls"] for name in ours) <= 2 * 3
        assert "cmdstat_hello" not in found or found["cmdstat_hello"]["calls"] <= 3


def test_a_cluster_by_the_wrong_url_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Publisher, reader, heartbeats and leader name the scheme to write; nothing is dropped."""
    with RedisCluster() as cluster:
        owner = cluster.owner(DEFAULT_KEYS.log_stream())
        other = next(server for server in cluster.servers[:3] if server is not owner)
        settings = BridgeSettings(redis_url=other.url)
        bus = EventBus.connect(settings)
        bus.publish(event("j1"))
        wait_until(lambda: bus.outage or bus.counters.rejected, "the outage")
        assert bus.counters.rejected == 0, caplog.text
        advice = (
            f"redis://127.0.0.1:{other.port}/0 is one node of a Redis Cluster; "
            "write redis+cluster:// in its URL"
        )
        assert advice in str(bus.outage)
        assert (bus.counters.dropped, bus.counters.waiting) == (0, 1)
        heartbeats = HeartbeatKeys(settings)
        for number in range(10):  # some of their keys are on other nodes
            heartbeats.refresh(number)
        with AppServer(settings, stats_interval_sec=0.1) as site:
            wait_until(lambda: advice in fetch(f"{site.url}/readyz").json()["log"], "the reason")
            assert fetch(f"{site.url}/readyz").status == 503
        bus.shutdown(0)
        # On the node that has the log's slot, the lease of the leader is elsewhere.
        with AppServer(BridgeSettings(redis_url=owner.url), stats_interval_sec=0.1) as site:
            wait_until(lambda: fetch(f"{site.url}/readyz").status == 503, "the reason")
            assert "write redis+cluster://" in fetch(f"{site.url}/readyz").json()["append"]
    assert "heartbeat keys cannot be written" in caplog.text


@pytest.mark.parametrize("is_frozen", [pytest.param(False, marks=pytest.mark.chaos), True])
async def test_new_clients_of_a_cluster_whose_master_is_away(is_frozen: bool) -> None:
    """Whichever master was killed or frozen, a client that connects then uses the two others."""
    options = connection_options(0.3, 0.3)
    with RedisCluster(has_replicas=False, cluster_require_full_coverage="no") as cluster:
        keys = {cluster.owner(f"{number}"): f"{number}" for number in range(30)}
        assert len(keys) == 3
        for away in cluster.servers:
            (away.stop if is_frozen else away.kill)()
            with closing(connect(cluster.url, **options)) as client:
                for server, key in keys.items():
                    if server is not away:
                        assert client.execute_command("EVAL", "return 1", 1, key) == 1
            asynchronous = connect_async(cluster.url, **options)
            for server, key in keys.items():
                if server is not away:
                    await asynchronous.set(key, "x")
            await aclose(asynchronous)
            (away.resume if is_frozen else away.start)()
            cluster.wait_until_whole()


DENIALS: list[tuple[str, ...]] = [("-eval", "-evalsha"), ("-xadd",)]


@pytest.mark.parametrize("denied", DENIALS)
def test_a_denied_command_makes_a_collector_not_ready(
    own_redis: RedisServer, denied: tuple[str, ...]
) -> None:
    """Without EVAL, or without XADD inside it, ``/readyz`` has the reason until it is allowed."""
    with own_redis.client() as client:
        settings = BridgeSettings(redis_url=own_redis.url)
        with AppServer(settings, stats_interval_sec=0.1) as site:
            wait_until(lambda: site.collector.leader.is_leader, "a leader")

            def readiness() -> dict[str, Any]:
                found: dict[str, Any] = fetch(f"{site.url}/readyz").json()
                return found

            assert readiness()["append"] == "ok"
            client.execute_command("ACL", "SETUSER", "default", *denied)
            wait_until(lambda: not readiness()["ready"], "the reason")
            assert fetch(f"{site.url}/readyz").status == 503
            assert readiness()["log"] == "read"
            assert any(
                word in readiness()["append"] for word in ("NoPermission", "ACL failure", "can't")
            )
            client.execute_command("ACL", "SETUSER", "default", "+@all")
            wait_until(lambda: readiness()["ready"], "the permission")
            assert readiness()["append"] == "ok"


@pytest.mark.parametrize(
    "policy",
    [
        *("noeviction", "volatile-ttl", "allkeys-random"),
        # The other five differ only in which key they evict: 20 s, so `make chaos` runs them.
        pytest.param("volatile-lru", marks=pytest.mark.chaos),
        pytest.param("volatile-lfu", marks=pytest.mark.chaos),
        pytest.param("volatile-random", marks=pytest.mark.chaos),
        pytest.param("allkeys-lru", marks=pytest.mark.chaos),
        pytest.param("allkeys-lfu", marks=pytest.mark.chaos),
    ],
)
def test_a_full_redis_is_a_steady_state(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    """With every policy the collector goes on reading, and says why it cannot append."""
    caplog.set_level(logging.INFO)
    with RedisServer(maxmemory_policy=policy) as server, server.client() as client:
        settings = BridgeSettings(redis_url=server.url)
        bus = EventBus.connect(settings)
        with AppServer(settings, stats_interval_sec=0.1) as site:
            bus.publish(event("j1"))
            assert bus.flush(10)
            wait_until(lambda: has(site, "j1"), "the event")
            client.config_set("maxmemory", 1)
            reads = site.collector.feed.counters

            def readiness() -> dict[str, Any]:
                found: dict[str, Any] = fetch(f"{site.url}/readyz").json()
                return found

            bus.publish(event("j2"))
            wait_until(lambda: bus.outage, "the outage")
            wait_until(lambda: "OutOfMemory" in readiness()["append"], "the reason")
            gaps = sum(reads.gaps.values())
            lines = len(caplog.records)
            rounds = client.info("stats")["total_commands_processed"]
            wait_until(lambda: bus.counters.failed_attempts > 10, "more attempts")
            assert (readiness()["ready"], readiness()["log"]) == (True, "read")
            assert reads.restarts == 0
            assert sum(reads.gaps.values()) - gaps <= 1
            assert len(caplog.records) - lines <= 2
            assert client.info("stats")["total_commands_processed"] - rounds < 5000
            client.config_set("maxmemory", 0)
            assert bus.flush(10)
            wait_until(lambda: has(site, "j2"), "the event")
            wait_until(lambda: readiness()["append"] == "ok", "the end of the outage")
    assert bus.shutdown(5)
