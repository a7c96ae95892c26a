"""``otel_bridge.publish.transports.sharded.poll``: what one poll of a real Redis says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import RedisError

from otel_bridge.publish.redis_clients import close, connect
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.shards.layout import SINGLE, TAGS
from otel_bridge.publish.shards.nodes import Nodes
from otel_bridge.publish.shards.resharding import reshard
from otel_bridge.publish.transports.sharded.poll import ShardPoller
from otel_bridge.publish.transports.sharded.status import ShardStatus
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.redis

STREAMS = {shard: DEFAULT_KEYS.log_stream(tag) for shard, tag in enumerate(TAGS)}


def new_poller(url: str) -> ShardPoller:
    nodes = Nodes(url, connection_options(2, 2), STREAMS)
    return ShardPoller(nodes, DEFAULT_KEYS, ShardStatus())


@pytest.fixture
async def poller(redis_url: str) -> AsyncIterator[ShardPoller]:
    found = new_poller(redis_url)
    yield found
    await found.close()


async def test_a_poll_says_what_is_new_and_what_is_complete(
    redis_url: str, poller: ShardPoller
) -> None:
    """Rows after each cursor; a bound at the clock, or at the last row of a shard with more."""
    client = connect(redis_url)
    layout = reshard(client, DEFAULT_KEYS, 3)
    assert await poller.layout() == layout
    for number in range(4):
        client.xadd(STREAMS[1], {"e": json.dumps(number)}, id=f"5-{number}")
    client.xadd(STREAMS[2], {"e": "x"}, id="9-0")
    before = int(client.time()[0]) * 1000
    cursors = {0: (0, 0), 1: (5, 0), 2: (0, 0)}
    poll = await poller.poll(cursors, 10)
    assert {shard: [row[0] for row in rows] for shard, rows in poll.rows.items()} == {
        0: [],
        1: [b"5-1", b"5-2", b"5-3"],
        2: [b"9-0"],
    }
    assert (poll.full, poll.returned, poll.gen) == ([], [], 1)
    assert poll.bound is not None
    assert poll.bound[0] >= before
    few = await poller.poll(cursors, 2)
    assert (few.full, few.bound) == ([1], (5, 1, 3))
    newest = await poller.newest({1: "+", 2: "(9-0"}, 2)
    assert {shard: [row[0] for row in rows] for shard, rows in newest.items()} == {
        1: [b"5-3", b"5-2"],
        2: [],
    }
    bounds = await poller.bounds([0, 1])
    assert (bounds[0].first, bounds[1].first, bounds[1].last) == (None, (5, 0), (5, 3))
    assert bounds[1].epoch == layout.epochs[1]
    close(client)


async def test_a_log_without_layout(poller: ShardPoller) -> None:
    """It has the number 0, and one shard."""
    assert await poller.layout() == SINGLE
    assert (await poller.poll({0: (0, 0)}, 10)).gen == 0


async def test_a_server_that_comes_back_is_checked_first() -> None:
    """While no shard answers a poll raises; the first answer after that has no rows."""
    with RedisServer() as server:
        poller = new_poller(server.url)
        with server.client() as client:
            client.xadd(STREAMS[0], {"e": "x"}, id="5-0")
        assert len((await poller.poll({0: (0, 0)}, 10)).rows[0]) == 1
        server.kill()
        for _ in range(2):
            with pytest.raises((RedisError, OSError)):
                await poller.poll({0: (0, 0)}, 10)
        assert list(poller.silent_since) == [0]
        server.start()
        back = await poller.poll({0: (0, 0)}, 10)
        assert (back.rows, back.returned, back.bound) == ({}, [0], None)
        assert poller.silent_since == {}
        assert (await poller.poll({0: (0, 0)}, 10)).bound is not None
        await poller.close()
