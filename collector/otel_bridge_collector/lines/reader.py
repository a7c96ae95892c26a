"""``LinesReader``: reads the stored log lines of nodes (spans), from Redis or from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from otel_bridge.errors import TransportError
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.transports import memory_name
from otel_bridge.publish.transports.memory import MemoryLog, memory_log

__all__ = ["LinesReader", "MemoryLinesReader", "RedisLinesReader", "open_lines_reader"]


class LinesReader(Protocol):
    """
    Reads stored lines; ``open_lines_reader`` makes one. Its methods belong to one event loop.

    Both raise ``TransportError`` if the store cannot be read, or denies it.
    """

    async def newest(self, span_ids: Sequence[str]) -> list[bytes | None]:
        """
        Return the newest line of each node as it is stored, in one round trip.

        Args:
            span_ids: 16 hex digits each; not checked.

        Returns:
            As many as ``span_ids``; None: the node has none.
        """

    async def last(self, counts: Mapping[str, int]) -> list[list[bytes]]:
        """
        Return the last lines of each node as they are stored, the newest last.

        It is one round trip for all.

        Args:
            counts: How many at most, by the span id; 1 to 200, not checked.

        Returns:
            As many as ``counts``; an empty list: the node has none.
        """


class RedisLinesReader:
    """
    Reads lines from Redis; see ``LinesReader``.

    Args:
        redis: An asyncio client, which returns bytes; its owner closes it.
        url: Its URL, for error messages, without their password.
        keys: The keys of the log.
    """

    def __init__(self, redis: Any, url: str, keys: RedisKeys) -> None:
        self._redis = redis
        self._url = url
        self._keys = keys

    async def newest(self, span_ids: Sequence[str]) -> list[bytes | None]:
        """Return the newest line of each node; see ``LinesReader``."""
        found: list[bytes | None] = await self._read("LINDEX", [(one, -1) for one in span_ids])
        return found

    async def last(self, counts: Mapping[str, int]) -> list[list[bytes]]:
        """Return the last lines of each node; see ``LinesReader``."""
        asked = [(span_id, -count, -1) for span_id, count in counts.items()]
        found: list[list[bytes]] = await self._read("LRANGE", asked)
        return found

    async def _read(self, command: str, asked: Sequence[tuple[Any, ...]]) -> Any:
        pipeline = self._redis.pipeline(transaction=False)
        for span_id, *arguments in asked:
            pipeline.execute_command(command, self._keys.lines(span_id), *arguments)
        try:
            return await pipeline.execute()
        except REDIS_ERRORS as error:
            raise TransportError(failure_reason(error, self._url)) from error


class MemoryLinesReader:
    """
    Reads lines from a log in memory; see ``LinesReader``. Never waits or raises.

    Args:
        log: The log of this process.
    """

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def newest(self, span_ids: Sequence[str]) -> list[bytes | None]:
        """Return the newest line of each node; see ``LinesReader``."""
        found = [self._log.lines(span_id) for span_id in span_ids]
        return [lines[-1] if lines else None for lines in found]

    async def last(self, counts: Mapping[str, int]) -> list[list[bytes]]:
        """Return the last lines of each node; see ``LinesReader``."""
        return [list(self._log.lines(span_id))[-count:] for span_id, count in counts.items()]


def open_lines_reader(url: str, redis: Any, keys: RedisKeys) -> LinesReader:
    """
    Make the reader of the lines that are stored beside a log; connects to nothing.

    Args:
        url: URL of the log, ``redis://...`` or ``memory://NAME``.
        redis: An asyncio client of the Redis of the log, which returns bytes; None for memory.
        keys: The keys of the log.
    """
    if redis is None:
        return MemoryLinesReader(memory_log(memory_name(url)))
    return RedisLinesReader(redis, url, keys)
