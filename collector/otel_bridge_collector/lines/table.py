"""
``LinesTable``: the log lines of the nodes (spans) that people look at now, for the view ``lines``.

Views are computed from what is in memory and never wait, but lines are stored in Redis. So the view
asks this table, which notes that the node is watched, and a poller fills in what the store has.
What is not asked for any more is not read any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Final, Literal

from pydantic_core import to_json

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.lines.line import MAX_LINES
from otel_bridge_collector.lines.line import Line, decode_line

__all__ = ["MAX_WATCHED", "HeldLines", "LinesState", "LinesTable"]

MAX_WATCHED: Final = 256
"""Nodes whose lines are in memory. Sockets may watch 200; the rest is for requests over HTTP."""
_WATCHED_SEC: Final = 3.0
"""A node that was not asked for so long is not watched. Views ask once a tick: at most 1 s apart,
and later if a tick takes long."""

_OVERLAP: Final = 8
"""More lines are read than have come, so that what is held is recognised in them."""

LinesState = Literal["reading", "held", "none", "unreachable"]
"""``reading``: the store was not asked yet. ``held``: it has lines. ``none``: it has none, or no
longer. ``unreachable``: it cannot be read; what is shown is from before."""


class HeldLines:
    """
    What is held of one node's lines; a record, which ``LinesTable`` makes and fills.

    Attributes:
        state: What is known of the store.
        lines: Those that are stored, the oldest first; at most 200.
        rows: The JSON of the row of each line by its key, in the same order.
        newest: The newest one as it is stored, by which a change is noticed; None: there is none.
    """

    __slots__ = ("asked_at", "lines", "newest", "rows", "state")

    def __init__(self) -> None:
        self.state: LinesState = "reading"
        self.lines: Sequence[Line] = ()
        self.rows: dict[str, bytes] = {}
        self.newest: bytes | None = None
        self.asked_at = 0.0


class LinesTable:
    """
    The lines of watched nodes; a node is watched while a view asks for it.

    Use it on the event loop of the views. It holds 256 nodes of 200 lines (26 to 33 KB each); the
    one that was not asked for longest is dropped first. Raises nothing.

    Args:
        clock: Its monotonic time says when a node was asked for last.

    Attributes:
        unreadable: Stored lines that were none, so far.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.unreadable = 0
        self._clock = clock
        self._held: OrderedDict[str, HeldLines] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def watch(self, span_id: str) -> HeldLines:
        """
        Return what is held of a node, and note that it is watched.

        Args:
            span_id: 16 hex digits; not checked.

        Returns:
            The same record as before; of a node that was not watched a new one, ``reading``.
        """
        held = self._held.get(span_id)
        if held is None:
            held = self._held[span_id] = HeldLines()
            if len(self._held) > MAX_WATCHED:
                self._held.popitem(last=False)
        held.asked_at = self._clock.monotonic()
        self._held.move_to_end(span_id)
        return held

    def watched(self) -> list[tuple[str, HeldLines]]:
        """Return the watched nodes with what is held of each, and drop all others."""
        oldest = self._clock.monotonic() - _WATCHED_SEC
        for span_id in [key for key, held in self._held.items() if held.asked_at < oldest]:
            del self._held[span_id]
        return list(self._held.items())

    def note_newest(self, held: HeldLines, newest: bytes | None) -> int:
        """
        Note what the store has as the newest line of a node.

        What was read stays when it leaves the store, where lines are kept for minutes: a reader
        has it on the screen.

        Args:
            held: From ``watched``.
            newest: The line as it is stored; None: the node has none.

        Returns:
            How many lines have to be read, at most 200; 0: none, for that is the one as before. The
            numbers of the lines say how many came at most.
        """
        if newest is None or newest == held.newest:
            held.state = "held" if held.lines else "none"
            return 0
        line = decode_line(newest)
        if line is None or not held.lines or line.n <= held.lines[-1].n:
            return MAX_LINES
        return min(MAX_LINES, line.n - held.lines[-1].n + _OVERLAP)

    def fill(self, held: HeldLines, stored: Sequence[bytes], *, is_all: bool = True) -> bool:
        """
        Take lines of a node as they are stored: what follows the newest that is held, else all.

        Args:
            held: From ``watched``.
            stored: The newest last; none change nothing.
            is_all: Whether these are all that are stored; default True.

        Returns:
            False: the newest that is held is not among them, and they are not all; nothing is
            taken.
        """
        if not stored:
            return True
        newest, start = held.newest, 0
        if newest is not None and newest in stored:
            start = len(stored) - stored[::-1].index(newest)
        elif newest is not None and not is_all:
            return False
        else:
            held.lines, held.rows = [], {}
        found = [decode_line(data) for data in stored[start:]]
        lines = [line for line in found if line is not None]
        self.unreadable += len(found) - len(lines)
        held.newest = stored[-1]
        held.lines = [*held.lines, *lines][-MAX_LINES:]
        rows = dict(held.rows)
        for line in lines:
            _add_row(rows, line)
        held.rows = dict(islice(rows.items(), max(0, len(rows) - MAX_LINES), None))
        held.state = "held" if held.lines else "none"
        return True

    def note_unreachable(self) -> None:
        """Note that the store cannot be read; what was read stays."""
        for held in self._held.values():
            held.state = "unreachable"


def _add_row(rows: dict[str, bytes], line: Line) -> None:
    key = str(line.n)
    again = 2
    # Of two publishers that number the lines of one node, such as a worker and OTLP logs.
    while key in rows:
        key, again = f"{line.n}.{again}", again + 1
    row = {"k": key, "n": line.n, "at": line.at, "level": line.level}
    rows[key] = to_json({**row, "logger": line.logger, "text": line.text})
