"""
``BoundedHttpProtocol``: HTTP connections with time-outs and size limits, which uvicorn lacks.

Measured with uvicorn alone: 500 connections that send a header line now and then stay open for
ever, and so do connections that send a byte after their answer or never read it; trailers after a
chunked body made the process grow by 2.2 GB in 4 s, sent by a client without a token.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from otel_bridge_collector.security.admission import HandshakeAdmission
from otel_bridge_collector.security.headers import SECURITY_HEADERS
from otel_bridge_collector.security.later import is_handshake, later_answer

__all__ = [
    "DISCARD_TIMEOUT_SEC",
    "HEAD_TIMEOUT_SEC",
    "MAX_DISCARDED_BYTES",
    "MAX_HEAD_BYTES",
    "WRITE_TIMEOUT_SEC",
    "BoundedHttpProtocol",
]

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_SEC: Final = 10.0
MAX_HEAD_BYTES: Final = 32 * 1024
WRITE_TIMEOUT_SEC: Final = 30.0
"""In this time a client must read 48 KiB, which makes the buffer writable again: 13 kbit/s."""
MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024
"""Of a body whose request is answered already, for example with 413. Many clients send the whole
body before they read the answer: closing earlier resets the connection, and they never read it."""
DISCARD_TIMEOUT_SEC: Final = 30.0


class _RefusedHeadError(Exception):
    """Raised inside a callback of the parser, to make it stop."""


class _AnswerTransport:
    """What an answer is written to: its ``close`` waits for the request's body."""

    __slots__ = ("_protocol", "is_closing", "write")

    def __init__(self, protocol: BoundedHttpProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        self._protocol.close_after_body()


class BoundedHttpProtocol(HttpToolsProtocol):
    """
    uvicorn's HTTP protocol with limits: pass this class to uvicorn as ``http=``.

    uvicorn makes an instance for each connection and calls its methods on the event loop. A
    connection over a limit is closed or aborted (reset without an answer); no method raises to
    uvicorn for what a client sends.

    * The head of a request must arrive within 10 s (else: abort) and be at most 32 KiB (else: 431),
      trailers included; trailers are then ignored.
    * The next head must arrive within 10 s after an answer; other bytes do not extend that time.
    * A connection whose client reads nothing for 30 s is aborted.
    * An answer may come before the body is complete. The rest of the body is then discarded, at
      most 64 MiB of it, for 30 s at most and while no 10 s pass without any; then the connection is
      closed. uvicorn closes it at once if it is not kept alive, and the client, which still sends,
      gets a reset instead of the answer.
    * The handshake of a WebSocket must have no body (else: 400), and CONNECT gets 400.
    * An ``Upgrade`` to anything but a WebSocket is ignored, as RFC 9110, 7.8 allows. uvicorn drops
      the body of such a request and all that follows; Java's ``HttpClient``, which offers h2c, got
      400 for it.
    * The handshake of a WebSocket over the rate of ``admission`` is sent away, before the
      application sees it and at a sixth of its cost: with 503 and ``Retry-After``; a browser, which
      shows neither to its page, with an accepted WebSocket that is closed at once (1013).
    * Bytes that are not HTTP get 400 and a log line of level INFO, not a warning, because any
      client could fill the log with warnings.

    Args:
        config, server_state, app_state: uvicorn's.
        admission: The rate of handshakes; default None: all are admitted.
        **options: uvicorn's.

    Attributes:
        head_timeout_sec: Seconds for a request's head and between requests; 10.
        write_timeout_sec: Seconds that a client may read nothing of a waiting answer; 30.
    """

    head_timeout_sec = HEAD_TIMEOUT_SEC
    write_timeout_sec = WRITE_TIMEOUT_SEC
    _idle_timer: asyncio.TimerHandle | None = None
    """Runs while no route works on a request of the connection; routes have their own time-outs."""
    _write_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _unparsed_bytes = 0
    """Received since the parser's last callback. The parser itself keeps no more than that."""
    _is_head_complete = False
    _is_message_complete = False
    _must_close_after_body = False
    _discarded_bytes = 0
    _discard_until = 0.0
    """The event loop's time at which the rest of an answered request's body must have arrived."""
    _status_line = b"400 Bad Request"

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        admission: HandshakeAdmission | None = None,
        **options: Any,
    ) -> None:
        super().__init__(config, server_state, app_state, **options)
        self._admission = admission

    def connection_made(self, transport: Any) -> None:
        """Start the time-out of the first head, and turn Nagle's algorithm off for TCP."""
        super().connection_made(transport)
        self._start_idle_timer()
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio sets it only if the listener was made with IPPROTO_TCP, not with 0. Without it
            # the second of an answer's two writes waits 44 ms for an acknowledgement.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the connection's timers."""
        self._stop_idle_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """
        Parse bytes of the client; uvicorn's event loop calls it, any number of times.

        Bytes that are not HTTP get 400, a head over 32 KiB gets 431, and after 32 KiB in which the
        parser finds nothing complete the connection is aborted. It never raises for what a client
        sends. Unlike uvicorn's, it logs no warning, and ignores upgrades unless to WebSocket.
        """
        self._unset_keepalive_if_required()
        self._unparsed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.transport.is_closing():
                logger.info("refused a request that is not valid HTTP")
                self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._admit_websocket()
            else:
                self._restart_without_upgrade(data[upgrade.args[0] :])
                return
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._abort()

    def _admit_websocket(self) -> None:
        wait_sec = 0
        if self._admission is not None and is_handshake(self.headers):
            wait_sec = self._admission.wait_sec()
        if wait_sec:
            self.transport.write(later_answer(self.headers, wait_sec))
            self.transport.close()
        else:
            self.handle_websocket_upgrade()

    def _restart_without_upgrade(self, rest: bytes) -> None:
        """Parse a head again without its Upgrade, because the parser takes no body after one."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._unparsed_bytes = 0
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def on_message_begin(self) -> None:
        """Reset the counters for a new request, and start the time-out of its head."""
        self._head_bytes = 0
        self._discarded_bytes = 0
        self._is_head_complete = False
        self._is_message_complete = False
        self._start_idle_timer()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the URL towards the 32 KiB of the head; beyond them the answer is 431."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header towards the 32 KiB (beyond them: 431); trailers are then ignored."""
        self._unparsed_bytes = 0
        self._count_head(len(name) + len(value))
        if not self._is_head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request; CONNECT, and a WebSocket handshake with a body, get 400."""
        self._unparsed_bytes = 0
        self._is_head_complete = True
        if self.parser.get_method() == b"CONNECT":
            raise _RefusedHeadError
        if self.parser.should_upgrade() and not self._should_upgrade():
            return  # data_received parses this head again without its Upgrade
        if self.parser.should_upgrade() and self._has_body():
            # The parser of the WebSocket would neither answer nor close.
            raise _RefusedHeadError
        self._stop_idle_timer()
        super().on_headers_complete()
        if not self.parser.should_upgrade() and self._has_body():
            answer_transport: Any = _AnswerTransport(self)
            self.cycle.transport = answer_transport

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on, or discard it if the request is answered already."""
        self._unparsed_bytes = 0
        if self.cycle.response_complete:
            self._discard(len(body))
        else:
            super().on_body(body)

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self._abort()
        elif self.loop.time() < self._discard_until:
            self._start_idle_timer()

    def close_after_body(self) -> None:
        """Close once all of the request has arrived; the client sees the answer's end at once."""
        if self._is_message_complete:
            self.transport.close()
            return
        self._must_close_after_body = True
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def on_message_complete(self) -> None:
        """End the request, and close the connection if its answer asked for that."""
        self._unparsed_bytes = 0
        self._is_message_complete = True
        if self._must_close_after_body:
            self.transport.close()
            raise _RefusedHeadError  # a request behind it must not be answered any more
        if not self.parser.should_upgrade() or self._should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the time-outs of the next head and of the rest of an unread body."""
        super().on_response_complete()
        # Also when the connection closes: closing waits for a client that does not read.
        if self.cycle.response_complete and not self.pipeline:
            self._start_idle_timer()
            self._discard_until = self.loop.time() + DISCARD_TIMEOUT_SEC

    def pause_writing(self) -> None:
        """Abort the connection in 30 s unless the client reads until then."""
        super().pause_writing()
        self._stop_write_timer()
        self._write_timer = self.loop.call_later(self.write_timeout_sec, self._abort)

    def resume_writing(self) -> None:
        """Cancel the abort of ``pause_writing``, because the client reads again."""
        self._stop_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 with ``msg``, or 431 for a large head, and close; abort a started answer."""
        self._start_idle_timer()
        if self._must_close_after_body:
            self.transport.close()
            return
        if self.cycle and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        body = msg.encode("ascii")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *SECURITY_HEADERS,
        ]
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        self.transport.write(b"HTTP/1.1 %b\r\n%b\r\n%b" % (self._status_line, lines, body))
        self.transport.close()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._status_line = b"431 Request Header Fields Too Large"
            raise _RefusedHeadError

    def _has_body(self) -> bool:
        names = {name for name, _ in self.headers}
        return bool(names & {b"content-length", b"transfer-encoding"})

    def _start_idle_timer(self) -> None:
        self._stop_idle_timer()
        self._idle_timer = self.loop.call_later(self.head_timeout_sec, self._on_idle_timeout)

    def _on_idle_timeout(self) -> None:
        if self.transport.get_write_buffer_size():
            # The client has not read all of the answer yet.
            self._idle_timer = self.loop.call_later(self.write_timeout_sec, self._abort)
        else:
            self._abort()

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _abort(self) -> None:
        self._stop_idle_timer()
        self._stop_write_timer()
        self.transport.abort()
