"""
The public context managers that make work visible: research task, phase, enqueue, job, worker.

All work with ``with`` and ``async with``, in threads and on event loops. None of them raises an
exception of its own or waits for Redis. Without ``configure()`` they create spans with the
application's own tracer provider; with ``NEXUS_MONITORING_ENABLED=false`` they do nothing.
Enter each returned object once, and leave it in the thread or asyncio task that entered it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.spans.job import Job
from otel_bridge.spans.scope import Scope, current_scope
from otel_bridge.spans.span_context_manager import meta_attributes, safe_str
from otel_bridge.spans.work_spans import Enqueue, Phase, ResearchTask
from otel_bridge.spans.worker import Worker
from otel_bridge.workers.heartbeat import WorkerHeartbeat
from otel_bridge.workers.queue_depth import publish_queue_depth

__all__ = ["enqueue", "job", "job_progress", "phase", "queue_depth", "research_task", "worker"]

logger = logging.getLogger(__name__)

_NOWHERE: Final = Scope()
"""What encloses a job whose carrier alone says what it belongs to."""
_CARRIED: Final = (
    semconv.CARRIER_PARENT_TASK_ID,
    semconv.CARRIER_PROJECT_ID,
    semconv.CARRIER_PHASE,
    semconv.CARRIER_RUN_ID,
)


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
    Make one research task visible, from its start to its end: the root span of all its work.

    It is published as ``task_started`` when the block begins, then ``task_completed`` or
    ``task_failed`` when it ends; nothing between. Never raises and never waits: if it cannot be
    shown, that is logged, and the block runs. Events over 8,192 bytes (by default) are truncated.

    Args:
        task_id: Id of the research task; everything inside has it as ``parent_task_id``.
        title: Shown to people; default None: the id is shown.
        project_id: The project that the work belongs to; inherited by everything inside. Default
            None: no project, not even that of an enclosing research task.
        task_type: For example ``data_aggregation``; default None: the event has no type.
        domain: For example ``schools``; default None: left out.
        message: One line of text for people; default None: left out.
        meta: Further small values to show: the first 64, with texts truncated to 1,024 characters.
            Values other than text, numbers and booleans become text. Default None: none.

    Returns:
        A context manager, for ``with`` and ``async with``, to be entered once; ``as`` binds the
        context manager itself. It ends as ``task_failed`` if an exception leaves the block or
        ``fail(reason)`` was called; the exception goes on to the caller.
    """
    ids = Scope(
        parent_task_id=safe_str(task_id),
        project_id=_text(project_id),
        worker=current_scope().worker,
    )
    attributes = {
        semconv.TASK_ID: ids.parent_task_id,
        semconv.TASK_TYPE: task_type,
        semconv.TASK_TITLE: title,
        semconv.TASK_DOMAIN: domain,
        semconv.MESSAGE: message,
        **meta_attributes(meta),
    }
    return ResearchTask(_text(task_type) or "task", ids, attributes)


