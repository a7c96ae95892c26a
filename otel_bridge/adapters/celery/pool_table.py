"""
``PoolTable``: what a worker's pool processes run, for its main process to see.

A pool process that is killed cannot say so. The worker's main process knows that it is gone and
why, but not which span the attempt was. So each pool process notes in memory that it shares with
the main process what it is running.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from otel_bridge.adapters.runs import read_carrier
from otel_bridge.events import semconv

__all__ = ["Noted", "PoolTable", "key_of"]

_PROCESSES: Final = 512
"""Pool processes that have a place; of further ones a killed job is shown without its span."""
_ENTRIES: Final = 4
"""
Attempts that each place holds.

Not one: Celery may start the next process in a place before it reports what the former one ran.
"""
_ENTRY_BYTES: Final = 256
_KEY_BYTES: Final = 16
_SPAN_AT: Final = _KEY_BYTES
_STATE_AT: Final = 24
_LENGTH_AT: Final = 25
_TEXT_AT: Final = 32
_MAX_TEXT: Final = _ENTRY_BYTES - _TEXT_AT
_RUNNING: Final = 1
_ENDED: Final = 2


def key_of(task_id: str, carrier: Any, retry_count: int) -> bytes:
    """Return 16 bytes that name one attempt: a digest of job, run and number of the attempt."""
    run_id = read_carrier(carrier).get(semconv.CARRIER_RUN_ID)
    text = f"{task_id}\0{run_id}\0{retry_count}"
    return blake2b(text.encode(errors="replace"), digest_size=_KEY_BYTES).digest()


class Noted(NamedTuple):
    """
    What a pool process has noted of an attempt.

    Attributes:
        place: Number of the process in its pool, from 0.
        span_id: Of the attempt, 16 hex digits.
        error: Why the job ends its process, if it does so itself; else empty.
    """

    place: int
    span_id: str
    error: str


class PoolTable:
    """
    Which attempts run in a worker's pool processes, in memory that they share.

    Made in the main process before it forks; 512 KiB of address space, of which only what is
    written to takes memory. A pool process writes to its own place alone, and the main process
    reads an entry after that process is gone, so there is no lock. Nothing raises.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _PROCESSES * _ENTRIES * _ENTRY_BYTES)
        self._current: int | None = None
        self._next = 0

    def started(self, place: int, key: bytes, span_id: int) -> None:
        """
        Note that this process starts an attempt.

        Args:
            place: Number of this process in its pool, from 0; past 511 nothing is noted.
            key: Of the attempt, by ``key_of``.
            span_id: A whole number; 0, as while nothing is recorded, is not noted.
        """
        self._current = None
        if not (0 <= place < _PROCESSES and span_id):
            return
        memory = self._memory
        first = place * _ENTRIES * _ENTRY_BYTES
        order = [(self._next + number) % _ENTRIES for number in range(_ENTRIES)]
        places = [first + number * _ENTRY_BYTES for number in order]
        at = next((one for one in places if memory[one + _STATE_AT] != _RUNNING), places[0])
        self._next = ((at - first) // _ENTRY_BYTES + 1) % _ENTRIES
        memory[at : at + _KEY_BYTES] = bytes(_KEY_BYTES)
        memory[at + _SPAN_AT : at + _STATE_AT] = span_id.to_bytes(8, "big")
        memory[at + _STATE_AT], memory[at + _LENGTH_AT] = _RUNNING, 0
        # The key last: until then nothing finds the entry.
        memory[at : at + _KEY_BYTES] = key
        self._current = at

    def exits(self, error: str) -> None:
        """Note that the attempt ends this process by an exception; 224 bytes of it are kept."""
        at = self._current
        if at is not None:
            text = error.encode(errors="replace")[:_MAX_TEXT]
            self._memory[at + _TEXT_AT : at + _TEXT_AT + len(text)] = text
            self._memory[at + _LENGTH_AT] = len(text)

    def ended(self) -> None:
        """Note that this process has reported the end of its attempt: no other has to."""
        if self._current is not None:
            self._memory[self._current + _STATE_AT] = _ENDED
            self._current = None

    def has_ended(self, key: bytes) -> bool:
        """Return whether the process of an attempt has reported its end; False if none is noted."""
        at = self._find(key)
        return at is not None and self._memory[at + _STATE_AT] == _ENDED

    def take(self, key: bytes) -> Noted | None:
        """Return what is noted of an attempt that has not ended, once; None if nothing is."""
        at = self._find(key)
        if at is None or self._memory[at + _STATE_AT] == _ENDED:
            return None
        self._memory[at + _STATE_AT] = _ENDED
        text = self._memory[at + _TEXT_AT : at + _TEXT_AT + self._memory[at + _LENGTH_AT]]
        return Noted(
            at // (_ENTRIES * _ENTRY_BYTES),
            self._memory[at + _SPAN_AT : at + _STATE_AT].hex(),
            text.decode(errors="replace"),
        )

    def _find(self, key: bytes) -> int | None:
        """Where an attempt is noted: of several entries, one that has not ended."""
        found = None
        at = self._memory.find(key, 0)
        while at >= 0:
            if at % _ENTRY_BYTES == 0:
                found = at
                if self._memory[at + _STATE_AT] == _RUNNING:
                    break
            at = self._memory.find(key, at + 1)
        return found
