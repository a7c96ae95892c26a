"""Shards of the log on real servers: re-sharding under load, lost data, and the command itself."""

from __future__ import annotations

import json
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from otel_bridge.commands.command_line import main
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_clients import close, connect
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.shards.layout import MAX_SHARDS, SINGLE, TAGS, Layout, slot_of
from otel_bridge.publish.shards.resharding import ENDED_SHARD_TTL_SEC, read_layout, reshard
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.support.command_lines import restored_root_logger
from tests.support.redis_groups import RedisCluster
from tests.support.redis_server import Kind, RedisServer
from tests.support.sharded_load import Producer, merged_log, problems, producer_on
from tests.support.waiting import wait_until

__all__ = ["restored_root_logger"]

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def server(stack: ExitStack) -> RedisServer:
    return stack.enter_context(RedisServer())


def client_of(url: str, stack: ExitStack) -> Any:
    client = connect(url, **connection_options(5, 5))
    stack.callback(close, client)
    return client


@dataclass
class Done:
    """What a command has printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


RunCommand = Callable[..., Done]


@pytest.fixture
def run_command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_root_logger: None,
) -> RunCommand:
    def run(url: str, *arguments: str) -> Done:
        monkeypatch.setenv("REDIS_URL", url)
        code = main(["shards", *arguments])
        return Done(code, *capsys.readouterr())

    return run


def append(sender: RedisSender, producer: str, first_n: int, count: int = 1) -> str:
    batch = [
        Outgoing(
            json.dumps({"event_type": "x", "meta": {"producer": producer, "n": n}}).encode(), None
        )
        for n in range(first_n, first_n + count)
    ]
    return sender.send(producer, first_n, batch).position


def wait_for_events(producers: Sequence[Producer], count: int) -> None:
    goals = [producer.sent + count for producer in producers]
    wait_until(
        lambda: all(p.sent >= goal for p, goal in zip(producers, goals, strict=True)),
        f"{count} events of each producer",
        timeout_sec=60,
    )


def reshard_under_load(
    url: str, stack: ExitStack, counts: Sequence[int], events: int, lost: float = 0.3
) -> None:
    """Three producers, of whose answers some are lost: every event is there once, in order."""
    client = client_of(url, stack)
    producers = [Producer(url, f"p{number}", lost=lost).start() for number in range(3)]
    try:
        for count in counts:
            wait_for_events(producers, events)
            layout = reshard(client, DEFAULT_KEYS, count)
            assert layout.count == count
        wait_for_events(producers, events)
        wait_until(lambda: all(producer.repeats for producer in producers), "lost answers")
    finally:
        for producer in producers:
            producer.stop()
    log = merged_log(client)
    assert problems(log, producers) == []
    assert len(log) == sum(producer.sent for producer in producers)
    for producer in producers:
        # The last batch of each went where the last layout says.
        shard = layout.shard_of(producer.producer_id)
        key = DEFAULT_KEYS.log_producer(producer.producer_id, TAGS[shard])
        assert int(client.execute_command("GET", key)) == producer.sent


@pytest.mark.parametrize("kind", ["redis", "oldest", "valkey"])
def test_resharding_under_load(kind: Kind, stack: ExitStack) -> None:
    """1, 2, 8, then 3 shards under load: each event is in the log once, in its producer's order."""
    server = stack.enter_context(RedisServer(kind=kind))
    reshard_under_load(server.url, stack, (2, 8, 3), 60)


