"""
A crowd of publishers for one Redis: the product's script with its arguments, from many connections.

One process stands for hundreds of them, which the machine of a test could not run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import redis

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import _SCRIPT_SHA, RedisSender
from otel_bridge.settings import BridgeSettings
from tests.support.redis_cpu import main_thread_sec
from tests.support.redis_server import RedisServer

__all__ = ["BUSY", "Crowd", "Send", "sends_of"]

BUSY = 50
"""So many connections have a script under way at a time."""

Send = tuple[int, int]
"""The number of a connection, and how many events it sends at once."""


class _Recorder(RedisSender):
    """Keeps the arguments of the script instead of calling it."""

    arguments: list[Any]

    def _run(self, arguments: list[Any]) -> Any:
        self.arguments = arguments
        return [b"none", b"0-0", 0, 0, 0]


def _events() -> list[Outgoing]:
    return [
        Outgoing(
            MonitoringEvent(
                event_type=MonitoringEventType.TASK_COMPLETED,
                project_id=f"proj_{number % 7}",
                parent_task_id="6ba529d4",
                task_id=f"6ba5_search_{number}",
                task_type="data_aggregation_search",
                phase="search",
                worker_id=3,
                duration_ms=123.4,
            ).to_json(),
            f"proj_{number % 7}",
        )
        for number in range(256)
    ]


class Crowd:
    """
    Publishers, each with a connection of its own and at most one script under way.

    Args:
        server: Whose log they append to.
        stack: Closes the connections.
    """

    def __init__(self, server: RedisServer, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self._recorder = _Recorder(server.url, BridgeSettings(redis_url=server.url))
        self._client = stack.enter_context(server.client())
        with closing(RedisSender(server.url, self._recorder._settings)) as sender:
            sender.send("first", 1, [Outgoing(b'{"event_type":"task_started"}', None)])
        self._events = _events()
        self._connections: list[Any] = []
        self._next_n: list[int] = []

    def _connect(self, count: int) -> None:
        while len(self._connections) < count:
            connect: Any = redis.Connection  # it has no types
            connection = connect(port=self._server.port, socket_timeout=60)
            connection.connect()
            self._stack.callback(connection.disconnect)
            self._connections.append(connection)
            self._next_n.append(1)

    def _packed(self, number: int, size: int) -> Any:
        self._recorder.send(f"bench-{number}", self._next_n[number], self._events[:size])
        self._next_n[number] += size
        return self._connections[number].pack_command(
            "EVALSHA", _SCRIPT_SHA, *self._recorder.arguments
        )

    def cost(self, sends: Sequence[Send]) -> float:
        """Send all of it as fast as Redis takes it; microseconds of Redis' CPU an event."""
        self._connect(max(number for number, _ in sends) + 1)
        packed = [(number, self._packed(number, size)) for number, size in sends]
        started = main_thread_sec(self._client)
        for group in _groups(packed):
            for number, command in group:
                self._connections[number].send_packed_command(command)
            for number, _ in group:
                self._connections[number].read_response()
        spent = main_thread_sec(self._client) - started
        return spent * 1e6 / sum(size for _, size in sends)


def _groups(packed: Sequence[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    """Commands in their order, so many at a time that no connection has two."""
    group: list[tuple[int, Any]] = []
    busy: set[int] = set()
    for number, command in packed:
        if number in busy or len(group) == BUSY:
            yield group
            group, busy = [], set()
        group.append((number, command))
        busy.add(number)
    yield group


def sends_of(publishers: int, wait_ms: float, *, rate: float, events: int) -> list[Send]:
    """
    What publishers with events at random send, in order of time.

    As the bus does: an event that finds none waiting is sent with all that come after it within the
    wait.

    Args:
        publishers: Each has as many events.
        wait_ms: The flush interval, or a longer linger.
        rate: Events a second of one publisher.
        events: Of all publishers.
    """
    found: list[tuple[float, int, int]] = []
    for number in range(publishers):
        numbers = random.Random(number)
        now, until, size = 0.0, -1.0, 0
        for _ in range(events // publishers):
            now += numbers.expovariate(rate)
            if now > until and size:
                found.append((until, number, size))
                size = 0
            if not size:
                until = now + wait_ms / 1000
            size += 1
        found.append((until, number, size))
    return [(number, size) for _, number, size in sorted(found)]
