"""``LinesPoller``: fills the table of watched nodes from the store, four times a second."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from otel_bridge.errors import TransportError
from otel_bridge.lines.line import MAX_LINES
from otel_bridge_collector.lines.reader import LinesReader
from otel_bridge_collector.lines.table import HeldLines, LinesTable

__all__ = ["LinesPoller"]

logger = logging.getLogger(__name__)

_INTERVAL_SEC: Final = 0.25
_RETRY_SEC: Final = 2.0
"""After a failure, so that a Redis that does not answer is not asked four times a second."""


class LinesPoller:
    """
    Reads the lines of watched nodes: where the newest one has changed, those that have come.

    A round costs two round trips to Redis, 0.05 ms of CPU a node whose lines changed, and nothing
    while no node is watched. However many people look at a node, it is read once.

    Args:
        table: Which nodes are watched, and where their lines go.
        reader: Reads what is stored.

    Attributes:
        failure: Why the store could not be read last time; None: it was, or nothing was asked yet.
        reads: Times that the lines of a node were read, because its newest one had changed.
    """

    def __init__(self, table: LinesTable, reader: LinesReader) -> None:
        self.failure: str | None = None
        self.reads = 0
        self._table = table
        self._reader = reader

    async def run(self) -> None:
        """Read every 250 ms, without end; 2 s after a failure. Cancel it to end it (async)."""
        while True:
            await asyncio.sleep(_RETRY_SEC if self.failure else _INTERVAL_SEC)
            try:
                await self.read()
            except Exception:
                logger.exception("log lines could not be read")

    async def read(self) -> None:
        """
        Read what has changed of all watched nodes, once (async).

        A store that cannot be read is logged when that begins, and noted in the table; nothing is
        raised for it.
        """
        watched = self._table.watched()
        if not watched:
            return
        try:
            await self._read(watched)
        except TransportError as error:
            if self.failure is None:
                logger.warning("log lines cannot be read: %s", error)
            self.failure = str(error)
            self._table.note_unreachable()
        else:
            self.failure = None

    async def _read(self, watched: list[tuple[str, HeldLines]]) -> None:
        newest = await self._reader.newest([span_id for span_id, _ in watched])
        counts = {
            span_id: count
            for (span_id, held), line in zip(watched, newest, strict=True)
            if (count := self._table.note_newest(held, line))
        }
        self.reads += len(counts)
        held_by_span = dict(watched)
        while counts:
            stored = await self._reader.last(counts)
            filled = [
                self._table.fill(held_by_span[span_id], lines, is_all=count == MAX_LINES)
                for (span_id, count), lines in zip(counts.items(), stored, strict=True)
            ]
            # Of a node that wrote more meanwhile than was asked for, all is read.
            missed = [one for one, is_filled in zip(counts, filled, strict=True) if not is_filled]
            counts = dict.fromkeys(missed, MAX_LINES)