def test_resharding_a_cluster_under_load(stack: ExitStack) -> None:
    """The same on a Cluster of three, each of which has one of the three shards."""
    cluster = stack.enter_context(RedisCluster(has_replicas=False))
    reshard_under_load(cluster.url, stack, (8, 3), 15, lost=0.1)
    owners = {cluster.owner(DEFAULT_KEYS.log_stream(TAGS[shard])).port for shard in range(3)}
    assert len(owners) == 3


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_master_is_away(kind: Kind, stack: ExitStack, run_command: RunCommand) -> None:
    """Its producers keep their events, those of other shards go on; nothing is lost or doubled."""
    cluster = stack.enter_context(
        RedisCluster(kind, has_replicas=False, is_durable=True, cluster_require_full_coverage="no")
    )
    reshard(client_of(cluster.url, stack), DEFAULT_KEYS, 3)
    client = client_of(cluster.url, stack)
    owners = [cluster.owner(DEFAULT_KEYS.log_stream(TAGS[shard])) for shard in range(3)]
    assert len({owner.port for owner in owners}) == 3
    names = [producer_on(shard, 3, "q") for shard in range(3)]
    producers = [Producer(cluster.url, name).start() for name in names]
    wait_for_events(producers, 50)
    owners[1].kill()
    wait_until(lambda: producers[1].failure is not None, "a failed attempt")
    before = producers[1].sent
    wait_for_events([producers[0], producers[2]], 50)
    assert producers[1].sent == before
    assert run_command(cluster.url).returncode == 1
    owners[1].start()
    wait_for_events(producers, 50)
    for producer in producers:
        producer.stop()
    assert problems(merged_log(client), producers) == []


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
@pytest.mark.parametrize("group", ["single", "cluster"])
def test_resharding_for_longer(group: str, kind: Kind, stack: ExitStack) -> None:
    """The same with many more changes and repeats."""
    if group == "single":
        url = stack.enter_context(RedisServer(kind=kind)).url
    else:
        url = stack.enter_context(RedisCluster(kind, has_replicas=False)).url
    reshard_under_load(url, stack, (2, 8, 3, 5, 1, 4, 7, 2) * 3, 60)


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_the_slots_of_shards_move(kind: Kind, stack: ExitStack) -> None:
    """An operator moves shards to another master under load: nothing is lost or doubled."""
    cluster = stack.enter_context(RedisCluster(kind, has_replicas=False))
    reshard(client_of(cluster.url, stack), DEFAULT_KEYS, 3)
    names = [producer_on(shard, 3) for shard in range(3)]
    producers = [Producer(cluster.url, name, lost=0.1).start() for name in names]
    wait_for_events(producers, 100)
    for shard in (0, 2, 0):
        cluster.move_slot(DEFAULT_KEYS.log_stream(TAGS[shard]))
        wait_for_events(producers, 100)
    for producer in producers:
        producer.stop()
    assert problems(merged_log(client_of(cluster.url, stack)), producers) == []


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_shard_survives_its_master(kind: Kind, stack: ExitStack) -> None:
    """
    A replica takes a killed master's shards over while producers send, and all of them go on.

    No event is in the log twice; it lacks at most what the master had not passed on to the replica.
    """
    cluster = stack.enter_context(RedisCluster(kind, cluster_require_full_coverage="no"))
    client = client_of(cluster.url, stack)
    reshard(client, DEFAULT_KEYS, 3)
    names = [producer_on(shard, 3) for shard in range(3)]
    producers = [Producer(cluster.url, name).start() for name in names]
    wait_for_events(producers, 200)
    stream = DEFAULT_KEYS.log_stream(TAGS[2])
    owner = cluster.owner(stream)
    owner.kill()

    def is_replaced() -> bool:
        try:
            return cluster.owner(stream).port != owner.port
        except AssertionError:
            return False

    wait_until(is_replaced, "the Cluster to choose", timeout_sec=60)
    wait_for_events(producers, 200)
    for producer in producers:
        producer.stop()
    log = merged_log(client_of(cluster.url, stack))
    assert len(log) == len(set(log))
    assert problems(log, producers[:2]) == []
    assert len(log) >= sum(producer.sent for producer in producers) - 100


