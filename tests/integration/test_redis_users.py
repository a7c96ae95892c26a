"""The Redis users of ``deploy/README.md``: each may do what its process does, and not much more."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from otel_bridge.commands.command_line import main
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.lines.line import encode_line
from otel_bridge.orchestration.queue.task_queue import Ownership, TaskQueue
from otel_bridge.orchestration.queue.task_types import Priority, QueuedJob
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import TAGS
from otel_bridge.publish.shards.resharding import reshard
from otel_bridge.publish.transports import open_receiver
from otel_bridge.publish.transports.base import Outgoing, SpanLines
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.command_lines import restored_root_logger
from tests.support.queue_clients import connect
from tests.support.redis_server import RedisServer
from tests.support.sharded_load import producer_on
from tests.support.waiting import wait_until

__all__ = ["restored_root_logger"]

pytestmark = pytest.mark.redis

README = Path(__file__).parents[2] / "deploy" / "README.md"
TOKEN = "t-all-0123456789abcdef"


@pytest.fixture
def server(own_redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis with those users, and nobody else but the test."""
    lines = re.findall(r"^user (.*)$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(lines) == 4
    with own_redis.client() as client:
        for line in lines:
            client.execute_command("ACL", "SETUSER", *line.replace("CHANGE-ME", "pw").split())
        yield own_redis


def url(server: RedisServer, user: str) -> str:
    return f"redis://{user}:pw@127.0.0.1:{server.port}"


def denials(server: RedisServer) -> list[tuple[str, str, str]]:
    # Decoded: redis-py gives the fields as bytes or as text, by the server's protocol.
    with server.client(decode_responses=True) as client:
        found = client.acl_log()
    return [(one["username"], one["reason"], one["object"]) for one in found]


async def test_publisher_and_collector_have_what_they_need(server: RedisServer) -> None:
    """Events, live and from the log, a leader with its statistics, a ticket: nothing is denied."""
    line = f"all sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    bus = EventBus.connect(BridgeSettings(redis_url=url(server, "publisher")))
    settings = BridgeSettings(redis_url=url(server, "collector"))
    with AppServer(settings, tokens=line, stats_interval_sec=0.1) as site:

        def told() -> str:
            return fetch(f"{site.url}/monitor/events", headers=bearer).body.decode()

        fields = {"event_type": "task_started", "task_id": "j1", "status": "processing"}
        for _ in range(2):
            bus.publish(MonitoringEvent.model_validate(fields))
            assert bus.flush(10)
        wait_until(lambda: site.collector.leader.is_leader, "a leader")
        wait_until(lambda: "stats_snapshot" in told(), "statistics")
        assert denials(server) == []
        assert "j1" in told()
        ticket = fetch(f"{site.url}/session/ticket", method="POST", headers=bearer).json()["ticket"]
        authenticator = site.app.state.authenticator
        assert site.call(lambda: authenticator.redeem_ticket(ticket)) is not None
        with server.client() as client:
            client.publish("nexus:events", b'{"event_type":"task_started","task_id":"stranger"}')
        wait_until(lambda: site.collector.feed.counters.external == 1, "the event")
    bus.shutdown(2)
    assert denials(server) == []


async def test_the_collector_reads_and_trims_log_lines(server: RedisServer) -> None:
    """Those that the publisher stores; both users may do what that takes, by the lines above."""
    sender = RedisSender(url(server, "publisher"), BridgeSettings())
    line = encode_line(1, 20, "app", "x" * 1000, 1)
    for number in range(10):
        assert sender.store_lines([SpanLines(f"{number:016x}", [line] * 200)]) == 0
    sender.close()
    with server.client() as client:
        client.zadd(DEFAULT_KEYS.lines_index(), {"f" * 16: 0})
    settings = BridgeSettings(redis_url=url(server, "collector"))
    with AppServer(settings, stats_interval_sec=0.1, lines_max_bytes=1_048_576) as site:
        lines = site.collector.lines
        wait_until(lambda: lines.trimmer.trimmed > 0, "the leader to trim")
        newest = f"{9:016x}"
        assert site.call(lambda: lines.reader.newest([newest])) == [line]
        assert site.call(lambda: lines.reader.last({newest: 200})) == [[line] * 200]
        assert lines.trimmer.failure is None
    assert denials(server) == []


def test_operator_and_publisher_have_what_shards_need(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, restored_root_logger: None
) -> None:
    """The command changes the number of shards, and a publisher follows to each of them."""
    sender = RedisSender(url(server, "publisher"), BridgeSettings())
    event = Outgoing(b'{"event_type":"x"}', "p1")
    producers = [producer_on(shard, 3) for shard in range(3)]
    for producer in producers:
        sender.send(producer, 1, [event])
    monkeypatch.setenv("REDIS_URL", url(server, "operator"))
    assert [main(["shards", count]) for count in ("3", "2", "3")] == [0, 0, 0]
    for producer in producers:
        sender.send(producer, 1, [event] * 3)
    sender.close()
    assert denials(server) == []
    with server.client() as client:
        counts = [client.xlen(DEFAULT_KEYS.log_stream(TAGS[shard])) for shard in range(3)]
    assert counts == [3 + 2, 2, 2]


async def test_the_collector_reads_all_shards(server: RedisServer) -> None:
    """Its user may do what reading a log of several shards takes, also back from the newest."""
    with server.client() as client:
        reshard(client, DEFAULT_KEYS, 3)
    sender = RedisSender(url(server, "publisher"), BridgeSettings())
    for shard in range(3):
        sender.send(producer_on(shard, 3), 1, [Outgoing(b'{"event_type":"x"}', None)])
    sender.close()
    receiver = open_receiver(url(server, "collector"), BridgeSettings())
    position = await receiver.open()
    found = 0
    while found < 3:
        entries = await receiver.read(position)
        position, found = entries[-1].position, found + len(entries)
    assert len(await receiver.read_back(10)) == 3
    assert await receiver.last_position() == position
    await receiver.close()
    assert denials(server) == []


async def test_coordinator_has_what_it_needs(server: RedisServer) -> None:
    """A job goes through the reference queue; a collector that may touch queues leads."""
    client = connect(url(server, "coordinator"))
    queue = TaskQueue(client)
    job = QueuedJob(
        id="j", type="search", priority=Priority.NORMAL, parent_task_id="p", max_retries=1
    )
    await queue.submit(job)
    claim = await queue.claim("w1")
    assert claim is not None
    assert await queue.complete(claim, "{}") == Ownership.OWNED
    await client.aclose()
    with AppServer(BridgeSettings(redis_url=url(server, "coordinator"))) as site:
        wait_until(lambda: site.collector.leader.is_leader, "a leader")
    assert denials(server) == []


def test_they_have_not_much_more(server: RedisServer) -> None:
    """Neither publisher nor collector touches a queue; nobody rules the server."""
    for user in ("publisher", "collector", "coordinator"):
        with redis.Redis.from_url(url(server, user)) as client:
            for command in (("CONFIG", "GET", "*"), ("FLUSHALL",), ("KEYS", "*"), ("SHUTDOWN",)):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command)
            if user != "coordinator":
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.lpush(DEFAULT_KEYS.queue("normal"), "x")
    with (
        redis.Redis.from_url(url(server, "publisher")) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command("SUBSCRIBE", "nexus:events")
