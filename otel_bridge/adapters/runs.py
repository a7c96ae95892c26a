"""
``Run`` and ``Runs``: attempts at jobs, from their start in this process to their end.

Also ``report_lost``, for jobs that end in no process of their own, and ``read_carrier``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge.spans.context_managers import job
from otel_bridge.spans.scope import on_worker
from otel_bridge.spans.work_spans import Job
from otel_bridge.workers.heartbeat import WorkerHeartbeat

__all__ = ["Run", "Runs", "read_carrier", "report_lost"]


def read_carrier(value: Any) -> dict[str, str]:
    """
    Read the carrier that came with a message of a task framework.

    The carrier is the dict that carries trace context with a job. Its size is not limited.

    Args:
        value: A mapping, or a mapping as JSON text. Items whose value is not text are left out.

    Returns:
        The carrier; empty if ``value`` is anything else, or text that is no JSON.

    Raises:
        RecursionError: JSON text that nests about 1,000 levels deep.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if not isinstance(value, Mapping):
        return {}
    return {str(key): item for key, item in value.items() if isinstance(item, str)}


class Run:
    """
    One attempt at a job, from its start in this process to its end.

    Created by ``Runs.open`` and ended by ``Runs.close``; in between, an adapter sets ``error`` and
    ``is_queued_again``. It checks nothing, and how long an attempt takes is not limited.

    Args:
        task_id: Id of the job.
        span: The job's open span.
        outer: The attempt that this one runs inside of (a job that calls another one eagerly, in
            its own process); else None.

    Attributes:
        is_open: Whether ``close`` has not been called yet.
        error: Why the attempt failed; None: it has not failed.
        is_queued_again: Whether the job will run again; the attempt then ends as a retry.
    """

    def __init__(self, task_id: str, span: Job, outer: Run | None) -> None:
        self.task_id = task_id
        self.span = span
        self.outer = outer
        self.is_open = True
        self.error: BaseException | str | None = None
        self.is_queued_again = False

    def queue_again(self) -> dict[str, str]:
        """
        Record that the job returns to its queue, so that this attempt ends as a retry.

        Call it before ``close``; a second call gives the same. Never waits.

        Returns:
                The carrier (the dict that carries trace context with a job) for its next attempt:
                that of this attempt, with a link to it.
        """
        self.is_queued_again = True
        return self.span.retry_carrier

    def close(self) -> None:
        """
        End the span: as a retry if ``is_queued_again``, as failed if there is an ``error``.

        Else it is completed. Call it once, in the thread or task that opened it; ``Runs.close``
        does. Never raises: an error inside is logged.
        """
        self.is_open = False
        if self.is_queued_again:
            self.span.retry(self.error or "queued again")
        elif self.error is not None:
            self.span.fail(self.error)
        else:
            self.span.complete()
        self.span.__exit__(None, None, None)


