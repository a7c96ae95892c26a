"""
``memory://NAME``: a log inside one process, for the embedded collector, ``make demo`` and tests.

It behaves like the log in Redis: positions with an epoch, a bounded length, deduplication per
producer. Appending is thread-safe; readers on any event loop are woken with
``call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

from otel_bridge.errors import PositionLostError
from otel_bridge.forking import on_fork
from otel_bridge.publish.transports.base import (
    AppendResult,
    LogEntry,
    Outgoing,
    SpanLines,
    SpanStack,
    splice_position,
)

__all__ = ["MemoryLog", "MemoryReceiver", "MemorySender", "memory_log"]

DEFAULT_MAX_EVENTS: Final = 100_000
"""Default bound on the events of a log, as that of ``MONITORING_STREAM_MAX_EVENTS``."""
_MAX_PRODUCERS: Final = 10_000
"""Producers remembered for deduplication; the one that is silent longest is forgotten first. Each
takes about 100 bytes."""
_MAX_STACKS: Final = 1000
"""Stacks of failures kept, each at most 4,096 bytes; the oldest goes first."""
_MAX_LINES: Final = 200
"""Log lines kept of one span, the last ones."""
_MAX_NODES_WITH_LINES: Final = 1000
"""Spans whose log lines are kept, 33 MB if all are full; the one that is silent longest goes first.
"""

_logs: dict[str, MemoryLog] = {}
_logs_lock = threading.Lock()


class MemoryLog:
    """
    An append-only, bounded list of events with positions ``<epoch>:<seq>``, ``seq`` from 1.

    Thread-safe; nothing is started or closed. ``memory_log`` returns the one of a name, for the
    ``MemorySender`` and ``MemoryReceiver`` that share it. Only a position that the log cannot
    continue from is an error (``PositionLostError``). Repeated events of a producer are skipped, as
    long as it is one of the last 10,000 producers.

    Args:
        max_events: Bound, default 100,000; not checked. The oldest events are removed in blocks, so
            the log may hold up to a sixteenth more (at least 64). There is no bound on their bytes.
    """

    def __init__(self, max_events: int = DEFAULT_MAX_EVENTS) -> None:
        self.max_events = max_events
        self.epoch = secrets.token_hex(4)
        self._lock = threading.Lock()
        # Entry number ``seq`` is at index ``seq - _first_seq``. A list that is trimmed in blocks
        # appends in O(1) and slices in O(k); a deque would walk to the middle to slice.
        self._entries: list[LogEntry] = []
        self._first_seq = 1
        self._producers: OrderedDict[str, int] = OrderedDict()
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._stacks: OrderedDict[str, SpanStack] = OrderedDict()
        self._lines: OrderedDict[str, deque[bytes]] = OrderedDict()

    def append(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        """Append the events that the log has not got yet, as ``Sender.send`` does; never raises."""
        with self._lock:
            last_n = self._producers.get(producer_id, 0)
            skipped = min(max(0, last_n - first_n + 1), len(batch))
            for outgoing in batch[skipped:]:
                position = f"{self.epoch}:{self._next_seq}"
                self._entries.append(LogEntry(position, splice_position(position, outgoing.data)))
            self._producers[producer_id] = max(last_n, first_n + len(batch) - 1)
            self._producers.move_to_end(producer_id)
            if len(self._producers) > _MAX_PRODUCERS:
                self._producers.popitem(last=False)
            self._trim()
            position = f"{self.epoch}:{self._next_seq - 1}"
            waiters, self._waiters = self._waiters, set()
        for loop, future in waiters:
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:  # the reader's loop has been closed
                continue
        return AppendResult(position, skipped, 0)

    def store_stack(self, stack: SpanStack) -> bool:
        """Keep the stack of a failure; False: one is kept for another project, and stays."""
        with self._lock:
            known = self._stacks.get(stack.span_id)
            if known is not None and known.project_id != stack.project_id:
                return False
            self._stacks[stack.span_id] = stack
            self._stacks.move_to_end(stack.span_id)
            if len(self._stacks) > _MAX_STACKS:
                self._stacks.popitem(last=False)
        return True

    def store_lines(self, span_id: str, lines: Sequence[bytes]) -> None:
        """
        Add log lines of a span, of which the last 200 are kept, and of 1,000 spans; never raises.

        Args:
            span_id: 16 hex digits; not checked.
            lines: Each as it is stored in Redis: JSON, ``[ms, level, logger, text, n]``.
        """
        with self._lock:
            kept = self._lines.setdefault(span_id, deque(maxlen=_MAX_LINES))
            kept.extend(lines)
            self._lines.move_to_end(span_id)
            if len(self._lines) > _MAX_NODES_WITH_LINES:
                self._lines.popitem(last=False)

    def lines(self, span_id: str) -> Sequence[bytes]:
        """Return the last 200 log lines of a span, the newest last; empty: there are none."""
        with self._lock:
            return list(self._lines.get(span_id, ()))

    def stack(self, span_id: str) -> SpanStack | None:
        """The stack kept under a span's id, 16 hex digits; None: there is none, or no longer."""
        with self._lock:
            return self._stacks.get(span_id)

    @property
    def _next_seq(self) -> int:
        return self._first_seq + len(self._entries)

    def _trim(self) -> None:
        # In blocks: as with MAXLEN ~ in Redis, the log may hold slightly more than its bound.
        excess = len(self._entries) - self.max_events
        if excess > max(64, self.max_events // 16):
            del self._entries[:excess]
            self._first_seq += excess

    def first_position(self) -> str:
        """Return the position before the first entry that the log still has."""
        with self._lock:
            return f"{self.epoch}:{self._first_seq - 1}"

    def last_position(self) -> str:
        """Return the position of the newest entry; in an empty log, the one before its first."""
        with self._lock:
            return f"{self.epoch}:{self._next_seq - 1}"

    def entries_after(
        self, position: str, limit: int, waiter: asyncio.Future[None] | None = None
    ) -> list[LogEntry]:
        """
        Return the entries after a position, oldest first; never waits, from any thread.

        Args:
            position: Position ``<epoch>:<seq>`` of the last entry that the reader has.
            limit: Bound on the entries returned.
            waiter: If there is no entry, the next append completes this future with None, on the
                future's own loop. To give up, call ``remove_waiter``. Default None: no future.

        Returns:
            Entries with ``position`` and ``data``, the event's JSON as bytes; empty if there is
            none.

        Raises:
            PositionLostError: The log cannot continue from there without a hole: it was trimmed
                further, or the position belongs to another log or is malformed.
        """
        with self._lock:
            index = self._seq(position) + 1 - self._first_seq
            if index < 0:
                raise PositionLostError(position, "trimmed")
            if index > len(self._entries):
                raise PositionLostError(position, "epoch")
            entries = self._entries[index : index + limit]
            if not entries and waiter is not None:
                self._waiters.add((waiter.get_loop(), waiter))
        return entries

    def remove_waiter(self, waiter: asyncio.Future[None]) -> None:
        """Do not complete this future at the next append; one that is not waiting is ignored."""
        with self._lock:
            self._waiters.discard((waiter.get_loop(), waiter))

    def newest(self, limit: int, before: str | None) -> list[LogEntry]:
        """
        Return the newest entries, newest first; never waits, from any thread.

        Args:
            limit: Bound on the entries returned; it has no upper bound.
            before: Position ``<epoch>:<seq>`` of the entry to start before; None: start at the
                newest entry.

        Returns:
            Entries with ``position`` and ``data``, the event's JSON as bytes; empty if the log has
            none there, also because it was trimmed.

        Raises:
            PositionLostError: ``before`` belongs to another log or is malformed.
        """
        with self._lock:
            end = len(self._entries)
            if before is not None:
                end = min(end, max(0, self._seq(before) - self._first_seq))
            return self._entries[max(0, end - limit) : end][::-1]

    def _seq(self, position: str) -> int:
        epoch, _, seq = position.partition(":")
        if not (epoch and seq.isascii() and seq.isdigit()):
            raise PositionLostError(position, "malformed")
        if epoch != self.epoch:
            raise PositionLostError(position, "epoch")
        return int(seq)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()
        self._waiters = set()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def memory_log(name: str, max_events: int = DEFAULT_MAX_EVENTS) -> MemoryLog:
    """
    Return the log of this process with a name; the first call creates it. From any thread.

    A log is kept until the process ends; their number is not limited. A forked child gets a copy of
    its own. Never raises.

    Args:
        name: What follows ``memory://`` in the URL; may be empty.
        max_events: Bound of a log that is created, default 100,000 events; ignored for one that
            exists.
    """
    with _logs_lock:
        if name not in _logs:
            _logs[name] = MemoryLog(max_events)
        return _logs[name]


def _after_fork_in_child() -> None:
    # Another thread may have held a lock during the fork. In the child no thread would release it.
    global _logs_lock
    _logs_lock = threading.Lock()
    for log in _logs.values():
        log._renew_lock()


on_fork(after_in_child=_after_fork_in_child)


class MemorySender:
    """
    Appends events to a log in the memory of this process; never fails and never waits.

    Callable from any thread. A batch may have any number of events; the log itself is bounded
    (100,000 events by default). ``send`` works after ``close`` too.

    Args:
        log: The log, from ``memory_log``.
    """

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def send(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        """Append the events that the log has not got yet; see ``Sender.send``."""
        stacks = [event.stack for event in batch if event.stack is not None]
        unstored = self.store_stacks(stacks) if stacks else 0
        result = self._log.append(producer_id, first_n, batch)
        return result._replace(unstored=unstored) if unstored else result

    def store_stacks(self, stacks: Sequence[SpanStack]) -> int:
        """Keep stacks of failures, the last 1,000; see ``Sender.store_stacks``."""
        return sum(not self._log.store_stack(stack) for stack in stacks)

    def store_lines(self, batch: Sequence[SpanLines]) -> int:
        """Keep log lines, the last 200 of each of 1,000 nodes; see ``LineStore.store_lines``."""
        for of_span in batch:
            self._log.store_lines(of_span.span_id, of_span.lines)
        return 0

    def close(self) -> None:
        """Do nothing: the log stays."""


class MemoryReceiver:
    """
    Reads a log in the memory of this process; for one asyncio loop, in any thread.

    Nothing has to be opened or closed, and the log can always be reached: only a position from
    which it cannot continue is an error (``PositionLostError``). ``read`` returns 500 entries at
    most and waits 1 s, by default. ``external_messages`` yields nothing and waits for ever.

    Args:
        log: The log, from ``memory_log``.
    """

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def open(self) -> str:
        """Return the position before the first entry that the log still has."""
        return self._log.first_position()

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        """
        Return the entries after a position, oldest first; await it on one event loop.

        Args:
            after: Position ``<epoch>:<seq>`` of the last entry that the reader has.
            limit: Bound on the entries returned, at least 1; default 500.
            wait_ms: How long to wait for an entry if there is none yet, in milliseconds, default
                1000; 0: do not wait.

        Returns:
            Entries with ``position`` and ``data``, the event's JSON as bytes. Empty if there was
            none within ``wait_ms``.

        Raises:
            PositionLostError: The position was trimmed, belongs to another log or is malformed. It
                is the only error: this log can always be reached.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entries = self._log.entries_after(after, limit, waiter)
        if entries:
            return entries
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await waiter
        except TimeoutError:
            return []
        finally:
            self._log.remove_waiter(waiter)
        return self._log.entries_after(after, limit)

    async def last_position(self) -> str:
        """Return the position of the newest entry."""
        return self._log.last_position()

    async def read_back(self, limit: int, *, before: str | None = None) -> Sequence[LogEntry]:
        """
        Return the newest entries, newest first; never waits.

        Args:
            limit: Bound on the entries returned; it has no upper bound.
            before: Position ``<epoch>:<seq>`` of the entry to start before; default None: start at
                the newest entry.

        Returns:
            Entries with ``position`` and ``data``, the event's JSON as bytes; empty if the log has
            none there, also because it was trimmed.

        Raises:
            PositionLostError: ``before`` belongs to another log or is malformed.
        """
        return self._log.newest(limit, before)

    async def external_messages(self) -> AsyncIterator[bytes]:
        """Yield nothing and wait for ever."""
        # No external publisher can reach this process, so this never yields.
        await asyncio.Event().wait()
        yield b""

    async def close(self) -> None:
        """Do nothing: the log stays."""
