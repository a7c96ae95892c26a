"""The collector's application without a server: requests are calls, nothing opens a socket."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from otel_bridge_collector.app import STATIC_DIR, create_app
from otel_bridge_collector.routes.tasks import TaskGateway
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings
from pydantic import SecretStr

from otel_bridge.cancellation import cancel
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import Answer

__all__ = ["AsgiClient", "AsgiSite", "call", "connected", "open_site", "token_line"]

_names = itertools.count()


def token_line(token: str, projects: str = "*") -> str:
    """The line of a token, named after its projects."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f"for-{projects} sha256={digest} projects={projects}"


async def call(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    query: str = "",
    raises: type[Exception] | None = None,
) -> Answer:
    """
    One HTTP request to an ASGI application, whose answer must be complete.

    Args:
        app: The application.
        path: Decoded, as ASGI has it.
        method: GET, POST or another.
        body: Sent in one part; the client then waits for the answer.
        headers: Added to ``Host: localhost``, or instead of it.
        query: Without the question mark.
        raises: What the application raises after its answer, for the server's log.
    """
    sent: list[dict[str, Any]] = []
    given = {"host": "localhost", **{k.lower(): v for k, v in (headers or {}).items()}}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("localhost", 12_000),
    }
    parts = iter([{"type": "http.request", "body": body}])

    async def receive() -> dict[str, Any]:
        for part in parts:
            return part
        await asyncio.Event().wait()  # the client stays until it has the answer
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(raises) if raises is not None else nullcontext():
        await app(scope, receive, send)
    start, *rest = sent
    assert not rest[-1].get("more_body", False), "the answer is not complete"
    found = {bytes(k).decode(): bytes(v).decode("latin-1") for k, v in start["headers"]}
    return Answer(start["status"], found, b"".join(bytes(part["body"]) for part in rest))


class AsgiSite:
    """
    A running application.

    Attributes:
        app: As ``create_app`` made it.
        collector: Behind it, with its log in memory.
    """

    def __init__(self, app: FastAPI, collector: Collector) -> None:
        self.app = app
        self.collector = collector

    async def get(self, path: str, **options: Any) -> Answer:
        return await call(self.app, path, **options)

    async def post(self, path: str, body: Any = b"", **options: Any) -> Answer:
        """A POST request; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await call(self.app, path, method="POST", body=data, **options)

    async def append(self, *events: dict[str, Any], token: str = "") -> Answer:
        """Push events into the log, and wait until the collector has folded them."""
        number = next(_names)
        lines = [json.dumps({**_event(number, n), **given}) for n, given in enumerate(events)]
        headers = {"X-Producer-Id": f"test-{number}", "X-First-N": "1"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = await self.post("/v1/events", "\n".join(lines).encode(), headers=headers)
        assert answer.status == 200, answer.body
        while self.collector.ring.last_position != answer.json()["position"]:
            await self.collector.feed.wait_advance(10)
        return answer


def _event(number: int, n: int) -> dict[str, Any]:
    return {
        "event_id": f"00000000-0000-4000-8000-{number:06d}{n:06d}",
        "ts": "2026-01-01T00:00:00Z",
        "event_type": "task_started",
    }


@asynccontextmanager
async def open_site(
    *,
    tokens: str = "",
    gateway: TaskGateway | None = None,
    static_dir: Path = STATIC_DIR,
    **settings: Any,
) -> AsyncIterator[AsgiSite]:
    """
    Start an application.

    Args:
        tokens: Token lines, separated by ``;``; empty: there is no authentication.
        gateway: Takes research tasks.
        static_dir: The built dashboard.
        **settings: Fields of ``CollectorSettings``.
    """
    chosen = CollectorSettings(
        **{"tokens": SecretStr(tokens), "stats_interval_sec": 3600, **settings}
    )
    collector = Collector(chosen, BridgeSettings(bus_url=f"memory://asgi-{next(_names)}"))
    app = create_app(
        chosen,
        collector.bridge_settings,
        gateway=gateway,
        collector=collector,
        static_dir=static_dir,
    )
    async with app.router.lifespan_context(app):
        yield AsgiSite(app, collector)


class AsgiClient:
    """A WebSocket of a plain ASGI server."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.received.get(), 10)

    async def send(self, **message: Any) -> None:
        """Send one JSON message."""
        await self.sent.put({"type": "websocket.receive", "text": json.dumps(message)})

    async def next_json(self) -> Any:
        return json.loads((await self.next())["text"])


@asynccontextmanager
async def connected(
    site: AsgiSite,
    query: str = "",
    token: str = "",
    *,
    path: str = "/ws/monitor",
    more: tuple[tuple[bytes, bytes], ...] = (),
    extensions: tuple[str, ...] = ("websocket.http.response",),
) -> AsyncIterator[AsgiClient]:
    """A client that has sent its handshake; it disconnects at the end."""
    client = AsgiClient()
    headers = [(b"host", b"localhost"), *more]
    if token:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    scope = {
        "type": "websocket",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "extensions": {name: {} for name in extensions},
    }
    await client.sent.put({"type": "websocket.connect"})
    app: Any = site.app
    serving = asyncio.create_task(app(scope, client.sent.get, client.received.put))
    try:
        yield client
        await client.sent.put({"type": "websocket.disconnect", "code": 1000})
        await serving
    finally:
        await cancel([serving])
