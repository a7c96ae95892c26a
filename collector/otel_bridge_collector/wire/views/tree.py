"""
What the views of one task show: its tree, the strip above it, and the attempts of one job.

All times are integer milliseconds since the Unix epoch, UTC. None means unknown, never 0. ``k`` is
the row's key: the same for the same thing, and never used again for another one.
"""

from __future__ import annotations

from typing import Literal

from otel_bridge_collector.wire.base import WireModel
from otel_bridge_collector.wire.messages import EndedBy, Status

__all__ = [
    "AttemptRow",
    "EnqueuedBy",
    "Held",
    "JobHead",
    "Progress",
    "RowKind",
    "StripHead",
    "StripRow",
    "TreeHead",
    "TreeRow",
]

RowKind = Literal["task", "phase", "enqueue", "job", "span", "more"]
"""What a row of a tree is: ``enqueue`` is a job that no worker has started yet, ``more`` stands for
rows that are no longer in the collector's memory."""


class Held(WireModel):
    """
    How much of a task is in the collector's memory; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        seen: Spans that were counted.
        kept: Of these, those that are still in memory and can be listed.
    """

    seen: int
    kept: int


class Progress(WireModel):
    """
    How far one attempt of a job is, as the job itself reports it; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        done: Steps done, of a unit that only the job knows.
        total: Steps in all; None if unknown.
    """

    done: int
    total: int | None


class TreeHead(WireModel):
    """
    The head of the view ``tree``; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        first: The number of the window's first row, from 0.
        total: Rows that can be scrolled to, without those that are folded away.
        matches: Rows that pass the filters themselves; None without a filter.
        start: When the task started, ms; None if unknown.
        end: When it ended, ms; None while it is open.
        status: Of the task, as of now.
        failed: Rows of the whole task that failed, folded away ones and filtered ones included.
        nodes: How much of it is in memory.
        as_of: Of a filtered tree: when its list of rows was made, ms; None without a filter. The
            rows themselves are of now.
        path: The rows above the window's first row, the task's first; empty if that is the first
            row. At most 66, for no row is deeper.
    """

    first: int
    total: int
    matches: int | None
    start: int | None
    end: int | None
    status: Status
    failed: int
    nodes: Held
    as_of: int | None
    path: tuple[TreeRow, ...]


class TreeRow(WireModel):
    """
    One node of a task: the task itself, a phase, one attempt of a job, or any span. A record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: Its span id, 16 hex digits. Without a span: ``job:`` or ``enqueue:`` with the ids of task
            and job and ``#`` with the attempt, ``phase:`` with the task's id and the name,
            ``task:`` with the task's id. Of ``more``: ``more:`` with the key of the row above.
        depth: Rows above it: 0 for the task itself.
        kind: What it is.
        name: For people: the task's title, the phase's name, the job's id, else the span's name.
        type: Job type; None: none is known, as for the other texts.
        job: The job's id.
        status: As of now.
        why: Why it is stalled, as in ``TaskRow``, or why it failed or is to be tried again, as in
            ``MonitoringEvent.reason``; None: not known.
        ended_by: Who reported its end; None while it is open or unknown.
        queued: When the job was put into its queue, ms.
        start: When it started, ms; None: it has not, or unknown.
        end: When it ended, ms, or, if it is stalled, when its worker was last heard; None while it
            is open: its bar grows.
        worker: Who ran it.
        attempt: Number of the attempt, from 0; 0 for what is no job.
        run: Number of the run (each enqueue of the job is one), from 1; None for what is no job.
        error: Why it failed, at most 300 characters.
        progress: How far the job says it is, or was when it failed; None if it does not say, once
            it has completed, and for what is no job.
        slow: How many times as long as the median of the completed jobs of the same type in its
            task it took, or runs by now: at least 3 times, 10 s, and with 5 others that completed.
            Of one that runs it has one digit (3, 4, ... 9, 10, 20). None: not so, or not known; of
            what is no attempt, and of one that is stalled.
        kids: Rows directly below it, counted ones included that are no longer in memory. Of
            ``more``: the rows it stands for.
        n: Rows below it at any depth, as far as they are in memory; one of ``more`` counts as one.
        done: Jobs below it that completed; as the following it includes those no longer in memory.
        failed: Jobs below it that failed.
        running: Jobs below it that run.
        pending: Jobs below it that wait.
        stalled: Jobs below it that are stalled.
    """

    k: str
    depth: int
    kind: RowKind
    name: str
    type: str | None
    job: str | None
    status: Status
    why: str | None
    ended_by: EndedBy | None
    queued: int | None
    start: int | None
    end: int | None
    worker: int | str | None
    attempt: int
    run: int | None
    error: str | None
    progress: Progress | None
    slow: float | None
    kids: int
    n: int
    done: int
    failed: int
    running: int
    pending: int
    stalled: int


