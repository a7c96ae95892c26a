"""A log of several shards, read by real collectors: one order, no hole, no double."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from zlib import crc32

import pytest
from otel_bridge_collector.log.decoding import decode_entries
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.resume import Resumer
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.filters import ALL_EVENTS

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import TAGS
from otel_bridge.publish.transports.sharded.log_receiver import RedisLogReceiver
from otel_bridge.settings import BridgeSettings
from tests.support.clocks import ServerClock
from tests.support.redis_groups import RedisCluster
from tests.support.redis_server import Kind, RedisServer
from tests.support.shard_log import Hopping, names_in, prove_no_hole_and_no_double, set_shards
from tests.support.sharded_load import Producer
from tests.support.sinks import RecordingSink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


async def test_readers_follow_another_number_of_shards(stack: ExitStack) -> None:
    """
    Clients change between two collectors at any moment, and get each event once, in one order.

    Three of ten answers to the producers are lost, so they send events again. The log goes from one
    stream to 4, 2 and 8 shards meanwhile; positions from before stay good.
    """
    server = stack.enter_context(RedisServer())
    async with Hopping(server.url) as stage:
        for shards in (4, 2, 8):
            await stage.more(40)
            set_shards(server.url, shards)
        await stage.more(40)
        prove_no_hole_and_no_double(stage, await stage.finish())


async def test_clients_that_hop_miss_nothing_of_a_cluster(stack: ExitStack) -> None:
    """The same with eight shards on three masters."""
    cluster = stack.enter_context(RedisCluster(has_replicas=False))
    set_shards(cluster.url, 8)
    async with Hopping(cluster.url) as stage:
        await stage.more(40)
        prove_no_hole_and_no_double(stage, await stage.finish())


async def test_a_client_resumes_while_a_clock_is_behind(stack: ExitStack) -> None:
    """
    It gets what lies between its position and the ring, although readers may not give it out yet.

    So it is after a clock was set back: entries of the last seconds are in the log, and in rings.
    """
    server = stack.enter_context(RedisServer())
    set_shards(server.url, 2)
    soon = time.time_ns() // 1_000_000 + 500
    with server.client() as client:
        for number in range(20):
            stream = DEFAULT_KEYS.log_stream(TAGS[number % 2])
            event = {"event_type": "task_started", "event_id": str(number), "task_id": str(number)}
            client.xadd(stream, {"e": json.dumps(event)}, f"{soon + number}-0")
    receiver = RedisLogReceiver(server.url, BridgeSettings(redis_url=server.url))
    entries = list(await receiver.read_back(20))[::-1]
    ring = ReplayRing(entries[9].position, 100)
    for entry in decode_entries(entries[10:], max_bytes=8192):
        ring.append(entry)
    hub = Hub(ring, limit_bytes=10**9, timeout_sec=60, make_snapshot=lambda event_filter: b"{}")

    async def wait_advance(timeout_sec: float) -> bool:
        await asyncio.sleep(0.01)
        return True

    resumer = Resumer(
        lambda: receiver,
        decode=partial(decode_entries, max_bytes=8192),
        wait_advance=wait_advance,
        hub=hub,
        slow_after_sec=60,
    )
    sink = RecordingSink()
    await resumer.join(ClientSession(sink, ALL_EVENTS), entries[3].position)
    assert names_in(sink) == [str(number) for number in range(4, 20)]
    await resumer.close()


# --- longer ---------------------------------------------------------------------------------------


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "oldest", "valkey"])
@pytest.mark.parametrize("shards", [1, 2, 4, 8])
async def test_clients_that_hop_for_longer(shards: int, kind: Kind, stack: ExitStack) -> None:
    """For any number of shards on one server; one is the log of one stream, without a layout."""
    server = stack.enter_context(RedisServer(kind=kind))
    if shards > 1:
        set_shards(server.url, shards)
    async with Hopping(server.url, producers=5) as stage:
        await stage.more(300)
        prove_no_hole_and_no_double(stage, await stage.finish())


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
@pytest.mark.parametrize("shards", [4, 8])
async def test_clients_of_a_cluster_hop_for_longer(
    shards: int, kind: Kind, stack: ExitStack
) -> None:
    """The same on three masters, while shards come and go."""
    cluster = stack.enter_context(RedisCluster(kind, has_replicas=False))
    set_shards(cluster.url, shards)
    async with Hopping(cluster.url, producers=5) as stage:
        await stage.more(150)
        set_shards(cluster.url, 12 - shards)
        await stage.more(150)
        prove_no_hole_and_no_double(stage, await stage.finish())


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_master_is_killed(kind: Kind, stack: ExitStack) -> None:
    """
    A killed master that comes back holds the others up for two seconds, and loses nothing.

    Each gap names its shards. Between two gaps no client gets an event twice, and none of a
    producer whose shard was there all the time is missing; both collectors get all events.
    """
    cluster = stack.enter_context(
        RedisCluster(kind, has_replicas=False, is_durable=True, cluster_require_full_coverage="no")
    )
    set_shards(cluster.url, 8)
    owners = [cluster.owner(DEFAULT_KEYS.log_stream(tag)) for tag in TAGS]
    killed = owners[2]
    away = [shard for shard, owner in enumerate(owners) if owner.port == killed.port]
    async with Hopping(cluster.url, producers=6) as stage:
        await stage.more(100)
        await asyncio.to_thread(killed.kill)
        others = [p for p in stage.producers if crc32(p.producer_id.encode()) % 8 not in away]
        assert 0 < len(others) < len(stage.producers)
        reached = [collector.count for collector in stage.collectors]
        async with asyncio.timeout(60):
            while any(
                collector.count < count + 100
                for collector, count in zip(stage.collectors, reached, strict=True)
            ):
                await asyncio.sleep(0.01)
        await asyncio.to_thread(killed.start)
        await stage.more(100)
        sent = await stage.finish()
        for collector in stage.collectors:
            assert sorted(collector.order()) == sent
            assert {shard for _, shards in collector.gaps() for shard in shards} <= set(away)
        for client in stage.clients:
            assert {shard for _, shards in client.gaps for shard in shards} <= set(away)
            for run in client.runs:
                assert len(run) == len(set(run))
                assert holes_in(run, others) == []


def holes_in(run: Sequence[str], producers: Sequence[Producer]) -> list[str]:
    """The producers of whose events some are missing between the first and the last."""
    found = []
    for name in (producer.producer_id for producer in producers):
        numbers = [int(each.partition("-")[2]) for each in run if each.startswith(f"{name}-")]
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            found.append(name)
    return found


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_the_clocks_of_the_masters_differ(kind: Kind, stack: ExitStack) -> None:
    """
    One clock is 1.7 s behind and one 0.7 s ahead: readers wait, and there is no hole or double.

    A reader measures how far each clock is off.
    """
    clocks = [stack.enter_context(ServerClock(offset)) for offset in (-1.7, 0.7)]
    cluster = stack.enter_context(RedisCluster(kind, has_replicas=False, clocks=clocks))
    set_shards(cluster.url, 8)
    async with Hopping(cluster.url, producers=5) as stage:
        await stage.more(150)
        set_shards(cluster.url, 4)
        await stage.more(150)
        prove_no_hole_and_no_double(stage, await stage.finish())
        status = stage.collectors[0].receivers[0].shard_status
        assert status is not None
        assert sorted(map(round, status.skew_sec().values())) == [-2, 0, 1]


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_the_clock_of_a_master_is_set_back(kind: Kind, stack: ExitStack) -> None:
    """
    It goes back by 2 s, as an NTP daemon may do: every event comes, once between two gaps.

    Redis gives no id before the last one in the same stream, so nothing is late on a shard in use.
    """
    clock = stack.enter_context(ServerClock(0.0))
    cluster = stack.enter_context(RedisCluster(kind, has_replicas=False, clocks=[clock]))
    set_shards(cluster.url, 8)
    async with Hopping(cluster.url, producers=6) as stage:
        await stage.more(100)
        clock.set(-2.0)
        with cluster.servers[0].client() as client:
            wait_until(lambda: client.time()[0] < time.time() - 0.5, "the clock")
        await stage.more(100)
        clock.set(0.0)
        await stage.more(100)
        sent = await stage.finish()
        for collector in stage.collectors:
            assert sorted(collector.order()) == sent
            assert {reason for reason, _ in collector.gaps()} <= {"clock"}
        for client in stage.clients:
            assert {reason for reason, _ in client.gaps} <= {"clock"}
            for run in client.runs:
                assert len(run) == len(set(run))
                assert client.gaps or holes_in(run, stage.producers) == []


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_replica_takes_over(kind: Kind, stack: ExitStack) -> None:
    """Readers find the new master of a shard by themselves and go on; no event comes twice."""
    cluster = stack.enter_context(RedisCluster(kind, cluster_require_full_coverage="no"))
    set_shards(cluster.url, 8)
    async with Hopping(cluster.url, producers=6) as stage:
        await stage.more(200)
        await asyncio.to_thread(cluster.owner(DEFAULT_KEYS.log_stream(TAGS[2])).kill)
        await stage.more(200)
        for producer in stage.producers:
            await asyncio.to_thread(producer.stop)
        newest = {f"{producer.producer_id}-{producer.sent}" for producer in stage.producers}
        async with asyncio.timeout(120):
            while not all(newest <= set(one.order()) for one in stage.collectors):
                await asyncio.sleep(1)  # looking costs as much as reading
        for collector in stage.collectors:
            assert len(collector.order()) == len(set(collector.order()))
