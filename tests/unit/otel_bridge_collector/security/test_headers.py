"""Every answer has the security headers, and an answer's own ones win."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.security.headers import SECURITY_HEADERS, SecurityHeaders

Headers = list[tuple[bytes, bytes]]


async def sent_by(kind: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What leaves the middleware when the application sends these messages."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async def receive() -> dict[str, Any]:
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    await SecurityHeaders(app)({"type": kind}, receive, send)
    return sent


@pytest.mark.parametrize(
    ("kind", "prefix"), [("http", "http.response"), ("websocket", "websocket.http.response")]
)
async def test_they_are_added_to_answers_and_refused_handshakes(kind: str, prefix: str) -> None:
    """All of them follow the answer's own headers; status and body stay."""
    own = [(b"content-type", b"text/plain")]
    start = {"type": f"{prefix}.start", "status": 418, "headers": own}
    body = {"type": f"{prefix}.body", "body": b"x"}
    sent = await sent_by(kind, start, body)
    assert sent == [{**start, "headers": [*own, *SECURITY_HEADERS]}, body]
    assert own == [(b"content-type", b"text/plain")]


async def test_an_answers_own_headers_win() -> None:
    """A header that an answer sets itself, in whatever case, is not added a second time."""
    own = [(b"Cache-Control", b"max-age=1"), (b"content-security-policy", b"script-src 'self'")]
    start = {"type": "http.response.start", "status": 200, "headers": own}
    ((first, *_),) = [message["headers"] for message in await sent_by("http", start)]
    assert first == own[0]
    (message,) = await sent_by("http", start)
    names = [name.lower() for name, _ in message["headers"]]
    assert sorted(names) == sorted({name for name, _ in SECURITY_HEADERS})


async def test_an_answer_without_headers_gets_them() -> None:
    """A start message may leave its headers out."""
    (message,) = await sent_by("http", {"type": "http.response.start", "status": 204})
    assert message["headers"] == list(SECURITY_HEADERS)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("websocket", {"type": "websocket.accept"}),
        ("lifespan", {"type": "lifespan.startup.complete"}),
        ("lifespan", {"type": "http.response.start", "status": 200, "headers": []}),
    ],
)
async def test_other_messages_are_not_changed(kind: str, message: dict[str, Any]) -> None:
    """An accepted WebSocket and the lifespan have no headers of an answer."""
    assert await sent_by(kind, message) == [message]
