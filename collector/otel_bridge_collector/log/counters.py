"""``FeedCounters``: what the reader of the log has met since its start."""

from __future__ import annotations

__all__ = ["FeedCounters"]


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
