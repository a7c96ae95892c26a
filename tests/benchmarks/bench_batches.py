"""
What an event costs Redis by the size of its batch, and what lingering saves a crowd of publishers.

``python -m tests.benchmarks batches``, 20 s; needs a redis-server. Costs are CPU time of Redis'
main thread by ``INFO cpu``, for scripts of the product with its own arguments. Many connections are
kept busy, as in a crowd: with one busy connection each script also pays for a look at an idle
socket. Rounds of all cases alternate; rows are medians.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Final

import redis

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import _SCRIPT_SHA, RedisSender
from otel_bridge.settings import BridgeSettings
from tests.benchmarks.redis_cpu import main_thread_sec
from tests.benchmarks.results import row
from tests.support.redis_server import RedisServer

_ROUNDS: Final = 7
_SIZES: Final = (1, 4, 16, 64, 256)
_CONNECTIONS: Final = 50
_CROWDS: Final = (50, 200)
_RATE: Final = 100.0
"""Events a second of one publisher of the crowd: two jobs in progress a second make so many."""
_FLUSH_MS: Final = 3.0
_LINGER_MS: Final = 50.0
_EVENTS: Final = 10_000

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


class _Crowd:
    """Publishers, each with a connection of its own and at most one script under way."""

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
        """Microseconds of Redis' CPU an event."""
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
        if number in busy or len(group) == _CONNECTIONS:
            yield group
            group, busy = [], set()
        group.append((number, command))
        busy.add(number)
    yield group


def _sends(publishers: int, wait_ms: float) -> list[Send]:
    """
    What publishers with events at random send, in order of time.

    As the bus does: an event that finds none waiting is sent with all that come after it within the
    wait.
    """
    found: list[tuple[float, int, int]] = []
    for number in range(publishers):
        numbers = random.Random(number)
        now, until, size = 0.0, -1.0, 0
        for _ in range(_EVENTS // publishers):
            now += numbers.expovariate(_RATE)
            if now > until and size:
                found.append((until, number, size))
                size = 0
            if not size:
                until = now + wait_ms / 1000
            size += 1
        found.append((until, number, size))
    return [(number, size) for _, number, size in sorted(found)]


def main() -> None:
    """Measure both; print and keep the rows."""
    cases: dict[str, list[Send]] = {
        f"{size}": [
            (number % _CONNECTIONS, size) for number in range(max(_EVENTS // size, _CONNECTIONS))
        ]
        for size in _SIZES
    }
    cases["alone"] = [(0, 1)] * _EVENTS
    for crowd in _CROWDS:
        for wait_ms in (_FLUSH_MS, _LINGER_MS):
            cases[f"{crowd} {wait_ms:g}"] = _sends(crowd, wait_ms)
    costs: dict[str, list[float]] = {name: [] for name in cases}
    with ExitStack() as stack:
        made = _Crowd(stack.enter_context(RedisServer()), stack)
        for sends in cases.values():
            made.cost(sends)
        for _ in range(_ROUNDS):
            for name, sends in cases.items():
                costs[name].append(made.cost(sends))

    def ratios(over: str, under: str) -> list[float]:
        return [a / b for a, b in zip(costs[over], costs[under], strict=True)]

    print(f"Redis' CPU an event, {_CONNECTIONS} busy connections, nobody subscribed")
    for size in _SIZES:
        row(
            f"Redis: an event in a batch of {size}, {_CONNECTIONS} connections, us",
            costs[f"{size}"],
        )
    row("Redis: an event in a batch of 1, one connection, us", costs["alone"])
    row("Redis: an event in a batch of 1 / in one of 256", ratios("1", "256"))
    row("Redis: an event in a batch of 4 / in one of 256", ratios("4", "256"))
    print(f"a crowd of publishers with {_RATE:g} events/s each, at random")
    for crowd in _CROWDS:
        without, lingering = f"{crowd} {_FLUSH_MS:g}", f"{crowd} {_LINGER_MS:g}"
        for name, text in ((without, "no linger"), (lingering, f"{_LINGER_MS:g} ms")):
            mean = statistics.mean(size for _, size in cases[name])
            row(f"{crowd} publishers, {text}: batches of {mean:.1f}, us an event", costs[name])
        row(f"{crowd} publishers: Redis' CPU without / with linger", ratios(without, lingering))
    for name, text in ((f"200 {_FLUSH_MS:g}", "no linger"), (f"200 {_LINGER_MS:g}", "50 ms")):
        row(
            f"computed: 1,000 publishers, {text}: Redis cores",
            [cost * 1000 * _RATE / 1e6 for cost in costs[name]],
        )


if __name__ == "__main__":
    main()
