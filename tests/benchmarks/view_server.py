"""
A collector in a process of its own for ``bench_views`` and ``bench_dashboard``.

It is real uvicorn, and takes in events at the rate that it is asked for.

It holds 400 research tasks, one of them a tree of 50,000 nodes in 8 levels; half of all new events
go into that one. Events are given to the reader in this process, so that no log limits the rate,
and what that costs is counted apart. The bench writes JSON lines to it and reads JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from otel_bridge_collector.app import create_app, make_server
from otel_bridge_collector.commands.serve import _tune_garbage_collector
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.clock import SYSTEM_CLOCK, iso_utc
from otel_bridge.settings import BridgeSettings

__all__ = ["BIG", "NODES", "TASKS", "Load"]

BIG: Final = "task-0"
"""The task with the large tree."""
TASKS: Final = 400
NODES: Final = 50_000
"""Of that tree, at first."""
_LEVELS: Final = 8
_SMALL_TASK_JOBS: Final = 10
_LAST_RUNNING: Final = 8
"""Jobs that run at once directly below the large task."""
_PROBE_SEC: Final = 0.01
_FEED_SEC: Final = 0.02


class Load:
    """
    The events of tasks, phases and jobs, each with its position, as the log's reader gets them.

    Args:
        epoch: Of the positions.
    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._random = random.Random(7)
        self._number = 0
        self._spans = 0
        self._parents: list[list[tuple[int, int]]] = [[] for _ in range(TASKS)]
        self._open: list[tuple[int, int, int]] = []
        self._last: deque[tuple[int, int]] = deque()
        self._last_due = 0.0

    def task(self, task: int) -> Iterator[tuple[str, bytes]]:
        """Start a research task."""
        self._spans += 1
        self._parents[task].append((self._spans, 1))
        name = f"task-{task}"
        title = f'"title":"Schools of district {task}"'
        yield self._event("task_started", task, self._spans, None, name, f'"meta":{{{title}}}')

    def phase(self, task: int) -> Iterator[tuple[str, bytes]]:
        """Start a phase somewhere in a task's tree."""
        parent, level = self._random.choice(self._parents[task])
        self._spans += 1
        if level < _LEVELS - 1:
            self._parents[task].append((self._spans, level + 1))
        more = f'"phase":"part {self._spans % 50}"'
        yield self._event("phase_started", task, self._spans, parent, None, more)

    def start(self, task: int) -> Iterator[tuple[str, bytes]]:
        """Start a job somewhere in a task's tree."""
        parent, _ = self._random.choice(self._parents[task])
        self._spans += 1
        self._open.append((task, self._spans, parent))
        yield self._job("task_started", task, self._spans, parent)

    def end(self) -> Iterator[tuple[str, bytes]]:
        """End a job that runs; one of 100 fails."""
        index = self._random.randrange(len(self._open))
        self._open[index], self._open[-1] = self._open[-1], self._open[index]
        task, span, parent = self._open.pop()
        if span % 100:
            yield self._job("task_completed", task, span, parent)
        else:
            error = f'"error":"TimeoutError: source {span % 20} did not answer",'
            yield self._job("task_failed", task, span, parent, error)

    def _job(
        self, kind: str, task: int, span: int, parent: int, more: str = ""
    ) -> tuple[str, bytes]:
        fields = f'{more}"task_type":"search","worker_id":"w-{span % 16}"'
        return self._event(kind, task, span, parent, f"task-{task}:{span}", fields)

    def _event(
        self, kind: str, task: int, span: int, parent: int | None, name: str | None, more: str
    ) -> tuple[str, bytes]:
        self._number += 1
        position = f"{self._epoch}:{self._number + 1000}"
        named = f'"task_id":"{name}",' if name else ""
        under = f'"parent_span_id":"{parent:016x}",' if parent else ""
        text = (
            f'{{"position":"{position}","event_id":"{self._number:032x}",'
            f'"ts":"{iso_utc(SYSTEM_CLOCK.time_ns())}","event_type":"{kind}",'
            f'"project_id":"p{task % 10}","parent_task_id":"task-{task}",'
            f'"trace_id":"{task + 1:032x}",{named}{under}"span_id":"{span:016x}",{more}}}'
        )
        return position, text.encode()

    def beginning(self, nodes: int = NODES, tasks: int = TASKS) -> Iterator[tuple[str, bytes]]:
        """All tasks, and a tree of so many nodes in the first."""
        for task in range(tasks):
            yield from self.task(task)
            for _ in range(_SMALL_TASK_JOBS):
                yield from self.start(task)
                yield from self.end()
        for node in range(nodes):
            if node % 20 == 0:
                yield from self.phase(0)
            else:
                yield from self.start(0)
                if node % 40:
                    yield from self.end()

    def last(self) -> Iterator[tuple[str, bytes]]:
        """Start or end a job directly below the large task: its row is among the last."""
        if len(self._last) < _LAST_RUNNING:
            self._spans += 1
            root = self._parents[0][0][0]
            self._last.append((self._spans, root))
            yield self._job("task_started", 0, self._spans, root)
        else:
            yield self._job("task_completed", 0, *self._last.popleft())

    def some(self, count: int, last: float = 0.0) -> Iterator[tuple[str, bytes]]:
        """
        So many events of jobs that start and end, half of them in the large tree.

        Args:
            count: How many.
            last: The share of them that is of its last rows.
        """
        for number in range(count):
            self._last_due += last
            if self._last_due >= 1:
                self._last_due -= 1
                yield from self.last()
            elif number % 2 and self._open:
                yield from self.end()
            else:
                yield from self.start(0 if number % 4 else self._random.randrange(TASKS))