def test_a_log_that_was_never_changed_has_no_trace_of_shards(
    server: RedisServer, stack: ExitStack
) -> None:
    """Without a layout the keys and positions are those of one stream, as before."""
    sender = RedisSender(server.url, BridgeSettings())
    stack.callback(sender.close)
    position = append(sender, "a", 1)
    client = client_of(server.url, stack)
    assert sorted(client.keys()) == [
        b"nexus:{0}:meta",
        b"nexus:{0}:producer:a",
        b"nexus:{0}:stream",
    ]
    assert sorted(client.hgetall("nexus:{0}:meta")) == [b"epoch", b"first"]
    assert len(position.split(":")[1].split("-")) == 2


def publish(bus: EventBus, count: int) -> None:
    for _ in range(count):
        fields = {"event_type": "task_started", "task_id": "j1", "status": "processing"}
        bus.publish(MonitoringEvent.model_validate(fields))
    assert bus.flush(10)


def publish_in_child(bus: EventBus, count: int) -> int:
    """Exit code of a forked child that publishes."""
    with warnings.catch_warnings():
        # Python 3.12 warns of forking with threads, which the bus is made for.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            publish(bus, count)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_bus_that_is_connected_learns_of_new_shards(
    server: RedisServer, stack: ExitStack
) -> None:
    """It fails no attempt and drops nothing; after a fork the child has a shard of its own."""
    client = client_of(server.url, stack)
    bus = EventBus.connect(BridgeSettings(redis_url=server.url, send_timeout_ms=5000))
    stack.callback(bus.shutdown, 5)
    publish(bus, 3)
    reshard(client, DEFAULT_KEYS, 8)
    publish(bus, 4)
    reshard(client, DEFAULT_KEYS, 2)
    publish(bus, 5)
    counters = bus.counters
    assert (counters.published, counters.dropped, counters.failed_attempts) == (12, 0, 0)
    assert [publish_in_child(bus, 6) for _ in range(3)] == [0, 0, 0]
    found: dict[str, set[int]] = {}
    total = 0
    for shard in range(MAX_SHARDS):
        total += client.xlen(DEFAULT_KEYS.log_stream(TAGS[shard]))
        prefix = DEFAULT_KEYS.log_producer("", TAGS[shard])
        for key in client.scan_iter(match=prefix + "*"):
            found.setdefault(key.decode().removeprefix(prefix), set()).add(shard)
    assert total == 12 + 3 * 6
    assert len(found) == 4
    for producer, shards in found.items():
        assert zlib.crc32(producer.encode()) % 2 in shards


def test_positions_of_a_shard_have_its_number(server: RedisServer, stack: ExitStack) -> None:
    """What is published has the position that a reader gives it: the log's epoch, and the shard."""
    client = client_of(server.url, stack)
    sender = RedisSender(server.url, BridgeSettings(channels="always"))
    stack.callback(sender.close)
    append(sender, "first", 1)
    layout = reshard(client, DEFAULT_KEYS, 3)
    pubsub = stack.enter_context(client.pubsub())
    pubsub.subscribe("nexus:events")
    assert pubsub.get_message(timeout=5) is not None
    for shard in range(3):
        position = append(sender, producer_on(shard, 3), 1)
        last = client.xrevrange(DEFAULT_KEYS.log_stream(TAGS[shard]), count=1)[0][0].decode()
        ms, _, seq = last.partition("-")
        place = f"{ms}-{shard}-{seq}" if shard else last
        assert position == f"{layout.epoch}:{place}"
        message = pubsub.get_message(timeout=5)
        assert message is not None
        assert json.loads(message["data"])["position"] == position


def test_the_log_is_bounded_over_all_shards(server: RedisServer, stack: ExitStack) -> None:
    """Each shard keeps its part of MONITORING_STREAM_MAX_EVENTS."""
    client = client_of(server.url, stack)
    reshard(client, DEFAULT_KEYS, 8)
    sender = RedisSender(server.url, BridgeSettings(stream_max_events=1600))
    stack.callback(sender.close)
    producer = producer_on(5, 8)
    for first_n in range(1, 1001, 100):
        append(sender, producer, first_n, 100)
    # Redis trims by blocks of 100 entries.
    assert 200 <= client.xlen(DEFAULT_KEYS.log_stream(TAGS[5])) <= 400


