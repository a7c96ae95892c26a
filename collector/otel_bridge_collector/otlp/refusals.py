"""
What ``/v1/traces`` and ``/v1/logs`` are refused with, whoever refuses: a ``google.rpc.Status``.

OTLP asks for one as the body of every 4xx and 5xx, in the request's own content type; exporters log
what it says. Routes, guards and FastAPI itself answer ``{"detail": ...}`` as everywhere else, and
this wraps them all.

Source: OTLP 1.7, "Failures" of OTLP/HTTP; ``Status.code`` may be left out.
"""

from __future__ import annotations

import json
from typing import Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message as ProtobufMessage
from google.rpc.status_pb2 import Status
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["JSON", "OTLP_PATHS", "PROTOBUF", "OtlpRefusals", "encode", "media_type_of", "status_of"]

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
OTLP_PATHS: Final = frozenset({"/v1/traces", "/v1/logs"})


def media_type_of(scope: Scope) -> str:
    """A request's content type in lower case, without parameters; empty when it has none."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            text: str = value.decode("latin-1")
            return text.partition(";")[0].strip().lower()
    return ""


def encode(message: ProtobufMessage, media_type: str) -> tuple[bytes, str]:
    """A message as an answer to a request of that type, and its own type: protobuf, else JSON."""
    if media_type == PROTOBUF:
        found: bytes = message.SerializeToString()
        return found, PROTOBUF
    return MessageToJson(message).encode(), JSON


def status_of(scope: Scope, why: str) -> tuple[bytes, str]:
    """The body of a refusal, and its content type."""
    return encode(Status(message=why), media_type_of(scope))


class OtlpRefusals:
    """
    ASGI middleware around all that may refuse: ``{"detail": ...}`` -> ``Status``, headers kept.

    Args:
        app: What it wraps.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in OTLP_PATHS:
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def send_as_status(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                start = message
                return
            if start is None or message["type"] != "http.response.body":
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body", False):
                return
            why = _detail_of(body)
            if why is not None:
                body, media_type = status_of(scope, why)
                replaced = (b"content-type", b"content-length")
                kept = [pair for pair in start["headers"] if bytes(pair[0]).lower() not in replaced]
                named = (b"content-type", media_type.encode())
                sized = (b"content-length", str(len(body)).encode())
                start = {**start, "headers": [*kept, named, sized]}
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, send_as_status)


def _detail_of(body: bytes) -> str | None:
    """What a refusal of ours says; None: it is somebody else's answer."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return str(found["detail"]) if isinstance(found, dict) and "detail" in found else None
