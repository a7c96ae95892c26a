"""
The context managers of a research task, a phase and an enqueue; ``job.py`` has the job's.

``context_managers.py`` has the public functions that create them. Each span starts with everything
the live view needs as attributes, so its start event is complete. Ids pass from a research task to
its phases and jobs through the OpenTelemetry context, and to another process in the carrier.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.trace import SpanKind

from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge.forking import on_fork
from otel_bridge.spans.scope import Scope, carrier_of
from otel_bridge.spans.span_context_manager import (
    SelfReturningContextManager,
    SpanContextManager,
    current_metrics,
    guarded,
    meta_attributes,
    safe_str,
    whole_number,
)

__all__ = ["Enqueue", "Phase", "ResearchTask"]

logger = logging.getLogger(__name__)

_ADVANCE_INTERVAL_SEC: Final = 1.0
"""At most one progress event a second for each phase; a progress bar needs no more."""

_counts_lock = threading.RLock()
"""
Held while a phase's counts change, because the threads of a pool advance one phase together.

Without it a fifth of 200,000 increments was lost. It is reentrant, because a signal handler or a
finalizer may advance a phase while its thread holds the lock.
"""


def _after_fork_in_child() -> None:
    # A thread that held the lock during the fork does not exist in the child to release it.
    global _counts_lock
    _counts_lock = threading.RLock()


on_fork(after_in_child=_after_fork_in_child)


class ResearchTask(SpanContextManager, SelfReturningContextManager):
    """
    The context manager of one research task, which is the root span of all its work.

    Created by ``research_task()``; enter it once, by ``with`` or ``async with``. It publishes
    ``task_started`` on entering, and on leaving ``task_completed``, or ``task_failed`` if an
    exception leaves the block, which goes on to the caller, or ``fail()`` was called. Its methods
    ``fail(reason)`` and ``message(text)`` never raise: they log. Nothing waits for Redis. Entered
    again, which is not checked, it is a second span of the task.
    """

    _kind = semconv.KIND_RESEARCH_TASK


class Phase(SpanContextManager, SelfReturningContextManager):
    """
    The context manager of one phase of a research task, and its span.

    Created by ``phase()``; enter it once, by ``with`` or ``async with``. It publishes
    ``phase_started`` on entering and ``phase_completed`` on leaving, with ``status`` failed if an
    exception leaves the block, which goes on to the caller, or ``fail()`` was called. Entered
    again, which is not checked, it is a second phase with the same counts.

    Its counts (completed, failed, pending, total) are of the whole phase; those never set are left
    out. Each ``submitted()`` and ``progress()`` publishes them at once as one ``stats_snapshot``,
    ``advance()`` at most one a second, also after the block; ``phase_completed`` has the last ones.
    Without ``configure()`` they are attributes of the span only. Any thread may change them. No
    method raises or waits: a count that is no whole number is logged as an error, and nothing
    changes.

    Args:
        name: Name of the phase.
        ids: Research task, project, phase and worker that code inside inherits.
        total: The number of jobs expected; None, and what is no whole number: unknown.
    """

    _kind = semconv.KIND_PHASE

    def __init__(self, name: str, ids: Scope, total: int | None) -> None:
        try:
            total = None if total is None else whole_number("total", total)
        except ValueError as error:
            logger.error("otel-bridge: phase(%s): %s", safe_str(name), error)
            total = None
        super().__init__(name, ids, {f"{semconv.COUNT_PREFIX}total": total})
        self._counts: dict[str, int] = {} if total is None else {"total": total}
        self._is_publish_due = False

    @guarded
    def submitted(self, count: int) -> None:
        """
        Set ``total`` and ``pending`` to ``count``, and ``completed`` and ``failed`` to 0.

        Publishes the counts at once as one ``stats_snapshot`` event. Never raises or waits, from
        any thread. A ``count`` that is no whole number is logged as an error, and nothing changes;
        its sign is not checked.

        Args:
            count: The number of jobs that were put into the queue.
        """
        self.progress(pending=count, total=count)

    @guarded
    def progress(
        self,
        *,
        completed: int = 0,
        failed: int = 0,
        pending: int = 0,
        total: int | None = None,
    ) -> None:
        """
        Set the counts and publish them at once as a ``stats_snapshot`` event; one for each call.

        From any thread. Never raises or waits; a count that is no whole number is logged as an
        error, and nothing changes or is published. Signs are not checked.

        Args:
            completed: Jobs completed since the phase started; default 0.
            failed: Jobs failed since the phase started; default 0.
            pending: Jobs that are neither completed nor failed; default 0.
            total: All jobs of the phase; default None: the total stays as it is.
        """
        given = {"completed": completed, "failed": failed, "pending": pending}
        if total is not None:
            given["total"] = total
        counts = {name: whole_number(name, count) for name, count in given.items()}
        with _counts_lock:
            self._counts |= counts
        self._publish()

    @guarded
    def advance(self, completed: int = 0, failed: int = 0) -> None:
        """
        Add jobs to the counts, which are published as one ``stats_snapshot`` within 1 s.

        So at most one a second, and one at the end of the block if any are left. If the total is
        known, ``pending`` becomes what is left of it, at least 0. Never raises or waits, from any
        thread; a count that is no whole number is logged as an error, and nothing is added.

        Args:
            completed: Jobs completed since the last call, a whole number; default 0.
            failed: Jobs failed since the last call, a whole number; default 0.
        """
        completed, failed = whole_number("completed", completed), whole_number("failed", failed)
        with _counts_lock:
            counts = self._counts
            counts["completed"] = counts.get("completed", 0) + completed
            counts["failed"] = counts.get("failed", 0) + failed
            if "total" in counts:
                done = counts["completed"] + counts["failed"]
                counts["pending"] = max(0, counts["total"] - done)
        self._publish_soon()

    def _publish_soon(self) -> None:
        bridge = current_bridge()
        if bridge is None or self._is_publish_due:
            return
        self._is_publish_due = True
        bridge.timer.call_later(_ADVANCE_INTERVAL_SEC, self._publish_due)

    def _publish_due(self) -> None:
        if self._is_publish_due:
            self._publish()

    def _publish(self) -> None:
        self._is_publish_due = False
        bridge = current_bridge()
        if bridge is None or bridge.bus is None:
            return
        context = self._span.get_span_context()
        bridge.bus.publish(
            MonitoringEvent(
                event_type=MonitoringEventType.STATS_SNAPSHOT,
                project_id=self._ids.project_id,
                parent_task_id=self._ids.parent_task_id,
                phase=self._label,
                counts=dict(self._counts),
                trace_id=f"{context.trace_id:032x}" if context.is_valid else None,
                span_id=f"{context.span_id:016x}" if context.is_valid else None,
            )
        )

    def _close(self, error: BaseException | None) -> None:
        try:
            if self._is_publish_due:
                self._publish()
            for name, count in dict(self._counts).items():
                self._span.set_attribute(f"{semconv.COUNT_PREFIX}{name}", count)
        finally:
            # A span that does not end would stay the parent of all that follows.
            super()._close(error)


class Enqueue(SpanContextManager):
    """
    The context manager around putting one job into a queue: a span of kind PRODUCER.

    Created by ``enqueue()``; enter it once, by ``with`` or ``async with``, which binds the carrier:
    a ``dict[str, str]`` that carries trace context with the job. Keep the object itself to call
    ``queued()``. It publishes one event, on leaving: ``task_enqueued``, or ``task_failed`` if an
    exception leaves the block before ``queued()``; the exception goes on to the caller. Never
    raises: what fails is logged, and the carrier may be empty. Entered again, which is not checked,
    it is a second enqueue of the same run.

    Args:
        label: Type of the job, which follows ``enqueue`` in the span's name.
        ids: Research task, project and phase of the job, put into the carrier.
        attributes: Further attributes of the span; ``nexus.run.id`` must be one of them.
    """

    _kind = semconv.KIND_ENQUEUE
    _span_kind = SpanKind.PRODUCER

    def __init__(self, label: str, ids: Scope, attributes: Mapping[str, Any]) -> None:
        super().__init__(label, ids, attributes)
        self._carrier: dict[str, str] = {}
        self._has_task_id = self._is_queued = False

    def __enter__(self) -> dict[str, str]:
        self._enter()
        return self._carrier

    async def __aenter__(self) -> dict[str, str]:
        self._enter()
        return self._carrier

    def _open(self) -> None:
        super()._open()
        self._has_task_id = self._attributes.get(semconv.TASK_ID) is not None
        self._carrier.update(carrier_of(self._ids))
        self._carrier[semconv.CARRIER_RUN_ID] = self._attributes[semconv.RUN_ID]

    def _close(self, error: BaseException | None) -> None:
        if self._is_queued:
            self._end_as(TaskStatus.COMPLETED)
        super()._close(error)
        otel_metrics = current_metrics()
        is_queued = error is None or self._is_queued
        if otel_metrics is not None and is_queued and self._has_task_id:
            otel_metrics.job_enqueued(self._label, self._attributes.get(semconv.QUEUE))

    @guarded
    def queued(
        self, task_id: str, *, queue: str | None = None, meta: Mapping[str, Any] | None = None
    ) -> None:
        """
        Record that the job is in its queue now, and its id, inside the block. Never raises.

        Needed if ``enqueue()`` was called with ``task_id=None``; else this replaces its id, which
        is not checked. The last call counts; after the block it has no effect. An exception later
        in the block does not make it fail.

        Args:
            task_id: Id of the job.
            queue: Full name of the queue that it went to; default None: as given before.
            meta: Small values that are shown with the job; one named ``eta`` says that it starts
                later than it could, so that it is not taken for lost. Default None: none.
        """
        self._has_task_id = self._is_queued = True
        self._span.set_attribute(semconv.TASK_ID, task_id)
        self._span.set_attribute(semconv.MESSAGING_MESSAGE_ID, task_id)
        self._span.set_attributes(meta_attributes(meta))
        if queue is not None:
            self._attributes = {**self._attributes, semconv.QUEUE: queue}
            self._span.set_attribute(semconv.QUEUE, queue)
            self._span.set_attribute(semconv.MESSAGING_DESTINATION_NAME, queue)
