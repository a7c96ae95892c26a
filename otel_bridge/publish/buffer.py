"""
Where events wait: ``EventQueue`` for what many threads hand in, ``SendBuffer`` for what goes out.

The intake takes span objects as they are, without a lock, so that a caller pays two C calls. The
one drain thread empties it every few milliseconds, also while the log is away, converts and moves
the events to the outbox. So spans are let go soon, and what waits out an outage is encoded, bounded
in number and in bytes. Full drops the oldest and counts it, never one of the batch in flight.

Source: OTel SDK ``BatchProcessor`` (drop-oldest). It counts its drops in metrics only; these
numbers are exact and travel with the worker's heartbeat.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from typing import Any, Final, Generic, Protocol, TypeVar

__all__ = ["ENTRY_OVERHEAD_BYTES", "EventQueue", "SendBuffer"]

ENTRY_OVERHEAD_BYTES: Final = 150
"""Memory of one waiting event beside its JSON: a bytes object, a tuple, its place in the deque
(``sys.getsizeof``: 33 + 64 + 8, and the project id's text)."""


class EventQueue:
    """
    Items in the order they came, from any thread, without a lock.

    ``deque.append`` and ``itertools.count`` are atomic under the GIL and cannot deadlock in a
    signal handler, a finalizer or a forked child.

    Args:
        max_items: At this many the oldest is dropped for each that comes.
    """

    def __init__(self, max_items: int) -> None:
        self._items: deque[Any] = deque(maxlen=max_items)
        self._counter_reads = 0
        self._taken = 0
        self._dropped = 0
        self.append = self._items.append
        """Add one item. Take ``next`` of ``counter`` right after: it counts once it is in."""
        self.counter = itertools.count()

    def __len__(self) -> int:
        return len(self._items)

    def take(self, limit: int) -> list[Any]:
        """Remove and return the oldest items, at most ``limit``; for the drain thread alone."""
        count = min(limit, len(self._items))
        # Before they leave, or who measures meanwhile would count them as dropped.
        self._taken += count
        items: list[Any] = []
        popleft = self._items.popleft
        with contextlib.suppress(IndexError):  # of a closed bus many threads take
            for _ in range(count):
                items.append(popleft())
        return items

    def reset(self) -> None:
        """Forget everything, as a forked child must; who holds ``append`` may go on using it."""
        self._items.clear()
        self._counter_reads = next(self.counter) + 1
        self._taken = self._dropped = 0

    def measure(self) -> tuple[int, int]:
        """
        How many items have come and how many were dropped; for one thread at a time.

        Exact when no thread is just between ``append`` and ``next`` or inside ``take``; until then
        too low by those.
        """
        # Counted before it is made: a signal handler that measures in between would else take it
        # for an item, and what counts as dropped stays so.
        self._counter_reads += 1
        appended = next(self.counter) + 1 - self._counter_reads
        waiting = len(self._items)  # read before what was taken: too low, never too high
        self._dropped = max(self._dropped, appended - waiting - self._taken)
        return appended, self._dropped


class _Encoded(Protocol):
    @property
    def data(self) -> bytes: ...


_T = TypeVar("_T", bound=_Encoded)


class SendBuffer(Generic[_T]):
    """
    Encoded events on their way out, with the batch in flight; for the drain thread alone.

    Events are numbered from 1 when a batch is formed, so that what was dropped before leaves no
    hole in the numbers.

    Args:
        max_events: Bound on the events, the batch in flight included.
        max_bytes: Bound on their JSON plus ``ENTRY_OVERHEAD_BYTES`` each.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._waiting: deque[_T] = deque()
        self._bytes = 0
        self._next_n = 1
        self.batch: list[_T] = []
        """The batch in flight; never dropped from."""
        self.added = 0
        """Events put in so far."""
        self.settled = 0
        """Events that have left so far, in whatever way."""
        self.dropped = 0
        """Events that had to make room."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self.batch)

    @property
    def size_bytes(self) -> int:
        """What the events take, the batch in flight included."""
        return self._bytes

    @property
    def first_n(self) -> int:
        """The number of the batch's first event."""
        return self._next_n

    def add(self, event: _T) -> None:
        """Append one event; while over a bound, drop the oldest that is not in flight."""
        self._waiting.append(event)
        self._bytes += len(event.data) + ENTRY_OVERHEAD_BYTES
        self.added += 1
        while self._waiting and (len(self) > self._max_events or self._bytes > self._max_bytes):
            self._release(self._waiting.popleft())
            self.dropped += 1

    def form_batch(self, limit: int) -> list[_T]:
        """Put the oldest events in flight, at most ``limit``; the same until they are settled."""
        if not self.batch:
            self.batch = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        return self.batch

    def settle_batch(self) -> None:
        """Forget the batch in flight: it is in the log, or never will be."""
        self._next_n += len(self.batch)
        for event in self.batch:
            self._release(event)
        self.batch = []

    def abandon(self) -> int:
        """Drop all events, the batch in flight too; returns how many."""
        count = len(self)
        self.settle_batch()
        while self._waiting:
            self._release(self._waiting.popleft())
        self.dropped += count
        return count

    def _release(self, event: _T) -> None:
        self._bytes -= len(event.data) + ENTRY_OVERHEAD_BYTES
        self.settled += 1
