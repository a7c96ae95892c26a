"""
``ClientSession``: one client of the raw stream, and the ``Sink`` that its bytes go to.

A client that reads too slowly goes over its byte limit. The hub then drops and counts its events,
sends it a ``gap`` once it has caught up, and closes it if it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.wire.close_codes import CloseCode
from otel_bridge_collector.wire.filters import EventFilter

__all__ = ["MAX_BATCH_EVENTS", "ClientSession", "Sink", "text_frame"]

MAX_BATCH_EVENTS: Final = 1000
"""Events per JSON array: about 400 KB, under the 1 MiB that client libraries accept by default."""


def text_frame(payload: bytes) -> bytes:
    """
    Return a payload of UTF-8 as one final, unmasked WebSocket text frame of any size.

    Never raises, and does not check that the payload is UTF-8. From any thread.

    Source: RFC 6455, section 5.2.
    """
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Sink(Protocol):
    """
    Where a session's bytes go: a socket's transport, or ASGI ``send``. An interface.

    It has ``write``, ``buffered_bytes`` and ``close``; ``TransportSink`` and ``AsgiSink`` implement
    it. Methods are called on the event loop; they never block and never raise for a connection that
    is gone. The buffer is not limited here: the hub, which sends events to all clients, asks
    ``buffered_bytes`` and stops writing above 4 MiB.
    """

    def write(self, frames: bytes) -> None:
        """Queue whole text frames; never blocks, and does nothing once the connection is closed."""

    def buffered_bytes(self) -> int:
        """Return the number of bytes written that the connection has not accepted yet."""

    def close(self, code: CloseCode) -> None:
        """Send a close frame, and free the socket 1 s later even if the client does not read."""


class ClientSession:
    """
    One client of the raw stream; the WebSocket's route makes it and lets it join the ``Hub``.

    It writes whatever it is given, without a limit: the hub gives it no events while over 4 MiB
    wait, and closes it after 8 s of that. Use it on the hub's event loop. No method blocks or
    raises, also if the client is gone.

    Args:
        sink: Where its bytes go.
        event_filter: Which events it gets.
        batch_ms: Default None: one event per message; else messages are JSON arrays of at most
            1,000 events at this interval in ms.
        has_extras: Whether it asked for a snapshot, a position or batches, and so understands
            control messages; default False: it gets no ``tick``.
        wants_snapshot: Whether a fresh snapshot follows each gap; default False.

    Attributes:
        is_closed: Whether it has left the hub or was closed; False at first.
        dropped: Events dropped since the last gap that was sent; 0 at first.
        over_limit_since: Monotonic time since which it has been over its byte limit; None while it
            keeps up, and at first.
        allowance_bytes: Bytes that it may buffer over the limit while a snapshot is on its way,
            because a large snapshot does not make a client slow; 0 at first.
        written: Bytes given to the sink since the start.
    """

    __slots__ = (
        "_drained",
        "_progress_at",
        "allowance_bytes",
        "batch_ms",
        "dropped",
        "event_filter",
        "has_extras",
        "is_closed",
        "over_limit_since",
        "sink",
        "wants_snapshot",
        "written",
    )

    def __init__(
        self,
        sink: Sink,
        event_filter: EventFilter,
        *,
        batch_ms: int | None = None,
        has_extras: bool = False,
        wants_snapshot: bool = False,
    ) -> None:
        self.sink = sink
        self.event_filter = event_filter
        self.batch_ms = batch_ms
        self.has_extras = has_extras
        self.wants_snapshot = wants_snapshot
        self.is_closed = False
        self.dropped = 0
        self.over_limit_since: float | None = None
        self.allowance_bytes = 0
        self.written = 0
        self._drained = 0
        self._progress_at: float | None = None

    def write(self, frames: bytes) -> None:
        """
        Write whole frames to the sink, however much is buffered already; never blocks.

        The hub does the same without this call, which is 3 % of what an event costs a client.
        """
        self.written += len(frames)
        self.sink.write(frames)

    def send(self, payload: bytes) -> None:
        """Write the JSON of one message or event, in an array if the client asked for batches."""
        self.write(text_frame(payload if self.batch_ms is None else b"[" + payload + b"]"))

    def send_entries(self, entries: Iterable[Entry]) -> int:
        """Write at once the entries that pass the filter, without limit; return their number."""
        events = [entry.data for entry in entries if self.event_filter.matches(entry)]
        if events and self.batch_ms is None:
            self.write(b"".join([text_frame(data) for data in events]))
        else:
            for start in range(0, len(events), MAX_BATCH_EVENTS):
                part = events[start : start + MAX_BATCH_EVENTS]
                self.write(text_frame(b"[" + b",".join(part) + b"]"))
        return len(events)

    def sec_without_progress(self, now: float) -> float:
        """
        Return the seconds since its sink last accepted any bytes; 0 if none are waiting.

        Progress is noticed only when this is called, so call it at intervals; the hub does each 0.5
        s. The first call returns 0. Never raises; on the hub's event loop.

        Args:
            now: Monotonic time in seconds, of the same clock at each call.
        """
        buffered = self.sink.buffered_bytes()
        drained = self.written - buffered
        if not buffered or drained != self._drained or self._progress_at is None:
            self._drained = drained
            self._progress_at = now
        return now - self._progress_at