def phase(name: str, *, total: int | None = None) -> Phase:
    """
    Make one phase of the enclosing ``research_task()`` visible, with the counts of its jobs.

    A phase is a named part of the task. It is published as ``phase_started`` when the block begins,
    then ``phase_completed``, whose ``status`` is ``completed`` or ``failed``. Without an enclosing
    research task it has no ``parent_task_id``. Never raises and never waits: if it cannot be shown,
    that is logged, and the block runs. Events over 8,192 bytes (by default) are truncated.

    Args:
        name: For example ``search``; jobs enqueued inside carry it.
        total: The number of jobs expected, a whole number; anything else is logged as an error and
            counts as None. Default None: unknown, so ``counts`` has no ``total``, and ``advance()``
            does not set ``pending``.

    Returns:
        A context manager, for ``with`` and ``async with``, to be entered once; ``as`` binds the
        context manager itself, whose ``submitted()``, ``advance()`` and ``progress()`` update the
        counts. It ends as failed if an exception leaves the block, which goes on to the caller, or
        ``fail(reason)`` was called.
    """
    return Phase(name, replace(current_scope(), phase=safe_str(name)), total)


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
    Make the enqueueing of one job visible: put the job into its queue inside the block.

    One ``task_enqueued`` event is published when the block ends, with the time at which it started.
    A block that raises is a failed enqueue: the job is shown as failed (``task_failed``), with the
    exception, unless ``queued()`` was called before; the exception goes on to the caller. Never
    raises and never waits: if it cannot be shown, that is logged, the block runs, and the carrier
    is empty. Events over 8,192 bytes (by default) are truncated.

    Args:
        task_id: Id of the job. None if only the queue can give the id: call ``queued(task_id)`` of
            this context manager inside its block. Without an id there is no event.
        task_type: For example ``data_aggregation_search``.
        queue: Full name of the queue; default None: the event names no queue.
        parent_task_id: Id of the research task; default None: that of the enclosing one.
        project_id: Default None: the project of the enclosing research task.
        phase: Default None: the enclosing phase. Of these three, what is not known is left out.
        retry_count: Attempts at this job made before; 0 (the default) for a new job.

    Returns:
        A context manager, for ``with`` and ``async with``, to be entered once. ``as`` binds the
        carrier, not the context manager: a ``dict[str, str]`` to send along with the job and to
        give to ``job()``. It has the trace context, the ids of research task, project and phase,
        and an id of this run of the job, which all its attempts share.
    """
    ids = current_scope()
    if parent_task_id is not None or project_id is not None or phase is not None:
        ids = _ids(parent_task_id, project_id, phase, {}, ids, ids.worker)
    known_id = _text(task_id)
    attributes = {
        semconv.TASK_ID: known_id,
        semconv.TASK_TYPE: task_type,
        semconv.QUEUE: queue,
        semconv.RETRY_COUNT: retry_count,
        semconv.RUN_ID: os.urandom(8).hex(),
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
    Make one attempt at a job visible: run the job inside the block.

    It is published as ``task_started``, then ``task_completed``, ``task_failed`` or ``task_retry``.
    Never raises and never waits: if it cannot be shown, that is logged, and the block runs. Events
    over 8,192 bytes (by default) are truncated.

    Args:
        task_id: Id of the job, the same for each attempt.
        task_type: For example ``data_aggregation_search``.
        carrier: The ``dict`` that ``enqueue()`` bound; anything but a mapping counts as None, and
            values that are no text are ignored. This span becomes a child of the enqueue span, in
            the same trace, and takes research task, project and phase from the carrier alone: what
            the carrier lacks is unknown, whatever encloses the worker. Default None, or an empty
            one: all from the enclosing context, with its current span as the parent.
        worker_id: Id of the worker that runs the job. Default None: that of the enclosing
            ``worker()``; without one the events name no worker.
        retry_count: Attempts made before this one; 0, the default, for the first.
        queue: Full name of the queue; default None: the events name no queue.
        parent_task_id: Takes precedence over the carrier's research task; default None: that one.
        project_id: Takes precedence over the carrier's project; default None: that one.
        phase: Takes precedence over the carrier's phase; default None: that one.

    Returns:
        A context manager, for ``with`` and ``async with``, to be entered once; ``as`` binds the
        context manager itself. It ends as ``task_failed`` if an exception leaves the block or
        ``fail(reason)`` was called, as ``task_retry`` if ``retry(reason)`` was called, else as
        ``task_completed``. The exception goes on to the caller.
    """
    carrier, carried = _read_carrier(carrier)
    enclosing = current_scope()
    around = _NOWHERE if carrier else enclosing
    ids = _ids(parent_task_id, project_id, phase, carried, around, enclosing.worker)
    if worker_id is None and ids.worker is not None:
        worker_id = ids.worker.worker_id
    attributes = {
        semconv.TASK_ID: safe_str(task_id),
        semconv.TASK_TYPE: task_type,
        semconv.QUEUE: queue,
        semconv.WORKER_ID: worker_id,
        semconv.RETRY_COUNT: retry_count,
        semconv.RUN_ID: carried.get(semconv.CARRIER_RUN_ID),
        semconv.MESSAGING_SYSTEM: "otel_bridge",
        semconv.MESSAGING_OPERATION_TYPE: "process",
        semconv.MESSAGING_OPERATION_NAME: "job",
        semconv.MESSAGING_MESSAGE_ID: safe_str(task_id),
        semconv.MESSAGING_DESTINATION_NAME: queue,
    }
    return Job(task_type, ids, attributes, task_id=safe_str(task_id), carrier=carrier)


