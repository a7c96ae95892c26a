"""
``HeadRequests``: every route that answers GET answers HEAD too.

RFC 9110, 9.1 asks it of every server, and load balancers and link checkers send HEAD. FastAPI's
routes take GET alone, and its OpenAPI document has an operation twice if a route takes both.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HeadRequests"]


class HeadRequests:
    """
    ASGI middleware, the innermost: runs a HEAD request as GET and leaves the answer's body out.

    Other requests and WebSockets pass unchanged; a path without GET answers as it does to GET. The
    body is made and then discarded, whatever its size. It raises only what the application raises.

    Args:
        app: The application with the routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one request or connection; HEAD gets its headers only."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                if message.get("more_body", False):
                    return
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)
