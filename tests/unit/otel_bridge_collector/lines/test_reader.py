"""Lines are read as they are stored, from Redis and from memory."""

from __future__ import annotations

import pytest
import redis
from otel_bridge_collector.lines.reader import LinesReader, open_lines_reader

from otel_bridge.errors import TransportError
from otel_bridge.publish.redis_clients import aclose, connect_async
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.memory import memory_log

SPAN, NONE = "a" * 16, "b" * 16
LINES = [b'[1,20,"app","line %d",%d]' % (n, n) for n in range(1, 251)]


async def check(reader: LinesReader) -> None:
    assert await reader.newest([NONE, SPAN]) == [None, LINES[-1]]
    assert await reader.last({SPAN: 200, NONE: 9}) == [LINES[-200:], []]
    assert await reader.last({SPAN: 2}) == [LINES[-2:]]


async def test_from_memory() -> None:
    """The log of this process, which keeps the last 200 of a node."""
    memory_log("lines-reader").store_lines(SPAN, LINES)
    await check(open_lines_reader("memory://lines-reader", None, DEFAULT_KEYS))


async def test_from_redis(redis_url: str) -> None:
    """Lists that a publisher filled; at most the last 200 are read."""
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(DEFAULT_KEYS.lines(SPAN), *LINES)
    own = connect_async(redis_url)
    try:
        await check(open_lines_reader(redis_url, own, DEFAULT_KEYS))
    finally:
        await aclose(own)


async def test_a_redis_that_cannot_be_reached() -> None:
    """It is a ``TransportError``."""
    url = "redis://127.0.0.1:9/0"
    own = connect_async(url, socket_connect_timeout=1)
    try:
        with pytest.raises(TransportError):
            await open_lines_reader(url, own, DEFAULT_KEYS).newest([SPAN])
    finally:
        await aclose(own)
