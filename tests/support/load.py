"""Numbered events at a steady rate, and what became of them."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from typing import Self

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.redis_server import RedisServer

__all__ = ["Load", "numbers_in_log"]


class Load:
    """
    Publishes events 0, 1, 2, ... of one worker from a thread of its own.

    Args:
        bus: Where to.
        name: The worker, so that several loads can be told apart.
        per_sec: Events a second.
    """

    def __init__(self, bus: EventBus, name: str = "w", per_sec: int = 1000) -> None:
        self._bus = bus
        self._name = name
        self._per_sec = per_sec
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = 0

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> int:
        """Stop; return how many were published."""
        self._is_stopping.set()
        self._thread.join()
        return self.count

    def event(self, number: int) -> MonitoringEvent:
        """The event of a number; another load has others."""
        return MonitoringEvent(
            event_type=MonitoringEventType.TASK_STARTED,
            worker_id=self._name,
            task_id=str(number),
        )

    def note_round(self) -> None:
        """Called after each few of them; another load may note how many there are."""

    def _run(self) -> None:
        began = time.monotonic()
        while not self._is_stopping.is_set():
            due = int((time.monotonic() - began) * self._per_sec)
            while self.count < due:
                self._bus.publish(self.event(self.count))
                self.count += 1
            self.note_round()
            self._is_stopping.wait(0.002)


def numbers_in_log(server: RedisServer) -> dict[str, list[int]]:
    """The events' numbers in the order of the stream, by worker."""
    found: dict[str, list[int]] = defaultdict(list)
    with server.client() as client:
        for _, fields in client.xrange(DEFAULT_KEYS.log_stream()):
            event = json.loads(fields[b"e"])
            found[str(event["worker_id"])].append(int(event["task_id"]))
    return found
