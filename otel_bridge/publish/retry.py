"""
When to try again: exponential backoff with full jitter, and a circuit breaker. Pure.

Full jitter draws each delay between 0 and a bound. It spreads the retries of many workers over the
whole interval; with equal or no jitter, all would hit a restarted Redis at the same moment.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

__all__ = ["BASE_DELAY_SEC", "MAX_DELAY_SEC", "OPEN_AFTER_FAILURES", "Breaker"]

BASE_DELAY_SEC: Final = 0.05
"""Bound on the delay after the first failure."""
MAX_DELAY_SEC: Final = 1.0
"""Bound on every delay: waiting events arrive about a second after the log is back."""
OPEN_AFTER_FAILURES: Final = 3
"""Failed attempts in a row that count as an outage: 0.3 s at the default time-outs. A single lost
packet does not."""
_MAX_RETRY_AFTER_SEC: Final = 60.0
"""Longer requests of the receiver are shortened to this."""


class Breaker:
    """
    Says when the next attempt is due, and whether there is an outage; for one thread at a time.

    It neither waits nor calls anything: the caller reports each attempt by ``fail`` or ``succeed``
    and itself waits for ``wait_sec``. No method raises.

    The breaker is closed while attempts succeed. ``OPEN_AFTER_FAILURES`` (3) failures in a row open
    it. While it is open each attempt is a probe, and the first success closes it. There is no limit
    on the number of attempts. Times are monotonic seconds.

    Args:
        uniform: Draws a delay between two bounds; default: a random generator of its own, so that
            programs that seed ``random`` alike do not retry at the same moments.
        base_sec: Bound on the first delay, in seconds, default 0.05; it doubles with each failure.
        max_sec: Bound on every delay, in seconds, default 1.

    Attributes:
        failures: Failed attempts in a row; 0 at first.
        failed_since: Time of the first of them; None if there are none.
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
        """Time of the first of these failures; None if the last attempt succeeded."""

    @property
    def is_open(self) -> bool:
        """Whether there is an outage: the last 3 attempts or more have failed."""
        return self.failures >= OPEN_AFTER_FAILURES

    def wait_sec(self, now: float) -> float:
        """Return the seconds from ``now`` until the next attempt is due; 0 if it is due."""
        return max(0.0, self._due_at - now) if self.failures else 0.0

    def fail(self, now: float, retry_after_sec: float | None = None) -> bool:
        """
        Record a failed attempt and draw the delay until the next one; never raises.

        The delay is random, from 0 to a bound: 0.05 s after the first failure, twice as much after
        each further one, at most 1 s (the defaults of ``base_sec`` and ``max_sec``).

        Args:
            now: Monotonic time after the attempt, in seconds.
            retry_after_sec: Delay that the receiver asked for, in seconds; the random delay is
                added to it. Observed up to 60; less than 0 counts as 0. Default None: none.

        Returns:
            Whether this failure opened the breaker: True for the third in a row only.
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
        """
        Record a success, which closes the breaker; never raises.

        Args:
            now: Monotonic time after the attempt, in seconds.

        Returns:
            Seconds since the first failure; None if there were fewer than 3 failures in a row.
        """
        outage_sec = now - self.failed_since if self.is_open and self.failed_since else None
        self.failures = 0
        self.failed_since = None
        return outage_sec

    def bring_forward(self, now: float, within_sec: float) -> None:
        """Make the next attempt due at most ``within_sec`` seconds after ``now``; never later."""
        self._due_at = min(self._due_at, now + within_sec)
