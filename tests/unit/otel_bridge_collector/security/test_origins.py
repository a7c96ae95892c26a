"""Requests with a wrong Host or Origin are refused before the application sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.security.origins import OriginGuard, is_loopback_name, normal_origin


async def answer(
    *,
    host: str,
    origin: str | None = None,
    kind: str = "websocket",
    bind: str = "127.0.0.1",
    has_authentication: bool = True,
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
        app,
        bind_host=bind,
        allowed_origins=["https://dash.example.org"],
        has_authentication=has_authentication,
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
        ("XlocalhostX", False),
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
async def test_other_origins_are_refused(origin: str, kind: str) -> None:
    """A page of another site opens no WebSocket and posts nothing."""
    assert await answer(host="127.0.0.1:12000", origin=origin, kind=kind) == 403


async def test_own_origin_and_programs_pass() -> None:
    """The dashboard's own page, an allowed origin and programs without one pass."""
    assert await answer(host="127.0.0.1:12000", origin="http://127.0.0.1:12000") == 200
    assert await answer(host="localhost:12000", origin="https://dash.example.org") == 200
    assert await answer(host="localhost:12000") == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost", "http://localhost:80", 200),
        ("localhost:80", "http://localhost", 200),
        ("[::1]", "http://[::1]:80", 200),
        ("localhost:1", "https://dash.example.org:443", 200),
        ("localhost", "http://localhost:443", 403),
        ("localhost", "https://localhost:443", 403),
        ("localhost:1", "https://dash.example.org:80", 403),
    ],
)
async def test_a_default_port_may_be_written(host: str, origin: str, status: int) -> None:
    """The default port of a scheme may be written in Host and Origin or left out; no other may."""
    assert await answer(host=host, origin=origin) == status


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://Dash.example.org:443", "https://dash.example.org"),
        ("http://a:80", "http://a"),
        ("http://a:8080", "http://a:8080"),
        ("http://a:443", "http://a:443"),
        ("null", "null"),
        (":80", ":80"),
        ("file://", "file://"),
    ],
)
def test_an_origin_in_its_normal_form(origin: str, expected: str) -> None:
    """Lower case and without the default port, as browsers send it; other text stays."""
    assert normal_origin(origin) == expected


async def test_reading_needs_no_origin() -> None:
    """A link from elsewhere opens the dashboard."""
    assert await answer(host="localhost:1", origin="http://evil.example", kind="GET") == 200


@pytest.mark.parametrize("kind", ["websocket", "GET", "POST"])
async def test_rebound_names_are_refused_on_loopback(kind: str) -> None:
    """On a loopback address another name as Host is refused, even if it resolves to loopback."""
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
    """A Host that two parsers could read differently is refused."""
    assert await answer(host=host, kind="GET") == 403


@pytest.mark.parametrize("name", [b"host", b"origin", b"authorization"])
async def test_headers_given_twice_are_refused(name: bytes) -> None:
    """A proxy may have checked the other one."""
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
async def test_rebound_names_are_refused_without_authentication(host: str, status: int) -> None:
    """Beyond loopback, only addresses and names that cannot be registered in public pass."""
    assert await answer(host=host, kind="GET", bind="0.0.0.0", has_authentication=False) == status
    assert await answer(host=host, kind="GET", bind="0.0.0.0") == 200


async def passed_through(scope: dict[str, Any], **options: Any) -> list[Any]:
    """What the application behind the guard is called with; empty if it is not called."""
    calls: list[Any] = []

    async def app(*arguments: Any) -> None:
        calls.extend(arguments)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        """Refusals are of no interest here."""

    arguments = (scope, receive, send)
    await OriginGuard(app, **{"bind_host": "127.0.0.1", **options})(*arguments)
    return [name for name, sent in zip(calls, arguments, strict=False) if name is sent]


def post(host: str, origin: str | None = None, scheme: str = "http") -> dict[str, Any]:
    """Scope of a writing request."""
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode("latin-1")))
    return {"type": "http", "method": "POST", "path": "/", "scheme": scheme, "headers": headers}


async def test_what_passes_is_not_changed() -> None:
    """An allowed request reaches the application as it is, and so does the start of the server."""
    assert len(await passed_through(post("localhost"))) == 3
    assert len(await passed_through({"type": "lifespan"})) == 3
    assert await passed_through(post("evil.example")) == []


