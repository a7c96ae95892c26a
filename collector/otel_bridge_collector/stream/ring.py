"""
``ReplayRing``: the newest events in memory, by position; what a resuming client reads first.

Bounded in events and bytes, the oldest leave first. ``floor`` is the position after which the ring
is complete: resuming from it or from any held position is a slice, anything else is a question to
the log. Events that never passed through the log (foreign publishers) have no position; they are
held for the snapshot's list of recent events, and a resume passes them by.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

__all__ = ["Entry", "ReplayRing"]

DEFAULT_MAX_BYTES: Final = 64 * 1024 * 1024


class Entry:
    """
    One event on its way to the clients: the bytes they get, and what routes them.

    Attributes:
        position: Place in the log; None for an event that is not in it.
        data: The event's JSON, ``position`` included.
        index: Counts up by one in this ring, from 1; 0 until it is in one.
    """

    __slots__ = (
        "data",
        "event_type",
        "index",
        "parent_task_id",
        "position",
        "project_id",
        "task_id",
    )

    def __init__(
        self,
        position: str | None,
        data: bytes,
        event_type: str,
        project_id: str | None = None,
        parent_task_id: str | None = None,
        task_id: str | None = None,
    ) -> None:
        self.position = position
        self.data = data
        self.event_type = event_type
        self.project_id = project_id
        self.parent_task_id = parent_task_id
        self.task_id = task_id
        self.index = 0


class ReplayRing:
    """
    The newest events, by position and by a running index.

    Args:
        floor: Position before the first event to come.
        max_events: Older ones are let go.
        max_bytes: Of JSON; the newest event is held whatever its size.
    """

    def __init__(self, floor: str, max_events: int, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._entries: deque[Entry] = deque()
        self._index_of: dict[str, int] = {}
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last_index = 0
        self.reset(floor)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last_index(self) -> int:
        """Index of the newest entry ever held; 0 before the first."""
        return self._last_index

    def reset(self, floor: str) -> None:
        """Forget everything: what follows continues after ``floor``; indexes go on counting."""
        self._entries.clear()
        self._index_of.clear()
        self._bytes = 0
        self.floor = floor
        self.last_position = floor
        """Of the newest entry that has one."""

    def append(self, entry: Entry) -> None:
        """Add the newest event."""
        self._last_index += 1
        entry.index = self._last_index
        self._entries.append(entry)
        self._bytes += len(entry.data)
        if entry.position is not None:
            self._index_of[entry.position] = entry.index
            self.last_position = entry.position
        entries = self._entries
        while len(entries) > self._max_events or (
            self._bytes > self._max_bytes and len(entries) > 1
        ):
            oldest = entries.popleft()
            self._bytes -= len(oldest.data)
            if oldest.position is not None:
                del self._index_of[oldest.position]
                self.floor = oldest.position

    def skip(self, position: str) -> None:
        """Pass by an entry of the log that nobody is to get: unreadable, or folded before."""
        self.last_position = position
        if not self._entries:
            self.floor = position

    def holds(self, position: str) -> bool:
        """Whether everything after that position is here."""
        return position in self._index_of or position in (self.floor, self.last_position)

    def index_of(self, position: str) -> int:
        """
        Index of the event at a position that the ring holds; of its floor, that before the first.

        Raises:
            KeyError: ``holds`` says no.
        """
        index = self._index_of.get(position)
        if index is not None:
            return index
        if position == self.last_position:
            return self._last_index
        if position != self.floor:
            raise KeyError(position)
        return self._last_index - len(self._entries)

    def reaches_back_to(self, index: int) -> bool:
        """Whether everything newer than that index is still here."""
        return index >= self._last_index - len(self._entries)

    def after_index(self, index: int) -> Iterator[Entry]:
        """Entries with a larger index, oldest first; from the oldest held if that is younger."""
        first = self._last_index - len(self._entries) + 1
        return islice(self._entries, max(0, index + 1 - first), None)

    def newest(self) -> Iterator[Entry]:
        """All entries, newest first."""
        return reversed(self._entries)
