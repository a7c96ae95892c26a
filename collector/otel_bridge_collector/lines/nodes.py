"""``NodeLines``: what the collector knows of the lines of one node (span) that it stores itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from otel_bridge.events.redaction import redact_text
from otel_bridge.lines.line import MAX_LINES, encode_line
from otel_bridge_collector.lines.limits import NodeLimits, SenderLimits
from otel_bridge_collector.lines.line import decode_line
from otel_bridge_collector.lines.records import Record

__all__ = ["NodeLines", "Pending", "encode_all"]

Pending = tuple[int, Record]
"""Number of a line, and the record that it is made of."""


class NodeLines:
    """
    The numbers and limits of one node's lines; a record for the event loop.

    Args:
        project: Of its task; None: it has none.
        newest: Its newest line that is stored, after whose number its own go on; None: none is.

    Attributes:
        project: As given.
        pending: Lines that are to be stored, at most the last 200.
        outcome: ``completed`` or ``failed`` once its end was noted; None before.
    """

    __slots__ = ("_kept_n", "_limits", "_n", "_renewed", "outcome", "pending", "project")

    def __init__(self, project: str | None, newest: bytes | None) -> None:
        line = None if newest is None else decode_line(newest)
        self.project = project
        self.pending: list[Pending] = []
        self.outcome: str | None = None
        self._n = self._kept_n = 0 if line is None else line.n
        self._limits = NodeLimits()
        self._renewed: float | None = None

    def add(self, record: Record, now: float, sender: SenderLimits) -> bool:
        """
        Number a record, and let it be stored if the limits allow that.

        Args:
            record: Of this node.
            now: Monotonic time in seconds.
            sender: The limits of its sender.

        Returns:
            False: it is dropped; its number stays, so that readers see the gap.
        """
        self._n += 1
        if not self._limits.take(record.level, now, sender):
            return False
        self._kept_n = self._n
        self.pending.append((self._n, record))
        return True

    def last_line(self, at_ms: int) -> list[bytes]:
        """Return the line that follows the last ones at the node's end, if those were dropped."""
        if self._n == self._kept_n:
            return []
        self._n = self._kept_n = self._n + 1
        text = "the lines before the end were over a limit and are not kept"
        return [encode_line(at_ms, logging.INFO, "otel_bridge", text, self._n)]

    def take_pending(self) -> list[Pending]:
        """Return what is to be stored, and forget it: the last 200 lines, as more are not kept."""
        found, self.pending = self.pending[-MAX_LINES:], []
        return found

    def is_due(self, now: float, seconds: float) -> bool:
        """Whether its lines were renewed so long ago, or never; then they are now."""
        if self._renewed is not None and now - self._renewed < seconds:
            return False
        self._renewed = now
        return True


def encode_all(pending: Sequence[Sequence[Pending]]) -> list[list[bytes]]:
    """
    Return lines as they are stored, secrets masked, of several nodes; from any thread.

    Masking takes 2 to 30 us a line, so large requests are done in a thread.
    """
    return [
        [
            encode_line(one.at, one.level, redact_text(one.logger), redact_text(one.text), n)
            for n, one in lines
        ]
        for lines in pending
    ]
