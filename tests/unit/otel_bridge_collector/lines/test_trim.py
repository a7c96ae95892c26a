"""All log lines together stay below the limit, and the index below what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from otel_bridge_collector.lines.trim import LinesTrimmer

from otel_bridge.publish.redis_clients import aclose, connect_async
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.faults import FakeClock

LINE = b"x" * 1000
MIB = 1024 * 1024


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    made = connect_async(redis_url)
    yield made
    await aclose(made)


def fill(redis_url: str, count: int, *, first: int = 0) -> None:
    """Nodes with 20 lines of 1 KB each, the one with the least number the oldest."""
    with redis.Redis.from_url(redis_url) as own:
        pipeline = own.pipeline(transaction=False)
        for number in range(first, first + count):
            pipeline.rpush(DEFAULT_KEYS.lines(f"{number:016x}"), *[LINE] * 20)
            pipeline.zadd(DEFAULT_KEYS.lines_index(), {f"{number:016x}": number})
        pipeline.execute()


def there(redis_url: str) -> list[int]:
    with redis.Redis.from_url(redis_url) as own:
        index = [int(span_id, 16) for span_id in own.zrange(DEFAULT_KEYS.lines_index(), 0, -1)]
        assert {f"{number:016x}" for number in index} == {
            key.decode().rpartition(":")[2] for key in own.keys(DEFAULT_KEYS.lines("[0-9a-f]*"))
        }
        return index


async def test_the_oldest_leave_over_the_limit(client: Any, redis_url: str) -> None:
    """So many that the rest is below it; the newest stay."""
    fill(redis_url, 200)
    clock = FakeClock(100)
    trimmer = LinesTrimmer(client, DEFAULT_KEYS, 2 * MIB, clock)
    await trimmer.run_round()
    left = there(redis_url)
    assert left == list(range(200 - len(left), 200))
    assert 80 < len(left) < 105
    assert (trimmer.trimmed, trimmer.nodes) == (200 - len(left), len(left))
    assert 1.5 * MIB < trimmer.bytes <= 2 * MIB
    fill(redis_url, 100, first=200)
    await trimmer.run_round()
    assert len(there(redis_url)) == len(left) + 100, "not again within 10 s"
    clock.advance(10)
    await trimmer.run_round()
    assert len(there(redis_url)) < 105


async def test_below_the_limit_nothing_leaves(client: Any, redis_url: str) -> None:
    """And nothing is counted; without nodes there is nothing to estimate."""
    trimmer = LinesTrimmer(client, DEFAULT_KEYS, 2 * MIB, FakeClock(100))
    await trimmer.run_round()
    assert (trimmer.nodes, trimmer.bytes) == (0, 0)
    fill(redis_url, 10)
    trimmer = LinesTrimmer(client, DEFAULT_KEYS, 2 * MIB, FakeClock(100))
    await trimmer.run_round()
    assert (len(there(redis_url)), trimmer.nodes, trimmer.trimmed) == (10, 10, 0)


async def test_what_has_expired_leaves_the_index(client: Any, redis_url: str) -> None:
    """Whether it is the oldest or not, in as many rounds as it takes."""
    fill(redis_url, 1200)
    with redis.Redis.from_url(redis_url) as own:
        own.delete(*(DEFAULT_KEYS.lines(f"{number:016x}") for number in range(100, 1200)))
    clock = FakeClock(100)
    trimmer = LinesTrimmer(client, DEFAULT_KEYS, 100 * MIB, clock)
    for _ in range(4):
        await trimmer.run_round()
        clock.advance(10)
    assert there(redis_url) == list(range(100))


async def test_a_denial_is_noted_and_ends(client: Any, redis_url: str) -> None:
    """It keeps the leader from nothing else."""
    with redis.Redis.from_url(redis_url) as own:
        own.set(DEFAULT_KEYS.lines_index(), "not a sorted set")
        clock = FakeClock(100)
        trimmer = LinesTrimmer(client, DEFAULT_KEYS, MIB, clock)
        await trimmer.run_round()
        assert trimmer.failure is not None
        own.delete(DEFAULT_KEYS.lines_index())
        clock.advance(10)
        await trimmer.run_round()
        assert trimmer.failure is None


async def test_a_log_in_memory_needs_none() -> None:
    """It keeps 1,000 nodes by itself."""
    trimmer = LinesTrimmer(None, DEFAULT_KEYS, MIB, FakeClock(100))
    await trimmer.run_round()
    assert (trimmer.nodes, trimmer.failure) == (0, None)
