"""Attacks below HTTP's surface, by raw sockets: what a well-behaved client library never sends."""

from __future__ import annotations

import hashlib
import itertools
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import psutil
import pytest
from otel_bridge_collector.routes import body
from otel_bridge_collector.security.bounded_http import MAX_HEAD_BYTES, BoundedHttpProtocol
from websockets.asyncio.client import connect

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

_names = itertools.count()

TOKEN = "t-all-0123456789abcdef"
LINE = f"all sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"
BEARER = f"Authorization: Bearer {TOKEN}\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


SIZES = (160, 224, 16 << 10)
"""KiB of answers: what the system does not take fits in the server's own buffer, or does not."""


class _Hasty(BoundedHttpProtocol):
    head_timeout_sec = 1.0
    write_timeout_sec = 1.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    static = tmp_path_factory.mktemp("static")
    (static / "assets").mkdir()
    for size in SIZES:
        (static / "assets" / f"{size}.js").write_bytes(b"/" * (size << 10))
    settings = BridgeSettings(bus_url=f"memory://raw-{next(_names)}")
    with AppServer(
        settings,
        tokens=LINE,
        stats_interval_sec=3600,
        static_dir=static,
        server_options={"http": _Hasty},
    ) as server:
        yield server


def link(site: AppServer, text: str) -> socket.socket:
    """A connection on which something has been sent; ``{host}`` stands for its Host line."""
    found = socket.create_connection(("127.0.0.1", site.port), timeout=10)
    raw = text.replace("{host}", f"Host: 127.0.0.1:{site.port}\r\n").encode()
    found.sendall(raw)
    return found


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    found = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            found += chunk
    return found


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
def test_no_answer_waits_for_an_acknowledgement(loop: str) -> None:
    """Nagle's algorithm is off on every connection, whatever the event loop does about it."""
    settings = BridgeSettings(bus_url=f"memory://raw-{next(_names)}")
    with (
        AppServer(settings, server_options={"loop": loop}) as site,
        closing(link(site, "GET /healthz HTTP/1.1\r\n{host}\r\n")) as connection,
    ):
        connection.recv(1 << 16)
        served = [protocol.transport for protocol in site.connections]
        sockets = [transport.get_extra_info("socket") for transport in served]
        options = [s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in sockets]
    assert options
    assert all(options)


LINGERING = {
    "blank lines after the answer": ("GET /healthz HTTP/1.1\r\n{host}\r\n", b"\r\n"),
    "a body that a refusal did not wait for": (
        "POST /v1/traces HTTP/1.1\r\n{host}Content-Length: 1000\r\n\r\nx",
        b"y",
    ),
    "chunks that a refusal did not wait for": (
        "POST /v1/traces HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
    ),
    "half a second request": ("GET /healthz HTTP/1.1\r\n{host}\r\n", b"GET /healthz HTTP/1.1\r\n"),
}


def test_no_connection_lingers(site: AppServer) -> None:
    """What is sent after an answer does not keep the connection past the head's time-out."""
    with ExitStack() as stack:
        opened = []
        for first, then in LINGERING.values():
            opened.append(stack.enter_context(closing(link(site, first))))
            assert status(opened[-1].recv(1 << 16)) in (200, 401)
            opened[-1].sendall(then)
        for connection in opened:
            read_all(connection)  # a time-out is the failure


