"""Sinks that a test can read: one that takes everything, one whose reader has stopped."""

from __future__ import annotations

import json
from typing import Any

from otel_bridge_collector.stream.frames import payloads
from otel_bridge_collector.wire.close_codes import CloseCode

__all__ = ["RecordingSink"]


class RecordingSink:
    """
    Remembers what was written.

    Attributes:
        is_stopped: While True nothing drains: the client does not read.
        pings: How many pings were sent; none while ``can_ping`` is False.
        takes_deflated: Whether the client takes compressed messages; False at first.
    """

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed_with: CloseCode | None = None
        self.is_stopped = False
        self.pings = 0
        self.can_ping = True
        self.takes_deflated = False
        self._buffered = 0

    def write(self, frames: bytes) -> None:
        self.writes.append(frames)
        if self.is_stopped:
            self._buffered += len(frames)

    def buffered_bytes(self) -> int:
        return self._buffered

    def drain(self, count: int | None = None) -> None:
        """The client reads so many bytes; all by default."""
        self._buffered -= self._buffered if count is None else count

    def limit_kernel_buffer(self) -> None:
        """No kernel is below this sink."""

    def ping(self) -> bool:
        self.pings += self.can_ping
        return self.can_ping

    def close(self, code: CloseCode) -> None:
        self.closed_with = code

    def messages(self) -> list[Any]:
        """Every message written, parsed."""
        return [json.loads(found) for frames in self.writes for found in payloads(frames)]
