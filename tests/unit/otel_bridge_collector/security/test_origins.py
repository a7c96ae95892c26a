"""Hosts and origins."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.security.origins import OriginGuard, is_loopback_name


async def answer(
    *,
    host: str,
    origin: str | None = None,
    kind: str = "websocket",
    bind: str = "127.0.0.1",
    is_open: bool = False,
    more: tuple[tuple[bytes, bytes], ...] = (),
) -> int:
    """Status that a request gets; 200 when it reaches the application."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"status": 200})

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host.encode()), *more]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    scope: dict[str, Any] = {
        "type": "websocket" if kind == "websocket" else "http",
        "method": kind,
        "path": "/ws/monitor" if kind == "websocket" else "/tasks",
        "scheme": "ws" if kind == "websocket" else "http",
        "headers": headers,
        "extensions": {"websocket.http.response": {}},
    }
    guard = OriginGuard(
        app, bind_host=bind, allowed_origins=["https://dash.example.org"], is_open=is_open
    )
    await guard(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("a.localhost", True),
        ("127.8.9.1", True),
        ("[::1]", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("0.0.0.0", False),
        ("192.168.0.4", False),
        ("", False),
    ],
)
def test_loopback_names(host: str, is_loopback: bool) -> None:
    """Only names that are loopback by themselves pass, not those that might resolve to it."""
    assert is_loopback == is_loopback_name(host)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://127.0.0.1:12000",
        "http://127.0.0.1:12001",
        "http://127.0.0.1",
        "http://127.0.0.1:12000.evil.example",
        "http://user@127.0.0.1:12000",
        "http://localhost:12000",
        "null",
        "file://",
        "",
    ],
)
@pytest.mark.parametrize("kind", ["websocket", "POST"])
async def test_foreign_origins_are_refused(origin: str, kind: str) -> None:
    """A page from anywhere else opens no WebSocket and posts nothing."""
    assert await answer(host="127.0.0.1:12000", origin=origin, kind=kind) == 403


async def test_own_origin_and_programs_pass() -> None:
    """The dashboard's own page, an allowed origin and programs without one pass."""
    assert await answer(host="127.0.0.1:12000", origin="http://127.0.0.1:12000") == 200
    assert await answer(host="localhost:12000", origin="https://dash.example.org") == 200
    assert await answer(host="localhost:12000") == 200


async def test_reading_needs_no_origin() -> None:
    """A link from elsewhere opens the dashboard."""
    assert await answer(host="localhost:1", origin="http://evil.example", kind="GET") == 200


@pytest.mark.parametrize("kind", ["websocket", "GET", "POST"])
async def test_rebound_names_are_refused_on_loopback(kind: str) -> None:
    """On a loopback bind a Host that is another name is refused, even where it resolves to us."""
    assert await answer(host="evil.example:12000", kind=kind) == 403
    assert await answer(host="[", kind=kind) == 403
    assert await answer(host="collector.example:12000", kind=kind, bind="0.0.0.0") == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example@127.0.0.1",
        "127.0.0.1#evil.example",
        "127.0.0.1/evil.example",
        "127.0.0.1 evil.example",
        "127.0.0.1:x",
        "127.0.0.1:",
        "127.0.0.1:123456",
        "[::1",
        "::1",
        "[::1]evil.example",
        "localhost\\evil.example",
    ],
)
async def test_odd_hosts_are_refused(host: str) -> None:
    """What one reader takes for loopback and another for something else is no host."""
    assert await answer(host=host, kind="GET") == 403


@pytest.mark.parametrize("name", [b"host", b"origin", b"authorization"])
async def test_headers_given_twice_are_refused(name: bytes) -> None:
    """A proxy may have looked at the other one."""
    value = b"localhost"
    more = ((name, value),) if name == b"host" else ((name, value), (name, value))
    assert await answer(host="localhost", kind="GET", more=more) == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.168.0.4:12000", 200),
        ("[fd00::1]:12000", 200),
        ("collector:12000", 200),
        ("collector.traces.svc", 200),
        ("collector.traces.svc.cluster.local:12000", 200),
        ("dash.example.org", 200),
        ("", 200),
        ("evil.example:12000", 403),
        ("192.168.0.4.evil.example:12000", 403),
        ("local.evil.example", 403),
    ],
)
async def test_rebound_names_are_refused_where_nobody_is_asked(host: str, status: int) -> None:
    """Beyond loopback without tokens, only addresses and names that nobody can register pass."""
    assert await answer(host=host, kind="GET", bind="0.0.0.0", is_open=True) == status
    assert await answer(host=host, kind="GET", bind="0.0.0.0") == 200