class _Server:
    """Feeds events, measures, and does what the bench asks for."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._load = Load(collector.ring.last_position.partition(":")[0])
        self._rate = 0
        self._last = 0.0
        self._hz = 0.0
        self._due = 0.0
        self._feed_cpu = 0.0
        self._late: list[float] = []
        self._ticks: list[float] = []
        hub = collector.views_hub
        self._tick, hub.tick = hub.tick, self._timed_tick  # type: ignore[method-assign]

    def _timed_tick(self) -> float:
        started = time.process_time()
        delay_sec = self._tick()
        self._ticks.append((time.process_time() - started) * 1e3)
        if not self._hz:
            return delay_sec
        now = time.monotonic()
        self._due = max(self._due + 1 / self._hz, now)
        return self._due - now

    def _take(self, entries: list[Any]) -> None:
        started = time.process_time()
        self._collector.feed._take(entries)
        self._feed_cpu += time.process_time() - started

    def prepare(self) -> None:
        """Fold the beginning."""
        self._collector.feed._take(list(self._load.beginning()))  # type: ignore[arg-type]
        _tune_garbage_collector()

    async def feed(self) -> None:
        """Give the reader events at the rate asked for."""
        due = 0.0
        last = time.monotonic()
        while True:
            await asyncio.sleep(_FEED_SEC)
            now = time.monotonic()
            due += self._rate * (now - last)
            # What a busy machine was late for is not made up for: that would make it later still.
            last, count = now, min(int(due), self._rate // 10)
            due -= int(due)
            started = time.process_time()
            entries = list(self._load.some(count, self._last))
            self._feed_cpu += time.process_time() - started
            self._take(entries)

    async def probe(self) -> None:
        """Note how late a timer of 10 ms is called: all others wait as long."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PROBE_SEC
            await asyncio.sleep(_PROBE_SEC)
            self._late.append((loop.time() - due) * 1e3)

    async def answer(self) -> None:
        """Read the bench's lines until it closes the pipe."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            asked = json.loads(line)
            self._rate = asked.get("rate", self._rate)
            self._last = asked.get("last", self._last)
            self._hz = asked.get("hz", self._hz)
            print(json.dumps(self._figures()), flush=True)

    def _figures(self) -> dict[str, Any]:
        """What was counted since the last time, and the processor's time so far."""
        hub = self._collector.views_hub
        late, self._late = sorted(self._late), []
        ticks, self._ticks = self._ticks, []
        return {
            "wall": time.monotonic(),
            "cpu": time.process_time(),
            "feed": self._feed_cpu,
            "ticks": len(ticks),
            "longest_tick": max(ticks, default=0.0),
            "late_p99": late[int(len(late) * 0.99)] if late else 0.0,
            "events": self._collector.stats.events_in,
            "groups": hub.group_count,
            "subscribed": sum(bool(session.subscriptions) for session in hub._sessions),
            "skipped": hub.counters.skipped,
            "closed": hub.counters.slow_closed,
            "errors": hub.counters.errors,
        }


async def _serve() -> None:
    settings = CollectorSettings(
        port=0,
        address_max_connections=5000,
        token_max_connections=5000,
        connects_per_sec=0,
        stats_interval_sec=3600,
    )
    app = create_app(settings, BridgeSettings(bus_url="memory://bench-views"))
    server = make_server(app, settings)
    serving = asyncio.create_task(server.serve())
    await server.is_up.wait()
    running = _Server(app.state.collector)
    running.prepare()
    tasks = [asyncio.create_task(running.feed()), asyncio.create_task(running.probe())]
    print(json.dumps({"port": server.servers[0].sockets[0].getsockname()[1]}), flush=True)
    await running.answer()
    for task in tasks:
        task.cancel()
    server.should_exit = True
    await serving


def main() -> None:
    """Serve until the bench closes the pipe."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
