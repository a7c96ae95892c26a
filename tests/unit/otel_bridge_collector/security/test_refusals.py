"""A refusal is made in its final form: ``google.rpc.Status`` on OTLP's paths, JSON elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from otel_bridge_collector.security.refusals import refusal, send_refusal
from otel_bridge_collector.wire.close_codes import CloseCode

CLOSE = CloseCode(1008, "not allowed")


def scope_of(path: str, content_type: bytes | None = None, kind: str = "http") -> dict[str, Any]:
    headers = [(b"host", b"x")] + ([(b"content-type", content_type)] if content_type else [])
    return {"type": kind, "path": path, "headers": headers}


async def sent_for(scope: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """What a refusal sends from middleware, in order, and what it took from the client before."""
    received: list[str] = []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        received.append("websocket.connect")
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await send_refusal(scope, receive, send, refusal(scope, 403, "no"), CLOSE)
    return received, sent


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_protobuf_requests_get_a_status_in_protobuf(path: str) -> None:
    """The body is one ``Status``; its type and length are given, and so are the other headers."""
    scope = scope_of(path, b"application/x-protobuf")
    answer = refusal(scope, 429, "too many", {"Retry-After": "3"})
    assert Status.FromString(bytes(answer.body)) == Status(message="too many")
    assert (answer.status_code, answer.raw_headers) == (
        429,
        [
            (b"retry-after", b"3"),
            (b"content-length", str(len(answer.body)).encode()),
            (b"content-type", b"application/x-protobuf"),
        ],
    )


@pytest.mark.parametrize("content_type", [b"application/json; charset=utf-8", b"text/html", None])
def test_other_otlp_requests_get_a_status_in_json(content_type: bytes | None) -> None:
    """JSON is the answer to JSON, and to a type that OTLP does not know."""
    answer = refusal(scope_of("/v1/traces", content_type), 429, "too many")
    assert json.loads(bytes(answer.body)) == {"message": "too many"}
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "scope",
    [
        scope_of("/v1/events", b"application/x-protobuf"),
        scope_of("/v1/traces/"),
        scope_of("/v1/traces", kind="websocket"),
    ],
    ids=["another route", "another path", "a WebSocket"],
)
def test_everything_else_gets_a_detail(scope: dict[str, Any]) -> None:
    """Beside OTLP's own paths a refusal is ``{"detail": ...}``, whatever was sent."""
    answer = refusal(scope, 413, "too large")
    assert json.loads(bytes(answer.body)) == {"detail": "too large"}
    assert answer.headers["content-type"] == "application/json"


async def test_a_request_is_answered_without_reading_it() -> None:
    """Middleware answers an HTTP request before its body has arrived."""
    received, sent = await sent_for(scope_of("/tasks"))
    assert received == []
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert (sent[0]["status"], sent[1]["body"]) == (403, b'{"detail":"no"}')


async def test_a_handshake_is_answered_with_a_response() -> None:
    """A WebSocket's handshake gets the status, which a program can read."""
    scope = scope_of("/ws/monitor", kind="websocket")
    scope["extensions"] = {"websocket.http.response": {}}
    received, sent = await sent_for(scope)
    assert received == ["websocket.connect"]
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 403


async def test_a_server_without_the_extension_closes_the_handshake() -> None:
    """Under an ASGI server that cannot answer a handshake, it is closed with a code."""
    received, sent = await sent_for(scope_of("/ws/monitor", kind="websocket"))
    assert received == ["websocket.connect"]
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "not allowed"}]
