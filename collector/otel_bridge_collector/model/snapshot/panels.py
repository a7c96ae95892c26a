"""Workers, queues and failures of a snapshot, as a client may see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Literal, cast

from otel_bridge.clock import iso_utc
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge_collector.model.events import PROCESSING
from otel_bridge_collector.model.failures import NO_ERROR
from otel_bridge_collector.model.failures import FailureGroup as TaskFailures
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.model.snapshot.bars import incarnation_of, iso, phase_of
from otel_bridge_collector.model.workers import Incarnation, Worker
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter
from otel_bridge_collector.wire.messages import FailureGroup, QueueDepth, WorkerState

__all__ = ["failure_groups", "queue_depths", "worker_states"]

FORGET_WORKER_AFTER_US: Final = 3_600_000_000
"""Workers gone for an hour are no longer shown."""
MAX_FAILURES: Final = 200
_NEWEST: Final = 10


def worker_states(model: Fold, event_filter: EventFilter = ALL_EVENTS) -> list[WorkerState]:
    """
    Workers, sorted by id; a job of another project is shown as busy without its ids.

    A reader limited to projects gets none: their counts and hosts reveal the work of others.
    """
    if event_filter.projects is not None:
        return []
    now = model.liveness.now
    found = []
    for worker in model.workers.by_id.values():
        status = model.workers.status(worker, now)
        if status == "online" or now - worker.last_seen <= FORGET_WORKER_AFTER_US:
            found.append(_worker(worker, status, event_filter.project_id))
    return sorted(found, key=lambda w: (isinstance(w.worker_id, str), w.worker_id))


def _worker(worker: Worker, status: str, project_id: str | None) -> WorkerState:
    newest = worker.newest
    job = _current_job(worker) if status == "online" else None
    is_hidden = job is None or (project_id is not None and job.task.project != project_id)
    node = None if job is None else job.win
    return WorkerState(
        worker_id=worker.id,
        status=cast('Literal["online", "offline", "stopped"]', status),
        host=newest.host if newest else None,
        pid=newest.pid if newest else None,
        started_at=iso(_started(newest)),
        last_heartbeat_at=iso(worker.last_seen or None),
        current_task_id=None if job is None or is_hidden else job.id,
        current_task_type=None if node is None else node.name,
        current_parent_task_id=None if job is None or is_hidden else job.task.id or None,
        current_started_at=None if node is None else iso(node.start),
        completed=worker.completed,
        failed=worker.failed,
        dropped_events=newest.note[1] if newest else 0,
        incarnation=incarnation_of(newest),
    )


def _started(newest: Incarnation | None) -> int | None:
    if newest is None or not newest.starts:
        return None
    return newest.starts[-1] if newest.process is None else newest.starts[0]


def _current_job(worker: Worker) -> Job | None:
    running = [job for job in worker.open if job.st == PROCESSING]
    return max(running, key=lambda job: (job.win.first if job.win else 0, job.id), default=None)


def queue_depths(model: Fold, first: Sequence[str] = DEFAULT_KEYS.queues) -> list[QueueDepth]:
    """Queues: those of the coordinator ``first``, in their order; then the others by name."""
    order = {name: index for index, name in enumerate(first)}
    depths = {queue.name: queue.depth for queue in model.queues.by_name.values() if queue.depth}
    return [
        QueueDepth(queue=name, depth=depths[name][1], at=iso_utc(depths[name][0] * 1000))
        for name in sorted(depths, key=lambda name: (order.get(name, len(order)), name))
    ]


def failure_groups(model: Fold, event_filter: EventFilter = ALL_EVENTS) -> list[FailureGroup]:
    """
    Failures by project and cause, the latest first; at most 200.

    Only of tasks that the client may see, and with a task filter only of that task.
    """
    found: defaultdict[tuple[str | None, str], list[TaskFailures]] = defaultdict(list)
    for task, groups in model.failures.of_task.items():
        if not event_filter.may_see(task.project):
            continue
        if event_filter.projects is not None and is_shared(task):
            continue
        if event_filter.task_id is not None and task.id != event_filter.task_id:
            continue
        for cause, group in groups.items():
            found[task.project, cause].append(group)
    latest = sorted(
        ((max(group.last for group in groups), *key) for key, groups in found.items()),
        key=lambda each: (each[0], each[2], each[1] or ""),
        reverse=True,
    )
    return [
        _group(found[project, cause], project, cause) for _, project, cause in latest[:MAX_FAILURES]
    ]


def _group(groups: list[TaskFailures], project: str | None, cause: str) -> FailureGroup:
    nodes = sorted((node for group in groups for node in group.newest()), key=_by_end, reverse=True)
    newest = nodes[0] if nodes else None
    error = None if newest is None else newest.error
    return FailureGroup(
        key=cause if project is None else f"{project}: {cause}",
        error=error or NO_ERROR,
        task_type=None if newest is None else newest.name,
        phase=None if newest is None else phase_of(newest),
        count=sum(group.count for group in groups),
        first_at=iso_utc(min(group.first for group in groups) * 1000),
        last_at=iso_utc(max(group.last for group in groups) * 1000),
        task_ids=_first_ten(_job_id(node) for node in nodes),
        parent_task_ids=_first_ten(node.own.task.id for node in nodes),
        project_id=project,
    )


def _by_end(node: Node) -> tuple[int, str]:
    return node.end, _job_id(node)


def _job_id(node: Node) -> str:
    own = node.own
    return own.id if type(own) is Job else own.task.id


def _first_ten(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))[:_NEWEST]