def test_a_shard_that_is_taken_out_of_use_is_kept_for_an_hour(
    server: RedisServer, stack: ExitStack
) -> None:
    """Its last entry is known and its stream gets an expiry, which its return to use removes."""
    client = client_of(server.url, stack)
    reshard(client, DEFAULT_KEYS, 2)
    sender = RedisSender(server.url, BridgeSettings())
    stack.callback(sender.close)
    producer, stream = producer_on(1, 2), DEFAULT_KEYS.log_stream(TAGS[1])
    append(sender, producer, 1, 3)
    epoch = client.hget(DEFAULT_KEYS.log_meta(TAGS[1]), "epoch").decode()
    last = client.xrevrange(stream, count=1)[0][0].decode()
    ended = reshard(client, DEFAULT_KEYS, 1)
    assert (ended.count, ended.shards) == (1, (0, 1))
    assert (ended.epochs[1], ended.ended) == (epoch, {1: last})
    assert 0 < client.ttl(stream) <= ENDED_SHARD_TTL_SEC
    append(sender, producer, 4)
    assert client.xlen(stream) == 3
    again = reshard(client, DEFAULT_KEYS, 2)
    assert again.epochs[1] == epoch
    assert client.ttl(stream) == -1
    append(sender, producer, 5)
    assert client.xlen(stream) == 4
    # Once deleted, it comes back as another log, and what was in it is known to be lost.
    last = client.xrevrange(stream, count=1)[0][0].decode()
    reshard(client, DEFAULT_KEYS, 1)
    client.delete(stream)
    assert reshard(client, DEFAULT_KEYS, 1).shards == (0,)
    new = reshard(client, DEFAULT_KEYS, 2)
    assert new.epochs[1] != epoch
    assert new.ended == {1: last}
    append(sender, producer, 6)
    meta = client.hgetall(DEFAULT_KEYS.log_meta(TAGS[1]))
    assert meta[b"epoch"].decode() == new.epochs[1]
    assert meta[b"first"] == client.xrange(stream, count=1)[0][0]


def test_a_shard_that_lost_its_data_goes_on_with_another_epoch(
    server: RedisServer, stack: ExitStack, run_command: RunCommand
) -> None:
    """Readers see that its epoch is not the one in the layout; its producers do not stop."""
    client = client_of(server.url, stack)
    layout = reshard(client, DEFAULT_KEYS, 2)
    sender = RedisSender(server.url, BridgeSettings())
    stack.callback(sender.close)
    producer = producer_on(1, 2)
    append(sender, producer, 1)
    client.delete(*client.keys("nexus:{1.723}:*"))
    position = append(sender, producer, 2)
    meta = client.hgetall(DEFAULT_KEYS.log_meta(TAGS[1]))
    assert meta[b"layout"] == b"1"
    assert meta[b"epoch"].decode() != layout.epochs[1]
    assert position.startswith(f"{layout.epoch}:")
    assert "lost its earlier events" in run_command(server.url).stdout


def test_a_redis_that_lost_everything_has_one_shard(server: RedisServer, stack: ExitStack) -> None:
    """A publisher that was on shard 1 goes on in shard 0, where readers look."""
    client = client_of(server.url, stack)
    reshard(client, DEFAULT_KEYS, 2)
    sender = RedisSender(server.url, BridgeSettings())
    stack.callback(sender.close)
    append(sender, producer_on(1, 2), 1)
    client.flushdb()
    append(sender, producer_on(1, 2), 2)
    assert client.xlen(DEFAULT_KEYS.log_stream()) == 1
    assert read_layout(client, DEFAULT_KEYS) == SINGLE


