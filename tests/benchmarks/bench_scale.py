"""
How costs grow with what there is: exponents of growth, from 0 (not at all) to 1 (in proportion).

``python -m tests.benchmarks scale``; it also runs the rows of several processes and shards, so it
needs a redis-server. An exponent is the slope of
the logarithm of the cost over the logarithm of the size, by least squares over all sizes. All sizes
of a row are measured in turn in one run, so a busy machine changes an exponent little.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.ring import Entry, ReplayRing
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.views.catalog import Views, parse_query
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.filters import EventFilter

from otel_bridge.clock import SYSTEM_CLOCK
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.benchmarks import (
    bench_batches,
    bench_cluster,
    bench_cluster_parts,
    bench_shard_reads,
    bench_shards,
)
from tests.benchmarks.bench_fanout import EVENT
from tests.benchmarks.bench_hub import NullSink
from tests.benchmarks.results import row
from tests.support.redis_server import RedisServer

__all__ = ["exponent", "main"]

_ROUNDS: Final = 5
_TICKS: Final = 200
_EVENTS: Final = 4096


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """
    Return by which power of the size the cost grows: the slope in logarithms, by least squares.

    Args:
        sizes: At least two different ones, over 0.
        costs: One of each size, over 0.
    """
    xs, ys = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    return statistics.linear_regression(xs, ys).slope


def _grown(
    name: str, sizes: Sequence[int], cost: Callable[[int], float], goal: str, unit: str = "us"
) -> None:
    """Measure each size in turn, and print the costs and their exponent."""
    found: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(_ROUNDS):
        for size in sizes:
            gc.collect()
            found[size].append(cost(size))
    slopes = [exponent(sizes, costs) for costs in zip(*found.values(), strict=True)]
    shown = ", ".join(f"{size}: {statistics.median(found[size]):,.2f}" for size in sizes)
    print(f"  {name}, {unit}: {shown}")
    row(f"scale: {name}, exponent", slopes, goal)


# --- folding and views ---------------------------------------------------------------------------


def _event(at_us: int, kind: str, **fields: Any) -> Event:
    ts = datetime.fromtimestamp(at_us / 1e6, UTC)
    return Event(ts=ts, event_type=kind, event_id=str(uuid.uuid4()), **fields)


def _filled(jobs: int, at_us: int) -> Fold:
    """So many running jobs in a tenth as many tasks, of 20 workers."""
    model = Fold()
    for job in range(jobs):
        task = f"task-{job // 10}"
        started = _event(
            at_us, "task_started", parent_task_id=task, task_id=f"{task}-{job}", worker_id=job % 20
        )
        model.apply(started, at_us)
    model.sweep(at_us)
    return model


def _fold_us(jobs: int) -> float:
    """The processor's time of one more event, with so many jobs held."""
    at_us = SYSTEM_CLOCK.time_ns() // 1000
    model = _filled(jobs, at_us)
    later = [
        _event(
            at_us + 1,
            "task_completed",
            parent_task_id=f"task-{job // 10}",
            task_id=f"task-{job // 10}-{job}",
        )
        for job in range(0, jobs, jobs // 1000)
    ]
    began = time.process_time()
    for event in later:
        model.apply(event, at_us + 1)
    return (time.process_time() - began) * 1e6 / len(later)


def _window_us(view: str, changed: int = 10) -> Callable[[int], float]:
    """The processor's time of a tick of one view after some tasks of the held ones changed."""

    def cost(jobs: int) -> float:
        at_us = SYSTEM_CLOCK.time_ns() // 1000
        model = _filled(jobs, at_us)
        state = ViewState(model)
        views, query = Views(state), parse_query(view, {})
        state.refresh(at_us)
        views.window(query, None)
        spent = 0.0
        for tick in range(1, 21):
            now = at_us + tick * 250_000
            for task in range(changed):
                started = _event(
                    now, "task_started", parent_task_id=f"task-{task}", task_id=f"t{task}-{tick}"
                )
                model.apply(started, now)
            began = time.process_time()
            state.refresh(now)
            views.window(query, None)
            spent += time.process_time() - began
        return spent * 1e6 / 20

    return cost


# --- raw clients ---------------------------------------------------------------------------------


def _broadcast_us(clients: int, filters: int) -> float:
    """The processor's time of a tick of 8 events."""
    ring = ReplayRing("", 20_000)
    hub = Hub(ring, limit_bytes=1 << 22, timeout_sec=8, make_snapshot=lambda _: b"{}")
    for number in range(clients):
        projects = {} if filters == 1 else {"project_id": f"proj_{number % filters}"}
        hub.join(ClientSession(NullSink(), EventFilter.parse(projects)))
    data = EVENT.encode()
    began = time.process_time()
    for tick in range(_TICKS):
        entries = [
            Entry(None, data, "task_completed", f"proj_{(tick + n) % filters}") for n in range(8)
        ]
        for entry in entries:
            ring.append(entry)
        hub.broadcast(entries)
    return (time.process_time() - began) * 1e6 / _TICKS


# --- batches -------------------------------------------------------------------------------------


def _batches() -> None:
    """What an event costs Redis by the size of its batch, from one connection."""
    with RedisServer() as server, server.client() as client:
        sender = RedisSender(server.url, BridgeSettings(bus_url=server.url))
        event = Outgoing(EVENT.encode(), "proj_1")

        def cpu() -> float:
            used: Any = client.info("cpu")
            return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])

        def cost(size: int) -> float:
            count = max(_EVENTS // size, 512)
            before = cpu()
            for _ in range(count):
                sender.send(f"bench-{size}", first[size], [event] * size)
                first[size] += size
            return (cpu() - before) * 1e6 / (count * size)

        first = dict.fromkeys((1, 4, 16, 64, 256), 1)
        _grown("Redis' CPU of an event over its batch", tuple(first), cost, "<= -0.4")
        sender.close()


def main() -> None:
    """Print the rows."""
    print("folding: the processor's time of one event, by jobs held")
    # Not 0: what is held no longer fits the processor's caches.
    _grown("fold one event over jobs held", (2000, 8000, 32_000), _fold_us, "<= 0.3")
    print("views: a tick in which 10 tasks changed, by jobs held")
    _grown("overview over jobs held", (1000, 4000, 16_000), _window_us("overview"), "<= 1")
    _grown("tasks over jobs held", (1000, 4000, 16_000), _window_us("tasks"), "<= 1.1")
    print("raw clients: a tick of 8 events")
    clients = (100, 400, 1600)
    _grown("broadcast over clients", clients, lambda n: _broadcast_us(n, 1), "<= 1")
    _grown("broadcast over filters", (10, 40, 160), lambda n: _broadcast_us(1600, n), "<= 1")
    _batches()
    for bench in (
        bench_batches,
        bench_cluster,
        bench_cluster_parts,
        bench_shards,
        bench_shard_reads,
    ):
        bench.main()


if __name__ == "__main__":
    main()
