"""
``memory://NAME``: the log inside one process, for the embedded collector, ``make demo`` and tests.

Behaves as the Redis log does: positions with an epoch, a bound, dedupe per producer. Appending is
thread-safe; readers on any event loop are woken with ``call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Final

from otel_bridge.errors import PositionLostError
from otel_bridge.publish.transports.base import AppendResult, LogEntry, Outgoing, splice_position

__all__ = ["MemoryLog", "MemoryReceiver", "MemorySender", "memory_log"]

DEFAULT_MAX_EVENTS: Final = 100_000
_MAX_PRODUCERS: Final = 10_000
"""Producers remembered for dedupe, the longest silent forgotten first; about 100 bytes each."""

_logs: dict[str, MemoryLog] = {}
_logs_lock = threading.Lock()


class MemoryLog:
    """
    An append-only, bounded list of events with positions ``<epoch>:<seq>``, ``seq`` from 1.

    Args:
        max_events: Older events are trimmed away.
    """

    def __init__(self, max_events: int = DEFAULT_MAX_EVENTS) -> None:
        self.max_events = max_events
        self.epoch = secrets.token_hex(4)
        self._lock = threading.Lock()
        # Entry number ``seq`` is at index ``seq - _first_seq``; trimming in blocks keeps appending
        # O(1) and slicing O(k), where a deque would walk to the middle.
        self._entries: list[LogEntry] = []
        self._first_seq = 1
        self._producers: OrderedDict[str, int] = OrderedDict()
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()

    def append(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        """Append what the log does not hold yet; see ``Sender.send``."""
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

    @property
    def _next_seq(self) -> int:
        return self._first_seq + len(self._entries)

    def _trim(self) -> None:
        # A block at a time: like Redis's MAXLEN ~, the log may hold a little more than its bound.
        excess = len(self._entries) - self.max_events
        if excess > max(64, self.max_events // 16):
            del self._entries[:excess]
            self._first_seq += excess

    def first_position(self) -> str:
        """The position before the first entry that the log holds."""
        with self._lock:
            return f"{self.epoch}:{self._first_seq - 1}"

    def last_position(self) -> str:
        """The position of the newest entry."""
        with self._lock:
            return f"{self.epoch}:{self._next_seq - 1}"

    def entries_after(
        self, position: str, limit: int, waiter: asyncio.Future[None] | None = None
    ) -> list[LogEntry]:
        """
        Entries after a position; ``waiter`` is completed at the next append when there are none.

        Raises:
            PositionLostError: The log cannot continue from there without a hole.
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

    def forget(self, waiter: asyncio.Future[None]) -> None:
        """Give up waiting for an append."""
        with self._lock:
            self._waiters.discard((waiter.get_loop(), waiter))

    def newest(self, limit: int, before: str | None) -> list[LogEntry]:
        """
        The newest entries (older than ``before``), newest first.

        Raises:
            PositionLostError: ``before`` belongs to another log.
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
    """The log of this process with that name; made, with that bound, when first asked for."""
    with _logs_lock:
        if name not in _logs:
            _logs[name] = MemoryLog(max_events)
        return _logs[name]


def _after_fork_in_child() -> None:
    # Another thread may have held a lock at the moment of the fork; nobody would release it here.
    global _logs_lock
    _logs_lock = threading.Lock()
    for log in _logs.values():
        log._renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class MemorySender:
    """Appends to a log of this process."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def send(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        return self._log.append(producer_id, first_n, batch)

    def close(self) -> None:
        pass


class MemoryReceiver:
    """Reads a log of this process."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def open(self) -> str:
        return self._log.first_position()

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
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
            self._log.forget(waiter)
        return self._log.entries_after(after, limit)

    async def last_position(self) -> str:
        return self._log.last_position()

    async def read_back(self, limit: int, *, before: str | None = None) -> Sequence[LogEntry]:
        return self._log.newest(limit, before)

    async def foreign(self) -> AsyncIterator[bytes]:
        # Nobody else can publish into this process: wait for ever.
        await asyncio.Event().wait()
        yield b""

    async def close(self) -> None:
        pass