@pytest.mark.parametrize(
    ("scheme", "origin", "is_passed"),
    [
        ("https", "https://localhost:1", True),
        ("wss", "https://localhost:1", True),
        ("http", "http://LOCALHOST:1", True),
        ("https", "http://localhost:1", False),
        ("http", "https://localhost:1", False),
    ],
)
async def test_the_own_origin_has_the_scheme_of_the_request(
    scheme: str, origin: str, is_passed: bool
) -> None:
    """Under TLS the own origin is an ``https`` one; letter case makes no difference."""
    assert bool(await passed_through(post("localhost:1", origin, scheme))) is is_passed


async def test_other_headers_may_repeat() -> None:
    """Only the headers that guards read must come once."""
    scope = post("localhost")
    scope["headers"] += [(b"accept", b"a"), (b"accept", b"b")]
    assert await passed_through(scope)


async def test_a_request_without_host_is_refused_on_loopback() -> None:
    """On a loopback bind a request must name its host; HTTP/1.0 clients do not."""
    scope = post("localhost")
    scope["headers"] = []
    assert await passed_through(scope) == []
    assert await passed_through(scope, bind_host="0.0.0.0")


async def test_an_invalid_host_is_refused_on_every_bind() -> None:
    """A Host that is not valid is refused whatever the collector listens on."""
    assert await passed_through(post("127.0.0.1/evil"), bind_host="0.0.0.0") == []


async def test_names_are_restricted_only_without_authentication() -> None:
    """With authentication any name passes beyond loopback; a dot at the end changes nothing."""
    assert await passed_through(post("any.example"), bind_host="0.0.0.0")
    for host, is_passed in [("a.local.", True), ("a.evil.example.", False)]:
        scope = post(host)
        assert (
            bool(await passed_through(scope, bind_host="0.0.0.0", has_authentication=False))
            is is_passed
        )


@pytest.mark.parametrize(
    ("scope", "options", "detail"),
    [
        (
            post("["),
            {},
            "Host '[' is not a host name or address with an optional port",
        ),
        (
            post("evil.example"),
            {},
            "Host 'evil.example' is not a loopback name of this machine; use localhost, or "
            "add the origin to MONITORING_ALLOWED_ORIGINS",
        ),
        (
            post("localhost", "http://evil.example/\u00e9"),
            {},
            "Origin 'http://evil.example/\\xe9' is another site; to allow it, add it to "
            "MONITORING_ALLOWED_ORIGINS",
        ),
        (
            post("evil.example"),
            {"bind_host": "0.0.0.0", "has_authentication": False},
            "Host 'evil.example' could be registered by any other site; add the origin to "
            "MONITORING_ALLOWED_ORIGINS, or set tokens",
        ),
        (
            {**post("localhost"), "headers": []},
            {},
            "Host '' is not a loopback name of this machine; use localhost, or "
            "add the origin to MONITORING_ALLOWED_ORIGINS",
        ),
        (
            {**post("localhost"), "headers": [(b"host", b"localhost"), (b"host", b"a")]},
            {},
            "the header Host is given twice; send it once",
        ),
    ],
)
async def test_a_refusal_quotes_what_is_wrong_and_names_the_cure(
    scope: dict[str, Any], options: dict[str, Any], detail: str
) -> None:
    """The detail has the header's value, what is wrong with it, and the setting that allows it."""
    sent: list[dict[str, Any]] = []

    async def app(*arguments: Any) -> None:
        raise AssertionError

    async def receive() -> dict[str, Any]:
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    await OriginGuard(app, **{"bind_host": "127.0.0.1", **options})(scope, receive, send)
    assert sent[0]["status"] == 403
    assert json.loads(sent[1]["body"]) == {"detail": detail}


async def test_a_server_without_handshake_responses_closes_with_a_reason() -> None:
    """Where a handshake cannot be answered with a response, the WebSocket is closed with 1008."""
    sent: list[dict[str, Any]] = []

    async def app(*arguments: Any) -> None:
        raise AssertionError

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {**post("evil.example"), "type": "websocket"}
    await OriginGuard(app, bind_host="127.0.0.1")(scope, receive, send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]
