"""
The events that the leader publishes about stalled jobs, and which verdicts it publishes. Pure.

Their ids are derived from research task, job, attempt and span, so that collectors agree and an
attempt is reported stalled once, however many collectors or leaders saw it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from otel_bridge.clock import iso_utc
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge_collector.model.events import ENQUEUE
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.liveness import Verdict
from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.runs import last_word
from otel_bridge_collector.model.snapshot.bars import phase_of, worker_id_of

__all__ = ["StalledJob", "find_stalled", "stalled_event", "stalled_failure_event"]

_NAMESPACE: Final = uuid.UUID("6f0f1f0e-5c0e-5d3c-9d5a-2f6b6a3f7c11")
_MESSAGES: Final = {
    "heartbeat_lost": "its heartbeats stopped",
    "silent": "no event of its task has come for a long time",
    "queue_emptied": "its queue was emptied before it ran",
}


class StalledJob(NamedTuple):
    """
    A stalled job, the node that is open, and why. A record; checks nothing.

    Attributes:
        job: The job in the model.
        node: Its open node (one attempt to run it, or its enqueue).
        verdict: Why it is stalled (``worker_lost``, ``heartbeat_lost``, ``silent``,
            ``queue_emptied`` or what a reported stall says), and the time of its last sign of life.
        is_worker_back: Its worker's id is in use again, by a later life of the worker.
    """

    job: Job
    node: Node
    verdict: Verdict
    is_worker_back: bool

    @property
    def worker_id(self) -> int | str | None:
        """The worker that ran it."""
        return worker_id_of(self.node)

    @property
    def is_worker_lost(self) -> bool:
        """Whether its worker is gone, and not only the job silent."""
        return self.verdict.reason == "worker_lost" and self.worker_id is not None


def find_stalled(model: Fold) -> Iterator[StalledJob]:
    """
    Yield each job that is stalled and due to be reported, as of the model's latest evaluation.

    If its worker has stopped or is silent, a job is due once that is as long ago as the heartbeat
    TTL (30 s by default), because the last events of its jobs may come after the worker's own; at
    once if the worker has started again. The number is not limited. Use it on the model's event
    loop; never raises.
    """
    now, ttl_us = model.liveness.now, model.workers.ttl_us
    for job, node, verdict in list(model.rows.stalled()):
        worker = model.workers.by_id.get(str(worker_id_of(node)))
        is_back = worker is not None and model.workers.status(worker, now) == "online"
        is_recent = worker is not None and now - worker.last_seen <= ttl_us
        if verdict.reason != "worker_lost" or is_back or not is_recent:
            yield StalledJob(job, node, verdict, is_back)


def stalled_event(found: StalledJob, now: int) -> MonitoringEvent:
    """
    Return the ``task_stalled`` event of a job's attempt; never raises for a job of the model.

    Equal attempts give equal event ids, also at other times and in other collectors. Changes
    nothing; on the model's event loop.

    Args:
        found: The job.
        now: Microseconds since the Unix epoch; a worker's clock may be ahead of it. The event's
            time is later than all that is known of the attempt.
    """
    return _event(
        found,
        now,
        MonitoringEventType.TASK_STALLED,
        message=_message(found),
        reason=found.verdict.reason,
        ended_by="rule",
    )


def stalled_failure_event(found: StalledJob, now: int) -> MonitoringEvent:
    """The ``task_failed`` of a job that the leader ended (``MONITORING_STALLED_ACTION=fail``)."""
    return _event(
        found,
        now + 1,
        MonitoringEventType.TASK_FAILED,
        status=TaskStatus.FAILED,
        error=f"stalled: {_message(found)}",
        reason=found.verdict.reason,
        ended_by="other",
    )


def _message(found: StalledJob) -> str:
    known = _MESSAGES.get(found.verdict.reason)
    return known or f"worker {found.worker_id} stopped answering"


def _event(
    found: StalledJob, now: int, kind: MonitoringEventType, **more: object
) -> MonitoringEvent:
    job, node = found.job, found.node
    span_id = None if node.key is None else f"{node.key:016x}"
    # Of a publisher without spans, a second run with the same attempt number starts again.
    restarted = node.more.restarted if node.more is not None else 0
    name = f"{kind}/{job.task.id}/{job.id}/{node.attempt}/{span_id or restarted or ''}"
    fields: dict[str, Any] = {
        # Later than the fact that it corrects, or the fold would take it for history.
        "ts": iso_utc(max(now, last_word(node) + 1) * 1000),
        "event_id": str(uuid.uuid5(_NAMESPACE, name)),
        "event_type": kind,
        "project_id": job.task.project,
        "parent_task_id": job.task.id or None,
        "task_id": job.id,
        "task_type": node.name,
        "phase": phase_of(node),
        "worker_id": found.worker_id,
        "retry_count": node.attempt,
        "span_id": span_id,
        "span_kind": "PRODUCER" if node.kind == ENQUEUE else None,
        **more,
    }
    return MonitoringEvent.model_validate(fields)
