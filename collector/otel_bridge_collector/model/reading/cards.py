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
    PROCESSING,
    RETRYING,
    SPAN,
    STALLED,
)
from otel_bridge_collector.model.liveness import QUEUED_GRACE_US, QUIET_US, Liveness
from otel_bridge_collector.model.nodes import Job, Node, Task
from otel_bridge_collector.model.reading.phases import PhaseRow, phases, top_phases
from otel_bridge_collector.model.runs import has_ended, is_open
from otel_bridge_collector.model.shape.faces import (
    has_true_end,
    is_parent_awaited,
    local_roots,
    roots_that_count,
    status_of_ended,
    topmost_phases,
)
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
    than 60 s after the last event. A trace with several roots, or with traces that continue it,
    runs while one of them is open. Without a root a task has ended when nothing is left to do and
    60 s have passed; of a trace without a task its card ends at once with what it shows: an agent
    in a request, a job that came through a queue, or the request that does the work itself. What
    has not ended, and in which nothing runs, is stalled after 900 s without an event, or with its
    process.

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
        parts = self._parts(task)
        running = [node for node in parts if not has_true_end(node)] if parts else parts
        if parts and not running:
            is_busy = agg[PROCESSING] or (queued and quiet <= QUEUED_GRACE_US)
            is_busy = is_busy or self._is_part(parts, quiet)
            return (PROCESSING if is_busy else status_of_ended(parts)), None
        if agg[PROCESSING]:
            return PROCESSING, None
        if running:
            return self._running_status(running, quiet)
        return self._rootless_status(task, quiet, queued)

    def _parts(self, task: Task) -> list[Node]:
        """The nodes by whose ends the card ends: roots, and what a linked trace has instead."""
        tasks = self._tasks
        if not task.roots:
            root = tasks.root_of(task)
            return [] if root is None else local_roots(task)
        roots = roots_that_count(task)
        if tasks.has_links(task):
            roots.extend(topmost_phases(task))
        return roots

    def _is_part(self, nodes: list[Node], quiet: int) -> bool:
        """Whether what is around these nodes goes on: its span comes when it ends."""
        return quiet <= QUEUED_GRACE_US and any(map(is_parent_awaited, nodes))

    def _running_status(self, nodes: list[Node], quiet: int) -> tuple[int, str | None]:
        """Of nodes that have not ended: stalled if all are, by their process or by silence."""
        reasons = []
        for node in nodes:
            verdict = self._liveness.verdict(node, None)
            if verdict is not None:
                reasons.append(verdict.reason)
            elif quiet > QUIET_US and not self._liveness.has_heartbeats(node):
                reasons.append("silent")
            else:
                return PROCESSING, None
        return STALLED, min(reasons)

    def _rootless_status(self, task: Task, quiet: int, queued: int) -> tuple[int, str | None]:
        """Without a root nothing reports the end: it has come when nothing is left to do."""
        if quiet > QUIET_US and queued:
            return STALLED, "silent"
        if task.is_named:
            return self._named_status(task, quiet, queued)
        if queued:
            return PROCESSING, None
        face = self._tasks.face_of(task)
        shown = topmost_phases(task)
        if face is not None and face.kind == SPAN:
            shown.append(face)
        phases_and_spans = (*shown, *task.virtual.values())
        running = [
            node for node in phases_and_spans if node.start is not None and not has_ended(node)
        ]
        if running:
            return self._running_status(running, quiet)
        if quiet <= QUEUED_GRACE_US and (face is None or self._is_part([face, *shown], quiet)):
            return PROCESSING, None
        if shown and status_of_ended(shown) == FAILED:
            return FAILED, None
        return self._status_of_jobs(task)

    def _named_status(self, task: Task, quiet: int, queued: int) -> tuple[int, str | None]:
        is_phase_open = quiet <= QUIET_US and any(self._is_alive(node) for node in task.tops)
        if queued or is_phase_open or quiet <= QUEUED_GRACE_US:
            return PROCESSING, None
        return self._status_of_jobs(task)

    def _status_of_jobs(self, task: Task) -> tuple[int, str | None]:
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
        parts = self._parts(task)
        face = None if parts or task.is_named else self._tasks.face_of(task)
        started = min((part.start for part in parts if part.start is not None), default=None)
        if face is not None and face.kind != JOB:
            started = face.start  # a job's card has waited in its queue too
        ended = None
        if status in (COMPLETED, FAILED, STALLED):
            if parts and all(part.ended for part in parts):
                ended = max(part.end for part in parts)
            elif face is not None and status != STALLED:
                ended = _last_end(task, face)
            ended = ended or self._tasks.last_seen(task)
        if started is None:
            started = self._tasks.first_event(task)
        return Standing(status, reason, started, ended)

    def labels(self, task: Task) -> Labels:
        """What a task is called: what lists are searched by, without its phases."""
        root = self._tasks.root_of(task)
        if root is None:
            face = None if task.is_named else self._tasks.face_of(task)
            if face is None:
                return Labels(None, None, None, None)
            name = face.name or "job"
            return Labels(name, name, None, _error_of(task, face))
        more = root.more
        title = None if more is None else more.title
        return Labels(
            title=root.name if title is None and root.kind == SPAN else title,
            task_type=root.name,
            domain=None if more is None else more.domain,
            error=_error_of_parts(self._parts(task)),
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


def _last_end(task: Task, face: Node) -> int:
    """The latest end of a job, of an agent or of what the card shows, microseconds; 0 for none."""
    jobs = (job.win.end for job in task.jobs.values() if job.win is not None)
    return max((*jobs, *(node.end for node in task.tops), face.end))


def _error_of(task: Task, face: Node) -> str | None:
    """Why a task without a root failed: its face, else an agent at its top; None: no error."""
    own = face.own
    node = own.win if type(own) is Job else face
    if node is not None and node.ended & 7 == FAILED and node.error:
        return node.error
    return _error_of_parts(topmost_phases(task))


def _error_of_parts(parts: list[Node]) -> str | None:
    """The error of the part that failed last; None if none has ended with one."""
    ended = [node for node in parts if not is_open(node)]
    failed = [node for node in ended if node.error is not None]
    if len(ended) > 1 and status_of_ended(ended) != FAILED:
        return None  # what came after overcame it
    return max(failed, key=lambda node: (node.end, node.key or 0)).error if failed else None
