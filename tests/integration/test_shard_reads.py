"""A log of several shards, read by real collectors: one order, no hole, no double."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.redis_groups import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.shard_log import Hopping, prove_no_hole_and_no_double, set_shards

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.mark.parametrize("shards", [1, 8])
async def test_clients_that_hop_miss_nothing(shards: int, stack: ExitStack) -> None:
    """
    Clients change between two collectors at any moment, and get each event once, in one order.

    Three of ten answers to the producers are lost, so they send events again. With one shard the
    log is one stream, without a layout.
    """
    server = stack.enter_context(RedisServer())
    if shards > 1:
        set_shards(server.url, shards)
    async with Hopping(server.url) as stage:
        await stage.more(150)
        prove_no_hole_and_no_double(stage, await stage.finish())


async def test_clients_that_hop_miss_nothing_of_a_cluster(stack: ExitStack) -> None:
    """The same with eight shards on three masters, whose clocks and answers differ."""
    cluster = stack.enter_context(RedisCluster(has_replicas=False))
    set_shards(cluster.url, 8)
    async with Hopping(cluster.url) as stage:
        await stage.more(100)
        prove_no_hole_and_no_double(stage, await stage.finish())


async def test_readers_follow_another_number_of_shards(stack: ExitStack) -> None:
    """
    While the log goes from one stream to 4, 2 and 8 shards, nothing is missing and nothing double.

    Positions from before stay good: the clients hop on with those of the log of one stream.
    """
    server = stack.enter_context(RedisServer())
    async with Hopping(server.url) as stage:
        for shards in (4, 2, 8):
            await stage.more(60)
            set_shards(server.url, shards)
        await stage.more(60)
        prove_no_hole_and_no_double(stage, await stage.finish())
