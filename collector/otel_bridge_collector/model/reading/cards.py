"""
The card of a task: its status, counts and phases, from aggregates alone.

All times are microseconds; a view turns them into what travels. A card costs microseconds, however
many jobs its task has.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from otel_bridge_collector.model.events import (
    COMPLETED,
    FAILED,
    JOB,
    PENDING,
    PHASE,
    PROCESSING,
    RETRYING,
    RULE,
    STALLED,
)
from otel_bridge_collector.model.liveness import QUEUED_GRACE_US, QUIET_US, Liveness
from otel_bridge_collector.model.nodes import Job, Node, Task
from otel_bridge_collector.model.reading.phases import PhaseRow, phases, top_phases
from otel_bridge_collector.model.runs import has_ended, is_open
from otel_bridge_collector.model.tasks import Tasks

__all__ = ["Card", "Cards", "Labels", "Standing"]


class Card(msgspec.Struct, frozen=True, gc=False):
    """
    What a reader sees of one research task, or of one trace that no event names a task of.

    A record; checks nothing. Times are microseconds since the Unix epoch, None while unknown or
    open.

    Attributes:
        task_id: Its id; the trace's if it has none.
        title, task_type, domain, error, trace_id: As the events say; None if none does.
        project_id: Its project; of several the smallest text.
        status: 0 pending, 1 processing, 2 retrying, 3 completed, 4 failed, 5 stalled.
        reason: Why it is stalled: ``worker_lost``, ``heartbeat_lost``, ``silent``,
            ``queue_emptied`` or what a reported stall says; None if it is not.
        started, ended, last_event: First and last moment; latest reception of an event.
        current_phase: The latest phase that runs, else the latest; None without phases.
        eta_sec: Seconds until the running phases are done; None without a rate for each of them.
        completed, failed, pending: Jobs, with the numbers that phases only report.
        jobs: Jobs seen, by status code: six numbers.
        retries: Attempts that were to be tried again.
        message: The latest line for people, at most 300 characters.
        phases: By start; no limit beside that of the task's nodes.
        not_held: Nodes (spans) that were counted and are no longer in memory.
    """

    task_id: str
    title: str | None
    task_type: str | None
    domain: str | None
    project_id: str | None
    trace_id: str | None
    status: int
    reason: str | None
    current_phase: str | None
    started: int | None
    ended: int | None
    last_event: int
    eta_sec: float | None
    completed: int
    failed: int
    pending: int
    jobs: tuple[int, ...]
    retries: int
    error: str | None
    message: str | None
    phases: list[PhaseRow]
    not_held: int


class Labels(NamedTuple):
    """What people call a task, and why it failed; None: no event says so."""

    title: str | None
    task_type: str | None
    domain: str | None
    error: str | None


class Standing(NamedTuple):
    """Where a task stands; times in microseconds, None while unknown or open."""

    status: int
    reason: str | None
    started: int | None
    ended: int | None


class Cards:
    """
    Makes the cards of tasks (what readers see), as of the latest sweep, the check once a second.

    Changes no counts, costs microseconds for any number of jobs, and raises nothing for tasks held.
    For the collector's event loop, without a lock.

    A task with a root that has ended has its status, unless a job of it still runs, or waits less
    than 60 s after the last event. Without a root it has ended when nothing is left to do and 60 s
    have passed, for the job or phase of a trace without a task at once. A task in which nothing
    runs is stalled after 900 s without an event, or with its process.

    Args:
        tasks: All tasks.
        liveness: Why an open node (a span that has not ended) is stalled; also the time of the
            sweep.
    """

    def __init__(self, tasks: Tasks, liveness: Liveness) -> None:
        self._tasks = tasks
        self._liveness = liveness

    def status(self, task: Task) -> tuple[int, str | None]:
        """Return a task's status code, and why it is stalled; the reason is None if it is not."""
        agg = task.agg
        quiet = self._liveness.now - self._tasks.last_seen(task)
        queued = agg[PENDING] + agg[RETRYING]
        root = self._tasks.root_of(task)
        if root is not None and not is_open(root) and root.ended >> 3 != RULE:
            is_busy = agg[PROCESSING] or (queued and quiet <= QUEUED_GRACE_US)
            return (PROCESSING if is_busy else root.ended & 7), None
        if agg[PROCESSING]:
            return PROCESSING, None
        if root is not None:
            verdict = self._liveness.verdict(root, None)
            if verdict is not None:
                return STALLED, verdict.reason
            is_silent = quiet > QUIET_US and not self._liveness.has_heartbeats(root)
            return (STALLED, "silent") if is_silent else (PROCESSING, None)
        return self._rootless_status(task, quiet, queued)

    def _rootless_status(self, task: Task, quiet: int, queued: int) -> tuple[int, str | None]:
        """Without a root nothing reports the end: it has come when nothing is left to do."""
        if quiet > QUIET_US and queued:
            return STALLED, "silent"
        is_phase_open = quiet <= QUIET_US and any(self._is_alive(node) for node in task.tops)
        if queued or is_phase_open:
            return PROCESSING, None
        face = self._tasks.face_of(task)
        is_over = not task.is_named and face is not None and face.kind in (JOB, PHASE)
        if quiet <= QUEUED_GRACE_US and not is_over:
            return PROCESSING, None
        if task.agg[FAILED] and not task.agg[COMPLETED]:
            return FAILED, None
        if task.agg[STALLED] and not task.agg[COMPLETED]:
            return STALLED, self._reason(task)
        return COMPLETED, None

    def _is_alive(self, node: Node) -> bool:
        if node.start is None or has_ended(node):
            return False
        return self._liveness.verdict(node, None) is None

    def _reason(self, task: Task) -> str | None:
        face = self._tasks.face_of(task)
        own = None if face is None else face.own
        if type(own) is not Job:  # a phase: the job that stands for the others is any, but the same
            stalled = (job for job in task.jobs.values() if job.st == STALLED)
            own = min(stalled, key=lambda job: job.id, default=None)
        verdict = None if own is None else self._liveness.job_verdict(own)
        return "worker_lost" if verdict is None else verdict.reason

    def standing(self, task: Task) -> Standing:
        """Where a task stands: what lists are sorted and filtered by, without its phases."""
        status, reason = self.status(task)
        root = self._tasks.root_of(task)
        started = None if root is None else root.start
        ended = None
        if status in (COMPLETED, FAILED, STALLED):
            is_known = root is not None and root.ended
            ended = root.end if root is not None and is_known else self._tasks.last_seen(task)
        if started is None:
            started = self._tasks.first_event(task)
        return Standing(status, reason, started, ended)

    def labels(self, task: Task) -> Labels:
        """What a task is called: what lists are searched by, without its phases."""
        root = self._tasks.root_of(task)
        if root is None:
            face = None if task.is_named else self._tasks.face_of(task)
            return Labels(None, None if face is None else face.name or "job", None, None)
        more = root.more
        return Labels(
            title=None if more is None else more.title,
            task_type=root.name,
            domain=None if more is None else more.domain,
            error=None if is_open(root) else root.error,
        )

    def card(self, task: Task) -> Card:
        """The card of a task."""
        status, reason, started, ended = self.standing(task)
        title, task_type, domain, error = self.labels(task)
        tasks = self._tasks
        rows = phases(task, status, ended, self._liveness.now)
        running = [phase for phase in rows if phase.status == PROCESSING]
        rest = list(task.agg[: STALLED + 1])
        for node in top_phases(task):
            agg = node.agg
            if agg is not None:
                rest = [left - inside for left, inside in zip(rest, agg, strict=False)]
        completed, failed = rest[COMPLETED], rest[FAILED]
        pending = sum(rest) - completed - failed
        for phase in rows:
            completed += phase.completed
            failed += phase.failed
            pending += phase.pending
        current = (running or rows)[-1] if rows else None
        return Card(
            task_id=task.id,
            title=title,
            task_type=task_type,
            domain=domain,
            project_id=task.project,
            trace_id=(min(task.traces) if task.traces else None) if task.is_named else task.id,
            status=status,
            reason=reason,
            current_phase=None if current is None else current.name,
            started=started,
            ended=ended,
            last_event=tasks.last_seen(task),
            eta_sec=_eta(running),
            completed=completed,
            failed=failed,
            pending=pending,
            jobs=tuple(task.agg[: STALLED + 1]),
            retries=task.retries,
            error=error,
            message=self._message(task),
            phases=rows,
            not_held=task.not_held,
        )

    @staticmethod
    def _message(task: Task) -> str | None:
        latest = task.message
        for node in (*task.roots, *task.tops):
            message = None if node.more is None else node.more.message
            if message is not None and (latest is None or message > latest):
                latest = message
        return None if latest is None else latest[1]


def _eta(running: list[PhaseRow]) -> float | None:
    """Seconds until the running phases are done, the slowest counting; None without a rate."""
    etas = [phase.pending / phase.rate for phase in running if phase.rate and phase.total]
    return round(max(etas), 1) if etas and len(etas) == len(running) else None
