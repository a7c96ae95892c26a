"""
What the views of lists show: heads and rows, as ``/ws/views`` sends them.

All times are integer milliseconds since the Unix epoch, UTC. None means unknown, never 0. ``k`` is
the row's key: the same for the same thing, and never used again for another one.
"""

from __future__ import annotations

from typing import Literal

from otel_bridge_collector.wire.base import WireModel
from otel_bridge_collector.wire.messages import Status
from otel_bridge_collector.wire.views.attention import Attention

__all__ = [
    "HeldRow",
    "ListHead",
    "OverviewHead",
    "PhasePart",
    "TaskGroup",
    "TaskRow",
    "TasksHead",
    "WorkerFacts",
    "WorkerHead",
    "WorkerRow",
]


class OverviewHead(WireModel):
    """
    The numbers of the page's header; the view ``overview`` has no rows. A record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        tasks: Tasks by status (``pending``, ``processing``, ``retrying``, ``completed``, ``failed``
            or ``stalled``); a status that no task has is left out.
        jobs_running: Jobs that run now.
        jobs_running_by_type: The same by type; ``job`` for those without one.
        jobs_ended_per_sec: Over the last minute, or since the first event in it.
        jobs_ended_by_second: Jobs that ended in each of the last 60 seconds, the oldest first.
        events_per_sec: Events folded (merged into the state) a second, over the last 10 s.
        error_rate_1m: Failed jobs divided by ended jobs, 0 to 1, over the last minute; None if none
            ended.
        error_rate_5m: The same over the last five minutes.
        events: Events folded since the collector started. None for a reader limited to projects, as
            all that follows, because it is shared between projects.
        events_dropped: Events that workers dropped, according to their last heartbeats, and events
            that this collector could not read.
        workers_online: Workers that live.
        workers_lost: Workers that went offline in the last hour without ``worker_stopped``.
        queued: Jobs waiting in each queue, as last reported, by its name; empty: no depth was
            reported, so none is known.
        waiting: Jobs known to wait in each queue whose depth was never reported, by its name; there
            may be more of them. No queue is in both.
        attention: What needs attention, the most urgent first, at most 8. A limited reader gets
            only what its own tasks show: neither workers nor queues.
        projects: Projects with a task that the reader may see, sorted; of ``project`` too they are
            all. At most 200, as ``types``.
        types: Types of tasks and jobs, and names of phases, that a filter can name; sorted.
    """

    tasks: dict[Status, int]
    jobs_running: int
    jobs_running_by_type: dict[str, int]
    jobs_ended_per_sec: float
    jobs_ended_by_second: tuple[int, ...]
    events_per_sec: float
    error_rate_1m: float | None
    error_rate_5m: float | None
    events: int | None
    events_dropped: int | None
    workers_online: int | None
    workers_lost: int | None
    queued: dict[str, int] | None
    waiting: dict[str, int] | None
    attention: tuple[Attention, ...]
    projects: tuple[str, ...]
    types: tuple[str, ...]


class ListHead(WireModel):
    """
    The head of the views ``queues`` and ``workers``; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        first: The number of the window's first row, from 0.
        total: Rows in all.
    """

    first: int
    total: int


class TaskGroup(WireModel):
    """
    One group of tasks that follow each other in the view ``tasks``; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        name: The project, or the status; null: the tasks that have no project.
        count: Tasks in it, without the pinned ones.
    """

    name: str | None
    count: int


class TasksHead(WireModel):
    """
    The head of the view ``tasks``; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        first: The number of the window's first row, from 0; 0 if ``keys`` were asked for.
        total: Tasks that pass the filters.
        total_all: Tasks before the filters but for the project.
        attention: Of these, those that need attention now: stalled or failed ones, and open ones
            with a ``TaskRow.why``. One that has completed with failed jobs is not counted.
        pinned: Rows at the start of the list that are there because they were pinned.
        groups: The groups of the rows after those, in the order of the list, the first 200; null:
            no groups were asked for.
    """

    first: int
    total: int
    total_all: int
    attention: int
    pinned: int
    groups: list[TaskGroup] | None


class PhasePart(WireModel):
    """
    One phase (named part) of a task: one bar of its entry on the page. A record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        name: As the worker named it.
        status: Of its runs together: ``pending``, ``processing``, ``retrying``, ``completed``,
            ``failed`` or ``stalled``. ``completed``: no job of it waits or runs, and not all have
            failed; look at ``failed`` too. ``pending`` while all its jobs wait, also of a task that
            has completed.
        start: When it started, ms; None if unknown.
        end: When it ended, ms; None while it runs.
        total: Jobs expected; None while unknown.
        done: Jobs that have completed.
        failed: Jobs that have failed.
        running: Jobs that run.
        retrying: Jobs that wait for another attempt.
        stalled: Jobs that can no longer end by themselves.
        rate: Jobs ended per second over the last minute; None until 3 have ended in at least 5 s.
    """

    name: str
    status: Status
    start: int | None
    end: int | None
    total: int | None
    done: int
    failed: int
    running: int
    retrying: int
    stalled: int
    rate: float | None


