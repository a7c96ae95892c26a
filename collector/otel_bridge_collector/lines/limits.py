"""
Limits of log lines that come over OTLP: of one node (span), and of one sender.

They are those of a worker of this library, which applies them itself. Warnings and errors have a
limit of their own: with one for all, the error after a flood of lines was lost.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["Bucket", "NodeLimits", "SenderLimits"]

_NODE_RATE: Final = 50.0
_NODE_BURST: Final = 500
_WARNINGS_RATE: Final = 5.0
_WARNINGS_BURST: Final = 100
_SENDER_RATE: Final = 1000.0
_SENDER_BURST: Final = 4000
_FIRST_LINES: Final = 10
"""Of each node so many have a limit of their own, or late nodes of a burst would have none."""


class Bucket:
    """
    A token bucket: so many at once, and so many a second after that.

    Args:
        rate: Of a second.
        burst: At once, at most; it is full at first.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take one if there is one; ``now`` is monotonic time in seconds."""
        self._left = min(self._burst, self._left + self._rate * max(0.0, now - self._at))
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class SenderLimits:
    """
    The limits of one sender: 1,000 lines a second, 4,000 at once, over all its nodes.

    The first 10 lines of each node have a bucket of the same size of their own.
    """

    __slots__ = ("_first", "_others")

    def __init__(self) -> None:
        self._first = Bucket(_SENDER_RATE, _SENDER_BURST)
        self._others = Bucket(_SENDER_RATE, _SENDER_BURST)

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
        self._lines: Bucket | None = None
        self._warnings: Bucket | None = None

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
        if not sender.take(now, is_first=self.kept < _FIRST_LINES):
            return False
        self.kept += 1
        return True

    def _bucket(self, level: int) -> Bucket:
        # Most nodes write few lines of one kind.
        if level >= logging.WARNING:
            if self._warnings is None:
                self._warnings = Bucket(_WARNINGS_RATE, _WARNINGS_BURST)
            return self._warnings
        if self._lines is None:
            self._lines = Bucket(_NODE_RATE, _NODE_BURST)
        return self._lines
