"""
``add_exception_handlers``: which answer each exception gets that any route may raise.

Errors that only one route knows are answered in that route. All answers come from ``refusal``.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from otel_bridge_collector.routes.body import (
    BodyTooLargeError,
    BodyTooSlowError,
    UnknownEncodingError,
)
from otel_bridge_collector.security.headers import SECURITY_HEADERS
from otel_bridge_collector.security.refusals import refusal

__all__ = ["add_exception_handlers"]


def add_exception_handlers(app: FastAPI) -> None:
    """
    Make an application answer errors that its routes raise as ``{"detail": ...}``.

    ``HTTPException`` gets its own status (such as 404 for an unknown path, 405 for another method),
    a body over its limit 413, one that took over 30 s 408, one of an unknown encoding 415, and any
    other exception 500 without a reason, which the server then logs with its traceback. OTLP routes
    answer with a ``google.rpc.Status`` instead. It never raises.

    Args:
        app: Changed in place, once, before it starts.
    """

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        # Also those that FastAPI raises: 404 for an unknown path, 405 for another method.
        return refusal(request.scope, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(BodyTooLargeError)
    async def too_large(request: Request, error: BodyTooLargeError) -> Response:
        return refusal(request.scope, 413, str(error))

    @app.exception_handler(BodyTooSlowError)
    async def too_slow(request: Request, error: BodyTooSlowError) -> Response:
        return refusal(request.scope, 408, str(error), {"Connection": "close"})

    @app.exception_handler(UnknownEncodingError)
    async def unknown_encoding(request: Request, error: UnknownEncodingError) -> Response:
        return refusal(request.scope, 415, str(error), {"Accept-Encoding": "gzip"})

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, __: Exception) -> Response:
        # The client is gone and reads no answer; without this handler the log has a traceback.
        return Response(status_code=400)

    @app.exception_handler(Exception)
    async def internal_error(request: Request, _: Exception) -> Response:
        # This answer is made outside of all middleware, so it brings the security headers itself.
        headers = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}
        return refusal(request.scope, 500, "internal error", headers)
