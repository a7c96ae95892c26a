"""
``ClientSession``: one client of the raw stream, and the ``Sink`` that its bytes go to.

A session that does not keep up is over its byte limit: events are dropped for it and counted, and
the hub sends a gap when it has caught up or closes it when it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.wire.close_codes import CloseCode
from otel_bridge_collector.wire.filters import EventFilter

__all__ = ["MAX_BATCH_EVENTS", "ClientSession", "Sink", "text_frame"]

MAX_BATCH_EVENTS: Final = 1000
"""Per array: about 400 KB, under the 1 MiB that client libraries accept by default."""


def text_frame(payload: bytes) -> bytes:
    """One unmasked, final WebSocket text frame (RFC 6455, section 5.2; servers do not mask)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Sink(Protocol):
    """Where a session's bytes go: a transport, or ASGI ``send``."""

    def write(self, frames: bytes) -> None:
        """Queue whole text frames; never blocks. After the end: does nothing."""

    def buffered_bytes(self) -> int:
        """Bytes queued here that the kernel has not taken."""

    def close(self, code: CloseCode) -> None:
        """Say goodbye, and free the descriptor soon even if nobody reads."""


class ClientSession:
    """
    One client.

    Args:
        sink: Where its bytes go.
        wanted: Which events it gets.
        batch_ms: None: one event per message; else messages are JSON arrays at this interval.
        has_extras: Whether it used an added parameter and so understands control messages.
        wants_snapshot: Whether a fresh snapshot follows each gap.
    """

    __slots__ = (
        "_drained",
        "_progress_at",
        "_written",
        "allowance",
        "batch_ms",
        "dropped",
        "has_extras",
        "is_closed",
        "over_since",
        "sink",
        "wanted",
        "wants_snapshot",
    )

    def __init__(
        self,
        sink: Sink,
        wanted: EventFilter,
        *,
        batch_ms: int | None = None,
        has_extras: bool = False,
        wants_snapshot: bool = False,
    ) -> None:
        self.sink = sink
        self.wanted = wanted
        self.batch_ms = batch_ms
        self.has_extras = has_extras
        self.wants_snapshot = wants_snapshot
        self.is_closed = False
        self.dropped = 0
        """Events dropped since the last gap it was told of."""
        self.over_since: float | None = None
        """Since when it has been over its limit; None while it keeps up."""
        self.allowance = 0
        """Bytes it may buffer over the limit: a snapshot on its way is no sign of slowness."""
        self._written = 0
        self._drained = 0
        self._progress_at: float | None = None

    def write(self, frames: bytes) -> None:
        """Write whole frames, whatever is buffered already."""
        self._written += len(frames)
        self.sink.write(frames)

    def send(self, payload: bytes) -> None:
        """Write one control message or event, in the shape this client asked for."""
        self.write(text_frame(payload if self.batch_ms is None else b"[" + payload + b"]"))

    def send_entries(self, entries: Iterable[Entry]) -> int:
        """Write those of the entries it wants, outside the group; returns how many."""
        wanted = [entry.data for entry in entries if self.wanted.matches(entry)]
        if wanted and self.batch_ms is None:
            self.write(b"".join([text_frame(data) for data in wanted]))
        else:
            for start in range(0, len(wanted), MAX_BATCH_EVENTS):
                part = wanted[start : start + MAX_BATCH_EVENTS]
                self.write(text_frame(b"[" + b",".join(part) + b"]"))
        return len(wanted)

    def stuck_sec(self, now: float) -> float:
        """Seconds since the kernel last took any of its bytes; 0 with nothing to take."""
        buffered = self.sink.buffered_bytes()
        drained = self._written - buffered
        if not buffered or drained != self._drained or self._progress_at is None:
            self._drained = drained
            self._progress_at = now
        return now - self._progress_at
