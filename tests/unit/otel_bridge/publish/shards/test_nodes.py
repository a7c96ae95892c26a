"""``otel_bridge.publish.shards.nodes``: the servers behind the URL of one Redis."""

from __future__ import annotations

import pytest
from redis.exceptions import RedisError, ResponseError

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.shards.layout import TAGS
from otel_bridge.publish.shards.nodes import Nodes
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.redis

STREAMS = {shard: DEFAULT_KEYS.log_stream(tag) for shard, tag in enumerate(TAGS)}


async def test_one_redis_is_one_node_with_all_shards(redis_url: str) -> None:
    """Commands go by one write; each has its reply, and an error is one among them."""
    nodes = Nodes(redis_url, connection_options(2, 2), STREAMS)
    await nodes.refresh()
    assert not nodes.is_cluster
    ((node, shards),) = nodes.by_node([0, 5, 7]).items()
    assert shards == [0, 5, 7]
    assert node.name == redis_url.removeprefix("redis://")
    pong, wrong, value = await node.ask([("PING",), ("NO-SUCH-COMMAND",), ("GET", "nothing")])
    assert (pong, value) == (b"PONG", None)
    assert isinstance(wrong, ResponseError)
    await node.ping()
    await nodes.close()
    assert await nodes.by_node([0]).popitem()[0].ask([("PING",)]) == [b"PONG"]
    await nodes.close()


async def test_a_server_that_is_away_is_an_error_until_it_is_back() -> None:
    """The next call after an error opens another connection."""
    with RedisServer() as server:
        nodes = Nodes(f"redis://user:secret@127.0.0.1:{server.port}", connection_options(2, 2), {})
        node = nodes.node_of(0)
        assert node is not None
        assert node.name == f"127.0.0.1:{server.port}"
        with pytest.raises(RedisError, match="invalid username-password pair"):
            await node.ask([("PING",)])
        nodes = Nodes(server.url, connection_options(2, 2), {})
        node = nodes.node_of(0)
        assert node is not None
        assert await node.ask([("PING",)]) == [b"PONG"]
        server.kill()
        for call in (lambda: node.ask([("PING",)]), node.ping):
            with pytest.raises((RedisError, OSError)):
                await call()
        server.start()
        assert await node.ask([("PING",)]) == [b"PONG"]
        await nodes.close()
