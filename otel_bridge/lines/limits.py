"""
How many log lines pass: token buckets of a node (job, phase or task) and of the process.

Warnings and worse have buckets of their own: with one bucket for all, the error after a flood of
infos was lost (tried), with two it was kept. The first lines of a node need no token of the
process: otherwise the nodes that start late in a burst had none.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = [
    "FREE_LINES",
    "PROCESS_BURST",
    "PROCESS_RATE",
    "Limits",
    "ProcessLimits",
    "TokenBucket",
    "node_bucket",
]

_RATE, _BURST = 50, 500
"""Lines of a node below warning: a second, and at once."""
_WARNING_RATE, _WARNING_BURST = 5, 100
PROCESS_RATE, PROCESS_BURST = 1000, 4000
"""Lines of a process, or of a sender over OTLP, below warning: a second, and at once."""
_PROCESS_WARNING_RATE, _PROCESS_WARNING_BURST = 200, 1000
FREE_LINES: Final = 10
"""First lines of a node that need no token of the process."""


class TokenBucket:
    """
    Lets so many pass at once, and after that so many a second; holds no lock and never raises.

    Threads that ask at the same time may get a token too many.

    Args:
        rate: Tokens that are added a second.
        burst: The most that it holds, as at first.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._at = float("-inf")

    def take(self, now: float) -> bool:
        """Return whether there was a token, and take it; ``now`` is monotonic time in seconds."""
        # A thread may come a little late with its time.
        tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if tokens < 1:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1
        return True

    def give_back(self) -> None:
        """Return a token that was taken for nothing."""
        self._tokens = min(self._burst, self._tokens + 1)


def node_bucket(level: int) -> TokenBucket:
    """Return a full bucket for lines of a node of this level, as in ``logging``; never raises."""
    if level >= logging.WARNING:
        return TokenBucket(_WARNING_RATE, _WARNING_BURST)
    return TokenBucket(_RATE, _BURST)


class Limits:
    """
    The buckets of one node: 50 lines a second and 500 at once, of warnings 5 and 100; a record.

    Attributes:
        lines: Of the lines below warning.
        warnings: Of warnings and worse.
        free: How many more lines need no token of the process; 10 at first.
    """

    __slots__ = ("free", "lines", "warnings")

    def __init__(self) -> None:
        self.lines = node_bucket(logging.INFO)
        self.warnings = node_bucket(logging.WARNING)
        self.free = FREE_LINES


class ProcessLimits:
    """The buckets of all nodes: 1,000 lines a second and 4,000 at once, of warnings 200, 1,000."""

    __slots__ = ("_lines", "_warnings")

    def __init__(self) -> None:
        self._lines = TokenBucket(PROCESS_RATE, PROCESS_BURST)
        self._warnings = TokenBucket(_PROCESS_WARNING_RATE, _PROCESS_WARNING_BURST)

    def allow(self, limits: Limits, level: int, now: float) -> bool:
        """
        Return whether one more line of a node may pass; never raises.

        Args:
            limits: Those of the node.
            level: Of the line, as in ``logging``.
            now: Monotonic time, in seconds.
        """
        is_warning = level >= logging.WARNING
        if not (limits.warnings if is_warning else limits.lines).take(now):
            return False
        if limits.free > 0:
            limits.free -= 1
            return True
        return (self._warnings if is_warning else self._lines).take(now)
