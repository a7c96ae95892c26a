"""
One process' part of ``bench_collector``: fold two workloads with the code on PYTHONPATH.

``python folding.py time|memory plain|spans`` prints JSON. It needs nothing but a collector, so that
it runs with the code of an earlier commit too: the same bytes, with positions as the log's script
makes them, through the reader's whole way (decode, fold, count, ring).

``plain``: 50,000 jobs of 1,000 research tasks by a publisher without spans, four events each.
``spans``: the same jobs as our own spans report them: an enqueue and two attempts each, in a phase
of a research task; 152,000 nodes.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, Final

TASKS: Final = 1000
JOBS_PER_TASK: Final = 50
JOBS: Final = TASKS * JOBS_PER_TASK
_CHUNK: Final = 1000
_BLOCK: Final = 64
_EPOCH: Final = datetime(2026, 11, 28, 12, tzinfo=UTC)
_STEP_US: Final = 50
"""Between two events: 20,000 a second."""

_PLAIN: Final[tuple[tuple[str, str, dict[str, float]], ...]] = (
    ("task_enqueued", "pending", {}),
    ("task_started", "processing", {}),
    ("task_retry", "retrying", {}),
    ("task_completed", "completed", {"duration_ms": 123.4}),
)


class _Log:
    """Numbers events and gives each an id, a time and a position; the same in every process."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self._number = 0

    def span_id(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def entry(self, fields: dict[str, Any]) -> tuple[bytes, str]:
        self._number += 1
        bits = f"{self._random.getrandbits(128):032x}"
        event_id = f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"
        ts = _EPOCH + timedelta(microseconds=self._number * _STEP_US)
        position = f"k3f9a1:{1_795_000_000_000 + self._number // 20}-{self._number % 20}"
        event = {
            "position": position,
            "event_id": event_id,
            "ts": ts.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            **fields,
        }
        return json.dumps(event, separators=(",", ":")).encode(), position


def plain() -> Iterator[tuple[bytes, str]]:
    """200,000 events without span ids."""
    log = _Log()
    for job in range(JOBS_PER_TASK):
        for task in range(TASKS):
            for kind, status, more in _PLAIN:
                yield log.entry(
                    {
                        "event_type": kind,
                        "project_id": f"proj_{task % 100}",
                        "parent_task_id": f"research-{task}",
                        "task_id": f"research-{task}-search-{job}",
                        "task_type": "data_aggregation_search",
                        "phase": "search",
                        "worker_id": job % 16,
                        "status": status,
                        **more,
                    }
                )


def spans() -> Iterator[tuple[bytes, str]]:
    """254,000 events as our own spans make them."""
    log = _Log()
    for fields in _span_events(log):
        yield log.entry({name: value for name, value in fields.items() if value is not None})


def _span_events(log: _Log) -> Iterator[dict[str, Any]]:
    roots = [log.span_id() for _ in range(TASKS)]
    phases = [log.span_id() for _ in range(TASKS)]

    def common(task: int) -> dict[str, Any]:
        return {
            "project_id": f"proj_{task % 100}",
            "parent_task_id": f"research-{task}",
            "trace_id": f"{task + 1:032x}",
            "incarnation": "d0a68999c40bc6f4",
        }

    for is_end in (False, True):
        if is_end:
            for job in range(JOBS_PER_TASK):
                for task in range(TASKS):
                    yield from _job_events(log, common(task), phases[task], task, job)
        for task in range(TASKS):
            root = {"task_id": f"research-{task}", "span_id": roots[task]}
            phase = {"phase": "search", "span_id": phases[task], "parent_span_id": roots[task]}
            side = "completed" if is_end else "started"
            root["status"] = phase["status"] = "completed" if is_end else "processing"
            yield {"event_type": f"task_{side}", **common(task), **root, "meta": {"title": "A"}}
            yield {"event_type": f"phase_{side}", **common(task), **phase}


def _job_events(
    log: _Log, common: dict[str, Any], phase_id: str, task: int, job: int
) -> Iterator[dict[str, Any]]:
    named = {
        **common,
        "task_id": f"research-{task}-search-{job}",
        "task_type": "data_aggregation_search",
        "phase": "search",
        "run_id": log.span_id(),
    }
    enqueue = log.span_id()
    yield {
        "event_type": "task_enqueued",
        **named,
        "retry_count": 0,
        "status": "pending",
        "span_id": enqueue,
        "parent_span_id": phase_id,
    }
    for attempt, kind, status, error in (
        (0, "task_retry", "retrying", "ValueError: rate limited"),
        (1, "task_completed", "completed", None),
    ):
        work = {
            **named,
            "worker_id": job % 16,
            "retry_count": attempt,
            "span_id": log.span_id(),
            "parent_span_id": enqueue,
        }
        yield {"event_type": "task_started", **work, "status": "processing"}
        yield {"event_type": kind, **work, "status": status, "duration_ms": 0.05, "error": error}


def _collector() -> Any:
    """The collector of this code, with the garbage collector set as its service sets it."""
    settings = import_module("otel_bridge.settings").BridgeSettings(bus_url="memory://bench")
    # An installed collector stands behind PYTHONPATH, so it says nothing of the code in question.
    is_old = not hasattr(import_module("otel_bridge.events"), "__path__")  # 8f5d6be
    package = "collector" if is_old else "otel_bridge_collector"
    runtime = import_module(f"{package}.runtime")
    made = runtime.Collector(import_module(f"{package}.settings").CollectorSettings(), settings)
    made.feed._is_rebuilt = True  # live: what was there at the start has been read
    if not is_old:
        import_module(f"{package}.commands.serve")._tune_garbage_collector()
    return made


def _fold(feed: Any, events: Iterator[tuple[bytes, str]]) -> tuple[float, int]:
    """Seconds of the processor, and events."""
    spent = 0.0
    count = 0
    chunk: list[tuple[bytes, str]] = []
    begun_us = int(_EPOCH.timestamp()) * 1_000_000

    def fold_chunk() -> float:
        now = begun_us + (count + len(chunk)) * _STEP_US
        fold = feed._fold
        if not hasattr(feed, "_admit"):  # until 0.2.0 events were folded one by one
            begun = time.process_time()
            for data, position in chunk:
                fold(data, position, now)
            return time.process_time() - begun
        make = import_module("otel_bridge.publish.transports.base").LogEntry
        entries = [make(position, data) for data, position in chunk]
        begun = time.process_time()
        for start in range(0, len(entries), _BLOCK):
            fold(entries[start : start + _BLOCK], now)
        return time.process_time() - begun

    for entry in events:
        chunk.append(entry)
        if len(chunk) == _CHUNK:
            spent += fold_chunk()
            count += len(chunk)
            chunk.clear()
    spent += fold_chunk()
    return spent, count + len(chunk)


def main() -> None:
    """Print microseconds an event, or bytes a job that the model holds afterwards."""
    what, workload = sys.argv[1:]
    events = {"plain": plain, "spans": spans}[workload]
    collector = _collector()
    if what == "memory":
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
    spent, count = _fold(collector.feed, events())
    assert collector.stats.events_in == count, (collector.stats.events_in, count)
    found: dict[str, float] = {"us": spent / count * 1e6}
    if what == "memory":
        collector.ring.reset("k3f9a1:0-0")  # the newest events, as many for any model
        gc.collect()
        found["bytes"] = (tracemalloc.get_traced_memory()[0] - before) / JOBS
    print(json.dumps(found))


if __name__ == "__main__":
    main()
