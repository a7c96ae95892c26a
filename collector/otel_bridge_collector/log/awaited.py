"""``AwaitedPositions``: lets tasks wait until the reader of the log has read an entry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from otel_bridge.publish.transports.base import LogEntry

__all__ = ["AwaitedPositions"]


class AwaitedPositions:
    """Positions that are waited for; for one event loop. Without waiting tasks it costs nothing."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    async def wait(self, position: str, timeout_sec: float) -> bool:
        """
        Wait until ``note`` gets the entry at a position; False if it did not in time (async).

        Args:
            position: That of an entry which has not been read yet.
            timeout_sec: How long to wait at most, in seconds.
        """
        reached = self._events.setdefault(position, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_sec):
                await reached.wait()
        except TimeoutError:
            return False
        finally:
            self._events.pop(position, None)
        return True

    def note(self, entries: Sequence[LogEntry]) -> None:
        """Wake the tasks that wait for one of these entries, which have been read."""
        if not self._events:
            return
        for entry in entries:
            reached = self._events.get(entry.position)
            if reached is not None:
                reached.set()
