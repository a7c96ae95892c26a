"""``SecurityHeaders``: adds the security headers to every answer, errors and refusals included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SECURITY_HEADERS", "SecurityHeaders"]

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""Made for data. The dashboard's files set their own content security policy and caching."""


class SecurityHeaders:
    """
    ASGI middleware, the outermost: adds those of six security headers that an answer lacks.

    They are ``Content-Security-Policy`` (which allows nothing), ``X-Content-Type-Options``,
    ``Referrer-Policy``, ``X-Frame-Options``, ``Cross-Origin-Resource-Policy`` and ``Cache-Control``
    (``no-store``). It covers HTTP answers of any status and refused WebSocket handshakes. It raises
    only what the application raises.

    Args:
        app: The application that it wraps.
        refused: Called when a WebSocket's handshake is refused; must not raise. None: not called.
    """

    def __init__(self, app: ASGIApp, *, refused: Callable[[], None] | None = None) -> None:
        self._app = app
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one request or connection, with the headers added."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                given = list(message.get("headers", []))
                names = {bytes(name).lower() for name, _ in given}
                given += [pair for pair in SECURITY_HEADERS if pair[0] not in names]
                message = {**message, "headers": given}
            # A browser is refused by a WebSocket that is accepted and closed: its page sees why.
            is_refusal = message["type"] in ("websocket.http.response.start", "websocket.close")
            if is_refusal and self._refused is not None:
                self._refused()
            await send(message)

        await self._app(scope, receive, send_with_headers)
