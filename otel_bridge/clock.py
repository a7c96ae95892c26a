"""
The clock that the library reads instead of calling ``time`` itself, and the time format of events.

Tests pass a ``Clock`` of their own, so that nothing has to be patched. ``iso_utc`` formats one
timestamp per event. It caches the text up to the seconds, because many events share a second and
formatting with ``datetime`` costs more than encoding the JSON (measured: 6.1 us to build the fields
of an event against 2.1 us to encode them).
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock", "iso_utc"]


class Clock(Protocol):
    """A source of wall-clock and monotonic time; ``SystemClock``, or in tests one of their own."""

    def time_ns(self) -> int:
        """Return the wall-clock time: nanoseconds since the Unix epoch, UTC."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; they never go back. For durations."""


class SystemClock:
    """The operating system's clocks, for any thread; ``SYSTEM_CLOCK`` is the one instance."""

    def time_ns(self) -> int:
        """Return ``time.time_ns()``."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()


SYSTEM_CLOCK = SystemClock()


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def iso_utc(time_ns: int) -> str:
    """
    Format nanoseconds since the Unix epoch as ISO 8601: ``2026-09-21T14:13:20.123456Z``.

    Always UTC, with six decimals and ``Z``. Nanoseconds are truncated to microseconds, not rounded,
    so that the texts sort as the times do. May be called from any thread.

    Args:
        time_ns: A whole number of nanoseconds, negative before 1970, in the years that the system's
            ``gmtime`` accepts.

    Raises:
        ValueError, OverflowError, OSError: The year is out of that range.
        TypeError: Not a number.
    """
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{_to_the_second(seconds)}.{rest // 1000:06d}Z"
