"""``LinesPoller``: fills the table of watched nodes from the store, four times a second."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from otel_bridge.errors import TransportError
from otel_bridge_collector.lines.reader import LinesReader
from otel_bridge_collector.lines.table import HeldLines, LinesTable

__all__ = ["LinesPoller"]

logger = logging.getLogger(__name__)

_INTERVAL_SEC: Final = 0.25
_RETRY_SEC: Final = 2.0
"""After a failure, so that a Redis that does not answer is not asked four times a second."""


class LinesPoller:
    """
    Reads the lines of watched nodes, and all of a node's only where its newest one has changed.

    A round costs one round trip to Redis, 0.1 ms of CPU a node whose lines changed, and nothing
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
        changed = [
            (span_id, held)
            for (span_id, held), line in zip(watched, newest, strict=True)
            if self._table.note_newest(held, line)
        ]
        if not changed:
            return
        self.reads += len(changed)
        stored = await self._reader.last([span_id for span_id, _ in changed])
        for (_, held), lines in zip(changed, stored, strict=True):
            self._table.fill(held, lines)
