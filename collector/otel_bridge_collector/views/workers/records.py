"""
``WorkerRecord``: what one state knows of a worker process, and how several add up.

All states know the same heartbeats, so they agree on processes and on who lives. Each knows its own
jobs alone: what a worker runs, what has ended on it, and when an event of its jobs was heard, which
is all that is known of a worker without heartbeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.processes.records import Incarnation, Worker
from otel_bridge_collector.model.snapshot.panels import (
    WorkerStatus,
    current_job,
    job_place,
    known_processes,
    runs_in,
    started_at,
    worker_place,
)
from otel_bridge_collector.views.state import ViewState, ms

__all__ = [
    "CurrentJob",
    "Shown",
    "WorkerRecord",
    "facts_of",
    "held_by",
    "join_records",
    "known_by_key",
    "record_of",
    "row_of",
    "shown_by_key",
]


class Shown(NamedTuple):
    """One worker process of a state; a record, which checks nothing."""

    key: str
    worker: Worker
    process: Incarnation | None
    status: WorkerStatus
    is_one_of_several: bool
    """Whether several processes live under its id."""
    place: tuple[bool, int | str, int]
    """What it is sorted by: its id, and its number among the processes of that."""


class CurrentJob(NamedTuple):
    """The job that a worker is shown with; a record. ``place``: by that it is chosen."""

    place: tuple[int, str, str]
    type: str | None
    project: str | None
    start: int | None


class WorkerRecord(msgspec.Struct, array_like=True, frozen=True):
    """
    What one state, or several together, know of a worker process; times are microseconds.

    Attributes:
        id: Its worker's; a number if any event names it by one.
        status, host, pid, queues, dropped, done, failed: As of ``WorkerFacts``.
        start: When it started; None: unknown.
        own_seen: Its own latest sign of life, if several processes live under its id; else None.
        last_seen: The latest sign of life of its worker.
        job: What it runs; None: nothing, or it does not live.
    """

    id: int | str
    status: WorkerStatus
    host: str | None
    pid: int | None
    queues: tuple[str, ...] | None
    start: int | None
    own_seen: int | None
    last_seen: int
    done: int
    failed: int
    dropped: int
    job: CurrentJob | None


def shown_by_key(state: ViewState) -> dict[str, Shown]:
    """Return the workers that are listed by the key of their row, sorted by id; never raises."""
    return _by_key(state.processes())


def known_by_key(state: ViewState) -> dict[str, Shown]:
    """Return all workers held, likewise: another state may have heard of one lately."""
    shown = state.processes()
    if len({id(worker) for worker, _, _ in shown}) == len(state.model.workers.by_id):
        return _by_key(shown)  # all of them, as a rule: 4 us a worker are spared
    return _by_key(known_processes(state.model))


def _by_key(
    processes: Sequence[tuple[Worker, Incarnation | None, WorkerStatus]],
) -> dict[str, Shown]:
    of_id = Counter([worker.id for worker, _, _ in processes])
    found: dict[str, Shown] = {}
    number, former = 0, None
    for worker, one, status in processes:
        number, former = number + 1 if worker is former else 0, worker
        worker_id = worker.id
        key = f"{worker_id}@{one.key if one else ''}"
        place = isinstance(worker_id, str), worker_id, number
        found[key] = Shown(key, worker, one, status, of_id[worker_id] > 1, place)
    return found


def held_by(shown: Shown) -> list[tuple[Job, Node]]:
    """Return the jobs that a worker process took and that have not ended, in no order."""
    own = shown.process if shown.is_one_of_several else None
    return [
        (job, job.win)
        for job in shown.worker.open
        if job.win is not None and (own is None or runs_in(job.win, own))
    ]


def record_of(shown: Shown) -> WorkerRecord:
    """Return what a state knows of a worker process; on its event loop. Never raises."""
    worker, one, status = shown.worker, shown.process, shown.status
    own = one if shown.is_one_of_several else None
    counts = own or worker
    job = current_job(worker, own) if status == "online" else None
    node = None if job is None else job.win
    current = None
    if job is not None:
        name, start = (None, None) if node is None else (node.name, node.start)
        current = CurrentJob(job_place(job), name, job.task.project, start)
    return WorkerRecord(
        id=worker.id,
        status=status,
        host=one.host if one else None,
        pid=one.pid if one else None,
        queues=None if one is None or one.queues is None else one.queues[1],
        start=started_at(one),
        own_seen=own.seen if own else None,
        last_seen=worker.last_seen,
        done=counts.completed,
        failed=counts.failed,
        dropped=one.note[1] if one else 0,
        job=current,
    )


def join_records(every: Sequence[WorkerRecord]) -> WorkerRecord:
    """Add up what several states, at least one, know of a worker process; pure."""
    if len(every) == 1:
        return every[0]
    jobs = [one.job for one in every if one.job is not None]
    return replace(
        every[0],
        id=min((one.id for one in every), key=worker_place),
        status="online" if any(one.status == "online" for one in every) else every[0].status,
        last_seen=max(one.last_seen for one in every),
        done=sum(one.done for one in every),
        failed=sum(one.failed for one in every),
        job=max(jobs, key=lambda job: job.place, default=None),
    )


def facts_of(key: str, record: WorkerRecord) -> dict[str, Any]:
    """Return what is said of a worker process, the fields of ``WorkerFacts``; pure."""
    return {
        "k": key,
        "id": record.id,
        "status": record.status,
        "host": record.host,
        "pid": record.pid,
        "queues": record.queues,
        "start": ms(record.start),
        "seen": ms(record.last_seen if record.own_seen is None else record.own_seen),
        "done": record.done,
        "failed": record.failed,
        "dropped": record.dropped,
    }


def row_of(key: str, record: WorkerRecord, project: str | None) -> dict[str, Any]:
    """Return a row of the view ``workers``; a job of another project is not named. Pure."""
    job = record.job
    named = job if job is not None and project in (None, job.project) else None
    return facts_of(key, record) | {
        "job": named and named.place[1],
        "job_type": job and job.type,
        "job_task": named and (named.place[2] or None),
        "job_start": job and ms(job.start),
    }
