"""``LinesService``: the parts of a collector that read, store and bound log lines, put together."""

from __future__ import annotations

import asyncio
from typing import Any

from otel_bridge.clock import Clock
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.transports.base import LineStore, SpanLines, SpanStack
from otel_bridge_collector.lines.poller import LinesPoller
from otel_bridge_collector.lines.reader import open_lines_reader
from otel_bridge_collector.lines.table import LinesTable
from otel_bridge_collector.lines.trim import LinesTrimmer

__all__ = ["LinesService"]


class LinesService:
    """
    The log lines beside one log. The collector makes one; it connects to nothing by itself.

    Args:
        table: Of the views, which note in it which nodes are watched.
        url: Of the log.
        redis: An asyncio client of its Redis; None: the log is in memory. Its owner closes it.
        keys: The keys of the log.
        sender: Stores lines and stacks, in a thread; shared with the log.
        lock: Hold it while the sender works.
        max_bytes: ``MONITORING_LINES_MAX_BYTES``.
        clock: Source of the time.

    Attributes:
        table: As given.
        reader: Reads what is stored.
        poller: Fills the table; the collector runs it as a task.
        trimmer: A duty of the leader.
    """

    def __init__(
        self,
        table: LinesTable,
        *,
        url: str,
        redis: Any,
        keys: RedisKeys,
        sender: LineStore,
        lock: asyncio.Lock,
        max_bytes: int,
        clock: Clock,
    ) -> None:
        self.table = table
        self.reader = open_lines_reader(url, redis, keys)
        self.poller = LinesPoller(table, self.reader)
        self.trimmer = LinesTrimmer(redis, keys, max_bytes, clock)
        self._sender = sender
        self._lock = lock

    async def store_lines(self, batch: list[SpanLines]) -> int:
        """
        Store log lines beside the log, in a thread; returns how many could not be (async).

        Raises:
            TransportError: The log cannot be reached; the lines may be stored or not.
        """
        async with self._lock:
            return await asyncio.to_thread(self._sender.store_lines, batch)

    async def store_stacks(self, stacks: list[SpanStack]) -> int:
        """
        Store stacks beside the log, in a thread; returns how many could not be (async).

        Raises:
            TransportError: The log cannot be reached.
        """
        async with self._lock:
            return await asyncio.to_thread(self._sender.store_stacks, stacks)
