"""
The context manager of one attempt at a job, and the progress that the job itself reports.

``context_managers.py`` has the public functions ``job()`` and ``job_progress()``.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind

from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge.forking import current_incarnation, on_fork
from otel_bridge.publish.sigterm import before_kill
from otel_bridge.spans import propagation
from otel_bridge.spans.scope import Scope
from otel_bridge.spans.span_context_manager import (
    SelfReturningContextManager,
    SpanContextManager,
    current_metrics,
    guarded,
    whole_number,
)

__all__ = ["Job"]

logger = logging.getLogger(__name__)

_PROGRESS_INTERVAL_SEC: Final = 1.0
"""At most one progress event a second for each job: a job may report each of a million rows."""

_open_jobs: dict[int, weakref.ref[Job]] = {}
"""
The jobs that run in this process, by their ``id()``; weak, because a block may never be left.

A ``WeakValueDictionary`` takes 0.8 us more a job.
"""


class Job(SpanContextManager, SelfReturningContextManager):
    """
    The context manager around one attempt at a job: a span of kind CONSUMER.

    Created by ``job()``; enter it once, by ``with`` or ``async with``. It publishes
    ``task_started`` on entering and one event on leaving: by the last call of ``complete()``,
    ``fail()`` or ``retry()``, without one ``task_failed`` if an exception leaves the block, else
    ``task_completed``. The exception goes on to the caller in each case. Its methods never raise:
    they log. Entered again, which is not checked, it is a second attempt with the same outcome.

    With a carrier the job belongs to what the carrier says alone: research task, project, phase,
    trace and parent of the surrounding code do not count, because a worker runs jobs one after
    another, and what one of them, or another instrumentation, left behind is not the next one's.

    Args:
        label: Type of the job, which follows ``job`` in the span's name.
        ids: Research task, project, phase and worker that code inside inherits.
        attributes: Further attributes of the span; those that are None are left out.
        task_id: Id of the job, for the worker's heartbeats.
        carrier: The dict that came with the job and has its trace context; may be empty.

    Attributes:
        reason: Why it failed, as one of the reasons of ``MonitoringEvent.reason``, such as
            ``time_limit``; None: not known, or the job's own error. Read when the block ends.
        is_inline: Whether a job without a carrier belongs to the code around it, the default. False
            in a worker that takes messages: without a carrier it then belongs to nothing. Read when
            the block begins.
    """

    _kind = semconv.KIND_JOB
    _span_kind = SpanKind.CONSUMER

    def __init__(
        self,
        label: str,
        ids: Scope,
        attributes: Mapping[str, Any],
        *,
        task_id: str,
        carrier: Mapping[str, str],
    ) -> None:
        super().__init__(label, ids, attributes)
        self.reason: str | None = None
        self._task_id = task_id
        self._carrier = carrier
        self.is_inline = True
        self._started_at: float | None = None
        self._progress: dict[str, int] = {}
        self._is_publish_due = False

    @property
    def retry_carrier(self) -> dict[str, str]:
        """
        The carrier (the dict that carries trace context with a job) for the job's next attempt.

        Read it inside the block. It is this attempt's carrier, empty if there was none, plus a link
        to this attempt's span, which is missing before the block begins. A new dict at each call.
        Never raises: what the propagator or a carrier that is no dict raises is logged.
        """
        carrier: dict[str, str] = {}
        injected: dict[str, str] = {}
        try:
            carrier.update(self._carrier)
            propagation.inject(injected, self._span)
        except Exception:
            logger.exception("otel-bridge could not link the next attempt of %s", self)
        if "traceparent" in injected:
            carrier[semconv.CARRIER_PREVIOUS_ATTEMPT] = injected["traceparent"]
        return carrier

    @guarded
    def progress(self, done: int, total: int | None = None) -> None:
        """
        Report how far this job is: it is shown as a bar in the job's row.

        Published as one ``task_progress`` event within 1 s, at most one a second; the last values
        are part of the event of the job's end. From any thread. Never raises or waits; a number
        that is no whole number, or is negative, is logged as an error, and nothing changes.

        Args:
            done: Steps done since the job started, of any unit.
            total: Steps in all; default None: as reported before, else unknown.
        """
        given = {"done": _count("done", done)}
        if total is not None:
            given["total"] = _count("total", total)
        # A new dict, so that another thread never reads one that is half changed.
        self._progress = {**self._progress, **given}
        bridge = current_bridge()
        if bridge is not None and not self._is_publish_due:
            self._is_publish_due = True
            bridge.timer.call_later(_PROGRESS_INTERVAL_SEC, self._publish_progress)

    def _publish_progress(self) -> None:
        if not self._is_publish_due:
            return  # the job has ended, and its end has the numbers
        self._is_publish_due = False
        bridge = current_bridge()
        if bridge is None or bridge.bus is None:
            return
        bridge.bus.publish(
            self._event(
                event_type=MonitoringEventType.TASK_PROGRESS,
                status=TaskStatus.PROCESSING,
                progress=dict(self._progress),
            )
        )

    def report_killed(self) -> None:
        """
        Publish that this job ends because its process is ended by SIGTERM; called just before.

        The event says that another than the job reports its end, so an end of its own would take
        precedence. Raises nothing by itself.
        """
        bridge = current_bridge()
        if bridge is not None and bridge.bus is not None:
            bridge.bus.publish(
                self._event(
                    event_type=MonitoringEventType.TASK_FAILED,
                    status=TaskStatus.FAILED,
                    progress=dict(self._progress) or None,
                    error="its process was ended by SIGTERM while it ran",
                    reason="killed",
                    ended_by="other",
                )
            )

    def _event(self, **fields: Any) -> MonitoringEvent:
        context = self._span.get_span_context()
        trace_id = f"{context.trace_id:032x}" if context.is_valid else None
        get = self._attributes.get
        return MonitoringEvent(
            project_id=self._ids.project_id,
            parent_task_id=self._ids.parent_task_id or trace_id,
            task_id=self._task_id,
            task_type=get(semconv.TASK_TYPE),
            phase=self._ids.phase,
            worker_id=get(semconv.WORKER_ID),
            retry_count=get(semconv.RETRY_COUNT),
            queue=get(semconv.QUEUE),
            trace_id=trace_id,
            span_id=f"{context.span_id:016x}" if context.is_valid else None,
            incarnation=current_incarnation(),
            run_id=get(semconv.RUN_ID),
            **fields,
        )

    @guarded
    def complete(self) -> None:
        """End as completed when the block ends, even if an exception leaves it; never raises."""
        self._end_as(TaskStatus.COMPLETED)

    @guarded
    def retry(self, reason: BaseException | str) -> None:
        """
        End as ``task_retry`` when the block ends: this attempt failed and the job will run again.

        It only reports this; the number of retries is not limited here. An exception that leaves
        the block does not change it. After the block it has no effect. Never raises.

        Args:
            reason: Shown as the error of this attempt.
        """
        self._end_as(TaskStatus.RETRYING, reason)

    def _scope(self) -> Scope:
        ids = self._ids
        return Scope(ids.parent_task_id, ids.project_id, ids.phase, ids.worker, self)

    def _open(self) -> None:
        try:
            self._read_carrier()
        except Exception:  # such as a traceparent that is no text, or a faulty propagator
            logger.exception("otel-bridge could not read the trace context of %s", self)
        super()._open()
        _open_jobs[id(self)] = weakref.ref(self)
        if self._ids.worker is not None:
            self._ids.worker.current_task_id = self._task_id
        otel_metrics = current_metrics()
        if otel_metrics is not None:
            self._started_at = time.monotonic()
            otel_metrics.job_started(self._label, self._attributes.get(semconv.QUEUE))

    def _read_carrier(self) -> None:
        is_alone = bool(self._carrier) or not self.is_inline
        # Not None for "alone": a propagator may take that for the current context.
        around = otel_context.Context() if is_alone else otel_context.get_current()
        self._parent_context = around
        self._parent_context = propagation.extract(self._carrier, around)
        previous = self._carrier.get(semconv.CARRIER_PREVIOUS_ATTEMPT)
        if previous:
            linked = propagation.extract({"traceparent": previous}, otel_context.Context())
            span_context = trace.get_current_span(linked).get_span_context()
            if span_context.is_valid:
                self._links.append(Link(span_context, {"nexus.link": "previous attempt"}))

    def _close(self, error: BaseException | None) -> None:
        _open_jobs.pop(id(self), None)
        heartbeat = self._ids.worker
        if heartbeat is not None and heartbeat.current_task_id == self._task_id:
            heartbeat.current_task_id = None
        self._is_publish_due = False
        try:
            for name, count in self._progress.items():
                self._span.set_attribute(f"{semconv.PROGRESS_PREFIX}{name}", count)
            if self.reason is not None:
                self._span.set_attribute(semconv.REASON, self.reason)
        except Exception:
            logger.exception("otel-bridge could not describe the end of %s", self)
        try:
            super()._close(error)
        finally:
            # Also if the exception's own ``__str__`` raised: the job would count as running.
            otel_metrics = current_metrics()
            if otel_metrics is not None and self._started_at is not None:
                otel_metrics.job_ended(
                    self._label,
                    self._attributes.get(semconv.QUEUE),
                    (self._outcome or TaskStatus.COMPLETED).value,
                    self._error_type,
                    time.monotonic() - self._started_at,
                )


def _count(name: str, count: int) -> int:
    number = whole_number(name, count)
    if number < 0:
        raise ValueError(f"{name}={number} is negative; use 0 or more")
    return number


def _report_killed() -> None:
    for job in [reference() for reference in list(_open_jobs.values())]:
        if job is not None:
            job.report_killed()


before_kill(_report_killed)
# The jobs that run in the parent are not those of a forked child.
on_fork(after_in_child=_open_jobs.clear)
