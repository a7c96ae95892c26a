"""
The HTTP protocol on a transport without a socket: heads, upgrades and time-outs.

Real connections by the hundred: ``tests/integration/test_raw_http.py`` and ``test_attacks.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from otel_bridge_collector.security import bounded_http
from otel_bridge_collector.security.admission import HandshakeAdmission
from otel_bridge_collector.security.bounded_http import MAX_HEAD_BYTES, BoundedHttpProtocol
from otel_bridge_collector.security.headers import SECURITY_HEADERS
from otel_bridge_collector.stream.frames import SharedFramesProtocol
from uvicorn.config import Config
from uvicorn.server import ServerState

from tests.support.faults import FakeClock


class Wire(asyncio.Transport):
    """Remembers what is written; ``unread_bytes`` is what the client has not read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unread_bytes = 0
        self.is_closed = False
        self.is_aborted = False
        self.is_half_closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_half_closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_protocol(self, protocol: Any) -> None:
        raise AssertionError("no test opens a WebSocket")


class Server:
    """
    One connection to an application that reads each request and answers it.

    It answers a request for ``/early`` without reading its body.
    """

    def __init__(self, ws: Any = "none", admission: HandshakeAdmission | None = None) -> None:
        config = Config(self._app, interface="asgi3", ws=ws, lifespan="off", log_config=None)
        config.load()
        self._state = ServerState()
        self.wire = Wire()
        self.protocol = BoundedHttpProtocol(config, self._state, {}, admission=admission)
        self.protocol.connection_made(self.wire)
        self.requests: list[tuple[str, bytes]] = []

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more and scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.requests.append((scope["path"], body))
        length = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b""})

    async def send(self, *parts: bytes) -> None:
        """Receive bytes, and let the application run until it waits for more."""
        for part in parts:
            self.protocol.data_received(part)
            for _ in range(5):
                await asyncio.sleep(0)

    async def disconnect(self) -> None:
        """The client goes away, so that no request waits for the rest of its body."""
        self.protocol.connection_lost(None)
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)

    @property
    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.wire.written.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    yield made
    await made.disconnect()


async def test_requests_of_a_connection_are_answered(server: Server) -> None:
    """A connection carries several requests, in whatever pieces they arrive."""
    raw = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n"
    await server.send(*(raw[i : i + 1] for i in range(len(raw))))
    assert (server.requests, server.statuses) == ([("/a", b"abc"), ("/b", b"")], [200, 200])


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: %b\r\n\r\n",
        b"GET /%b HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: %b\r\n\r\n",
    ],
    ids=["a header", "the path", "a trailer"],
)
async def test_a_head_that_is_too_large_is_431(server: Server, head: bytes) -> None:
    """The head and its trailers share a limit of 32 KiB, and the connection is closed."""
    await server.send(head % (b"x" * MAX_HEAD_BYTES))
    assert server.statuses == [431]
    assert (server.requests, server.wire.is_closed) == ([], True)


async def test_a_head_just_below_the_limit_passes(server: Server) -> None:
    """What is counted is the path, the names and the values."""
    await server.send(b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * (MAX_HEAD_BYTES - 2)))
    assert server.statuses == [200]


async def test_an_endless_line_is_aborted(server: Server) -> None:
    """A line that never ends is not kept: over 32 KiB the connection is aborted."""
    await server.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    for _ in range(9):
        await server.send(b"x" * 4096)
    assert server.wire.is_aborted


