"""
The rules for endings that never come or come in the wrong order.

They are pure functions of the facts and the time, so that a late fact corrects what was shown:

* A research task whose root span has ended is shown running while jobs of it run, or (for 60 s
  after its last event) while jobs of it are queued.
* A job that runs is lost when its worker has beaten and then fallen silent for the heartbeat TTL or
  stopped; or, where nobody beats, 5 minutes after the last event of a research task that ended.
  Lost jobs hold nothing open; their bars end at the last sign of life, as ``stalled``.
* A research task without an event for 15 minutes and without a job on a live worker is
  ``stalled``; its next event brings it back.
* A research task whose root span was never seen is open while jobs or phases are, and 60 s longer;
  then it has completed, or failed if every job did.
* A trace that is its own task, because a job is its root, is over when its jobs are.
* Phases and bars still open in a research task that is over end with it.
"""

from __future__ import annotations

from typing import Final

from otel_bridge_collector.model.old.fleet import WorkerRecord
from otel_bridge_collector.model.old.records import ENDED, TaskRecord
from otel_bridge_collector.model.old.state import LiveState
from otel_bridge_collector.wire.messages import Status

__all__ = ["Judge"]

_SECOND: Final = 1_000_000
QUEUED_GRACE: Final = 60 * _SECOND
LOST_AFTER: Final = 300 * _SECOND
QUIET_AFTER: Final = 900 * _SECOND


class Judge:
    """
    The rules above, at one moment.

    Args:
        state: Read only.
        now: Microseconds since the Unix epoch.
        heartbeat_ttl_sec: Silence after which a worker counts as gone.
    """

    def __init__(self, state: LiveState, now: int, heartbeat_ttl_sec: float) -> None:
        self.state = state
        self.now = now
        self._ttl = int(heartbeat_ttl_sec * _SECOND)

    def worker_status(self, worker: WorkerRecord) -> str:
        """``online``, ``offline`` or ``stopped``."""
        if worker.stopped and worker.stopped >= worker.last_beat:
            return "stopped"
        if self.now - worker.last_seen <= self._ttl:
            return "online"
        return "online" if not worker.is_beating and worker.running else "offline"

    def is_worker_gone(self, worker_id: int | str | None) -> bool:
        """Whether a worker that used to beat has fallen silent or stopped."""
        worker = self.state.fleet.workers.get(str(worker_id)) if worker_id is not None else None
        if worker is None or not worker.is_beating:
            return False
        return self.worker_status(worker) != "online"

    def live_jobs(self, task: TaskRecord) -> int:
        """Jobs of a research task that run and are not lost."""
        owners = self._owners(task)
        if task.ended is not None and self.now - task.last_seen > LOST_AFTER:
            owners = [w for w in owners if w is not None and w.is_beating]
        return sum(w is None or self.worker_status(w) == "online" for w in owners)

    def _owners(self, task: TaskRecord) -> list[WorkerRecord | None]:
        workers = self.state.fleet.workers
        jobs = self.state.jobs
        return [workers.get(str(jobs[task.task_id, name].worker_id)) for name in task.running]

    def task_status(self, task: TaskRecord) -> Status:
        """Where a research task stands."""
        quiet = self.now - task.last_seen
        live = self.live_jobs(task)
        if task.root_status in ENDED and task.is_rooted:
            is_open = live or (task.queued_jobs > 0 and quiet <= QUEUED_GRACE)
            return "processing" if is_open else task.root_status
        if live:
            return "processing"
        if quiet > QUIET_AFTER and (task.is_rooted or task.queued_jobs):
            return "stalled"
        if task.is_rooted:
            return task.root_status
        if task.origin is not None and not task.queued_jobs:
            return "failed" if self._failed_only(task) else "completed"
        has_open_phase = any(phase.status == "processing" for phase in task.phases.values())
        if quiet <= QUEUED_GRACE or (has_open_phase and quiet <= QUIET_AFTER) or task.queued_jobs:
            return "processing"
        return "failed" if self._failed_only(task) else "completed"

    def _failed_only(self, task: TaskRecord) -> bool:
        seen = [task.unphased.seen, *(phase.seen for phase in task.phases.values())]
        completed = sum(counts.get("completed", 0) for counts in seen)
        return not completed and any(counts.get("failed", 0) for counts in seen)
