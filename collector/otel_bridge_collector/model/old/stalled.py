"""
The stalled rule: jobs that run on a worker that is no longer there. Pure.

A job is stalled when it is ``processing`` and its worker, which used to send heartbeats, has been
silent for longer than the heartbeat TTL or has stopped as long ago. A worker that never sent one
cannot be missed: its framework may not beat at all.

The ids of the events are derived from research task, job and attempt, so that collectors agree and
a job is told stalled once an attempt, however many collectors or leaders saw it.
"""

from __future__ import annotations

import uuid
from typing import Final

from otel_bridge.clock import iso_utc
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.records import JobRecord

__all__ = ["find_stalled", "stalled_event", "stalled_failure_event"]

_NAMESPACE: Final = uuid.UUID("6f0f1f0e-5c0e-5d3c-9d5a-2f6b6a3f7c11")


def find_stalled(judge: Judge, ttl_sec: float) -> list[JobRecord]:
    """Jobs that are stalled and have not been told so, the longest running first."""
    oldest_sign = judge.now - int(ttl_sec * 1_000_000)
    workers = judge.state.fleet.workers
    found = [
        job
        for job in judge.state.processing.values()
        if judge.is_worker_gone(job.worker_id)
        and workers[str(job.worker_id)].last_seen < oldest_sign
    ]
    return sorted(found, key=lambda job: (job.started or 0, job.task_id))


def stalled_event(job: JobRecord, now: int) -> MonitoringEvent:
    """
    The ``task_stalled`` of a job's attempt.

    Args:
        job: It.
        now: Microseconds since the Unix epoch; a worker's clock may be ahead of it.
    """
    return _event(
        job,
        now,
        MonitoringEventType.TASK_STALLED,
        message=f"worker {job.worker_id} stopped answering",
    )


def stalled_failure_event(job: JobRecord, now: int) -> MonitoringEvent:
    """The ``task_failed`` of a job that the collector gave up (``MONITORING_STALLED_ACTION``)."""
    return _event(
        job,
        now + 1,
        MonitoringEventType.TASK_FAILED,
        status=TaskStatus.FAILED,
        error=f"stalled: worker {job.worker_id} stopped answering",
    )


def _event(job: JobRecord, now: int, kind: MonitoringEventType, **more: object) -> MonitoringEvent:
    name = f"{kind}/{job.parent_task_id or ''}/{job.task_id}/{job.rank.attempt}"
    fields = {
        # Later than the fact it corrects, or the fold would take it for history.
        "ts": iso_utc(max(now, job.rank.ts + 1) * 1000),
        "event_id": str(uuid.uuid5(_NAMESPACE, name)),
        "event_type": kind,
        "project_id": job.project_id,
        "parent_task_id": job.parent_task_id,
        "task_id": job.task_id,
        "task_type": job.task_type,
        "phase": job.phase,
        "worker_id": job.worker_id,
        "retry_count": job.rank.attempt,
        "span_id": job.span_id,
        **more,
    }
    return MonitoringEvent.model_validate(fields)
