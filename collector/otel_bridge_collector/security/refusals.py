"""
Refusals: every 4xx and 5xx that the collector answers by its own decision, in its final form.

Guards, routes and the application's exception handlers all call ``refusal``. OTLP asks for a
``google.rpc.Status`` as the body, in the request's own content type, and exporters log its message;
every other path gets ``{"detail": ...}``.

Source: OTLP 1.7, "Failures" of OTLP/HTTP; ``Status.code`` may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.rpc.status_pb2 import Status
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from otel_bridge_collector.wire.close_codes import CloseCode
from otel_bridge_collector.wire.otlp_http import OTLP_PATHS, encode_message, media_type_of

__all__ = [
    "AUTHENTICATION_REQUIRED",
    "LOG_UNREACHABLE",
    "refusal",
    "send_refusal",
    "too_many_failures",
]

AUTHENTICATION_REQUIRED: Final = "authentication required"
LOG_UNREACHABLE: Final = "the collector cannot reach its event log; send the request again"


def too_many_failures(wait_sec: int) -> str:
    """Return the sentence for an address with too many wrong credentials, and its wait in s."""
    return f"too many wrong credentials from this address; try again in {wait_sec} s"


def refusal(
    scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """
    Make the answer that refuses a request; sends nothing and never raises.

    Args:
        scope: Of the request: its path decides the form, its content type the encoding.
        status: 400 to 599; not checked.
        detail: One sentence for the client, with the value that is wrong and the cure. Its length
            is not limited here.
        headers: Further ones, ``Retry-After`` for example; None: none.

    Returns:
        For OTLP over HTTP (``/v1/traces``, ``/v1/logs``, ``/v1/metrics``) a ``google.rpc.Status``,
        protobuf or JSON as the request was; else, also for WebSockets, JSON ``{"detail": ...}``.
    """
    if scope["type"] == "http" and scope["path"] in OTLP_PATHS:
        media_type = media_type_of(scope["headers"])
        body, media_type = encode_message(Status(message=detail), media_type)
        return Response(body, status, headers, media_type)
    return JSONResponse({"detail": detail}, status, headers)


async def send_refusal(
    scope: Scope, receive: Receive, send: Send, response: Response, close: CloseCode
) -> None:
    """
    Send a refusal from middleware, before the application has seen the request (async).

    Call it once for a request. A WebSocket handshake is refused with the same response, or closed
    with ``close`` under a server without the ASGI extension ``websocket.http.response``. Raises
    only what the server's ``send`` and ``receive`` raise.

    Args:
        scope: ASGI scope of the request, or of a WebSocket's handshake.
        receive: ASGI ``receive`` of the same.
        send: ASGI ``send`` of the same.
        response: From ``refusal``.
        close: The close code and reason of a WebSocket under such a server.
    """
    if scope["type"] == "websocket":
        await receive()  # the server's "websocket.connect"; an answer before it is an error
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": close.code, "reason": close.reason})
            return
    await response(scope, receive, send)
