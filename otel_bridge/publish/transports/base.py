"""
The two halves of every transport: ``Sender`` in the worker, ``Receiver`` in the collector.

The log is append-only and assigns positions. A sender is synchronous and used by one thread at a
time (the bus's); a receiver lives on one asyncio loop. One contract suite
(``tests/contract/test_transport.py``) runs over every implementation.

Position: opaque text. Made as ``<epoch>:<sequence>``; another epoch means another log, so that a
resume is refused rather than guessed (the idea is Centrifuge's ``StreamPosition``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

__all__ = ["AppendResult", "LogEntry", "Outgoing", "Receiver", "Sender", "splice_position"]


class Outgoing(NamedTuple):
    """One encoded event on its way to the log."""

    data: bytes
    """The event's JSON object, without ``position``."""
    project_id: str | None
    """Which project channel it also goes to; None: the global channel only."""
    is_stats: bool = False
    """Whether it also goes to the stats channel."""


class AppendResult(NamedTuple):
    """What became of a batch."""

    position: str
    """Position of the last entry of the log after the batch."""
    skipped: int
    """Events of the batch that the log held already: it was sent again after a lost answer."""
    refused: int
    """Pub/Sub messages that an ACL denied; the events are in the log all the same."""
    rejected: int = 0
    """Events that the sender's token may not write; they are in no log."""


class LogEntry(NamedTuple):
    """One event in the log."""

    position: str
    data: bytes
    """The event's JSON object, with ``position`` as its first member."""


class Sender(Protocol):
    """Appends batches to the log."""

    def send(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        """
        Append events ``first_n``, ``first_n + 1``, ... of one producer, once each, in order.

        Safe to call again with the same arguments after an error: what the log holds is skipped.

        Args:
            producer_id: Unique per process; a forked child takes a new one.
            first_n: Number of the first event, counted from 1 without holes.
            batch: At least one event.

        Raises:
            TransportRejectedError: Sending it again cannot help.
            TransportError: Not delivered, or not known to be.
        """

    def close(self) -> None:
        """Release the connection; the next ``send`` opens a new one."""


class Receiver(Protocol):
    """Reads the log."""

    async def open(self) -> str:
        """
        Connect; return the position before the first entry that the log holds.

        Raises:
            TransportError: The log cannot be reached.
        """

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        """
        Return the entries after a position, oldest first; empty if none came within ``wait_ms``.

        Raises:
            PositionLostError: The log cannot continue from there without a hole.
            TransportError: The log cannot be reached.
        """

    async def last_position(self) -> str:
        """Position of the newest entry; of an empty log, the position before its first."""

    async def read_back(self, limit: int, *, before: str | None = None) -> Sequence[LogEntry]:
        """The newest ``limit`` entries (older than ``before``), newest first."""

    def foreign(self) -> AsyncIterator[bytes]:
        """
        Messages on the events channel that did not pass through the log (no ``position``).

        Ends never; re-subscribes by itself. A transport without channels yields nothing.
        """

    async def close(self) -> None:
        """Release the connections."""


def splice_position(position: str, data: bytes) -> bytes:
    """Put ``position`` in front of an event's JSON object; the rest of the bytes stay."""
    return b'{"position":"' + position.encode() + b'",' + data[1:]