def test_an_interrupted_change_is_repaired_by_the_next(
    server: RedisServer, stack: ExitStack, run_command: RunCommand
) -> None:
    """The shards have a newer layout than the log: the table says it, any number repairs it."""
    client = client_of(server.url, stack)
    reshard(client, DEFAULT_KEYS, 2)
    for shard in range(2):
        client.hset(DEFAULT_KEYS.log_meta(TAGS[shard]), "layout", 2)
    assert run_command(server.url).stdout.count("its layout is newer") == 2
    done = run_command(server.url, "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert read_layout(client, DEFAULT_KEYS).gen == 3
    sender = RedisSender(server.url, BridgeSettings())
    stack.callback(sender.close)
    append(sender, producer_on(1, 2), 1)
    assert client.xlen(DEFAULT_KEYS.log_stream(TAGS[1])) == 1


def test_two_changes_at_a_time_leave_one_layout(server: RedisServer, stack: ExitStack) -> None:
    """One of the two has to begin again; every shard has the layout that was written last."""

    def change(counts: Sequence[int]) -> None:
        for count in counts:
            reshard(clients[counts], DEFAULT_KEYS, count)

    orders = ((4, 7, 4, 7), (2, 8, 3, 8))
    clients: dict[Sequence[int], Any] = {order: client_of(server.url, stack) for order in orders}
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(change, orders)) == [None, None]
    client = client_of(server.url, stack)
    layout = read_layout(client, DEFAULT_KEYS)
    assert layout.count in (7, 8)
    assert layout.gen >= 8
    gens = [client.hget(DEFAULT_KEYS.log_meta(TAGS[shard]), "layout") for shard in layout.shards]
    assert {int(gen) for gen in gens if gen} == {layout.gen}


def test_the_command_shows_and_changes_the_shards(
    server: RedisServer, stack: ExitStack, run_command: RunCommand
) -> None:
    """A line a shard, with what Redis has of it; the same number again changes nothing."""
    sender = RedisSender(server.url, BridgeSettings())
    stack.callback(sender.close)
    append(sender, "a", 1, 2)
    assert run_command(server.url, "1").stdout.startswith("the log has 1 shard already;")
    done = run_command(server.url, "8")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the log has 8 shards, it had 1 shard;")
    assert "all shards are in one Redis" in done.stdout
    layout = read_layout(client_of(server.url, stack), DEFAULT_KEYS)
    assert isinstance(layout, Layout)
    rows = [line.split() for line in done.stdout.splitlines()[-MAX_SHARDS:]]
    assert [(int(row[0]), row[1], int(row[2])) for row in rows] == [
        (shard, tag, slot_of(tag)) for shard, tag in enumerate(TAGS)
    ]
    address = f"127.0.0.1:{server.port}"
    assert rows[0][3:5] == [address, "2"]
    assert rows[0][-5:] == [layout.epoch, "1", "1", "in", "use"]
    assert rows[7][3:] == [address, *"0---", layout.epochs[7], *"01", "in", "use"]
    again = run_command(server.url, "8")
    assert again.stdout.startswith("the log has 8 shards already;")


def test_the_command_says_what_redis_refuses(
    server: RedisServer, stack: ExitStack, run_command: RunCommand
) -> None:
    """A user without permissions, and no Redis at all: one line with the cure, and code 1."""
    client = client_of(server.url, stack)
    rights = ("+hget", "+hmget", "+xrange", "+xrevrange", "+xlen", "+ttl")
    client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~nexus:*", *rights)
    url = server.url.replace("//", "//reader:pw@")
    shown = run_command(url)
    assert (shown.returncode, shown.stderr) == (0, "")
    # What it may not count is unknown, not 0.
    assert shown.stdout.splitlines()[-1].split()[-4:] == ["?", "-", "in", "use"]
    refused = run_command(url, "2")
    assert refused.returncode == 1
    assert "NoPermissionError" in refused.stderr
    assert "the permissions of `operator` in deploy/README.md" in refused.stderr
    assert client.keys() == []
    server.kill()
    gone = run_command(server.url, "2")
    assert gone.returncode == 1
    assert gone.stderr.startswith(f"otel-bridge: {server.url}: ConnectionError:")
