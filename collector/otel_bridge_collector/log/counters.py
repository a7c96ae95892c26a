"""``FeedCounters``: what the reader of the log has met since its start."""

from __future__ import annotations

import logging
from typing import Final

from otel_bridge.clock import Clock
from otel_bridge_collector.model.stats import RollingStats

__all__ = ["FeedCounters", "Unreadable"]

logger = logging.getLogger(__name__)

_LOG_INTERVAL_SEC: Final = 1.0


class FeedCounters:
    """
    Numbers of the log's reader from 0 at its start, never reset; all are in ``/metrics``.

    A record for the collector's event loop; checks nothing.

    Attributes:
        duplicates: Events that had been folded (merged into the state) before; no loss.
        external: Messages of external publishers (which publish to the channel and not to the log)
            that this collector has received, also those that it does not hold.
        restarts: Times that the task which reads the log, or the one that receives external
            messages, was started again after an error.
        gaps: Times that the log could not be read on without a hole, by reason: ``trimmed``,
            ``epoch`` (the log was lost or replaced), ``clock`` (events of a shard came too late for
            their place) or ``malformed``. Empty at first.
        unreadable: Events left out, by reason: ``oversized``, ``not JSON``, ``not an event`` or
            ``not folded``. Empty at first.
    """

    __slots__ = ("duplicates", "external", "gaps", "restarts", "unreadable")

    def __init__(self) -> None:
        self.duplicates = 0
        self.external = 0
        self.restarts = 0
        self.gaps: dict[str, int] = {}
        self.unreadable: dict[str, int] = {}


class Unreadable:
    """
    Counts events that are left out, and says so in the log of this program once a second at most.

    Args:
        counters, stats: In which they are counted.
        clock: Its monotonic clock is used.
    """

    def __init__(self, counters: FeedCounters, stats: RollingStats, clock: Clock) -> None:
        self._counts = counters.unreadable
        self._stats = stats
        self._clock = clock
        self._logged_at = float("-inf")
        self._unlogged = 0

    def count(self, reason: str) -> None:
        """Count one event; never raises."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._stats.events_unreadable += 1
        self._unlogged += 1
        now = self._clock.monotonic()
        if now - self._logged_at >= _LOG_INTERVAL_SEC:
            logger.warning("left out %d unreadable events; the last: %s", self._unlogged, reason)
            self._logged_at = now
            self._unlogged = 0
