"""
Where events wait in memory: ``EventQueue`` for events handed in, ``SendBuffer`` for encoded ones.

``EventQueue`` takes span objects as they are, from many threads and without a lock, so that the
caller pays for two C calls only. The bus's thread, the one consumer, empties it every few
milliseconds, also while the log cannot be reached: it encodes the items and moves them to the
``SendBuffer``. So span objects are released soon, and what waits during an outage is encoded and
bounded in number and in bytes. A full buffer drops its oldest event and counts it, but never one of
the batch in flight. ``Linger`` says how long a batch that is not full waits for more events.

Source: OTel SDK ``BatchProcessor`` (drop-oldest). It reports its drops as metrics only; the counts
here are exact and are sent with the worker's heartbeat.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import Any, Final, Generic, Protocol, TypeVar

__all__ = ["ENTRY_OVERHEAD_BYTES", "EventQueue", "FlushRequest", "Linger", "SendBuffer"]

ENTRY_OVERHEAD_BYTES: Final = 150
"""Memory of one waiting event beside its JSON: a bytes object, a tuple, its place in the deque
(``sys.getsizeof``: 33 + 64 + 8, and the text of the project id)."""
_LINGER_KNOWN_SEC: Final = 10.0
"""A linger that no reply has confirmed for so long does not hold any more; the leader of the
collectors renews it each 2 s."""


class EventQueue:
    """
    Items in order of arrival, from any thread, without a lock; the bus's thread takes them out.

    To add one, call ``append(item)`` and right after it ``next(counter)``, which counts it. Neither
    waits or raises, and any object is accepted. ``deque.append`` and ``itertools.count`` are atomic
    under the GIL. Without a lock, nothing can deadlock in a signal handler, a finalizer or a forked
    child.

    Args:
        max_items: Bound; a full queue drops its oldest item for each new one, without an error, and
            counts it. The event bus gives ``MONITORING_BUFFER_MAX_EVENTS`` (20,000).

    Raises:
        ValueError: ``max_items`` is negative.
    """

    def __init__(self, max_items: int) -> None:
        self._items: deque[Any] = deque(maxlen=max_items)
        self._counter_reads = 0
        self._taken = 0
        self._dropped = 0
        self.append = self._items.append
        """Add one item. Call ``next(counter)`` right after it, so that the item is counted."""
        self.counter = itertools.count()
        """Counts the items added."""

    def __len__(self) -> int:
        return len(self._items)

    def take(self, limit: int) -> list[Any]:
        """Remove and return the oldest items, at most ``limit``; for the bus's thread alone."""
        count = min(limit, len(self._items))
        # Counted before they are removed. Otherwise a thread that calls measure() meanwhile would
        # count them as dropped.
        self._taken += count
        items: list[Any] = []
        popleft = self._items.popleft
        try:
            for _ in range(count):
                items.append(popleft())
        except IndexError:
            pass  # many threads take from a closed bus
        return items

    def reset(self) -> None:
        """Remove all items and counts, in a forked child; ``append`` and ``counter`` stay valid."""
        self._items.clear()
        self._counter_reads = next(self.counter) + 1
        self._taken = self._dropped = 0

    def measure(self) -> tuple[int, int]:
        """
        Return how many items were added and how many were dropped, each since the start or a fork.

        For one thread at a time; neither waits nor raises. Both are exact unless another thread is
        just between ``append`` and ``next(counter)``, or inside ``take``. The items of such threads
        are missing until they are done.
        """
        # This read of the counter is counted before it happens. Otherwise a signal handler that
        # measures in between would take it for an item and count it as dropped for good.
        self._counter_reads += 1
        added = next(self.counter) + 1 - self._counter_reads
        waiting = len(self._items)  # read before _taken, so that drops are never overestimated
        self._dropped = max(self._dropped, added - waiting - self._taken)
        return added, self._dropped


class _Encoded(Protocol):
    @property
    def data(self) -> bytes: ...


_T = TypeVar("_T", bound=_Encoded)


