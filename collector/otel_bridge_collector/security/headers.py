"""Response headers that every answer carries, whichever route or error it comes from."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ALWAYS", "SecurityHeaders"]

ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""For data; the dashboard's own files bring their own policy and caching."""


class SecurityHeaders:
    """
    ASGI middleware, outermost: adds what an answer does not say itself.

    Args:
        app: What it wraps.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                given = list(message.get("headers", []))
                names = {bytes(name).lower() for name, _ in given}
                given += [pair for pair in ALWAYS if pair[0] not in names]
                message = {**message, "headers": given}
            await send(message)

        await self._app(scope, receive, send_with_headers)
