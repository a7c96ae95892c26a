"""
The context managers that make work visible: research task, phase, enqueue, job, worker.

All work with ``with`` and ``async with``, in threads and on event loops; none of them raises on
its own account or waits for Redis. Without ``configure()`` they use the application's own tracer
provider; with ``NEXUS_MONITORING_ENABLED=false`` they do nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.spans.blocks import Enqueue, Job, Phase, ResearchTask, Worker
from otel_bridge.spans.scope import Scope, current_scope
from otel_bridge.spans.span_block import meta_attributes, safe_str

__all__ = ["enqueue", "job", "phase", "queue_depth", "research_task", "worker"]

logger = logging.getLogger(__name__)


def research_task(
    task_id: str,
    *,
    title: str | None = None,
    project_id: str | None = None,
    task_type: str | None = None,
    domain: str | None = None,
    message: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> ResearchTask:
    """
    Open the root span of a research task: ``task_started``, then ``task_completed`` or ``_failed``.

    Args:
        task_id: The research task; becomes ``parent_task_id`` of everything inside.
        title: For people.
        project_id: Whose work it is; passed on to everything inside.
        task_type: E.g. ``data_aggregation``.
        domain: E.g. ``schools``.
        message: One line for people.
        meta: Further small values to show.
    """
    ids = Scope(
        parent_task_id=safe_str(task_id), project_id=project_id, worker=current_scope().worker
    )
    attributes = {
        semconv.TASK_ID: ids.parent_task_id,
        semconv.TASK_TYPE: task_type,
        semconv.TASK_TITLE: title,
        semconv.TASK_DOMAIN: domain,
        semconv.MESSAGE: message,
        **meta_attributes(meta),
    }
    return ResearchTask(task_type or "task", ids, attributes)


def phase(name: str, *, total: int | None = None) -> Phase:
    """
    Open a phase of the research task around it: ``phase_started``, ``phase_completed``.

    Args:
        name: E.g. ``search``; jobs enqueued inside carry it.
        total: Jobs expected; None while unknown.
    """
    return Phase(name, replace(current_scope(), phase=name), total)


def enqueue(
    *,
    task_id: str | None,
    task_type: str,
    queue: str | None = None,
    parent_task_id: str | None = None,
    project_id: str | None = None,
    phase: str | None = None,
    retry_count: int = 0,
) -> Enqueue:
    """
    Wrap putting one job into a queue: ``task_enqueued``; gives the carrier to put beside it.

    Args:
        task_id: The job; None when only the queue can name it: then call ``queued(task_id)`` of
            the block inside it, and the job counts as enqueued when the block ends.
        task_type: E.g. ``data_aggregation_search``.
        queue: The queue's full name.
        parent_task_id: The research task; default: the one around.
        project_id: Default: that of the research task around.
        phase: Default: the one around.
        retry_count: Attempts made before this one.
    """
    ids = _ids(parent_task_id, project_id, phase, {})
    known_id = None if task_id is None else safe_str(task_id)
    attributes = {
        semconv.TASK_ID: known_id,
        semconv.TASK_TYPE: task_type,
        semconv.QUEUE: queue,
        semconv.RETRY_COUNT: retry_count,
        semconv.MESSAGING_SYSTEM: "otel_bridge",
        semconv.MESSAGING_OPERATION_TYPE: "send",
        semconv.MESSAGING_OPERATION_NAME: "enqueue",
        semconv.MESSAGING_MESSAGE_ID: known_id,
        semconv.MESSAGING_DESTINATION_NAME: queue,
    }
    return Enqueue(task_type, ids, attributes)


def job(
    *,
    task_id: str,
    task_type: str,
    carrier: Mapping[str, str] | None = None,
    worker_id: int | str | None = None,
    retry_count: int = 0,
    queue: str | None = None,
    parent_task_id: str | None = None,
    project_id: str | None = None,
    phase: str | None = None,
) -> Job:
    """
    Wrap running one job: ``task_started``, then ``task_completed``, ``_failed`` or ``_retry``.

    Args:
        task_id: The job.
        task_type: E.g. ``data_aggregation_search``.
        carrier: What ``enqueue`` gave; makes this span a child of the enqueuing one, in the same
            trace, and names research task, project and phase. Default: the context around.
        worker_id: Default: the ``worker()`` around.
        retry_count: Attempts made before this one; 0 for the first.
        queue: The queue's full name.
        parent_task_id: Wins over the carrier's.
        project_id: Wins over the carrier's.
        phase: Wins over the carrier's.
    """
    carrier = carrier if isinstance(carrier, Mapping) else {}
    ids = _ids(parent_task_id, project_id, phase, carrier)
    if worker_id is None and ids.worker is not None:
        worker_id = ids.worker.worker_id
    attributes = {
        semconv.TASK_ID: safe_str(task_id),
        semconv.TASK_TYPE: task_type,
        semconv.QUEUE: queue,
        semconv.WORKER_ID: worker_id,
        semconv.RETRY_COUNT: retry_count,
        semconv.MESSAGING_SYSTEM: "otel_bridge",
        semconv.MESSAGING_OPERATION_TYPE: "process",
        semconv.MESSAGING_OPERATION_NAME: "job",
        semconv.MESSAGING_MESSAGE_ID: safe_str(task_id),
        semconv.MESSAGING_DESTINATION_NAME: queue,
    }
    return Job(task_type, ids, attributes, task_id=safe_str(task_id), carrier=carrier)


def _ids(
    parent_task_id: str | None,
    project_id: str | None,
    phase: str | None,
    carrier: Mapping[str, str],
) -> Scope:
    around = current_scope()
    return Scope(
        parent_task_id=parent_task_id
        or carrier.get(semconv.CARRIER_PARENT_TASK_ID)
        or around.parent_task_id,
        project_id=project_id or carrier.get(semconv.CARRIER_PROJECT_ID) or around.project_id,
        phase=phase or carrier.get(semconv.CARRIER_PHASE) or around.phase,
        worker=around.worker,
    )


def worker(worker_id: int | str, *, meta: Mapping[str, Any] | None = None) -> Worker:
    """
    Say that a worker is up while the block is open: ``worker_started``, beats, ``worker_stopped``.

    Args:
        worker_id: Unique among all workers; two processes must not both be worker 3.
        meta: Small values to show with it, beside ``host`` and ``pid``.
    """
    return Worker(worker_id, meta)


def queue_depth(depths: Mapping[str, int]) -> None:
    """
    Publish one ``queue_depth_update``.

    Args:
        depths: Jobs waiting, by the queue's full name.
    """
    bridge = current_bridge()
    if bridge is None or bridge.bus is None:
        return
    try:
        event = MonitoringEvent(
            event_type=MonitoringEventType.QUEUE_DEPTH_UPDATE, counts=dict(depths)
        )
    except (TypeError, ValueError):
        logger.exception("queue_depth() takes whole numbers by queue name; got %r", depths)
        return
    bridge.bus.publish(event)
    if bridge.otel_metrics is not None:
        bridge.otel_metrics.queue_depth(depths)
