"""HEAD runs the route of GET and sends no body, whatever server is below."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from otel_bridge_collector.routes.head import HeadRequests

from tests.support.asgi_site import call


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the method in two parts."""
    method = scope["method"].encode()
    headers = [(b"content-length", str(2 * len(method)).encode())]
    await send({"type": "http.response.start", "status": 203, "headers": headers})
    await send({"type": "http.response.body", "body": method, "more_body": True})
    await send({"type": "http.response.body", "body": method})


async def test_head_is_answered_as_get_without_a_body() -> None:
    """The route sees GET; status and headers are its own, the body is empty."""
    answer = await call(HeadRequests(_app), "/", method="HEAD")
    assert (answer.status, answer.headers, answer.body) == (203, {"content-length": "6"}, b"")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_other_methods_pass(method: str) -> None:
    """Any other request reaches the application as it is."""
    answer = await call(HeadRequests(_app), "/", method=method)
    assert answer.body == 2 * method.encode()


async def test_websockets_pass() -> None:
    """A scope without a method is passed on."""
    seen: asyncio.Queue[Any] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await seen.put(scope)

    async def unused(*_: Any) -> Any:
        raise AssertionError

    await HeadRequests(app)({"type": "websocket"}, unused, unused)
    assert await seen.get() == {"type": "websocket"}
