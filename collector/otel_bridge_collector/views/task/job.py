"""The view ``job``: all attempts of one job, and what of it waits in a queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic_core import to_json

from otel_bridge_collector.model.events import COMPLETED, ENQUEUE, JOB, STATUS_NAMES
from otel_bridge_collector.model.nodes import NAMED, Job, Node
from otel_bridge_collector.model.processes.records import Incarnation, Worker
from otel_bridge_collector.model.reading.keys import is_row, node_key, row_name, row_path, task_name
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.model.runs import Run, report_of, runs_of
from otel_bridge_collector.model.snapshot.bars import (
    ENDED_BY_NAMES,
    phase_of,
    queued_at,
    worker_id_of,
)
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window, whole_window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.wire.views.params import JobParams
from otel_bridge_collector.wire.views.tree import JobHead

__all__ = ["compute", "error_of", "merge", "progress_of", "queued_time"]

_MAX_ROWS: Final = 200


def compute(state: ViewState, params: JobParams, scope: Scope) -> Listing:
    """
    List the attempts of a job and the enqueues that no worker has started, run by run.

    Computed on the collector's event loop; it takes as long as the job has attempts.

    Args:
        state: As of its latest refresh.
        params: The task and the job.
        scope: The projects that the reader may see; None: all. A limited reader gets no host.

    Returns:
        One row for each, of a run by time; the last 200. ``sums`` are the fields of the head.

    Raises:
        GoneError: There is no such job in the task, or the reader may not see it. Of a task from
            which jobs were evicted the reason is ``evicted``, because it may be one of them.
    """
    known = state.tasks.find(params.task, scope)
    job = known.task.jobs.get(params.job)
    if job is None or job.win is None:
        raise GoneError("evicted" if known.task.not_held else "unknown")
    rows = _Rows(state, job, known.end or None, scope)
    return Listing(rows.order[-_MAX_ROWS:], rows.row, rows.head())


def merge(parts: Sequence[Listing], params: JobParams) -> Window:
    """
    Make the head and all rows, at most 200, of the one part that there is.

    On the collector's event loop, because rows are made here.

    Args:
        parts: One listing: a task is held by one process.
        params: Not used: all attempts are shown.

    Raises:
        IndexError: There are no parts.
    """
    del params
    return whole_window(parts, JobHead)


class _Rows:
    """The rows of one job, in their order."""

    def __init__(self, state: ViewState, job: Job, card_ended: int | None, scope: Scope) -> None:
        self._model = state.model
        self._slowness, self._now = state.slowness, state.now
        self._job = job
        self._card_ended = card_ended
        self._has_hosts = scope is None
        self._scope = scope
        self._runs = runs_of(job)
        self._nodes: dict[str, tuple[int, Run, Node]] = {}
        self.order: list[tuple[Any, str]] = []
        for number, run in enumerate(self._runs, 1):
            for node in (*run.enqueues, *run.attempts):
                if is_row(node):
                    key = node_key(node)
                    self._nodes[key] = number, run, node
                    is_attempt = node.kind == JOB
                    place = number, run.numbers[node], is_attempt, node.first
                    self.order.append((place, key))
        self.order.sort()

    def head(self) -> dict[str, Any]:
        job, win = self._job, self._job.win
        assert win is not None
        state = self._model.rows.state(win, self._card_ended)
        queues = (node.queue for run in reversed(self._runs) for node in run.enqueues)
        return {
            "job": job.id,
            "type": win.name,
            "phase": phase_of(win),
            "project": job.task.project,
            "queue": win.queue or next((queue for queue in queues if queue), None),
            "status": STATUS_NAMES[state.status],
            "why": state.reason,
            "runs": len(self._runs),
            "path": row_path(self._model.tasks, win),
            "enqueued_by": self._enqueued_by(),
        }

    def _enqueued_by(self) -> dict[str, Any] | None:
        """The span around the enqueue of its latest run that has one, as ``EnqueuedBy``."""
        enqueues = (node for run in reversed(self._runs) for node in reversed(run.enqueues))
        above = next((one.parent for one in enqueues if type(one.parent) is Node), None)
        if above is None or (self._scope is not None and not self._may_see(above)):
            return None
        own = above.own
        return {
            "task": own.task.id,
            "title": task_name(self._model.tasks, own.task),
            "node": node_key(above),
            "name": row_name(above),
            "job": own.id if type(own) is Job else None,
        }

    def _may_see(self, node: Node) -> bool:
        task = node.own.task
        return self._scope is None or (task.project in self._scope and not is_shared(task))

    def row(self, key: str) -> bytes:
        number, run, node = self._nodes[key]
        state = self._model.rows.state(node, self._card_ended)
        return to_json(
            {
                "k": key,
                "kind": "job" if node.kind == JOB else "enqueue",
                "run": number,
                "attempt": run.numbers[node],
                "status": STATUS_NAMES[state.status],
                "why": state.reason,
                "ended_by": ENDED_BY_NAMES.get(state.ended_by),
                "queued": ms(queued_time(node, run)),
                "start": None if node.kind == ENQUEUE else ms(node.start),
                "end": ms(state.ended),
                "worker": worker_id_of(node),
                "host": _host_of(node) if self._has_hosts else None,
                "trace": _trace_of(node),
                "span": None if node.key is None else f"{node.key:016x}",
                "error": error_of(self._job, node),
                "stack": None if node.more is None else node.more.stack,
                "progress": progress_of(node),
                "slow": self._slowness.factor(node, state.status, state.ended, self._now),
            }
        )


def progress_of(node: Node) -> dict[str, int | None] | None:
    """How far a job says it is, as the model ``Progress``; None if not, or if it has completed."""
    if node.more is None or node.more.progress is None or node.ended & 7 == COMPLETED:
        return None
    _, done, total = node.more.progress
    return {"done": done, "total": None if total < 0 else total}


def queued_time(node: Node, run: Run) -> int | None:
    """When it was enqueued; where its link is lost, by the latest enqueue of its run before it."""
    known = queued_at(node)
    if known is None:
        times = [one.start for one in run.enqueues if one.start and one.attempt <= node.attempt]
        known = max(times, default=None)
    return known


def _host_of(node: Node) -> str | None:
    host = node.worker
    if isinstance(host, Worker):
        host = host.newest
    return host.host if isinstance(host, Incarnation) else None


def _trace_of(node: Node) -> str | None:
    """Its trace, as far as its task has only one, or the node knows no more than that."""
    if not node.marks & NAMED:
        return node.base.id
    task = node.own.task
    if not task.is_named:
        return task.id
    return task.traces[0] if len(task.traces) == 1 else None


def error_of(job: Job, node: Node) -> str | None:
    """Why it failed; while it has no end of its own, as another process reported it."""
    if node.error is not None or node.kind != JOB:
        return node.error
    report = report_of(job, node)
    return None if report is None else report.error
