"""
Limits of log lines that come over OTLP: of one node (span), and of one sender.

They are those of a worker of this library, which applies them itself. Warnings and errors have a
limit of their own: with one for all, the error after a flood of lines was lost.
"""

from __future__ import annotations

import logging

from otel_bridge.lines.limits import (
    FREE_LINES,
    PROCESS_BURST,
    PROCESS_RATE,
    TokenBucket,
    node_bucket,
)

__all__ = ["NodeLimits", "SenderLimits"]


class SenderLimits:
    """
    The limits of one sender: 1,000 lines a second, 4,000 at once, over all its nodes.

    The first 10 lines of each node have a bucket of the same size of their own.
    """

    __slots__ = ("_first", "_others")

    def __init__(self) -> None:
        self._first = TokenBucket(PROCESS_RATE, PROCESS_BURST)
        self._others = TokenBucket(PROCESS_RATE, PROCESS_BURST)

    def take(self, now: float, *, is_first: bool) -> bool:
        """Whether one more line may be kept; ``is_first``: it is one of the first of its node."""
        return (is_first and self._first.take(now)) or self._others.take(now)


class NodeLimits:
    """
    The limits of one node: 50 lines a second, 500 at once; warnings and worse 5 and 100.

    Attributes:
        kept: Lines that were let through.
    """

    __slots__ = ("_lines", "_warnings", "kept")

    def __init__(self) -> None:
        self.kept = 0
        self._lines: TokenBucket | None = None
        self._warnings: TokenBucket | None = None

    def take(self, level: int, now: float, sender: SenderLimits) -> bool:
        """
        Return whether a line may be kept, by its node's limits and by its sender's.

        Args:
            level: As in ``logging``.
            now: Monotonic time in seconds.
            sender: The limits of its sender.
        """
        if not self._bucket(level).take(now):
            return False
        if not sender.take(now, is_first=self.kept < FREE_LINES):
            return False
        self.kept += 1
        return True

    def _bucket(self, level: int) -> TokenBucket:
        # Most nodes write few lines of one kind.
        if level >= logging.WARNING:
            if self._warnings is None:
                self._warnings = node_bucket(level)
            return self._warnings
        if self._lines is None:
            self._lines = node_bucket(level)
        return self._lines
