"""Workers, queues and failures of a snapshot, as a client may see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge as merge_sorted
from typing import Final, Literal, NamedTuple, cast

from otel_bridge.clock import iso_utc
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge_collector.model.events import PROCESSING
from otel_bridge_collector.model.failures import NO_ERROR
from otel_bridge_collector.model.failures import FailureGroup as TaskFailures
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.processes.records import Incarnation, Worker
from otel_bridge_collector.model.reading.failed import FailedJob, Order
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.model.snapshot.bars import incarnation_of, iso
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter
from otel_bridge_collector.wire.messages import FailureGroup, QueueDepth, WorkerState

__all__ = [
    "MergedFailures",
    "WorkerStatus",
    "current_job",
    "failure_groups",
    "first_ten",
    "group_of",
    "is_listed",
    "is_named_to",
    "iter_failed",
    "job_place",
    "key_of",
    "known_processes",
    "merged_failure",
    "merged_failures",
    "newest_failed",
    "place_of",
    "queue_depths",
    "runs_in",
    "shown_processes",
    "shown_workers",
    "started_at",
    "worker_place",
    "worker_states",
]

FORGET_WORKER_AFTER_US: Final = 3_600_000_000
"""Workers gone for an hour are no longer shown."""
MAX_FAILURES: Final = 200
_NEWEST: Final = 10

WorkerStatus = Literal["online", "offline", "stopped", "unknown"]


def worker_states(model: Fold, event_filter: EventFilter = ALL_EVENTS) -> list[WorkerState]:
    """
    Return the workers, sorted by id; a job of another project is shown as busy without its ids.

    Those that live, or were heard in the last hour; 2,000 are held, more only if all are busy. A
    reader limited to projects gets none: their counts and hosts reveal the work of others. Never
    raises; on the collector's event loop.

    Args:
        model: The state, as of its latest sweep (the check of what is stalled, once a second).
        event_filter: Default: everything. Of a project, only job ids of that project are shown.
    """
    if event_filter.projects is not None:
        return []
    return [
        _worker(worker, status, event_filter.project_id) for worker, status in shown_workers(model)
    ]


def known_workers(model: Fold) -> list[tuple[Worker, WorkerStatus]]:
    """All workers held, sorted by id, with their status; never raises."""
    now = model.liveness.now
    found = [
        (worker, cast("WorkerStatus", model.workers.status(worker, now)))
        for worker in model.workers.by_id.values()
    ]
    return sorted(found, key=lambda each: worker_place(each[0].id))


def worker_place(worker_id: int | str) -> tuple[bool, int | str]:
    """What workers are sorted by: numbers before names; pure."""
    return isinstance(worker_id, str), worker_id


def is_listed(status: str, last_seen: int, now: int) -> bool:
    """Whether readers see a worker: it lives, or was heard in the last hour. Pure."""
    return status == "online" or now - last_seen <= FORGET_WORKER_AFTER_US


def shown_workers(model: Fold) -> list[tuple[Worker, WorkerStatus]]:
    """Workers that live or were heard in the last hour, sorted by id, with their status."""
    now = model.liveness.now
    return [
        (worker, status)
        for worker, status in known_workers(model)
        # Most live: when they were last seen takes 0.4 us each.
        if status == "online" or is_listed(status, worker.last_seen, now)
    ]


def shown_processes(model: Fold) -> list[tuple[Worker, Incarnation | None, WorkerStatus]]:
    """
    Return the same workers by process; never raises.

    Two that live under one id, as two nodes of one name do, are two. Of those that do not live only
    the latest counts. None for one without worker events.
    """
    return _by_process(model, shown_workers(model))


def known_processes(model: Fold) -> list[tuple[Worker, Incarnation | None, WorkerStatus]]:
    """All workers held, as ``shown_processes``: another state may have heard of one lately."""
    return _by_process(model, known_workers(model))


def _by_process(
    model: Fold, workers: Iterable[tuple[Worker, WorkerStatus]]
) -> list[tuple[Worker, Incarnation | None, WorkerStatus]]:
    found: list[tuple[Worker, Incarnation | None, WorkerStatus]] = []
    for worker, status in workers:
        living = model.workers.living(worker, model.liveness.now) if status == "online" else []
        living.sort(key=lambda one: (one.first or 0, one.key))
        shown: Sequence[Incarnation | None] = living or [worker.newest]
        found += [(worker, one, status) for one in shown]
    return found


def _worker(worker: Worker, status: WorkerStatus, project_id: str | None) -> WorkerState:
    newest = worker.newest
    job = current_job(worker) if status == "online" else None
    named = job if is_named_to(job, project_id) else None
    node = None if job is None else job.win
    return WorkerState(
        worker_id=worker.id,
        # The raw stream has no word for a worker that has never sent a heartbeat.
        status="offline" if status == "unknown" else status,
        host=newest.host if newest else None,
        pid=newest.pid if newest else None,
        started_at=iso(started_at(newest)),
        last_heartbeat_at=iso(worker.last_seen or None),
        current_task_id=named and named.id,
        current_task_type=None if node is None else node.name,
        current_parent_task_id=named and (named.task.id or None),
        current_started_at=None if node is None else iso(node.start),
        completed=worker.completed,
        failed=worker.failed,
        dropped_events=newest.note[1] if newest else 0,
        incarnation=incarnation_of(newest),
    )


def is_named_to(job: Job | None, project_id: str | None) -> bool:
    """Whether a reader of one project (None: of all) gets the ids of a worker's job; pure."""
    return job is not None and project_id in (None, job.task.project)


