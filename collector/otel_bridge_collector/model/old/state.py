"""
``LiveState``: the fold of events into what a dashboard shows. Pure: no clock, no network.

Order and repetition do not matter: within its bounds, the same events in any order, any of them
repeated, give the same state. Repetition is caught by event id (the newest 200,000 are
remembered); order by merging facts instead of overwriting them, see ``records.Rank``.

How a phase's two kinds of counts meet (``phase_counts`` in ``snapshot``):

* Absolute counts (``counts`` of ``phase_started``, ``phase_completed`` and of a ``stats_snapshot``
  with research task and phase) merge name by name: the later ``ts`` wins.
* Jobs with a ``phase`` are counted one by one, each in the status of its greatest fact. A job
  forgotten to save memory stays counted.
* Shown: the larger of both for ``completed``; the jobs' own number for ``failed`` when every
  expected job has been seen, else the larger of both; ``total`` is the larger of the told total
  and the jobs seen; ``pending`` is what remains of it.

Endings that never come, or come in the wrong order, are judged when looked at (``snapshot``), not
stored: a late fact then corrects them.

Bounds: research tasks, jobs and their bytes, spans of a task, workers, queues, failures. What has
ended longest ago leaves first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge_collector.model.old.fleet import Fleet
from otel_bridge_collector.model.old.lending import TraceIndex
from otel_bridge_collector.model.old.records import (
    ABSOLUTE_COUNTS,
    ENDED,
    JOB_FACTS,
    JobRecord,
    PhaseRecord,
    Rank,
    TaskRecord,
    apply_span,
    attempt_of,
    began,
    cut,
    earliest,
    microseconds,
    settle,
)

__all__ = ["LiveState", "StateLimits"]

_Type = MonitoringEventType

_FOLDED: Final = frozenset(
    {
        *JOB_FACTS,
        _Type.PHASE_STARTED,
        _Type.PHASE_COMPLETED,
        _Type.STATS_SNAPSHOT,
        _Type.QUEUE_DEPTH_UPDATE,
        _Type.WORKER_STARTED,
        _Type.WORKER_HEARTBEAT,
        _Type.WORKER_STOPPED,
    }
)
"""The event types that change the state; any other type may be of a newer release."""

_RATE_KEEP_SEC: Final = 120
_JOB_COST_BYTES: Final = 700
"""Measured with tracemalloc on CPython 3.11 for a job and its ids of 36 characters, rounded up."""


class StateLimits:
    """How much is remembered; counts, except ``job_bytes``."""

    def __init__(
        self,
        *,
        tasks: int = 1000,
        jobs: int = 50_000,
        job_bytes: int = 64 * 1024 * 1024,
        spans_per_task: int = 400,
        phases_per_task: int = 100,
        workers: int = 2000,
        queues: int = 200,
        failures: int = 200,
        event_ids: int = 200_000,
    ) -> None:
        self.tasks = tasks
        self.jobs = jobs
        self.job_bytes = job_bytes
        self.spans_per_task = spans_per_task
        self.phases_per_task = phases_per_task
        self.workers = workers
        self.queues = queues
        self.failures = failures
        self.event_ids = event_ids


class LiveState:
    """
    Folds events one by one; read by ``snapshot`` and ``stalled``.

    Attributes:
        tasks: Research tasks by id.
        jobs: Jobs by (research task or "", job).
        processing: Of the jobs: those running.
        fleet: Workers, queues and failures.
        traces: Which research tasks a trace has.
    """

    def __init__(self, limits: StateLimits | None = None) -> None:
        self._limits = limits or StateLimits()
        self.tasks: dict[str, TaskRecord] = {}
        self.jobs: OrderedDict[tuple[str, str], JobRecord] = OrderedDict()
        self.processing: dict[tuple[str, str], JobRecord] = {}
        self.fleet = Fleet(
            max_workers=self._limits.workers,
            max_queues=self._limits.queues,
            max_failures=self._limits.failures,
        )
        self.traces = TraceIndex()
        self._ended_jobs: deque[tuple[str, str]] = deque()
        self._job_bytes = 0
        self._known_ids: set[int] = set()
        self._ids_in_order: deque[int] = deque()

    def apply(self, event: MonitoringEvent, seen: int) -> bool:
        """
        Fold one event.

        Args:
            event: Any event; one of an unknown type changes nothing.
            seen: When it was seen, microseconds since the Unix epoch: the collector's clock for a
                live event, the event's own ``ts`` for one read back. Judges liveness, so that a
                worker with a wrong clock is not taken for dead.

        Returns:
            False when this event has been folded before.
        """
        if not self._remember(event.event_id):
            return False
        kind = event.event_type
        if kind not in _FOLDED:
            return True
        ts = microseconds(event.ts)
        task = self._task(event, ts, seen)
        if kind in JOB_FACTS:
            if task is not None and event.task_id == event.parent_task_id:
                self._apply_root(task, event, ts)
            elif event.task_id is not None:
                self._apply_job(task, event, ts, seen)
        elif kind in (_Type.PHASE_STARTED, _Type.PHASE_COMPLETED):
            if task is not None and event.phase is not None:
                self._apply_phase(task, event, ts)
        elif kind == _Type.STATS_SNAPSHOT:
            if task is not None:
                self._apply_progress(task, event, ts)
        elif kind == _Type.QUEUE_DEPTH_UPDATE:
            self.fleet.apply_queues(event)
        elif event.worker_id is not None:
            self.fleet.apply_worker(event, seen)
        return True

    def _remember(self, event_id: str) -> bool:
        known = hash(event_id)
        if known in self._known_ids:
            return False
        self._known_ids.add(known)
        self._ids_in_order.append(known)
        if len(self._known_ids) > self._limits.event_ids:
            self._known_ids.remove(self._ids_in_order.popleft())
        return True

    def knows(self, event_id: str) -> bool:
        """Whether this event has been folded, and has not been forgotten since."""
        return hash(event_id) in self._known_ids

    # --- research tasks and phases ---------------------------------------------------------------

    def _task(self, event: MonitoringEvent, ts: int, seen: int) -> TaskRecord | None:
        task_id = event.parent_task_id
        if task_id is None:
            return None
        task = self.tasks.get(task_id)
        if task is None:
            task = self.tasks[task_id] = TaskRecord(task_id)
            self._shed_tasks(task_id)
        task.is_mixed = task.is_mixed or _are_two(task.project_id, event.project_id)
        task.project_id = settle(task.project_id, event.project_id)
        task.trace_id = settle(task.trace_id, event.trace_id)
        self.traces.note(event.trace_id, task_id)
        task.first_seen = earliest(task.first_seen, ts)
        if seen > task.last_seen:
            task.last_seen = seen
        return task

    def _apply_root(self, task: TaskRecord, event: MonitoringEvent, ts: int) -> None:
        task.is_rooted = True
        task.task_type = settle(task.task_type, cut(event.task_type, 100))
        meta = event.meta or {}
        for name in ("title", "domain"):
            value = meta.get(name)
            if isinstance(value, str):
                setattr(task, name, settle(getattr(task, name), cut(value, 300)))
        if event.message is not None:
            task.message = _later(task.message, ts, event)
        stage, order, status = JOB_FACTS[event.event_type]
        rank = Rank(attempt_of(event), stage, ts, order, event.event_id)
        is_end = status in ENDED
        if event.event_type == _Type.TASK_STARTED:
            task.started = earliest(task.started, ts)
        elif is_end and event.duration_ms is not None:
            task.started = earliest(task.started, began(ts, event.duration_ms))
        if rank > task.rank:
            task.rank = rank
            task.root_status = status
            task.ended = ts if is_end else None
            task.duration_ms = event.duration_ms if is_end else None
            task.error = cut(event.error, 500)
        if event.event_type == _Type.TASK_RETRY:
            task.retries += 1
        if status == "failed":
            self.fleet.apply_failure(event)
        apply_span(task.spans, event, "research_task", self._limits.spans_per_task)

    def _phase(self, task: TaskRecord, name: str | None, ts: int) -> PhaseRecord:
        name = cut(name, 100)
        if not name:
            return task.unphased
        phase = task.phases.get(name)
        if phase is None:
            if len(task.phases) >= self._limits.phases_per_task:
                return task.unphased
            phase = task.phases[name] = PhaseRecord(name)
        phase.first_seen = earliest(phase.first_seen, ts)
        return phase

    def _apply_phase(self, task: TaskRecord, event: MonitoringEvent, ts: int) -> None:
        phase = self._phase(task, event.phase, ts)
        is_end = event.event_type == _Type.PHASE_COMPLETED
        if not is_end:
            phase.started = earliest(phase.started, ts)
        elif event.duration_ms is not None:
            phase.started = earliest(phase.started, began(ts, event.duration_ms))
        rank = (ts, int(is_end), event.event_id)
        if rank > phase.rank:
            phase.rank = rank
            phase.ended = ts if is_end else None
            phase.duration_ms = event.duration_ms if is_end else None
            phase.status = "processing"
            if is_end:
                phase.status = "failed" if event.status == TaskStatus.FAILED else "completed"
        self._apply_counts(phase, event, ts)
        if event.message is not None:
            task.message = _later(task.message, ts, event)
            phase.message = _later(phase.message, ts, event)
        apply_span(task.spans, event, "phase", self._limits.spans_per_task)

    def _apply_progress(self, task: TaskRecord, event: MonitoringEvent, ts: int) -> None:
        if event.message is not None:
            task.message = _later(task.message, ts, event)
        if event.phase is None:
            return
        phase = self._phase(task, event.phase, ts)
        if event.message is not None:
            phase.message = _later(phase.message, ts, event)
        self._apply_counts(phase, event, ts)
        counts = event.counts or {}
        done = counts.get("completed", 0) + counts.get("failed", 0)
        second = ts // 1_000_000
        phase.samples[second] = max(phase.samples.get(second, 0), done)
        _prune(phase.samples)

    def _apply_counts(self, phase: PhaseRecord, event: MonitoringEvent, ts: int) -> None:
        for name, value in (event.counts or {}).items():
            if name not in ABSOLUTE_COUNTS or value < 0:
                continue
            fact = (ts, event.event_id, value)
            if name not in phase.counts or fact > phase.counts[name]:
                phase.counts[name] = fact

    # --- jobs ------------------------------------------------------------------------------------

    def _apply_job(
        self, task: TaskRecord | None, event: MonitoringEvent, ts: int, seen: int
    ) -> None:
        assert event.task_id is not None
        key = (event.parent_task_id or "", event.task_id)
        # By the event's own phase, whatever the job's other events say: order must not matter.
        phase = None if task is None else self._phase(task, event.phase, ts)
        job = self.jobs.get(key)
        if job is None:
            job = self.jobs[key] = JobRecord(event.parent_task_id, event.task_id)
            self._job_bytes += _cost(key)
        else:
            self._uncount(task, key, job)
        job.task_type = settle(job.task_type, cut(event.task_type, 100))
        if task is not None and task.task_id == event.trace_id and event.parent_span_id is None:
            task.origin = settle(task.origin, cut(event.task_type, 100) or "job")
        job.phase = settle(job.phase, cut(event.phase, 100))
        job.is_mixed = job.is_mixed or _are_two(job.project_id, event.project_id)
        job.project_id = settle(job.project_id, event.project_id)
        stage, order, status = JOB_FACTS[event.event_type]
        rank = Rank(attempt_of(event), stage, ts, order, event.event_id)
        if rank > job.rank:
            job.rank = rank
            job.status = "retrying" if status == "pending" and rank.attempt else status
            job.worker_id = event.worker_id
            job.span_id = event.span_id
            job.started = ts if status == "processing" else None
            job.error = cut(event.error, 300)
        self._count(task, key, job)
        if event.event_type == _Type.TASK_RETRY and task is not None:
            task.retries += 1
        if status in ENDED:
            self._apply_end(phase, event, ts)
        if event.worker_id is not None and event.event_type != _Type.TASK_STALLED:
            worker = self.fleet.worker(event.worker_id)
            worker.last_seen = max(worker.last_seen, seen)
        if task is not None:
            kind = "enqueue" if stage == 0 else "job"
            apply_span(task.spans, event, kind, self._limits.spans_per_task)
        if job.status in ENDED:
            self._ended_jobs.append(key)
        self._shed_jobs()

    def _apply_end(self, phase: PhaseRecord | None, event: MonitoringEvent, ts: int) -> None:
        if phase is not None:
            second = ts // 1_000_000
            phase.ends_by_second[second] = phase.ends_by_second.get(second, 0) + 1
            _prune(phase.ends_by_second)
            phase.last_end = max(phase.last_end, ts)
        is_failure = event.event_type == _Type.TASK_FAILED
        if event.worker_id is not None:
            worker = self.fleet.worker(event.worker_id)
            if is_failure:
                worker.failed += 1
            else:
                worker.completed += 1
        if is_failure:
            self.fleet.apply_failure(event)

    def _count(self, task: TaskRecord | None, key: tuple[str, str], job: JobRecord) -> None:
        if job.status == "processing":
            self.processing[key] = job
            if job.worker_id is not None:
                self.fleet.worker(job.worker_id).running.add(key)
        if task is None:
            return
        phase = task.phases.get(job.phase or "", task.unphased)
        phase.seen[job.status] = phase.seen.get(job.status, 0) + 1
        if job.status == "processing":
            task.running.add(job.task_id)
        elif job.status in ("pending", "retrying"):
            task.queued_jobs += 1

    def _uncount(self, task: TaskRecord | None, key: tuple[str, str], job: JobRecord) -> None:
        if job.status == "processing":
            self.processing.pop(key, None)
            if job.worker_id is not None and str(job.worker_id) in self.fleet.workers:
                self.fleet.workers[str(job.worker_id)].running.discard(key)
        if task is None:
            return
        phase = task.phases.get(job.phase or "", task.unphased)
        phase.seen[job.status] = phase.seen.get(job.status, 0) - 1
        task.running.discard(job.task_id)
        if job.status in ("pending", "retrying"):
            task.queued_jobs -= 1

    # --- bounds ----------------------------------------------------------------------------------

    def _shed_jobs(self) -> None:
        limits = self._limits
        while len(self.jobs) > limits.jobs or self._job_bytes > limits.job_bytes:
            if self._ended_jobs:
                key = self._ended_jobs.popleft()
                job = self.jobs.get(key)
                if job is None or job.status not in ENDED:
                    continue
                task = self.tasks.get(key[0])
                if task is not None:
                    phase = task.phases.get(job.phase or "", task.unphased)
                    phase.forgotten += 1
                del self.jobs[key]
            else:
                # Only open jobs are left: their ends will never be missed as long as these are.
                key, job = self.jobs.popitem(last=False)
                self._uncount(self.tasks.get(key[0]), key, job)
            self._job_bytes -= _cost(key)
        if len(self._ended_jobs) > 4 * limits.jobs:
            # Of jobs that went with their research task nothing is left to forget.
            left = dict.fromkeys(self._ended_jobs)
            self._ended_jobs = deque(key for key in left if key in self.jobs)

    def _shed_tasks(self, newcomer: str) -> None:
        excess = len(self.tasks) - self._limits.tasks
        if excess <= 0:
            return
        # A twentieth at once: finding the oldest and their jobs walks everything.
        count = excess + self._limits.tasks // 20
        by_age = sorted(
            (task for task in self.tasks.values() if task.task_id != newcomer),
            key=lambda task: (_is_under_way(task), task.last_seen),
        )
        gone = {task.task_id for task in by_age[:count]}
        for key in [key for key in self.jobs if key[0] in gone]:
            self._uncount(self.tasks[key[0]], key, self.jobs.pop(key))
            self._job_bytes -= _cost(key)
        for task_id in gone:
            del self.tasks[task_id]


def _is_under_way(task: TaskRecord) -> bool:
    if task.running or task.is_rooted:
        return bool(task.running) or task.root_status not in ENDED
    # Without a root nothing says the end: it has come when nothing is left to do.
    has_open_phase = any(phase.status == "processing" for phase in task.phases.values())
    return task.queued_jobs > 0 or has_open_phase


def _later(
    old: tuple[int, str, str] | None, ts: int, event: MonitoringEvent
) -> tuple[int, str, str]:
    new = (ts, event.event_id, cut(event.message, 300) or "")
    return new if old is None else max(old, new)


def _cost(key: tuple[str, str]) -> int:
    return _JOB_COST_BYTES + len(key[0]) + len(key[1])


def _prune(by_second: dict[int, int]) -> None:
    if len(by_second) > _RATE_KEEP_SEC:
        for second in sorted(by_second)[: len(by_second) - _RATE_KEEP_SEC]:
            del by_second[second]


def _are_two(known: str | None, told: str | None) -> bool:
    return known is not None and told is not None and known != told
