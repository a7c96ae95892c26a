"""The view ``workers``: who works, on what, and who was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from otel_bridge_collector.model.snapshot.panels import (
    WorkerStatus,
    current_job,
    is_named_to,
    shown_workers,
    started_at,
)
from otel_bridge_collector.model.workers import Worker
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.wire.views.params import ListParams

__all__ = ["compute", "merge"]


def compute(state: ViewState, params: ListParams, scope: Scope) -> Listing:
    """
    List the workers that live or were heard in the last hour, sorted by id.

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
    found: dict[str, tuple[Worker, WorkerStatus]] = {}
    if scope is None:
        found = {_key(worker): (worker, status) for worker, status in shown_workers(state.model)}
    order = [((index, ""), key) for index, key in enumerate(found)]

    def row(key: str) -> bytes:
        return to_json(_row(*found[key], key, params.project))

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


def _key(worker: Worker) -> str:
    newest = worker.newest
    return f"{worker.id}@{newest.key if newest else ''}"


def _row(worker: Worker, status: WorkerStatus, key: str, project: str | None) -> dict[str, Any]:
    newest = worker.newest
    job = current_job(worker) if status == "online" else None
    node = None if job is None else job.win
    named = job if is_named_to(job, project) else None
    return {
        "k": key,
        "id": worker.id,
        "status": status,
        "host": newest.host if newest else None,
        "pid": newest.pid if newest else None,
        "queues": None,
        "start": ms(started_at(newest)),
        "seen": ms(worker.last_seen),
        "job": named and named.id,
        "job_type": None if node is None else node.name,
        "job_task": named and (named.task.id or None),
        "job_start": None if node is None else ms(node.start),
        "done": worker.completed,
        "failed": worker.failed,
        "dropped": newest.note[1] if newest else 0,
    }