def started_at(newest: Incarnation | None) -> int | None:
    """When a worker's process started, in microseconds; None if nothing said so."""
    if newest is None or not newest.starts:
        return None
    return newest.starts[-1] if newest.process is None else newest.starts[0]


def current_job(worker: Worker, one: Incarnation | None = None) -> Job | None:
    """
    Return the job that a worker, or one of its processes, runs; of several the latest.

    None: it runs none. Pure; several states choose from what each of them finds by the same order.
    """
    running = [job for job in worker.open if job.st == PROCESSING]
    if one is not None:
        running = [job for job in running if job.win is not None and runs_in(job.win, one)]
    return max(running, key=job_place, default=None)


def job_place(job: Job) -> tuple[int, str, str]:
    """By what the job is chosen that a worker is shown with, if it runs several; pure."""
    return job.win.first if job.win else 0, job.id, job.task.id


def runs_in(node: Node, one: Incarnation) -> bool:
    """Whether a process runs an attempt, or ran it; pure."""
    host = node.worker
    return host is one or (host is one.worker and one.worker.newest is one)


def queue_depths(model: Fold, first: Sequence[str] = DEFAULT_KEYS.queues) -> list[QueueDepth]:
    """
    Return the latest depth of each queue: those of ``first`` in their order, then by name.

    Queues without a report are left out; at most 200 are held by default. Never raises.

    Args:
        model: The state, on its event loop.
        first: Full names; default: the three queues of the coordinator.
    """
    order = {name: index for index, name in enumerate(first)}
    depths = {queue.name: queue.depth for queue in model.queues.by_name.values() if queue.depth}
    return [
        QueueDepth(queue=name, depth=depths[name][1], at=iso_utc(depths[name][0] * 1000))
        for name in sorted(depths, key=lambda name: (order.get(name, len(order)), name))
    ]


def key_of(project: str | None, cause: str) -> str:
    """The key of a cause of failures, as unique as names of projects are without a colon; pure."""
    return cause if project is None else f"{project}: {cause}"


class MergedFailures(NamedTuple):
    """Failures of one project with one cause, of all its tasks."""

    project: str | None
    cause: str
    groups: list[TaskFailures]

    @property
    def key(self) -> str:
        """Unique among all projects."""
        return key_of(self.project, self.cause)

    @property
    def last(self) -> int:
        """When the newest ended, microseconds."""
        return max(group.last for group in self.groups)