def job_progress(done: int, total: int | None = None) -> None:
    """
    Report how far the enclosing job is, also one that an adapter opened: a bar in its row.

    Outside of a job it does nothing. In another thread it works if that has the job's context
    (``contextvars.copy_context()``). Published within 1 s, at most one event a second, and with the
    job's end. Never raises or waits; what is no whole number of 0 or more is logged as an error.

    Args:
        done: Steps done since the job started, of any unit.
        total: Steps in all; default None: as reported before, else unknown.
    """
    enclosing = current_scope().job
    if enclosing is not None:
        enclosing.progress(done, total)


def _ids(
    parent_task_id: str | None,
    project_id: str | None,
    phase: str | None,
    carried: Mapping[str, str],
    enclosing: Scope,
    heartbeat: WorkerHeartbeat | None,
) -> Scope:
    # By position: by name it takes a third longer.
    return Scope(
        _text(parent_task_id)
        or carried.get(semconv.CARRIER_PARENT_TASK_ID)
        or enclosing.parent_task_id,
        _text(project_id) or carried.get(semconv.CARRIER_PROJECT_ID) or enclosing.project_id,
        _text(phase) or carried.get(semconv.CARRIER_PHASE) or enclosing.phase,
        heartbeat,
        enclosing.job,
    )


def _text(value: object) -> str | None:
    # A UUID or number would be dropped as an attribute, and some queues cannot encode it.
    return None if value is None else safe_str(value)


def _read_carrier(carrier: object) -> tuple[Mapping[str, str], dict[str, str]]:
    """The carrier and its ids that are texts; both empty if it is no mapping or cannot be read."""
    try:
        if isinstance(carrier, Mapping):
            ids = {}
            for name in _CARRIED:
                value = carrier.get(name)
                if isinstance(value, str):
                    ids[name] = safe_str(value)
            return carrier, ids
    except Exception:
        logger.exception("otel-bridge could not read a carrier of type %s", type(carrier).__name__)
    return {}, {}


def worker(worker_id: int | str, *, meta: Mapping[str, Any] | None = None) -> Worker:
    """
    Make one worker visible while it runs: call its main loop inside the block.

    It is published as ``worker_started``, ``worker_heartbeat`` events and, also if the block
    raises, ``worker_stopped``. Nothing is published without ``configure()`` before the block. Never
    raises and never waits: if it cannot be shown, that is logged, and the block runs. An exception
    of the block goes on to the caller.

    Args:
        worker_id: A number or text, unique among all workers, which is not checked; two processes
            must not both be worker 3.
        meta: Small values to show with the worker, beside ``host`` and ``pid``: the first 64 in
            all, with texts truncated to 1,024 characters. Default None: only these two.

    Returns:
        A context manager, for ``with`` and ``async with``, to be entered once; ``as`` binds the
        context manager itself. A heartbeat follows every ``MONITORING_HEARTBEAT_INTERVAL_SEC``
        seconds (default 10) from a daemon thread of the library, with the id of the job that runs.
    """
    return Worker(worker_id, meta)


def queue_depth(depths: Mapping[str, int]) -> None:
    """
    Publish how many jobs wait in each queue, as one ``queue_depth_update`` event.

    Does nothing before ``configure()`` and while monitoring is off. Never waits for Redis, and
    never raises. May be called from any thread, as often as needed; each call publishes an event.

    Args:
        depths: The number of jobs waiting, by the queue's full name. The text of a whole number is
            read as the number. If a value is no whole number, that is logged as an error and
            nothing is published. So many queues that the event is over 8,192 bytes (by default): it
            is published without the depths.
    """
    bridge = current_bridge()
    if bridge is not None and bridge.bus is not None:
        publish_queue_depth(depths, bridge.bus, bridge.otel_metrics)
