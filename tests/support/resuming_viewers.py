"""Clients of ``/ws/views`` that connect again for ever, in a thread of their own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.support.app_server import fetch
from tests.support.view_client import ViewClient

__all__ = ["ResumingViewer", "ResumingViewers", "Subscription", "fresh"]

_RETRY_SEC = 0.2

Subscription = tuple[str, dict[str, Any]]
"""The name of a view and its parameters."""


def fresh(url: str, view: str, params: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Head and rows of a view as the collector answers now, over HTTP."""
    answer = fetch(f"{url}/monitor/views/{view}?params={quote(json.dumps(params))}")
    assert answer.status == 200, answer.body
    found = answer.json()
    return found["head"], found["rows"]


class ResumingViewer:
    """
    One client: asks for all its views on every connection, as the page does.

    Args:
        url: Of ``/ws/views``.
        subscriptions: What it asks for; the number of each is its place in the list.

    Attributes:
        client: What it shows on the newest connection.
        connects: How many connections it had.
        doubles: Keys that one message or one window had twice.
    """

    def __init__(self, url: str, subscriptions: list[Subscription]) -> None:
        self._url = url
        self.subscriptions = subscriptions
        self.client = ViewClient()
        self.connects = 0
        self.doubles: list[str] = []

    @property
    def is_complete(self) -> bool:
        """Whether the newest connection has shown every view once."""
        return all(self.client.view(number).fulls for number in range(len(self.subscriptions)))

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        while True:
            try:
                async with connect(self._url, max_size=None) as connection:
                    await self._follow(connection)
            except (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, TimeoutError):
                pass
            await asyncio.sleep(_RETRY_SEC)

    async def _follow(self, connection: ClientConnection) -> None:
        self.client = ViewClient()
        self.connects += 1
        for number, (view, params) in enumerate(self.subscriptions):
            message = {"op": "sub", "id": number, "view": view, "params": params}
            await connection.send(json.dumps(message))
        async for text in connection:
            message = json.loads(text)
            self.client.take(message)
            keys = [row["k"] for row in message.get("rows", [])]
            self._note_doubles(keys)

    def _note_doubles(self, keys: list[str]) -> None:
        if len(set(keys)) < len(keys):
            self.doubles += [key for key, count in Counter(keys).items() if count > 1]


class ResumingViewers:
    """
    Several such clients; use as a context manager.

    Their attributes may be read from the test's thread while no view changes.
    """

    def __init__(self, url: str, subscriptions: list[list[Subscription]]) -> None:
        self.viewers = [ResumingViewer(url, each) for each in subscriptions]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="viewers", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    @property
    def are_complete(self) -> bool:
        """Whether each has shown all its views on its newest connection."""
        assert self._failure is None, self._failure
        return all(viewer.is_complete for viewer in self.viewers)

    def missing(self) -> list[tuple[int, Subscription, list[dict[str, Any]]]]:
        """Of each client: which views its connection has not shown, and what came instead."""
        return [
            (number, subscription, [one for one in viewer.client.others if one["t"] != "tick"])
            for number, viewer in enumerate(self.viewers)
            for place, subscription in enumerate(viewer.subscriptions)
            if not viewer.client.view(place).fulls
        ]

    def shown(self, viewer: int, subscription: int) -> tuple[dict[str, Any], list[Any]]:
        """Head and rows that a client shows now; its keys are checked to be each there once."""

        async def look() -> tuple[dict[str, Any], list[Any]]:
            view = self.viewers[viewer].client.view(subscription)
            assert len(set(view.keys)) == len(view.keys), "a row is doubled"
            return view.shown

        return asyncio.run_coroutine_threadsafe(look(), self._loop).result(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._tasks = [self._loop.create_task(viewer.run()) for viewer in self.viewers]
        for task in self._tasks:
            task.add_done_callback(self._note_end)
        self._loop.run_forever()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async def stop() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()
