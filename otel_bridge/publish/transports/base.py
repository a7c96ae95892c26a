"""
The two halves of every transport: ``Sender`` in the worker, ``Receiver`` in the collector.

The log is append-only and assigns positions. A sender is synchronous and used by one thread at a
time (the bus's thread); a receiver belongs to one asyncio loop. One contract suite
(``tests/contract/test_transport.py``) runs over every implementation.

A position is opaque text for its readers. Its form is ``<epoch>:<sequence>``. Another epoch means
another log, so a reader that resumes with an old position gets an error instead of wrong events.

Source: Centrifuge's ``StreamPosition`` (epoch and offset).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, Protocol

from otel_bridge.errors import PositionLostError
from otel_bridge.lines.line import SpanLines

__all__ = [
    "AppendResult",
    "LineStore",
    "LogEntry",
    "Outgoing",
    "Receiver",
    "Sender",
    "SpanLines",
    "SpanStack",
    "StackStore",
    "position_after",
    "splice_position",
]

_LAST_NUMBER: Final = 2**64 - 1
"""The last number that Redis takes in an entry's id."""
_MAX_DIGITS: Final = 20


class SpanStack(NamedTuple):
    """The stack of one failed span, stored beside the log."""

    span_id: str
    """16 hex digits."""
    text: str
    """At most 4,096 bytes of UTF-8, secrets masked."""
    project_id: str | None = None
    """Who may read it; None: readers of all projects."""


class Outgoing(NamedTuple):
    """One encoded event on its way to the log; ``Publisher`` and ``decode_push`` create it."""

    data: bytes
    """The event's JSON object, without ``position``."""
    project_id: str | None
    """The project whose channel also gets the event; None: only the global channel gets it."""
    is_stats: bool = False
    """Whether the stats channel also gets the event."""
    stack: SpanStack | None = None
    """What is stored beside the log, before the event is in it."""


class AppendResult(NamedTuple):
    """The result of appending a batch, from ``Sender.send``."""

    position: str
    """Position of the last entry of the log after the append."""
    skipped: int
    """Events of the batch that the log had already: it was sent again after a lost answer."""
    refused: int
    """Pub/Sub messages that a Redis ACL denied; their events are in the log nevertheless."""
    rejected: int = 0
    """Events that the sender's token may not write; they are not in the log."""
    unstored: int = 0
    """Stacks that could not be stored, by an ACL or an older collector; their events are in the
    log."""
    linger_ms: int = 0
    """How long to collect events for a batch, in milliseconds; 0: as the publisher's settings say.
    The leader of the collectors sets it while publishers send many small batches."""


class LogEntry(NamedTuple):
    """One event in the log, from ``Receiver.read`` and ``Receiver.read_back``."""

    position: str
    data: bytes
    """The event's JSON object, with ``position`` as its first member."""


