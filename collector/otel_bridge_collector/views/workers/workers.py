"""The view ``workers``: who works, on what, and who was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic_core import to_json

from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.processes.records import Incarnation, Worker
from otel_bridge_collector.model.snapshot.panels import (
    WorkerStatus,
    current_job,
    is_named_to,
    runs_in,
    started_at,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.wire.views.params import ListParams

__all__ = ["Shown", "compute", "facts_of", "held_by", "merge", "shown_by_key"]


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
    found = {} if scope is not None else shown_by_key(state)
    order = [((index, ""), key) for index, key in enumerate(found)]

    def row(key: str) -> bytes:
        return to_json(_row(found[key], params.project))

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


class Shown(NamedTuple):
    """One worker process that is listed; a record, which checks nothing."""

    key: str
    worker: Worker
    process: Incarnation | None
    status: WorkerStatus
    is_one_of_several: bool
    """Whether several processes live under its id."""


def shown_by_key(state: ViewState) -> dict[str, Shown]:
    """Return the workers that are listed by the key of their row, sorted by id; never raises."""
    shown = state.processes()
    ids = Counter(worker.id for worker, _, _ in shown)
    found = (
        Shown(f"{worker.id}@{one.key if one else ''}", worker, one, status, ids[worker.id] > 1)
        for worker, one, status in shown
    )
    return {each.key: each for each in found}


def held_by(shown: Shown) -> list[tuple[Job, Node]]:
    """Return the jobs that a worker process took and that have not ended, in no order."""
    own = shown.process if shown.is_one_of_several else None
    return [
        (job, job.win)
        for job in shown.worker.open
        if job.win is not None and (own is None or runs_in(job.win, own))
    ]


def facts_of(shown: Shown) -> dict[str, Any]:
    """Return what is said of a worker process, the fields of ``WorkerFacts``; never raises."""
    key, worker, one, status, is_one_of_several = shown
    own = one if is_one_of_several else None
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
        "done": counts.completed,
        "failed": counts.failed,
        "dropped": one.note[1] if one else 0,
    }


def _row(shown: Shown, project: str | None) -> dict[str, Any]:
    """A job of another project is not named."""
    own = shown.process if shown.is_one_of_several else None
    job = current_job(shown.worker, own) if shown.status == "online" else None
    node = None if job is None else job.win
    named = job if is_named_to(job, project) else None
    return facts_of(shown) | {
        "job": named and named.id,
        "job_type": None if node is None else node.name,
        "job_task": named and (named.task.id or None),
        "job_start": None if node is None else ms(node.start),
    }
