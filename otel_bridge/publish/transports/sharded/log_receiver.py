"""
``RedisLogReceiver``: reads the log in Redis, be it one stream or several shards, and follows it.

While the log is one stream, ``RedisReceiver`` reads it, at the cost and with the bytes that it has
without shards. That finds a layout in the answer after which its entries came, so it returns none
that is newer than the layout; from there ``ShardedReceiver`` goes on with the same positions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from otel_bridge.errors import PositionLostError
from otel_bridge.publish.shards.position import parse_position
from otel_bridge.publish.transports.base import LogEntry
from otel_bridge.publish.transports.redis_receiver import LayoutFoundError, RedisReceiver
from otel_bridge.publish.transports.sharded.receiver import NoLayoutError, ShardedReceiver
from otel_bridge.publish.transports.sharded.status import ShardStatus
from otel_bridge.settings import BridgeSettings

__all__ = ["RedisLogReceiver"]

_T = TypeVar("_T")


class RedisLogReceiver:
    """
    Reads the log in Redis; a ``Receiver``, for one asyncio loop.

    Args:
        url: Of Redis, as ``RedisReceiver`` takes it.
        settings: The key prefix and the events channel.

    Raises:
        ConfigurationError: The URL cannot be used; names the setting and the cure.
    """

    def __init__(self, url: str, settings: BridgeSettings) -> None:
        self._single = RedisReceiver(url, settings)
        self._sharded = ShardedReceiver(url, settings)
        self._is_sharded = False

    @property
    def shard_status(self) -> ShardStatus | None:
        """Numbers of the shards; None while the log is one stream."""
        return self._sharded.status if self._is_sharded else None

    async def open(self) -> str:
        """Connect; return the position before the first entry that the log still has."""
        return await self._either(self._single.open, self._sharded.open)

    async def last_position(self) -> str:
        """Return the position of the newest entry; in an empty log, the one before its first."""
        return await self._either(self._single.last_position, self._sharded.last_position)

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        """
        Return the entries after a position, in the order of the log; see ``Receiver.read``.

        Raises:
            PositionLostError: The log cannot continue from there without a hole; ``shards`` and
                ``continue_after`` are set if only some of its shards have one.
            TransportError: The log cannot be reached. The next call connects again.
        """
        while True:
            if self._is_sharded:
                try:
                    return await self._sharded.read(after, limit=limit, wait_ms=wait_ms)
                except NoLayoutError:
                    await self._use_single()
                    continue
            is_reader = self._single.is_at(after)
            try:
                return await self._single.read(after, limit=limit, wait_ms=wait_ms)
            except LayoutFoundError:
                is_sharded = await self._look()
            except PositionLostError as lost:
                is_sharded = await self._look_for(after, lost)
            if is_sharded and is_reader:
                # Their first entries may have ids before this one's, by a clock that is behind.
                await self._sharded.resume(after, unread=True)

    async def read_back(self, limit: int, *, before: str | None = None) -> Sequence[LogEntry]:
        """
        Return the newest entries, newest first; see ``Receiver.read_back``.

        Raises:
            PositionLostError: ``before`` belongs to another log, or is no position.
            TransportError: The log cannot be reached.
        """

        async def single() -> Sequence[LogEntry]:
            try:
                return await self._single.read_back(limit, before=before)
            except PositionLostError as lost:
                await self._look_for(before or "", lost)
                return await self._sharded.read_back(limit, before=before)

        return await self._either(single, lambda: self._sharded.read_back(limit, before=before))

    async def _either(
        self, single: Callable[[], Awaitable[_T]], sharded: Callable[[], Awaitable[_T]]
    ) -> _T:
        while True:
            try:
                return await (sharded() if self._is_sharded else single())
            except LayoutFoundError:
                await self._look()
            except NoLayoutError:
                await self._use_single()

    async def _look(self) -> bool:
        """Read the layout that was found, and choose by it."""
        layout = await self._sharded.load()
        self._single.layout_gen = layout.gen
        self._is_sharded = layout.shards != (0,)
        return self._is_sharded

    async def _look_for(self, position: str, lost: PositionLostError) -> bool:
        """
        Choose the reader for a position that ``RedisReceiver`` cannot go on from.

        Raises ``lost``, unless it is a position of another shard in a log that has a layout.
        """
        if not parse_position(position).shard or not (await self._sharded.load()).gen:
            raise lost
        self._is_sharded = True
        return True

    async def _use_single(self) -> None:
        self._single.layout_gen = self._sharded.layout.gen
        self._is_sharded = False
        await self._sharded.close()

    def external_messages(self) -> AsyncIterator[bytes]:
        """Yield messages that programs published past the log; see ``Receiver``."""
        return self._single.external_messages()

    async def close(self) -> None:
        """Close the connections of the reads; errors are ignored. A later call connects again."""
        await self._single.close()
        await self._sharded.close()