class TaskRow(WireModel):
    """
    One research task, or the work of one trace whose events name no research task. A record.

    The collector fills it without checking; the model would raise ``ValidationError``.

    Attributes:
        k: Its id; the trace's if it has none.
        title: For people; None: it has none, as for the other texts.
        type: Its ``task_type``.
        domain: For example ``schools``.
        project: Its project; one of them if its events name several.
        trace: One of its traces, 32 hex digits.
        status: As of now: ``pending``, ``processing``, ``retrying``, ``completed``, ``failed`` or
            ``stalled``. ``completed`` says that it ended well by itself: look at ``failed`` and
            ``pending`` too.
        why: Why it is stalled: ``worker_lost``, ``heartbeat_lost``, ``silent``, ``queue_emptied``
            or what a reported stall says. Else why it needs attention, the first of these that
            holds: ``failed``; of one that is open ``worker_lost`` (a worker was lost with a job of
            it), ``jobs_stalled``, ``jobs_failed``, ``queue_stuck`` (a job of it waits in a queue
            that is stuck), ``jobs_slow`` (a job of it runs several times as long as others). Of one
            that has completed ``queue_stuck`` or ``jobs_failed``. None: it does not.
        start: When it started, ms since the Unix epoch, as all times here; None if unknown.
        end: When it ended; None while it is open.
        seen: When its newest event was received.
        phase: The phase that runs, or ran last.
        done: Jobs completed.
        failed: Jobs failed for good.
        pending: Jobs that wait.
        running: Jobs that run.
        stalled: Jobs that can no longer end by themselves, e.g. because their worker is gone.
        retries: Attempts after the first, of all jobs.
        eta_sec: Rough estimate of the seconds left; None until there is enough to estimate from.
        error: Why it failed; None: it has not.
        message: One line of text for people.
        not_held: Spans of the task that were counted and are no longer in memory; 0: all are.
        phases: One for each phase, in the order of their start.
    """

    k: str
    title: str | None
    type: str | None
    domain: str | None
    project: str | None
    trace: str | None
    status: Status
    why: str | None
    start: int | None
    end: int | None
    seen: int
    phase: str | None
    done: int
    failed: int
    pending: int
    """Expected jobs that have not ended: they wait, run, are to be tried again or are stalled."""
    running: int
    """Of the pending ones: jobs that run."""
    stalled: int
    """Of the pending ones: jobs that are stalled."""
    retries: int
    eta_sec: float | None
    error: str | None
    message: str | None
    not_held: int
    phases: tuple[PhasePart, ...]


class WorkerFacts(WireModel):
    """
    What the views ``workers`` and ``worker`` say of one worker process; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: The worker's id and its incarnation (one life of its process), because ids are used
            again.
        id: As the worker named itself.
        status: ``online``; ``stopped``: it said so; ``offline``: its heartbeats ended without that;
            ``unknown``: it has sent none, and none of its jobs was heard for 30 s.
        host: Its host name; None if unknown, as for the next three.
        pid: Its process id.
        queues: The queues that it takes jobs from; None: it does not say.
        start: When it started, ms.
        seen: When its newest event was received, ms.
        done: Attempts that completed on it, in former lives of its process too; of two that live
            under one id only in this one.
        failed: Attempts that failed on it, likewise.
        dropped: Events that its process dropped, according to its last heartbeat; 0 before the
            first.
    """

    k: str
    id: int | str
    status: Literal["online", "offline", "stopped", "unknown"]
    host: str | None
    pid: int | None
    queues: tuple[str, ...] | None
    start: int | None
    seen: int | None
    done: int
    failed: int
    dropped: int


class WorkerRow(WorkerFacts):
    """
    One worker process, and the job that it runs; two that live under one id are two. A record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        job: Id of the job that it runs; None: none, or that of another project than was asked for.
        job_type: Type of that job, shown for other projects too.
        job_task: Research task of that job, under the same conditions as ``job``.
        job_start: When that job started, ms.
    """

    job: str | None
    job_type: str | None
    job_task: str | None
    job_start: int | None


class WorkerHead(WorkerFacts):
    """
    The head of the view ``worker``: one worker process; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        open: Jobs that it took and that have not ended, those of other projects and those after
            the first 200 included: what it runs, or held when it was lost.
    """

    open: int


class HeldRow(WireModel):
    """
    One job that a worker took and that has not ended; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: The task's id, a space, and the key of the attempt in the view ``tree``.
        task: Id of its research task, or the trace id of work without one.
        title: The task's name, for people.
        node: The key of the attempt in the view ``tree``.
        job: The job's id.
        type: Its type; None if unknown.
        status: As of now.
        why: Why it is stalled, as in ``TreeRow``; None if it is not.
        start: When the attempt started, ms; None if unknown.
        end: When it was last heard, ms, if it is stalled; else None.
        slow: As in ``TreeRow``.
    """

    k: str
    task: str
    title: str
    node: str
    job: str
    type: str | None
    status: Status
    why: str | None
    start: int | None
    end: int | None
    slow: float | None