def merged_failures(model: Fold, event_filter: EventFilter = ALL_EVENTS) -> list[MergedFailures]:
    """
    Return the failures by project and cause, the latest first; never raises.

    Only of tasks that the client may see, and with a task filter only of that task. A task has at
    most 101 causes; there is no other limit (``failure_groups`` returns the first 200).

    Args:
        model: The state, on its event loop.
        event_filter: Default: everything.
    """
    found: defaultdict[tuple[str | None, str], list[TaskFailures]] = defaultdict(list)
    for group in _groups_for(model, event_filter):
        found[group.task.project, group.cause].append(group)
    merged = [MergedFailures(*key, groups) for key, groups in found.items()]
    return sorted(merged, key=lambda one: (one.last, one.cause, one.project or ""), reverse=True)


def merged_failure(model: Fold, event_filter: EventFilter, key: str) -> MergedFailures | None:
    """
    Return the failures with one key, of ``merged_failures`` of the same arguments; None: none.

    Never raises. It looks at each task's causes, and at failures of that key alone.

    Args:
        model: The state, on its event loop.
        event_filter: What the client may see and asks for.
        key: ``key`` of the failures.
    """
    found: dict[str | None, list[TaskFailures]] = {}
    for group in _groups_for(model, event_filter):
        project, cause = group.task.project, group.cause
        if key.endswith(cause) and key == MergedFailures(project, cause, []).key:
            found.setdefault(project, []).append(group)
    if not found:
        return None
    # Only a project whose name has a colon can share a key with another one.
    merged = [MergedFailures(one, groups[0].cause, groups) for one, groups in found.items()]
    return max(merged, key=lambda one: (one.last, one.cause, one.project or ""))


def _groups_for(model: Fold, event_filter: EventFilter) -> Iterator[TaskFailures]:
    for task, groups in model.failures.of_task.items():
        if not event_filter.may_see(task.project):
            continue
        if event_filter.projects is not None and is_shared(task):
            continue
        if event_filter.task_id is not None and task.id != event_filter.task_id:
            continue
        yield from groups.values()


def failure_groups(model: Fold, event_filter: EventFilter = ALL_EVENTS) -> list[FailureGroup]:
    """The first 200 of ``merged_failures`` as they travel."""
    return [_group(merged) for merged in merged_failures(model, event_filter)[:MAX_FAILURES]]


def newest_failed(merged: MergedFailures) -> list[FailedJob]:
    """
    Return what is said of the newest of these failures, the latest first; never raises.

    Of each task the ten newest, also of those whose nodes are no longer held, as far as that is
    kept: 50 a task.
    """
    return list(iter_failed(merged, _NEWEST))


def iter_failed(merged: MergedFailures, count: int) -> Iterator[FailedJob]:
    """
    Iterate what is said of these failures, the latest first; as ``newest_failed``.

    Args:
        merged: The failures, of any number of tasks.
        count: At most so many of each task, at most 200.
    """
    found = (group.newest_jobs(count) for group in merged.groups)
    return merge_sorted(*found, key=place_of, reverse=True)


def place_of(job: FailedJob) -> tuple[Order, str]:
    """What failures of several tasks are sorted by, the latest last; pure."""
    return job.order, job.task


def _group(merged: MergedFailures) -> FailureGroup:
    groups = merged.groups
    count, first = sum(group.count for group in groups), min(group.first for group in groups)
    times = count, first, merged.last
    return group_of(merged.key, merged.project, times, newest_failed(merged))


def group_of(
    key: str, project: str | None, totals: tuple[int, int, int], jobs: Sequence[FailedJob]
) -> FailureGroup:
    """
    Return failures of one cause as they travel; pure.

    Args:
        key: Of the cause.
        project: Of these failures.
        totals: How many they are, and when the first and the last came, microseconds.
        jobs: What is said of the newest ones, the latest first.
    """
    newest = jobs[0] if jobs else None
    error = None if newest is None else newest.error
    count, first, last = totals
    return FailureGroup(
        key=key,
        error=error or NO_ERROR,
        task_type=None if newest is None else newest.name,
        phase=None if newest is None else newest.phase,
        count=count,
        first_at=iso_utc(first * 1000),
        last_at=iso_utc(last * 1000),
        task_ids=first_ten(job.job or job.task for job in jobs),
        parent_task_ids=first_ten(job.task for job in jobs),
        project_id=project,
    )


def first_ten(names: Iterable[str]) -> list[str]:
    """The first ten different names, without empty ones."""
    return list(dict.fromkeys(name for name in names if name))[:_NEWEST]
