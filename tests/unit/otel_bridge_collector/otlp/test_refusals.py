"""Refusals on OTLP's routes are a ``google.rpc.Status``, whoever refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from otel_bridge_collector.otlp.refusals import OtlpRefusals, media_type_of

DETAIL = [b'{"detail": "too ', b'many"}']


async def answer(
    parts: list[bytes],
    *,
    status: int = 429,
    path: str = "/v1/traces",
    kind: str = "http",
    content_type: bytes | None = b"application/x-protobuf",
) -> list[dict[str, Any]]:
    """What leaves when the application answers in these parts."""
    sent: list[dict[str, Any]] = []
    own = [
        (b"Content-Type", b"application/json"),
        (b"content-length", b"22"),
        (b"retry-after", b"3"),
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": own})
        for part in parts:
            more = part is not parts[-1]
            await send({"type": "http.response.body", "body": part, "more_body": more})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"x")] + ([(b"content-type", content_type)] if content_type else [])
    await OtlpRefusals(app)({"type": kind, "path": path, "headers": headers}, receive, send)
    return sent


async def test_a_refusal_is_a_status_in_protobuf() -> None:
    """The body is one message, its type and length are said, other headers stay."""
    start, body = await answer(DETAIL)
    assert Status.FromString(body["body"]) == Status(message="too many")
    assert start["status"] == 429
    assert start["headers"] == [
        (b"retry-after", b"3"),
        (b"content-type", b"application/x-protobuf"),
        (b"content-length", str(len(body["body"])).encode()),
    ]


@pytest.mark.parametrize("asked", [b"application/json; charset=utf-8", b"text/html", None])
async def test_a_refusal_is_json_for_everybody_else(asked: bytes | None) -> None:
    """JSON where JSON was sent, and where no type that OTLP knows was."""
    start, body = await answer(DETAIL, content_type=asked)
    assert json.loads(body["body"]) == {"message": "too many"}
    assert (b"content-type", b"application/json") in start["headers"]


@pytest.mark.parametrize(
    "case",
    [
        {"parts": DETAIL, "path": "/v1/events"},
        {"parts": DETAIL, "status": 200},
        {"parts": DETAIL, "kind": "websocket"},
    ],
    ids=["another route", "no refusal", "no HTTP"],
)
async def test_other_answers_pass(case: dict[str, Any]) -> None:
    """Part by part, as they came."""
    sent = await answer(**case)
    assert [message.get("body") for message in sent[1:]] == DETAIL
    assert (b"content-length", b"22") in sent[0]["headers"]


@pytest.mark.parametrize("body", [b"Disallowed CORS origin", b"[]", b'{"code": 3}', b""])
async def test_what_says_no_detail_stays(body: bytes) -> None:
    """An answer that is not one of our refusals leaves as it is."""
    sent = await answer([body])
    assert [message.get("body") for message in sent[1:]] == [body]


def test_media_types() -> None:
    """Without parameters, in lower case."""
    headers = [(b"accept", b"*/*"), (b"content-type", b"Application/JSON ;charset=utf-8")]
    assert media_type_of({"headers": headers}) == "application/json"
    assert media_type_of({"headers": []}) == ""
