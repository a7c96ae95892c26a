"""
``LineSender``: sends log lines beside the events, in the bus's thread.

A line that may have been stored is not sent again, because it would be stored twice: so lines of a
failed attempt are lost. They are counted, and shown as a gap in the numbers of the lines.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from otel_bridge.clock import Clock
from otel_bridge.errors import TransportRejectedError
from otel_bridge.lines.drain import LineDrain
from otel_bridge.publish.transports.base import Sender

__all__ = ["LineSender"]

logger = logging.getLogger(__name__)

_INTERVAL_SEC: Final = 0.1
_FAILURE_PAUSE_SEC: Final = 1.0
_DENIAL_PAUSE_SEC: Final = 10.0
"""After a batch of which nothing could be stored: sending more at once cannot help."""
_PROBE_LINES: Final = 200
"""Lines of the first batch after a failure, so that an outage costs few."""


class LineSender:
    """
    Sends what a ``LineDrain`` gives; for the bus's thread alone. It never raises.

    Args:
        drain: Makes the lines; the bus's thread fills it.
        sender: Stores them; one without ``store_lines`` stores none.
        clock: Monotonic time.
        shown_url: Of the log, without a password, for the warning.

    Attributes:
        drain: As given; ``dropped`` counts the lines that were lost too.
    """

    def __init__(self, drain: LineDrain, sender: Sender, clock: Clock, shown_url: str) -> None:
        self.drain = drain
        self._store: Any = getattr(sender, "store_lines", None)
        self._clock = clock
        self._shown_url = shown_url
        self._due_at = float("-inf")
        self._has_failed = self._has_warned = False

    def send(self, *, at_once: bool = False) -> None:
        """
        Send the lines that wait, ten times a second at most; after a failure once a second.

        Blocks for one attempt for each 1,000 lines, by default 200 ms at most.

        Args:
            at_once: Whether not to wait for the interval; default False.
        """
        if not self.drain.is_ready:
            return
        now = self._clock.monotonic()
        if now < self._due_at and not (at_once and not self._has_failed):
            return
        self._due_at = now + _INTERVAL_SEC
        while batch := self.drain.take_batch(now, *([_PROBE_LINES] if self._has_failed else [])):
            count = sum(len(of_span.lines) for of_span in batch)
            try:
                unstored = count if self._store is None else self._store(batch)
            except TransportRejectedError:
                unstored = count
            except Exception:
                logger.debug("log lines could not be stored", exc_info=True)
                self.drain.lose(batch)
                self._pause(now, _FAILURE_PAUSE_SEC)
                return
            self._has_failed = False
            if unstored:
                self.drain.lost += unstored
                self._warn()
                if unstored == count:
                    self._pause(now, _DENIAL_PAUSE_SEC)
                    return

    def _pause(self, now: float, sec: float) -> None:
        self._has_failed = True
        self._due_at = now + sec

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "log lines cannot be stored at %s; a Redis ACL must allow EXISTS, EXPIRE, LTRIM, "
                "RPUSH and ZADD on the keys of the log, a collector must be of this release",
                self._shown_url,
            )