class Sender(Protocol):
    """
    Appends batches to the log, the stream of all events; ``open_sender`` creates it.

    A protocol that each transport (Redis, HTTP, memory) implements; the event bus drives it.
    Synchronous, for one thread at a time. There is no start: the first ``send`` connects. A batch
    has at most 1,000 events by HTTP, and 256 by default. Only ``send`` raises ``TransportError``;
    it may be called again, also after ``close``.
    """

    def send(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        """
        Append events ``first_n``, ``first_n + 1``, ... of one producer, each once, in order.

        A producer is one process that sends. Safe to call again with the same arguments after an
        error: events that the log has are skipped. Redis and HTTP block for
        ``MONITORING_SEND_TIMEOUT_MS`` (100 ms) at most for connecting, and as long for each answer;
        memory never blocks.

        Args:
            producer_id: Unique per process; a forked child uses a new one.
            first_n: Number of the first event, counted from 1 without holes.
            batch: At least one event; by HTTP at most 1,000. ``data`` of each is its JSON.

        Returns:
            A record: ``position`` of the log's last entry after the append, as text, and how many
            events were ``skipped`` (the log had them already) or ``rejected`` (the token may not
            write them); ``refused`` counts Pub/Sub messages that a Redis ACL denied.

        Raises:
            TransportRejectedError: The log rejects the batch; sending it again cannot help.
            TransportError: The batch was not delivered, or that is unknown; send it again.
        """

    def close(self) -> None:
        """Close the connection, if there is one; the next ``send`` opens a new one."""


class StackStore(Sender, Protocol):
    """A sender that also stores stacks without an event, as each transport of ours does."""

    def store_stacks(self, stacks: Sequence[SpanStack]) -> int:
        """
        Store stacks of failures beside the log for a day (memory: the last 1,000); ``send`` does.

        A stack that is stored for another project stays. Blocks as ``send`` does. Calling it again
        changes nothing.

        Args:
            stacks: At most 1,000 by HTTP.

        Returns:
            How many could not be stored: denied by an ACL, by a collector of an older release, or
            of another project. Sending them again cannot help.

        Raises:
            TransportError: It cannot be reached; try again.
        """


class LineStore(StackStore, Protocol):
    """A sender that also stores log lines, as each transport of ours does."""

    def store_lines(self, batch: Sequence[SpanLines]) -> int:
        """
        Add log lines to those stored of their nodes; the last 200 of each node are kept.

        Blocks as ``send`` does. Calling it again adds them again, so a call that failed is not
        repeated: its lines are lost, and counted.

        Args:
            batch: Each node once. At most 1,000 lines by HTTP.

        Returns:
            How many lines could not be stored: denied by an ACL, by a collector of an older
            release, or of another project. Sending them again cannot help.

        Raises:
            TransportError: It cannot be reached, or it is unknown whether they were stored.
        """


class Receiver(Protocol):
    """
    Reads the log, the stream of all events; ``open_receiver`` creates it, the collector drives it.

    A protocol that the transports Redis and memory implement. Await its methods on one event loop,
    one at a time: ``open``, then ``read`` again and again, each from the position of the last
    entry; ``close`` at the end. ``external_messages`` may be iterated meanwhile. A read returns 500
    entries at most, by default; Redis may take 2 s to connect and 2 s to answer. The methods raise
    ``TransportError`` when the log cannot be reached, and ``PositionLostError`` when it cannot
    continue from a position. After an error, and after ``close``, a method may be called again; it
    connects again.
    """

    async def open(self) -> str:
        """
        Connect; return the position before the first entry that the log still has.

        A position is opaque text for a place in the log. A second call is allowed and returns the
        present one. Redis may take 2 s to connect and 2 s to answer; memory never waits.

        Raises:
            TransportError: The log cannot be reached.
        """

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        """
        Return the entries after a position (opaque text for a place in the log), oldest first.

        Await one call at a time. Cancelling it is safe: no entry is lost, as the next read starts
        from its own position.

        Args:
            after: Position of the last entry that the reader has.
            limit: Bound on the entries returned, at least 1; default 500.
            wait_ms: How long to wait for an entry if there is none yet, in milliseconds, default
                1000; 0: do not wait.

        Returns:
            Entries with ``position`` and ``data``, the event's JSON as bytes. Empty if there was
            none within ``wait_ms``.

        Raises:
            PositionLostError: The log cannot continue from there without a hole.
            TransportError: The log cannot be reached, or does not answer within 2 s.
        """

    async def last_position(self) -> str:
        """
        Return the position of the newest entry; in an empty log, the position before its first.

        A position is opaque text for a place in the log, the stream of all events. Redis may take 2
        s to connect and 2 s to answer; memory never waits.

        Raises:
            TransportError: The log cannot be reached. The call may be repeated.
        """

    async def read_back(self, limit: int, *, before: str | None = None) -> Sequence[LogEntry]:
        """
        Return the newest entries, newest first, for paging backwards.

        Await one call at a time. A position is opaque text for a place in the log.

        Args:
            limit: Bound on the entries returned, at least 1; it has no upper bound.
            before: Position of the entry to start before; default: start at the newest entry.

        Returns:
            Entries with ``position`` and ``data``, the event's JSON as bytes. Empty if the log has
            none there any more; this never waits for one.

        Raises:
            PositionLostError: ``before`` belongs to another log, or is no position.
            TransportError: The log cannot be reached, or does not answer within 2 s.
        """

    def external_messages(self) -> AsyncIterator[bytes]:
        """
        Yield messages of external publishers: those that did not pass through the log.

        Such a message was published on the events channel of Redis directly and has no
        ``position``. It is yielded as it came, unchecked and of any size. The iterator never ends
        (cancel its task) and raises no error: a lost connection is logged and opened again
        after 1 s; messages published meanwhile are lost. Memory, which has no channels, yields
        nothing and waits for ever.
        """

    async def close(self) -> None:
        """Close the connection of the reads; a running ``external_messages`` keeps its own."""


def splice_position(position: str, data: bytes) -> bytes:
    """
    Insert ``position`` as first member of an event's JSON object; other bytes stay the same.

    Checks nothing and never raises for these types: from other data it makes invalid JSON.

    Args:
        position: Text that needs no escape in JSON.
        data: A JSON object with at least one member, from its ``{`` on; of any size.

    Returns:
        The longer JSON as bytes; ``data`` itself does not change.
    """
    return b"".join((b'{"position":"', position.encode(), b'",', data[1:]))


def position_after(position: str) -> str:
    """
    Return the position right after one: reading back before it, the entry at that one comes first.

    No entry need be there, and whether the log knows the position is not checked. From any thread.

    Args:
        position: ``<epoch>:<number>`` or ``<epoch>:<milliseconds>-<number>``.

    Raises:
        PositionLostError: It is no position.
    """
    epoch, _, place = position.rpartition(":")
    milliseconds, dash, number = place.rpartition("-")
    if not (epoch and number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
        raise PositionLostError(position, "malformed")
    return f"{epoch}:{milliseconds}{dash}{min(int(number) + 1, _LAST_NUMBER)}"
