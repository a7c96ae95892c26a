"""
``LinesTrimmer``: the leader's bound on the memory that all log lines take in Redis together.

Lines expire by themselves, but 100 jobs a second with 50 lines each are 1 GB in 15 minutes.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from redis.exceptions import ResponseError

from otel_bridge.clock import Clock
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys

__all__ = ["LinesTrimmer"]

logger = logging.getLogger(__name__)

_INTERVAL_SEC: Final = 10.0
_SAMPLE: Final = 20
"""Nodes whose lists are measured for an estimate of all."""
_CHUNK: Final = 500
"""Nodes that are looked at in one round trip; MEMORY USAGE takes some microseconds each."""
_MAX_CHUNKS: Final = 40
"""In one round; the next one goes on."""
_SCAN_SHARE: Final = 30
"""The index is looked through for expired lists in so many rounds: 5 minutes."""


class LinesTrimmer:
    """
    Removes the log lines of the nodes that were silent longest, while all take too much memory.

    What they take is estimated by 20 lists. The index of nodes is looked through as well, and what
    has expired is removed from it. The leader of the collectors calls ``run_round`` on its event
    loop. Nothing needs closing.

    Args:
        redis: An asyncio client of the Redis of the log; None: lines are in memory, where 1,000
            nodes are kept, and there is nothing to do.
        keys: The keys of the log.
        max_bytes: ``MONITORING_LINES_MAX_BYTES``.
        clock: Its monotonic time spaces the rounds.

    Attributes:
        nodes: Nodes in the index at the last round; 0 at first, and without Redis.
        bytes: The estimate of the last round.
        trimmed: Nodes whose lines were removed.
        failure: Why the last round failed, such as a denial by an ACL; None: it did not.
    """

    def __init__(self, redis: Any, keys: RedisKeys, max_bytes: int, clock: Clock) -> None:
        self.nodes = 0
        self.bytes = 0
        self.trimmed = 0
        self.failure: str | None = None
        self._redis = redis
        self._keys = keys
        self._max_bytes = max_bytes
        self._clock = clock
        self._due_at = 0.0
        self._cursor = 0

    async def run_round(self) -> None:
        """
        Estimate and trim, at most every 10 s (async).

        What Redis denies is logged when that begins, and noted as ``failure``: it must not keep the
        leader from its other duties. That Redis cannot be reached passes through.
        """
        now = self._clock.monotonic()
        if self._redis is None or now < self._due_at:
            return
        self._due_at = now + _INTERVAL_SEC
        try:
            await self._trim()
        except ResponseError as error:
            if self.failure is None:
                logger.warning("log lines are not trimmed: %s", failure_reason(error))
            self.failure = failure_reason(error)
        else:
            self.failure = None

    async def _trim(self) -> None:
        index = self._keys.lines_index()
        await self._forget_expired(index)
        self.nodes = int(await self._redis.zcard(index))
        if not self.nodes:
            self.bytes = 0
            return
        sample = await self._redis.zrandmember(index, _SAMPLE)
        sizes = await self._sizes(sample)
        self.bytes = sum(sizes) * self.nodes // max(1, len(sizes))
        excess = self.bytes - self._max_bytes
        for _ in range(_MAX_CHUNKS):
            if excess <= 0:
                return
            freed = await self._remove_oldest(index, excess)
            if freed is None:
                return
            excess -= freed
            self.bytes -= freed

    async def _remove_oldest(self, index: str, excess: int) -> int | None:
        """Remove nodes until so many bytes are free, at most 500; None: there are none."""
        oldest = await self._redis.zrange(index, 0, _CHUNK - 1)
        if not oldest:
            return None
        sizes = await self._sizes(oldest)
        freed = count = 0
        for size in sizes:
            if freed >= excess:
                break
            freed += size
            count += 1
        pipeline = self._redis.pipeline(transaction=False)
        for span_id in oldest[:count]:
            # ``unlink`` of a Cluster's pipeline is a coroutine, and adds nothing to it.
            pipeline.execute_command("UNLINK", self._keys.lines(_text(span_id)))
        pipeline.zrem(index, *oldest[:count])
        await pipeline.execute()
        self.trimmed += sum(size > 0 for size in sizes[:count])
        self.nodes = max(0, self.nodes - count)
        return freed

    async def _sizes(self, span_ids: list[bytes]) -> list[int]:
        pipeline = self._redis.pipeline(transaction=False)
        for span_id in span_ids:
            pipeline.memory_usage(self._keys.lines(_text(span_id)))
        return [int(size or 0) for size in await pipeline.execute()]

    async def _forget_expired(self, index: str) -> None:
        """Remove nodes from the index whose lists are gone; each round looks at a part of it."""
        left = max(_CHUNK, self.nodes // _SCAN_SHARE)
        for _ in range(_MAX_CHUNKS):
            self._cursor, found = await self._redis.zscan(index, self._cursor, count=_CHUNK)
            if found:
                pipeline = self._redis.pipeline(transaction=False)
                for span_id, _score in found:
                    pipeline.exists(self._keys.lines(_text(span_id)))
                there = await pipeline.execute()
                gone = [one[0] for one, is_there in zip(found, there, strict=True) if not is_there]
                if gone:
                    await self._redis.zrem(index, *gone)
            left -= len(found)
            if left <= 0 or not self._cursor:
                return


def _text(span_id: bytes) -> str:
    return span_id.decode(errors="replace")
