"""The feed over a real WebSocket server of known messages: resume, refusals, the clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from otel_bridge.terminal import coming_back
from otel_bridge.terminal.feed import Connection, ViewFeed, views_url

HELLO = {"t": "hello", "protocol": 1, "at": 5_000, "limits": {}}


def test_the_address_of_the_views() -> None:
    """The scheme becomes that of a WebSocket, and the path of a proxy stays."""
    assert views_url("http://a:12000") == "ws://a:12000/ws/views"
    assert views_url("https://a/ob/") == "wss://a/ob/ws/views"


class Scripted:
    """A server that sends ``hello`` and answers each message by a function."""

    def __init__(self, answer: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
        self.answer = answer
        self.got: list[dict[str, Any]] = []
        self.connections: list[ServerConnection] = []

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        await connection.send(json.dumps(HELLO))
        async for text in connection:
            self.got.append(json.loads(text))
            for message in self.answer(self.got[-1]):
                await connection.send(json.dumps(message))


async def until(changed: asyncio.Event, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            changed.clear()
            await changed.wait()


def shows(message: dict[str, Any]) -> list[dict[str, Any]]:
    full = {"t": "full", "s": 9, "v": 1, "at": 6_000, "head": {"total": 1}, "rows": [{"k": "a"}]}
    return [{"t": "sub", "id": message["id"], "s": 9}, full] if message["op"] == "sub" else []


async def test_a_lost_connection_is_resumed_by_asking_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rows stay as of their time while the connection is lost, and come whole after it."""
    monkeypatch.setattr(coming_back, "RESTART_JITTER_SEC", 0.1)
    script, changed = Scripted(shows), asyncio.Event()
    async with serve(script, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        feed = ViewFeed(f"http://127.0.0.1:{port}", "", changed.set)
        tasks = feed.subscribe("tasks", {"count": 1, "project": None})
        running = asyncio.create_task(feed.run())
        await until(changed, lambda: tasks.shown is not None)
        assert script.got == [{"op": "sub", "id": 1, "view": "tasks", "params": {"count": 1}}]
        await script.connections[0].close(1012, "restarting")
        await until(changed, lambda: feed.connection.kind == "lost")
        assert feed.connection == Connection("lost", "restarting")
        assert tasks.shown is not None
        assert feed.now() == 6_000
        await until(changed, lambda: len(script.connections) == 2 and not tasks.is_awaited)
        assert feed.connection.kind == "live"
        assert feed.now() >= 6_000
        feed.hold(on=True)
        feed.hold(on=False)
        feed.unsubscribe(tasks)
        async with asyncio.timeout(10):
            while len(script.got) < 5:
                await asyncio.sleep(0.01)
        assert [message["op"] for message in script.got[2:]] == ["hold", "hold", "unsub"]
        running.cancel()


async def test_a_refused_view_says_its_sentence() -> None:
    """The sentence stays with the subscription; another view is asked for under its number."""

    def answer(message: dict[str, Any]) -> list[dict[str, Any]]:
        if message["view"] == "lines":
            refused = {"t": "refused", "id": message["id"], "why": "params", "detail": "no right"}
            return [refused]
        return [*shows(message), {"t": "change", "s": 9, "v": 3, "at": 7_000}]

    script, changed = Scripted(answer), asyncio.Event()
    async with serve(script, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        feed = ViewFeed(f"http://127.0.0.1:{port}", "", changed.set)
        running = asyncio.create_task(feed.run())
        lines = feed.subscribe("lines", {"task": "t"})
        await until(changed, lambda: lines.refusal == "no right")
        feed.subscribe("tasks", {}, lines)
        # A change is missing each time, so the view is asked for again and again.
        await until(changed, lambda: len(script.got) > 3)
        assert lines.refusal == ""
        assert {message["id"] for message in script.got} == {1}
        running.cancel()


async def test_a_collector_that_refuses_is_not_tried_again() -> None:
    """Another protocol, and a close code of 44xx, end the feed with their reason."""
    feed = ViewFeed("http://127.0.0.1:1", "", lambda: None)

    async def wrong(connection: ServerConnection) -> None:
        await connection.send(json.dumps({**HELLO, "protocol": 2}))
        await connection.wait_closed()

    async def revoked(connection: ServerConnection) -> None:
        await connection.close(4401, "authentication required")

    for serving, why in ((wrong, "another version"), (revoked, "authentication required")):
        async with serve(serving, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            feed = ViewFeed(f"http://127.0.0.1:{port}", "t0ken", lambda: None)
            async with asyncio.timeout(10):
                await feed.run()
            assert feed.connection.kind == "refused"
            assert why in feed.connection.why
