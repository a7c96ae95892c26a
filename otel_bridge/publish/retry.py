"""
When to try again: exponential backoff with full jitter, and a circuit breaker. Pure.

Full jitter (any delay from nothing to the bound) spreads a fleet of workers over the whole
interval after Redis comes back; equal or no jitter leaves them in step.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

__all__ = ["BASE_DELAY_SEC", "MAX_DELAY_SEC", "OPEN_AFTER_FAILURES", "Breaker"]

BASE_DELAY_SEC: Final = 0.05
MAX_DELAY_SEC: Final = 1.0
"""The log is tried at least this often, so what waits arrives about a second after it is back."""
OPEN_AFTER_FAILURES: Final = 3
"""One lost packet is no outage: three attempts in a row are, 0.3 s at the default time-outs."""
_MAX_RETRY_AFTER_SEC: Final = 60.0


class Breaker:
    """
    Says when the next attempt is due, and whether the other side counts as gone.

    Closed while attempts succeed. ``OPEN_AFTER_FAILURES`` in a row open it; then each attempt is a
    probe, and the first that succeeds closes it.

    Args:
        uniform: Draws a delay between two bounds; default: a generator of its own, so that a
            program that seeds ``random`` does not put its workers in step.
        base_sec: Bound on the first delay; doubles with each failure.
        max_sec: Bound on every delay.
    """

    def __init__(
        self,
        uniform: Callable[[float, float], float] | None = None,
        *,
        base_sec: float = BASE_DELAY_SEC,
        max_sec: float = MAX_DELAY_SEC,
    ) -> None:
        self._uniform = uniform or random.Random().uniform  # noqa: S311 - jitter, not a secret
        self._base_sec = base_sec
        self._max_sec = max_sec
        self._due_at = 0.0
        self.failures = 0
        """Failed attempts in a row."""
        self.failed_since: float | None = None
        """Monotonic time of the first of them; None while all is well."""

    @property
    def is_open(self) -> bool:
        """Whether the other side counts as gone."""
        return self.failures >= OPEN_AFTER_FAILURES

    def wait_sec(self, now: float) -> float:
        """Seconds until the next attempt is due; 0 when it is."""
        return max(0.0, self._due_at - now) if self.failures else 0.0

    def fail(self, now: float, retry_after_sec: float | None = None) -> bool:
        """
        Note a failed attempt.

        Args:
            now: Monotonic time after the attempt.
            retry_after_sec: The other side's wish; kept up to 60 s, plus jitter.

        Returns:
            Whether this failure opened the breaker.
        """
        if self.failed_since is None:
            self.failed_since = now
        bound = min(self._max_sec, self._base_sec * 2.0 ** min(self.failures, 30))
        self.failures += 1
        delay = self._uniform(0.0, bound)
        if retry_after_sec is not None:
            delay += min(max(retry_after_sec, 0.0), _MAX_RETRY_AFTER_SEC)
        self._due_at = now + delay
        return self.failures == OPEN_AFTER_FAILURES

    def succeed(self, now: float) -> float | None:
        """Note success; returns for how long the breaker's outage lasted, None if it was closed."""
        outage_sec = now - self.failed_since if self.is_open and self.failed_since else None
        self.failures = 0
        self.failed_since = None
        return outage_sec

    def hurry(self, now: float, within_sec: float) -> None:
        """Bring the next attempt forward to at most ``within_sec`` from now."""
        self._due_at = min(self._due_at, now + within_sec)