class SendBuffer(Generic[_T]):
    """
    Encoded events that wait to be sent, and the batch in flight; for the bus's thread alone.

    The bus's thread calls ``form_batch``, sends that batch, again after an error, and ends it by
    ``complete_batch``. An event is any object whose ``data`` is its JSON as bytes. Events are
    numbered from 1 when a batch is formed. An event that was dropped before has no number, so the
    numbers have no holes. No method waits or raises.

    Args:
        max_events: Bound on the events, the batch in flight included; the bus gives 20,000
            (``MONITORING_BUFFER_MAX_EVENTS``). Over a bound the oldest event that is not in flight
            is dropped and counted.
        max_bytes: Bound on their JSON plus ``ENTRY_OVERHEAD_BYTES`` (150 bytes) each; the bus gives
            32 MiB (``MONITORING_BUFFER_MAX_BYTES``).

    Attributes:
        batch: The batch in flight, whose events are never dropped; empty if there is none.
        added: Events added so far; all counts are 0 at first.
        removed: Events that have left so far: sent, rejected or dropped.
        dropped: Events dropped so far.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._waiting: deque[_T] = deque()
        self._bytes = 0
        self._next_n = 1
        self.batch: list[_T] = []
        """The batch in flight; its events are never dropped."""
        self.added = 0
        """Events added so far."""
        self.removed = 0
        """Events that have left so far: sent, rejected or dropped."""
        self.dropped = 0
        """Events dropped so far, because a bound was exceeded or the buffer was abandoned."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self.batch)

    @property
    def size_bytes(self) -> int:
        """Memory of the events, the batch in flight included: JSON plus overhead."""
        return self._bytes

    def has_batch(self, limit: int) -> bool:
        """
        Whether waiting for more events is of no use: a batch is in flight, or one could be full.

        Also once half of a bound is reached, so that no event is dropped for a larger batch.

        Args:
            limit: Bound on the events of a batch, as for ``form_batch``.
        """
        return (
            bool(self.batch)
            or len(self._waiting) >= min(limit, self._max_events // 2)
            or self._bytes >= self._max_bytes // 2
        )

    @property
    def first_n(self) -> int:
        """The number of the first event in the batch in flight, or else in the next one; from 1."""
        return self._next_n

    def add(self, event: _T) -> None:
        """
        Append one event; while a bound is exceeded, drop the oldest that is not in flight.

        Drops are counted in ``dropped``; never raises. The event itself is dropped if the batch in
        flight alone fills the buffer, or if it is larger than ``max_bytes``.

        Args:
            event: Any object whose ``data`` is its JSON as bytes.
        """
        waiting = self._waiting
        waiting.append(event)
        self._bytes += len(event.data) + ENTRY_OVERHEAD_BYTES
        self.added += 1
        most = self._max_events - len(self.batch)
        while waiting and (len(waiting) > most or self._bytes > self._max_bytes):
            self._release(waiting.popleft())
            self.dropped += 1

    def form_batch(self, limit: int) -> list[_T]:
        """
        Return the batch in flight; if there is none, make one of the oldest events. Never raises.

        Args:
            limit: Bound on the events of a new batch, at least 1; one in flight stays as it is.

        Returns:
            The batch, oldest event first; empty if nothing waits. Do not modify it.
        """
        if not self.batch:
            self.batch = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        return self.batch

    def complete_batch(self) -> None:
        """Remove the batch in flight, which is in the log or was rejected; no batch: no change."""
        self._next_n += len(self.batch)
        for event in self.batch:
            self._release(event)
        self.batch = []

    def abandon(self) -> int:
        """Drop all events, those of the batch in flight too; return how many."""
        count = len(self)
        self.complete_batch()
        while self._waiting:
            self._release(self._waiting.popleft())
        self.dropped += count
        return count

    def _release(self, event: _T) -> None:
        self._bytes -= len(event.data) + ENTRY_OVERHEAD_BYTES
        self.removed += 1


class Linger:
    """
    How long a batch that is not full waits for more events; for the bus's thread alone.

    The leader of the collectors sets it in the log while Redis gets many small batches, and each
    reply of the log carries it. It replaces ``MONITORING_FLUSH_INTERVAL_MS`` where it is longer.
    After 10 s without a reply it does not hold any more. No method waits or raises.

    Args:
        max_ms: Bound on it, ``MONITORING_LINGER_MAX_MS`` (50); 0: batches never wait.
        flush_interval_ms: What events have waited already when they reach the send buffer.
    """

    def __init__(self, max_ms: float, flush_interval_ms: float) -> None:
        self._max_ms = max_ms
        self._flush_interval_ms = flush_interval_ms
        self._ms = 0.0
        self._known_until = float("-inf")
        self._until: float | None = None

    def note_reply(self, linger_ms: float, now: float) -> None:
        """
        Note what a reply of the log says, for the batches after it.

        Args:
            linger_ms: In milliseconds; 0 or less: none.
            now: Monotonic time in seconds.
        """
        self._ms = min(linger_ms, self._max_ms)
        self._known_until = now + _LINGER_KNOWN_SEC

    def end_batch(self) -> None:
        """Let the next batch wait from its own start on; call it when a batch is sent."""
        self._until = None

    def wait_sec(self, now: float) -> float:
        """
        Return how long the batch that is being collected still waits, in seconds; 0: send it.

        Args:
            now: Monotonic time in seconds; that of the first call for a batch is its start.
        """
        if self._until is None:
            ms = self._ms if now < self._known_until else 0.0
            self._until = now + max(0.0, ms - self._flush_interval_ms) / 1000
        return max(0.0, self._until - now)


class FlushRequest:
    """
    A caller that waits for a flush: ``EventBus.flush`` makes it and waits for its event ``done``.

    The bus's thread answers it in two steps: when the first ``target`` items have left the queue,
    ``buffer_target`` becomes the number of events added to the send buffer so far; when as many
    have left the buffer (sent, rejected or dropped), the thread sets ``done``. It has no limit of
    time and raises nothing: the caller stops waiting by itself.

    Args:
        target: Items that had been added to the queue when the flush was requested; not checked.

    Attributes:
        is_noted: Whether the thread has converted what was queued before; no step comes before it.
        buffer_target: The number of events of the second step; None before it.
        done: A ``threading.Event``, set when the flush is complete.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.is_noted = False
        self.buffer_target: int | None = None
        self.done = threading.Event()
