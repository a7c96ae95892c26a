"""
Time-outs and sizes for HTTP connections, which uvicorn does not have.

Measured: under uvicorn alone 500 connections that send a header line now and then stay open for
ever, as do those that send a byte after their answer or never read it; trailers after a chunked
body grew the process by 2.2 GB in 4 s, from a client without a token.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from otel_bridge_collector.security.headers import ALWAYS

__all__ = ["HEAD_TIMEOUT_SEC", "MAX_HEAD_BYTES", "WRITE_TIMEOUT_SEC", "BoundedHttpProtocol"]

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_SEC: Final = 10.0
MAX_HEAD_BYTES: Final = 32 * 1024
WRITE_TIMEOUT_SEC: Final = 30.0
"""48 KiB must be read in it for the buffer to be writable again: 13 kbit/s."""


class _RefusedHeadError(Exception):
    """Raised inside the parser's callbacks, to stop it."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """
    uvicorn's HTTP protocol with bounds.

    * A head must come within 10 s and have 32 KiB at most, trailers included, which are ignored.
    * Between an answer and the next head, 10 s: what else comes does not prolong them.
    * Whoever does not read an answer for 30 s is cut off.
    * A WebSocket's handshake has no body.
    * An upgrade to anything else is not asked for: RFC 9110, 7.8. uvicorn drops such a request's
      body and all that follows, so that Java's ``HttpClient``, which offers h2c, got 400s.
    * What is no HTTP is no warning: anybody could fill the log.
    """

    head_timeout_sec = HEAD_TIMEOUT_SEC
    write_timeout_sec = WRITE_TIMEOUT_SEC
    _idle_timer: asyncio.TimerHandle | None = None
    """Runs while no route has the connection in hand: routes limit what they wait for."""
    _write_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _unparsed_bytes = 0
    """Since the parser last gave us something: what it keeps for itself is no more."""
    _is_head_complete = False
    _refusal = b"400 Bad Request"

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start_idle_timer()
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio does it only for listeners made with IPPROTO_TCP in so many words. Without it
            # an answer, which is two writes, waits 44 ms for an acknowledgement.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_idle_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, but for what it would log and for upgrades that are not a WebSocket's."""
        self._unset_keepalive_if_required()
        self._unparsed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            logger.info("a request that is not HTTP is refused")
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._begin_again(data[upgrade.args[0] :])
                return
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._give_up()

    def _begin_again(self, rest: bytes) -> None:
        """Read a head once more without its Upgrade: the parser takes no body after one."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._unparsed_bytes = 0
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._is_head_complete = False
        self._start_idle_timer()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed_bytes = 0
        self._count(len(name) + len(value))
        if not self._is_head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        self._is_head_complete = True
        if self.parser.get_method() == b"CONNECT":
            raise _RefusedHeadError
        if self.parser.should_upgrade() and not self._should_upgrade():
            return  # comes again without it
        if self.parser.should_upgrade() and self._has_body():
            # The WebSocket's own parser would neither answer nor close.
            raise _RefusedHeadError
        self._stop_idle_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        if not self.parser.should_upgrade() or self._should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Closing too waits for a client that does not read.
        if self.cycle.response_complete and not self.pipeline:
            self._start_idle_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_write_timer()
        self._write_timer = self.loop.call_later(self.write_timeout_sec, self._give_up)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with a head, and close; an answer that has begun is cut off."""
        self._start_idle_timer()
        if self.cycle and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        body = msg.encode("ascii")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *ALWAYS,
        ]
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        self.transport.write(b"HTTP/1.1 %b\r\n%b\r\n%b" % (self._refusal, lines, body))
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refusal = b"431 Request Header Fields Too Large"
            raise _RefusedHeadError

    def _has_body(self) -> bool:
        names = {name for name, _ in self.headers}
        return bool(names & {b"content-length", b"transfer-encoding"})

    def _start_idle_timer(self) -> None:
        self._stop_idle_timer()
        self._idle_timer = self.loop.call_later(self.head_timeout_sec, self._end_idleness)

    def _end_idleness(self) -> None:
        if self.transport.get_write_buffer_size():
            # The end of an answer is still on its way.
            self._idle_timer = self.loop.call_later(self.write_timeout_sec, self._give_up)
        else:
            self._give_up()

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _give_up(self) -> None:
        self._stop_idle_timer()
        self._stop_write_timer()
        self.transport.abort()