def test_an_answer_that_is_not_read(site: AppServer) -> None:
    """The page's files need no token: a client that asks for them and reads nothing is closed."""
    opened: list[tuple[socket.socket, int]] = []
    with ExitStack() as stack:
        for size, end in itertools.product(SIZES, ("close", "keep-alive")):
            connection = stack.enter_context(socket.socket())
            connection.settimeout(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", site.port))
            head = f"GET /assets/{size}.js HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n"
            connection.sendall(f"{head}Connection: {end}\r\n\r\n".encode())
            opened.append((connection, size << 10))
        wait_until(lambda: _connections_of(site) > 0, "the connections", every_sec=0.02)
        wait_until(lambda: _connections_of(site) == 0, "their end", timeout_sec=15, every_sec=0.05)
        for connection, whole in opened:
            assert len(read_all(connection)) < whole


def _connections_of(site: AppServer) -> int:
    found = psutil.Process().net_connections("tcp")
    return sum(c.laddr.port == site.port and c.fd >= 0 and c.status != "LISTEN" for c in found)


FLOODS = {
    "headers": ("GET /healthz HTTP/1.1\r\n{host}", b"X-Flood: " + b"x" * 50 + b"\r\n"),
    "one header": ("GET /healthz HTTP/1.1\r\n{host}X-Flood: ", b"x" * 60),
    "the path": ("GET /", b"x" * 60),
    "trailers": (
        "POST /v1/traces HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X-Flood: " + b"x" * 50 + b"\r\n",
    ),
    "one trailer": (
        "POST /v1/traces HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\nX-Flood: ",
        b"x" * 60,
    ),
    "a chunk's extension": (
        "POST /session HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1;",
        b"x" * 60,
    ),
}


@pytest.mark.parametrize("case", FLOODS)
def test_what_the_parser_keeps_is_bounded(site: AppServer, case: str) -> None:
    """An endless head, trailer or extension is refused before it is 32 MiB."""
    begin, part = FLOODS[case]
    before = psutil.Process().memory_info().rss
    block = part * (65_536 // len(part))
    with closing(link(site, begin)) as connection:
        sent = 0
        with suppress(ConnectionResetError, BrokenPipeError):
            while sent < 32 << 20:
                sent += connection.send(block)
        assert sent < 32 << 20
    assert psutil.Process().memory_info().rss - before < 16 << 20


def test_a_large_head_in_one_piece(site: AppServer) -> None:
    """The limit holds also for a head that comes whole; just below it passes."""
    for size, expected in ((MAX_HEAD_BYTES - 1000, 200), (MAX_HEAD_BYTES, 431)):
        head = f"GET /healthz HTTP/1.1\r\n{{host}}X: {'x' * size}\r\nConnection: close\r\n\r\n"
        with closing(link(site, head)) as connection:
            assert status(read_all(connection)) == expected


AMBIGUOUS = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "Content-Length: -1\r\n\r\n",
    "Content-Length: 99999999999999999999\r\n\r\nabc",
    "Content-Length: 5 5\r\n\r\nabcde",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "X: a\r\n b: folded\r\nX\0: y\r\n\r\n",
    "X : space\r\n\r\n",
]


@pytest.mark.parametrize("rest", AMBIGUOUS, ids=repr)
def test_nothing_is_smuggled(site: AppServer, rest: str) -> None:
    """A length that two readers could read differently is refused, and what follows is not read."""
    smuggled = f"GET /metrics HTTP/1.1\r\n{{host}}{BEARER}\r\n"
    with closing(link(site, f"POST /session HTTP/1.1\r\n{{host}}{rest}{smuggled}")) as connection:
        answer = read_all(connection)
    assert status(answer) == 400
    assert b"otel_bridge_" not in answer
    assert answer.count(b"HTTP/1.1 ") == 1


PATHS = [
    *("//metrics", "/metrics/", "/METRICS", "/%6detrics", "/./metrics", "/assets/../metrics"),
    *("/assets/%2e%2e/metrics", "/monitor/config/../snapshot", "/healthz/../metrics", "/metrics;x"),
    *("/metrics%00", "/metrics?token=" + TOKEN, "/metrics?ticket=" + TOKEN, "/session/../metrics"),
    *("/openapi.json", "/docs", "/redoc", "/index.html", "/.env", "http://127.0.0.1/metrics"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PROPFIND"])
def test_no_path_leads_past_the_guard(site: AppServer, method: str, path: str) -> None:
    """However it is spelt, whatever the method: an untrusted client is refused or finds nothing."""
    request = f"{method} {path} HTTP/1.1\r\n{{host}}Connection: close\r\n\r\n"
    with closing(link(site, request)) as connection:
        answer = read_all(connection)
    assert status(answer) in (400, 401, 404, 405)
    assert b"otel_bridge_" not in answer
    assert TOKEN.encode() not in answer


@pytest.mark.parametrize("path", ["/assets/%00", "/%00.js", f"/{'a' * 5000}.js", "/assets/a%2f%00"])
def test_no_name_of_a_file_is_an_error(
    site: AppServer, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that no file can have is 404, without a traceback that would fill the log."""
    request = f"GET {path} HTTP/1.1\r\n{{host}}{BEARER}Connection: close\r\n\r\n"
    with closing(link(site, request)) as connection:
        assert status(read_all(connection)) == 404
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
TRACES = f"POST /v1/traces HTTP/1.1\r\n{{host}}{BEARER}Content-Type: application/json\r\n"


@pytest.mark.parametrize("length", ["Content-Length: 20\r\n", "Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("size", [1, 100_000], ids=["byte by byte", "at once"])
def test_an_upgrade_that_we_do_not_know_is_passed_by(
    site: AppServer, length: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that offers h2c, as Java's client does, is answered, as is the next; no warning."""
    body = '{"resourceSpans":[]}'
    if "chunked" in length:
        body = f"14\r\n{body}\r\n0\r\n\r\n"
    last = "GET /healthz HTTP/1.1\r\n{host}Connection: close\r\n\r\n"
    text = f"{TRACES}{length}{H2C}\r\n{body}{last}"
    raw = text.replace("{host}", f"Host: 127.0.0.1:{site.port}\r\n").encode()
    with closing(link(site, "")) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(raw), size):
            connection.sendall(raw[start : start + size])
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


NOT_HTTP = {
    "bytes": "\x00\x01\r\n\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": "CONNECT 127.0.0.1:80 HTTP/1.1\r\n{host}\r\n",
    "an upgrade without a path": f"OPTIONS * HTTP/1.1\r\n{{host}}{H2C}Content-Length: x\r\n\r\n",
}


@pytest.mark.parametrize("case", NOT_HTTP)
def test_what_is_not_http_is_no_warning(
    site: AppServer, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets 400 and is closed; any client could fill the log with warnings."""
    with closing(link(site, NOT_HTTP[case])) as connection:
        assert status(read_all(connection)) == 400
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_what_a_client_says_is_no_error(
    site: AppServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Text that is not UTF-8 is ignored like all that clients say; the stream goes on."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with connect(f"{site.ws_url}?snapshot=true", additional_headers=headers) as client:
        await client.recv()
        await client.send(b"\xff\xfe", text=True)
        await client.recv()  # the next tick
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


HANDSHAKES = {
    "without a token": (f"GET /ws/monitor HTTP/1.1\r\n{{host}}{UPGRADE}\r\n", 401),
    "without a token on another path": (f"GET /metrics HTTP/1.1\r\n{{host}}{UPGRADE}\r\n", 401),
    "on another path": (f"GET /metrics HTTP/1.1\r\n{{host}}{BEARER}{UPGRADE}\r\n", 404),
    "with a length": (
        f"GET /ws/monitor HTTP/1.1\r\n{{host}}{UPGRADE}Content-Length: 3\r\n\r\nabc",
        400,
    ),
    "with chunks": (
        f"GET /ws/monitor HTTP/1.1\r\n{{host}}{UPGRADE}Transfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "with a long line": (
        f"GET /ws/monitor HTTP/1.1\r\n{{host}}{UPGRADE}X: {'x' * 10_000}\r\n\r\n",
        431,
    ),
    "with many lines": (
        f"GET /ws/monitor HTTP/1.1\r\n{{host}}{UPGRADE}" + "X: y\r\n" * 200 + "\r\n",
        431,
    ),
    "with a long path": (f"GET /{'x' * 10_000} HTTP/1.1\r\n{{host}}{UPGRADE}\r\n", 414),
    "by POST": (f"POST /ws/monitor HTTP/1.1\r\n{{host}}{BEARER}{UPGRADE}\r\n", 405),
    "without a key": (
        "GET /ws/monitor HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        400,
    ),
}


@pytest.mark.parametrize("case", HANDSHAKES)
def test_odd_handshakes_are_answered(
    site: AppServer, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each gets its status and is closed, and none makes the log grow by an error."""
    request, expected = HANDSHAKES[case]
    with closing(link(site, request)) as connection:
        assert status(read_all(connection)) == expected
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_leaving_in_the_middle_is_no_error(
    site: AppServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that goes away while it sends its body costs no traceback in the log."""
    for path in ("/session", "/tasks", "/v1/events", "/v1/traces", "/v1/logs"):
        kind = "Content-Type: application/json\r\n"
        head = f"POST {path} HTTP/1.1\r\n{{host}}{BEARER}{kind}Content-Length: 99\r\n\r\nabc"
        link(site, head).close()
    wait_until(lambda: _connections_of(site) == 0, "all to be gone")
    assert fetch(f"{site.url}/healthz").status == 200
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_a_client_that_pings_and_does_not_read(site: AppServer) -> None:
    """Its pongs do not pile up."""
    head = f"GET /ws/monitor HTTP/1.1\r\n{{host}}{BEARER}{UPGRADE}\r\n"
    before = psutil.Process().memory_info().rss
    pings = (b"\x89\xfd" + b"\0" * 4 + b"p" * 125) * 500
    with closing(link(site, head)) as connection:
        assert status(connection.recv(1000)) == 101
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(1000):
                connection.sendall(pings)
        assert psutil.Process().memory_info().rss - before < 16 << 20


def test_slow_bodies_by_the_hundred(site: AppServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hundred trickling bodies get 408 in time, and meanwhile others are answered."""
    monkeypatch.setattr(body, "BODY_TIMEOUT_SEC", 2.0)
    head = "POST /session HTTP/1.1\r\n{host}Content-Length: 9\r\n\r\n{"
    opened = [link(site, head) for _ in range(300)]
    try:
        assert fetch(f"{site.url}/healthz").status == 200
        assert {status(read_all(connection)) for connection in opened} == {408}
    finally:
        for connection in opened:
            connection.close()


def test_it_stops_while_clients_hold_on(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """Half heads, half bodies and odd handshakes do not keep the server from stopping."""
    bridge = make_settings(bus_url=f"memory://raw-{next(_names)}")
    with AppServer(bridge, tokens=LINE, stats_interval_sec=3600) as server:
        texts = ["GET / HT", "GET /healthz HTTP/1.1\r\n{host}\r\n"]
        texts += [first for first, _ in LINGERING.values()]
        texts += [request for request, _ in HANDSHAKES.values()]
        opened = [link(server, text) for text in texts]
    for connection in opened:
        connection.close()