class Runs:
    """
    The attempts that are open in the current thread or asyncio task, innermost last.

    Each adapter creates one; its ``open`` starts an attempt's span, its ``close`` ends it. Their
    number is not limited. They are kept in a context variable, not by job id: a job that was queued
    again may start its next attempt in another thread or task before this attempt has ended. So
    another thread or task does not see them; closing one there does nothing.
    """

    def __init__(self) -> None:
        self._current: ContextVar[Run | None] = ContextVar("otel_bridge_run", default=None)

    def get(self, task_id: Any) -> Run | None:
        """
        Return the open attempt at a job that the caller runs in; None if there is none.

        Never raises.

        Args:
            task_id: Id of the job; compared as text.
        """
        run = self._current.get()
        while run is not None and not (run.is_open and run.task_id == str(task_id)):
            run = run.outer
        return run

    def open(
        self,
        task_id: Any,
        task_type: str,
        carrier: Any,
        *,
        retry_count: int,
        queue: str | None,
        worker_id: str | None,
        heartbeat: WorkerHeartbeat | None = None,
    ) -> Run:
        """
        Start an attempt: open the span of a job, in the current thread or asyncio task.

        Does not wait. An error in making the span is logged; the attempt is then returned, but not
        shown. While monitoring is off, it is not shown either.

        Args:
            task_id: Id of the job; kept as text. A second attempt of the same id nests in the
                first.
            task_type: Name of the function that it runs.
            carrier: What came with the message; see ``read_carrier``.
            retry_count: Attempts made before this one, at least 0.
            queue: Name of the job's queue, if known.
            worker_id: The worker that runs it; None: the one that ``heartbeat`` belongs to.
            heartbeat: That worker's heartbeat, which then carries the job's id; None if another
                process sends it.

        Returns:
            The attempt; end it with ``close(task_id)`` in the same thread or task.

        Raises:
            RecursionError: ``carrier`` is JSON text that nests about 1,000 levels deep.
        """
        with on_worker(heartbeat):
            span = job(
                task_id=str(task_id),
                task_type=task_type,
                carrier=read_carrier(carrier),
                worker_id=worker_id,
                retry_count=retry_count,
                queue=queue,
            )
        span.__enter__()
        run = Run(str(task_id), span, self._current.get())
        self._current.set(run)
        return run

    def close(self, task_id: Any) -> None:
        """
        End the open attempt at a job that the caller runs in; does nothing if there is none.

        Never raises: an error inside is logged.

        Args:
            task_id: Id of the job; compared as text. Of several open attempts, the innermost ends.
        """
        run = self.get(task_id)
        if run is not None:
            self._current.set(run.outer)
            run.close()


def report_lost(
    task_id: str,
    task_type: str,
    carrier: Any,
    *,
    reason: str,
    retry_count: int,
    worker_id: str | None,
    will_retry: bool = False,
    span_id: str | None = None,
) -> None:
    """
    Publish the end of a job whose own process cannot: it was killed, or no process started it.

    The event is queued as it is, without a span, and says that another than the job reports its end
    (``ended_by``): an end that the job itself reports takes precedence. It is a ``task_retry`` if
    ``will_retry``, else a ``task_failed``. Does nothing before ``configure()`` and while monitoring
    is off. Never waits for Redis; an event above 8,192 bytes is truncated.

    Args:
        task_id: Id of the job.
        task_type: Name of the function that it runs.
        carrier: What came with the message, see ``read_carrier``; names research task, project,
            phase, run and trace.
        reason: Published as ``error``.
        retry_count: Attempts made before the one that ended, at least 0.
        worker_id: The worker that ran it; None if no worker did.
        will_retry: Whether the framework runs the job again.
        span_id: The span of the attempt that ended, as 16 hex digits; None: the collector finds it
            by job, run and attempt.

    Raises:
        pydantic.ValidationError: An argument has a wrong type or form, or the ``traceparent`` of
            the carrier has no trace id of 32 lower-case hex digits.
        RecursionError: ``carrier`` is JSON text that nests about 1,000 levels deep.
    """
    bridge = current_bridge()
    if bridge is None or bridge.bus is None:
        return
    ids = read_carrier(carrier)
    # ``version-trace_id-span_id-flags``; a text without dashes has no trace id.
    trace_id = ids.get("traceparent", "").partition("-")[2].partition("-")[0] or None
    event_type = MonitoringEventType.TASK_RETRY if will_retry else MonitoringEventType.TASK_FAILED
    bridge.bus.publish(
        MonitoringEvent(
            event_type=event_type,
            status=TaskStatus.RETRYING if will_retry else TaskStatus.FAILED,
            task_id=task_id,
            task_type=task_type,
            parent_task_id=ids.get(semconv.CARRIER_PARENT_TASK_ID) or trace_id,
            project_id=ids.get(semconv.CARRIER_PROJECT_ID),
            phase=ids.get(semconv.CARRIER_PHASE),
            retry_count=retry_count,
            worker_id=worker_id,
            error=reason,
            trace_id=trace_id,
            span_id=span_id,
            run_id=ids.get(semconv.CARRIER_RUN_ID),
            ended_by="other",
        )
    )
