"""WebSocket clients for tests: collecting, resuming, and one that never reads."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

__all__ = ["Listener", "ResumingClient", "events_of", "open_silent_client", "stream_url"]


def stream_url(base: str, **parameters: Any) -> str:
    """The WebSocket's address with these query parameters; None leaves one out."""
    query = {name: value for name, value in parameters.items() if value is not None}
    return f"{base}?{urlencode(query)}" if query else base


def events_of(message: str | bytes) -> list[dict[str, Any]]:
    """The items of one message, events and control messages, batched or not."""
    found = json.loads(message)
    return found if isinstance(found, list) else [found]


class Listener:
    """
    One connection that collects everything it gets, in a task of its own.

    Use as an async context manager.
    """

    def __init__(self, url: str, **parameters: Any) -> None:
        self._url = stream_url(url, **parameters)
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self.items: list[dict[str, Any]] = []
        self.messages = 0
        self.close_code: int | None = None
        self.close_reason = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [item for item in self.items if "event_type" in item]

    @property
    def controls(self) -> list[dict[str, Any]]:
        return [item for item in self.items if "event_type" not in item]

    async def until(self, condition: Callable[[Listener], object], timeout_sec: float = 20) -> None:
        """Wait until the condition holds of this listener."""
        async with asyncio.timeout(timeout_sec):
            while not condition(self):
                await asyncio.sleep(0.002)

    async def __aenter__(self) -> Listener:
        self._socket = await connect(self._url, max_size=None, compression=None)
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._socket is not None
        assert self._task is not None
        await self._socket.close()
        await self._task

    async def _collect(self) -> None:
        assert self._socket is not None
        try:
            async for message in self._socket:
                self.messages += 1
                self.items += events_of(message)
        except ConnectionClosed:
            pass
        self.close_code = self._socket.close_code
        self.close_reason = self._socket.close_reason or ""


class ResumingClient:
    """
    Reconnects for ever and resumes where it was, as the dashboard does.

    Args:
        urls: Collectors, tried in turn.
        parameters: Of the query, beside ``since``.
    """

    def __init__(self, urls: list[str], **parameters: Any) -> None:
        self._urls = urls
        self._parameters = parameters
        self.positions: list[str] = []
        self.task_ids: list[str] = []
        self.gaps: list[str] = []
        self.connects = 0
        self._since: str | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_following(self) -> bool:
        """Whether it misses nothing from now on; with a snapshot once that has come."""
        return self._since is not None if "snapshot" in self._parameters else self.connects > 0

    def start(self) -> ResumingClient:
        self._task = asyncio.create_task(self._run())
        return self

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        turn = 0
        while True:
            url = stream_url(
                self._urls[turn % len(self._urls)], since=self._since, **self._parameters
            )
            turn += 1
            try:
                async with connect(url, max_size=None, compression=None) as found:
                    self.connects += 1
                    async for message in found:
                        self._take(events_of(message))
            except (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, TimeoutError):
                pass
            await asyncio.sleep(0.05)

    def _take(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            if item.get("type") == "gap":
                self.gaps.append(item["reason"])
            if "event_type" in item and item.get("task_id") is not None:
                self.task_ids.append(item["task_id"])
                self.positions.append(item["position"])
            if item.get("position"):
                self._since = item["position"]


def open_silent_client(port: int, path: str = "/ws/monitor") -> socket.socket:
    """A client that shakes hands and then reads nothing, with small socket buffers."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = client.recv(64)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return client
