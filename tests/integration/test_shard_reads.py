"""A log of several shards, read by real collectors: one order, no hole, no double."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from zlib import crc32

import pytest

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import TAGS
from tests.support.redis_groups import RedisCluster
from tests.support.redis_server import Kind, RedisServer
from tests.support.shard_log import Hopping, prove_no_hole_and_no_double, set_shards
from tests.support.sharded_load import Producer

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
