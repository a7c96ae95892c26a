"""
``ReplayRing``: the newest events in memory, from which clients resume by position.

The ring is bounded in events and in bytes; the oldest events are evicted first. Its low watermark
is the position after which the ring is complete: a client that resumes from there, or from any
position held, gets a slice of the ring; every other position is read from the log. An event may be
without a position, which the log never gives: the ring holds it in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import msgspec

__all__ = ["Entry", "ReplayRing"]

DEFAULT_MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_CHANGED: Final = 1000


class Entry(msgspec.Struct, gc=False, eq=False):
    """
    One event on its way to the clients: its bytes, and the fields that filters look at.

    The log's reader makes it, and ``ReplayRing.append`` sets its index. A record; checks nothing. A
    ``msgspec.Struct`` is made in a third of the time of a class with ``__init__``, and the garbage
    collector does not look at it.

    Attributes:
        position: Position in the log; None for an event that is not in the log.
        data: The event's JSON, including ``position``.
        event_type: The event's type, such as ``stats_snapshot``.
        project_id: The event's project; None: it has none.
        parent_task_id: The research task that the event belongs to; None: to none.
        task_id: The event's own task or job; None: it has none.
        index: The event's number in its ring, counted from 1; 0 until it is in a ring.
    """

    position: str | None
    data: bytes
    event_type: str
    project_id: str | None = None
    parent_task_id: str | None = None
    task_id: str | None = None
    index: int = 0


class ReplayRing:
    """
    The newest events in memory, by position and by a running index, for clients that resume.

    For one event loop; nothing blocks. Only ``index_of`` (KeyError) and iterating ``after_index``
    (RuntimeError) can raise. Evicting is silent; ``holds`` is False for an evicted position.
    ``set_project`` notes the latest 1,000 entries whose project became known after they came, so
    that who has looked at the ring before need not look at all of it again.

    Args:
        low_watermark: Position in the log before the first event that will be appended.
        max_events: Beyond this number the oldest events are evicted; 20,000 in the service.
        max_bytes: The same for their JSON, 64 MiB by default; the newest event is held whatever its
            size.

    Attributes:
        append: Takes an event as the newest. What is over the bounds is evicted when the ring is
            looked at next, or by ``trim``; who appends many calls that in between.
        resets: Rises with each ``reset``: entries before and after one are not of one run.
        changes: How often ``set_project`` was called; 0 at first.
    """

    def __init__(
        self, low_watermark: str, max_events: int, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        self._entries: deque[Entry] = deque()
        self._new: list[Entry] = []
        """Appended, but not numbered yet: whatever looks at the ring does that first, for all of
        them, in a third of the time that each alone takes."""
        self.append: Callable[[Entry], None] = self._new.append
        self._index_of: dict[str, int] = {}
        self._noted_index = 0
        """Up to it ``_index_of`` is complete: positions are noted when a client resumes, since few
        do, and noting each event's cost a tenth of folding it."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last_index = 0
        self._changed: deque[Entry] = deque(maxlen=_MAX_CHANGED)
        self.changes = 0
        self.resets = 0
        self.reset(low_watermark)

    def __len__(self) -> int:
        return len(self._held())

    @property
    def last_index(self) -> int:
        """The index of the newest entry ever held; 0 before the first."""
        return self._last_index + len(self._new)

    @property
    def low_watermark(self) -> str:
        """Position after which every event of the log is held; at first as given."""
        self._held()
        return self._low_watermark

    @property
    def last_position(self) -> str:
        """
        Position of the newest entry that has one, or of ``advance``, which passes over an entry.

        Before the first it is ``low_watermark``.
        """
        self._held()
        return self._last_position

    def reset(self, low_watermark: str) -> None:
        """Remove all entries; the next follow ``low_watermark``, and indexes are not reused."""
        self._held().clear()
        self._index_of.clear()
        self._noted_index = self._last_index
        self._bytes = 0
        self._reset_index = self._last_index
        self.resets += 1
        self._low_watermark = self._last_position = low_watermark

    def trim(self) -> None:
        """Number what was appended, and evict the oldest events beyond the bounds."""
        self._held()

    def _held(self) -> deque[Entry]:
        """The entries, once those that are new are numbered."""
        entries, new = self._entries, self._new
        if not new:
            return entries
        index, held = self._last_index, self._bytes
        for entry in new:
            index += 1
            entry.index = index
            held += len(entry.data)
            if entry.position is not None:
                self._last_position = entry.position
        self._last_index = index
        entries.extend(new)
        new.clear()
        while len(entries) > self._max_events or (held > self._max_bytes and len(entries) > 1):
            oldest = entries.popleft()
            held -= len(oldest.data)
            position = oldest.position
            if position is not None:
                self._low_watermark = position
        self._bytes = held
        return entries

    def advance(self, position: str) -> None:
        """Move past the log's next entry without holding it, because no client gets it."""
        is_empty = not self._held()
        self._last_position = position
        if is_empty:
            self._low_watermark = position

    def holds(self, position: str) -> bool:
        """Return whether the ring has every event of the log after this position."""
        if position in (self.low_watermark, self.last_position):
            return True
        return self._held_index(position) is not None

    def _held_index(self, position: str) -> int | None:
        """The index of the entry at a position; None if it is not held."""
        count = len(self._held())
        first = self._last_index - count + 1
        if self._noted_index < self._last_index:
            for entry in self.after_index(self._noted_index):
                if entry.position is not None:
                    self._index_of[entry.position] = entry.index
            self._noted_index = self._last_index
            if len(self._index_of) > 2 * count:
                self._index_of = {at: i for at, i in self._index_of.items() if i >= first}
        index = self._index_of.get(position)
        return index if index is not None and index >= first else None

    def index_of(self, position: str) -> int:
        """
        Return the index after which to continue from a position.

        This is the index of the event at that position; for the low watermark, the index before the
        first event. Changes nothing; call it on the ring's event loop.

        Args:
            position: Any text.

        Raises:
            KeyError: The ring has no event at that position: it was evicted or never appended.
        """
        index = self._held_index(position)
        if index is not None:
            return index
        if position == self.last_position:
            return self._last_index
        if position != self.low_watermark:
            raise KeyError(position)
        return self._last_index - len(self)

    def holds_all_after(self, index: int) -> bool:
        """Return whether no entry with a larger index has been evicted."""
        count = len(self._held())
        return index >= self._last_index - count

    @property
    def has_evicted(self) -> bool:
        """Whether an entry that came after the latest ``reset`` is no longer held."""
        count = len(self._held())
        return self._last_index - count > self._reset_index

    def set_project(self, entry: Entry, project_id: str) -> None:
        """Set the project of an entry, because its task's became known after the event came."""
        entry.project_id = project_id
        self._changed.append(entry)
        self.changes += 1

    def changed_after(self, number: int) -> list[Entry] | None:
        """
        Return the entries whose project was set since ``changes`` was ``number``, evicted ones too.

        In the order of the changes, the same entry perhaps several times. Never raises.

        Returns:
            The entries; None if there were over 1,000 since.
        """
        count = self.changes - number
        if count > len(self._changed):
            return None
        return list(self._changed)[len(self._changed) - count :]

    def after_index(self, index: int) -> Iterator[Entry]:
        """
        Iterate over the entries with a larger index, oldest first; evicted ones are missing.

        On the ring's event loop.

        Args:
            index: Any whole number; nothing comes after the newest.

        Raises:
            RuntimeError: While iterating: the ring has changed since the call.
        """
        entries = self._held()
        first = self._last_index - len(entries) + 1
        return islice(entries, max(0, index + 1 - first), None)

    def newest(self) -> Iterator[Entry]:
        """Iterate over all entries, newest first; the ring must not change meanwhile."""
        return reversed(self._held())
