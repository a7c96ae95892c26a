"""
Views of several states: what it costs to encode, decode and merge their parts, and how large.

``python -m tests.benchmarks cluster_parts``; needs nothing else. Eight states have 400 research
tasks each, of 12 jobs, run by 200 workers that all states know. Times are of one process' CPU. The
ratio compares what the edge does for one window, decoding eight parts and merging them, with what
one state with all tasks does for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from zlib import crc32

from otel_bridge_collector.cluster.parts import (
    NotCoveredError,
    around_text,
    compute_part,
    decode_part,
    encode_part,
    merge_parts,
)
from otel_bridge_collector.model.events import Event, microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.catalog import Query, Views, parse_query
from otel_bridge_collector.views.state import ViewState

from tests.benchmarks.results import row
from tests.support.histories import event, moment

_STATES: Final = 8
_TASKS: Final = 400 * _STATES
_JOBS: Final = 12
_WORKERS: Final = 200
_ROUNDS: Final = 7
_TIMES: Final = 20
_QUERIES: Final = {
    "tasks, first 50": parse_query("tasks", {"count": 50}),
    "tasks, 50 at row 1,500": parse_query("tasks", {"count": 50, "at": {"row": 1500}}),
    "tasks, 50 around a key": parse_query(
        "tasks", {"count": 50, "at": {"key": "task-1500", "above": 12}}
    ),
    "overview": parse_query("overview", {}),
    "workers, first 60": parse_query("workers", {}),
    "failures": parse_query("failures", {}),
    "queues": parse_query("queues", {}),
}


def _events() -> Iterator[tuple[str | None, Event]]:
    """(task, event) of everything; None: all states know it."""
    for number in range(_WORKERS):
        meta = {"host": f"host-{number // 8}", "pid": number, "queues": ["research", "urgent"]}
        name = {"worker_id": f"worker-{number}", "incarnation": f"{number:016x}"}
        yield None, event(600, "worker_heartbeat", **name, meta=meta)
    for number in range(_TASKS):
        task_id, start = f"task-{number}", number / 8
        ids = {"parent_task_id": task_id, "project_id": f"project-{number % 12}"}
        title = {"title": f"Private schools, part {number}"}
        yield task_id, event(start, "task_started", **ids, task_id=task_id, meta=title)
        yield task_id, event(start, "phase_started", **ids, phase="search", counts={"total": _JOBS})
        for job in range(_JOBS):
            job_ids = {**ids, "task_id": f"{task_id}_search_{job}", "phase": "search"}
            worker = {"worker_id": f"worker-{(number + job) % _WORKERS}"}
            kind = {"task_type": "data_aggregation_search", "queue": "research"}
            yield task_id, event(start + job, "task_started", **job_ids, **worker, **kind)
            if job < number % (_JOBS + 1):
                end = "task_failed" if (number + job) % 37 == 0 else "task_completed"
                error = f"TimeoutError: host {number % 9}.example did not answer"
                yield (
                    task_id,
                    event(
                        start + job + 1,
                        end,
                        **job_ids,
                        **worker,
                        **kind,
                        error=error if end == "task_failed" else None,
                    ),
                )


def _states() -> tuple[ViewState, list[ViewState]]:
    """One state with all, and eight that share the tasks."""
    alone, shared = Fold(), [Fold() for _ in range(_STATES)]
    for task_id, one in _events():
        seen = microseconds(one.ts)
        owners = shared if task_id is None else [shared[crc32(task_id.encode()) % _STATES]]
        for model in (alone, *owners):
            model.apply(one, seen)
    found = []
    for model in (alone, *shared):
        state = ViewState(model)
        state.refresh(moment(601))
        found.append(state)
    return found[0], found[1:]


def _around(query: Query, states: list[ViewState]) -> str | None:
    """What the owners are asked with once the edge knows where the window is."""
    around: str | None = None
    while True:
        parts = [encode_part(query, compute_part(one, query, None), around) for one in states]
        try:
            merge_parts(query, [decode_part(query, data) for data in parts], around)
        except NotCoveredError as error:
            around = around_text(error.around)
        else:
            return around


def _cpu_us(work: Callable[[], Any]) -> float:
    start = time.process_time()
    for _ in range(_TIMES):
        work()
    return (time.process_time() - start) / _TIMES * 1e6


def main() -> None:
    """Measure each view."""
    print("parts of views, of eight states", flush=True)
    alone, states = _states()
    views = Views(alone)
    for name, query in _QUERIES.items():
        around = _around(query, states)
        computed = [compute_part(one, query, None) for one in states]
        sent = [encode_part(query, part, around) for part in computed]

        def encode(
            query: Query = query, part: Any = computed[0], around: str | None = around
        ) -> bytes:
            return encode_part(query, part, around)

        def merge(
            query: Query = query, sent: list[bytes] = sent, around: str | None = around
        ) -> Any:
            return merge_parts(query, [decode_part(query, data) for data in sent], around)

        def one(query: Query = query) -> Any:
            alone.orders.clear()  # as after a change
            return views.window(query, None)

        encodings, merges, ratios = [], [], []
        for _ in range(_ROUNDS):
            encodings.append(_cpu_us(encode))
            merges.append(_cpu_us(merge))
            ratios.append(merges[-1] / _cpu_us(one))
        row(f"{name}: a part, bytes", [len(data) for data in sent], digits=0)
        row(f"{name}: encode a part, us CPU", encodings, digits=0)
        row(f"{name}: decode and merge 8 parts, us CPU", merges, digits=0)
        row(f"{name}: decode and merge 8 parts / one state's window", ratios)


if __name__ == "__main__":
    main()
