"""The view ``workers``: who works, on what, and who was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic_core import to_json

from otel_bridge_collector.model.processes.records import Incarnation, Worker
from otel_bridge_collector.model.snapshot.panels import (
    WorkerStatus,
    current_job,
    is_named_to,
    started_at,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.wire.views.params import ListParams

__all__ = ["compute", "merge"]


def compute(state: ViewState, params: ListParams, scope: Scope) -> Listing:
    """
    List the workers that live or were heard in the last hour, sorted by id.

    Two processes that live under one id, such as two nodes of one name, are two workers.

    A reader limited to projects gets none: counts and hosts of shared workers reveal the work of
    others. Raises nothing. Computed on the collector's event loop.

    Args:
        state: As of its latest refresh.
        params: ``project``: workers of all projects are listed, but a job of another one is not
            named.
        scope: The projects that the reader may see; None: all.

    Returns:
        One row for each worker; the model holds 2,000, more only if all are busy. Rows are made
        when a window asks for them.
    """
    found: dict[str, _Shown] = {}
    if scope is None:
        shown = state.processes()
        ids = Counter(worker.id for worker, _, _ in shown)
        found = {
            _key(worker, one): _Shown(worker, one, status, ids[worker.id] > 1)
            for worker, one, status in shown
        }
    order = [((index, ""), key) for index, key in enumerate(found)]

    def row(key: str) -> bytes:
        return to_json(_row(found[key], key, params.project))

    return Listing(order, row, {})


def merge(parts: Sequence[Listing], params: ListParams) -> Window:
    """
    Take the window of the first part; all are equal: every process folds all events of workers.

    Pure; raises nothing.

    Args:
        parts: One listing (all rows of the view) for each process; none give an empty window.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 60, at most 200.
    """
    return list_window(parts[:1], params)


class _Shown(NamedTuple):
    worker: Worker
    process: Incarnation | None
    status: WorkerStatus
    is_one_of_several: bool


def _key(worker: Worker, one: Incarnation | None) -> str:
    return f"{worker.id}@{one.key if one else ''}"


def _row(shown: _Shown, key: str, project: str | None) -> dict[str, Any]:
    worker, one, status, is_one_of_several = shown
    own = one if is_one_of_several else None
    job = current_job(worker, own) if status == "online" else None
    node = None if job is None else job.win
    named = job if is_named_to(job, project) else None
    counts = own or worker
    return {
        "k": key,
        "id": worker.id,
        "status": status,
        "host": one.host if one else None,
        "pid": one.pid if one else None,
        "queues": None if one is None or one.queues is None else one.queues[1],
        "start": ms(started_at(one)),
        "seen": ms(own.seen if own else worker.last_seen),
        "job": named and named.id,
        "job_type": None if node is None else node.name,
        "job_task": named and (named.task.id or None),
        "job_start": None if node is None else ms(node.start),
        "done": counts.completed,
        "failed": counts.failed,
        "dropped": one.note[1] if one else 0,
    }