async def test_trailers_are_ignored(server: Server) -> None:
    """A trailer after a chunked body is no header of the request."""
    body = b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: y\r\n\r\n"
    await server.send(b"POST / HTTP/1.1\r\n" + body)
    assert server.requests == [("/", b"a")]
    assert b"x-trailer" not in {name for name, _ in server.protocol.headers}


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("size", [1, 1000], ids=["byte by byte", "at once"])
async def test_an_upgrade_to_anything_else_is_ignored(server: Server, size: int) -> None:
    """A request that offers h2c is read with its body, and so is the one behind it."""
    raw = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n" + H2C + b"\r\nabcGET /b HTTP/1.1\r\n\r\n"
    await server.send(*(raw[i : i + size] for i in range(0, len(raw), size)))
    assert (server.requests, server.statuses) == ([("/a", b"abc"), ("/b", b"")], [200, 200])


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    ],
    ids=["bytes", "HTTP/2", "a tunnel", "two lengths"],
)
async def test_what_is_not_http_is_400(
    server: Server, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered with the security headers, closed, and is no warning in the log."""
    await server.send(raw)
    assert (server.statuses, server.wire.is_closed) == ([400], True)
    for name, value in SECURITY_HEADERS:
        assert b"%b: %b\r\n" % (name, value) in server.wire.written
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


async def test_a_connection_without_a_request_is_aborted(server: Server) -> None:
    """The time for a head runs from the start, stops for a request, and begins again after it."""
    timers: list[Any] = [server.protocol._idle_timer]
    server.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    timers.append(server.protocol._idle_timer)
    await server.send(b"")
    timers.append(server.protocol._idle_timer)
    await server.send(b"\r\n")  # blank lines do not extend the time
    timers.append(server.protocol._idle_timer)
    assert [timer is not None for timer in timers] == [True, False, True, True]
    assert timers[2] is timers[3]
    timers[3]._run()
    assert server.wire.is_aborted


async def test_a_slow_reader_has_longer(server: Server) -> None:
    """While an answer is not read yet, the idle time-out gives the client the time to write."""
    server.wire.unread_bytes = 100
    timer: Any = server.protocol._idle_timer
    timer._run()
    assert not server.wire.is_aborted
    timer = server.protocol._idle_timer
    timer._run()
    assert server.wire.is_aborted


async def test_a_client_that_does_not_read_is_aborted(server: Server) -> None:
    """The write time-out runs while the buffer is full, and only then."""
    server.protocol.pause_writing()
    first: Any = server.protocol._write_timer
    server.protocol.resume_writing()
    assert (first.cancelled(), server.protocol._write_timer) == (True, None)
    server.protocol.pause_writing()
    second: Any = server.protocol._write_timer
    second._run()
    assert server.wire.is_aborted


async def test_a_lost_connection_leaves_no_timer(server: Server) -> None:
    """No timer keeps a closed connection in memory."""
    server.protocol.pause_writing()
    server.protocol.connection_lost(None)
    assert (server.protocol._idle_timer, server.protocol._write_timer) == (None, None)


HANDSHAKE = (
    b"GET /ws/monitor HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_a_handshake_over_the_rate_is_sent_away() -> None:
    """It gets 503 and is closed, and no WebSocket is made for it; requests go on as before."""
    admission = HandshakeAdmission(1, clock=FakeClock())
    while not admission.wait_sec():
        pass
    server = Server(ws=SharedFramesProtocol, admission=admission)
    await server.send(b"GET /a HTTP/1.1\r\n\r\n", HANDSHAKE)
    assert (server.requests, server.statuses) == ([("/a", b"")], [200, 503])
    assert (server.wire.is_closed, admission.refused["rate"]) == (True, 2)
    await server.disconnect()


EARLY = b"POST /early HTTP/1.1\r\nConnection: close\r\n"
BEHIND = b"GET /b HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "first", "rest"),
    [
        (b"Content-Length: 6\r\n\r\n", b"abc", b"def"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n"),
    ],
    ids=["a length", "chunks"],
)
async def test_an_early_answer_waits_for_the_body(
    server: Server, head: bytes, first: bytes, rest: bytes
) -> None:
    """The client sees the end of the answer at once; the connection closes after its body."""
    await server.send(EARLY + head + first)
    assert (server.statuses, server.wire.is_half_closed) == ([200], True)
    assert not server.wire.is_closing()
    await server.send(rest + BEHIND)
    assert (server.wire.is_closed, server.wire.is_aborted) == (True, False)
    assert (server.requests, server.statuses) == ([("/early", b"")], [200])


async def test_a_complete_request_is_closed_at_once(server: Server) -> None:
    """An answer to a request that has arrived is followed by the close."""
    await server.send(b"POST /a HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
    assert (server.statuses, server.wire.is_closed) == ([200], True)


async def test_a_connection_that_is_kept_alive_goes_on(server: Server) -> None:
    """The rest of a body that was answered early is discarded, and the next request is served."""
    await server.send(b"POST /early HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
    await server.send(b"def" + BEHIND)
    assert (server.requests, server.statuses) == ([("/early", b""), ("/b", b"")], [200, 200])
    assert not server.wire.is_closing()


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
async def test_what_is_discarded_is_bounded(
    server: Server, monkeypatch: pytest.MonkeyPatch, connection: bytes
) -> None:
    """One byte over the limit aborts the connection."""
    monkeypatch.setattr(bounded_http, "MAX_DISCARDED_BYTES", 10)
    head = b"POST /early HTTP/1.1\r\nConnection: %b\r\nContent-Length: 99\r\n\r\n" % connection
    await server.send(head)
    await server.send(b"x" * 10)
    assert not server.wire.is_aborted
    await server.send(b"x")
    assert server.wire.is_aborted


async def test_discarding_has_a_time(server: Server) -> None:
    """Each part of the body extends the time to wait for the next, but not past the limit."""
    await server.send(EARLY + b"Content-Length: 99\r\n\r\n")
    first: Any = server.protocol._idle_timer
    await server.send(b"x")
    second: Any = server.protocol._idle_timer
    assert (first.cancelled(), second is first) == (True, False)
    server.protocol._discard_until = 0.0
    await server.send(b"x")
    third: Any = server.protocol._idle_timer
    assert third is second
    third._run()
    assert server.wire.is_aborted


async def test_a_broken_rest_is_not_answered_again(server: Server) -> None:
    """Bytes that are no body end the connection without a second answer."""
    await server.send(EARLY + b"Transfer-Encoding: chunked\r\n\r\n")
    await server.send(b"not a chunk")
    assert (server.statuses, server.wire.is_closed) == ([200], True)
