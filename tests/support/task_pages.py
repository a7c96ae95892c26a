"""Tasks that start at a steady rate, and pages that note what the view ``tasks`` said of them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from tests.support.load import Load
from tests.support.view_client import ViewClient

__all__ = ["Page", "TaskLoad"]


class TaskLoad(Load):
    """Starts tasks 0, 1, 2, ... and notes when how many had been started."""

    def __init__(self, bus: EventBus, per_sec: int) -> None:
        super().__init__(bus, per_sec=per_sec)
        self.counts: list[tuple[float, int]] = []

    def event(self, number: int) -> MonitoringEvent:
        name = str(number)
        fields = {"event_type": "task_started", "parent_task_id": name, "task_id": name}
        return MonitoringEvent.model_validate(fields)

    def note_round(self) -> None:
        self.counts.append((time.monotonic(), self.count))

    def started_before(self, at: float) -> int:
        """How many had been started by then."""
        return max((count for when, count in self.counts if when <= at), default=0)


class Page:
    """A client of ``/ws/views`` that reconnects, and notes what each message of a view said."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[float, int, bool]] = []
        """When, how many tasks, and whether the view was partial."""

    async def run(self) -> None:
        while True:
            try:
                async with connect(f"{self.url}/ws/views", max_size=None) as connection:
                    await connection.send('{"op":"sub","id":1,"view":"tasks","params":{"count":5}}')
                    await self._follow(connection)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                await asyncio.sleep(0.05)

    async def _follow(self, connection: Any) -> None:
        shown, partial = ViewClient(), False
        async for text in connection:
            message = json.loads(text)
            shown.take(message)
            if message["t"] == "full":
                partial = "partial" in message
            elif message["t"] == "change" and "partial" in message:
                partial = message["partial"] is not None
            if message["t"] in ("full", "change"):
                total = shown.view(1).head["total_all"]
                self.seen.append((time.monotonic(), total, partial))