class StripHead(WireModel):
    """
    The head of the view ``strip``: the time of its bars; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        start: Where the first bar starts, ms; at most one bar before the task; None if unknown.
        step: How long each bar is, ms: a power of two, so that bars stay while the task grows.
        ended: Attempts that ended, in all, those no longer in memory included.
        failed: Of these, those that failed; one that is to be tried again has not.
    """

    start: int | None
    step: int
    ended: int
    failed: int


class StripRow(WireModel):
    """
    One bar of the strip; times without an end have none. A record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: The bar's number from ``start``, from 0, as text.
        ended: Attempts that ended in it.
        failed: Of these, those that failed.
    """

    k: str
    ended: int
    failed: int


class EnqueuedBy(WireModel):
    """
    What put a job into its queue: the span around the call; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        task: Id of its research task, or the trace id of work without one; may be another one than
            that of the job.
        title: That task's name, for people.
        node: Its key in the view ``tree``.
        name: For people: the phase's name, the job's id, the task's title, else the span's name.
        job: If it is an attempt of a job: that job's id; else None.
    """

    task: str
    title: str
    node: str
    name: str
    job: str | None


class JobHead(WireModel):
    """
    The head of the view ``job``: what holds for all its attempts; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        job: Its id.
        type: Its type; None if unknown, as for the next three.
        phase: Its phase.
        project: Its project.
        queue: The queue that it was put into.
        status: As of now.
        why: Why it is stalled; None if it is not.
        runs: How often it was put into a queue.
        path: Names of the rows above it, the task's first.
        enqueued_by: What put it into its queue, of its latest run; None: not known, no longer held,
            or of a project that the reader may not see.
    """

    job: str
    type: str | None
    phase: str | None
    project: str | None
    queue: str | None
    status: Status
    why: str | None
    runs: int
    path: tuple[str, ...]
    enqueued_by: EnqueuedBy | None


class AttemptRow(WireModel):
    """
    One attempt of a job, or one enqueue that no worker has started; the last 200. A record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: Its key in the view ``tree``.
        kind: ``job`` or ``enqueue``.
        run: Number of its run, from 1.
        attempt: Number of the attempt in the run, from 0.
        status: As of now.
        why: Why it is stalled, failed or is to be tried again, as in ``TreeRow``; None: not known.
        ended_by: Who reported its end; None while it is open or unknown.
        queued: When it was put into its queue, ms; None if unknown, as for the next two.
        start: When it started, ms.
        end: When it ended, ms; None while it is open.
        worker: Who ran it; None if unknown, as for the next three.
        host: Where that ran; None for a reader limited to projects.
        trace: Its trace, 32 hex digits.
        span: Its span, 16 hex digits.
        error: Why it failed; None: it has not, or no reason was given.
        stack: The span, 16 hex digits, whose stack is that of this failure; None: it has none.
        progress: How far it says it is, or was when it failed; None if it does not say, and once it
            has completed.
        slow: As in ``TreeRow``.
    """

    k: str
    kind: Literal["job", "enqueue"]
    run: int
    attempt: int
    status: Status
    why: str | None
    ended_by: EndedBy | None
    queued: int | None
    start: int | None
    end: int | None
    worker: int | str | None
    host: str | None
    trace: str | None
    span: str | None
    error: str | None
    stack: str | None
    progress: Progress | None
    slow: float | None
