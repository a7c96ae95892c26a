"""
``Run`` and ``Runs``: attempts at jobs, from their start in this process to their end.

Also ``report_lost``, for jobs that end in no process of their own, and ``read_carrier``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from otel_bridge.adapters.base import safely
from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge.spans.context_managers import job
from otel_bridge.spans.job import Job
from otel_bridge.spans.scope import on_worker
from otel_bridge.spans.span_context_manager import safe_str
from otel_bridge.workers.heartbeat import WorkerHeartbeat

__all__ = ["Run", "Runs", "attempts_before", "read_carrier", "report_lost"]

logger = logging.getLogger(__name__)

_TRACE_ID: Final = re.compile("[0-9a-f]{32}")


def read_carrier(value: Any) -> dict[str, str]:
    """
    Read the carrier that came with a message of a task framework.

    The carrier is the dict that carries trace context with a job. Its size is not limited.

    Args:
        value: A mapping, or a mapping as JSON text. Items whose value is not text are left out.

    Returns:
        The carrier; empty if ``value`` is anything else, text that is no JSON or nests about 1,000
        levels deep, or a mapping whose items cannot be read, which is logged. Never raises.
    """
    try:
        if isinstance(value, str):
            value = json.loads(value)
        if isinstance(value, Mapping):
            items = value.items()
            return {safe_str(key): item for key, item in items if isinstance(item, str)}
    except (ValueError, RecursionError):
        return {}  # no JSON, or JSON that nests too deep
    except Exception:
        logger.exception("otel-bridge could not read a carrier of type %s", type(value).__name__)
    return {}


def attempts_before(value: Any) -> int:
    """
    Read how many attempts were made before this one from what a message says.

    Args:
        value: A whole number, or one as text.

    Returns:
        The number; 0 if it is negative or ``value`` is anything else. Never raises.
    """
    try:
        return max(0, int(value))
    except Exception:
        return 0  # the message is another program's: it may hold anything


class Run:
    """
    One attempt at a job, from its start in this process to its end.

    Created by ``Runs.open`` and ended by ``Runs.close``; in between, an adapter sets ``error``,
    ``reason`` and ``is_queued_again``. It checks nothing, and how long an attempt takes is not
    limited.

    Args:
        task_id: Id of the job.
        span: The job's open span.
        outer: The attempt that this one runs inside of (a job that calls another one eagerly, in
            its own process); else None.

    Attributes:
        is_open: Whether ``close`` has not been called yet.
        error: Why the attempt failed; None: it has not failed.
        reason: Why it failed, if that was not the job's own error: a reason of
            ``MonitoringEvent.reason``, such as ``time_limit``. None: its own error, or not known.
        stack: An exception or the text of a stack, if ``error`` is text or was raised elsewhere;
            None: the stack is that of ``error``.
        is_queued_again: Whether the job will run again; the attempt then ends as a retry.
    """

    def __init__(self, task_id: str, span: Job, outer: Run | None) -> None:
        self.task_id = task_id
        self.span = span
        self.outer = outer
        self.is_open = True
        self.error: BaseException | str | None = None
        self.reason: str | None = None
        self.stack: BaseException | str | None = None
        self.is_queued_again = False

    def queue_again(self) -> dict[str, str]:
        """
        Record that the job returns to its queue, so that this attempt ends as a retry.

        Call it before ``close``; a second call gives the same. Never waits or raises.

        Returns:
            The carrier (the dict that carries trace context with a job) for its next attempt: that
            of this attempt, with a link to it.
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
        self._set_outcome()
        self.span.__exit__(None, None, None)

    @safely
    def _set_outcome(self) -> None:
        self.span.reason = self.reason
        if self.is_queued_again:
            self.span.retry(self.error or "queued again")
        elif self.error is not None:
            self.span.fail(self.error)
        else:
            self.span.complete()
        if self.stack is not None:
            self.span.keep_stack(self.stack)


class Runs:
    """
    The attempts that are open in the current thread or asyncio task, innermost last.

    Each adapter creates one; its ``open`` starts an attempt's span, its ``close`` ends it. Their
    number is not limited. They are kept in a context variable, not by job id: a job that was queued
    again may start its next attempt in another thread or task before this attempt has ended. So
    another thread or task does not see them; closing one there does nothing. No method raises:
    errors are logged, and the job runs without being shown.
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
        job_id = safe_str(task_id)
        while run is not None and not (run.is_open and run.task_id == job_id):
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
        is_inline: bool = False,
    ) -> Run:
        """
        Start an attempt: open the span of a job, in the current thread or asyncio task.

        Does not wait. An error in making the span is logged; the attempt is then returned, but not
        shown. While monitoring is off, it is not shown either.

        Args:
            task_id: Id of the job; kept as text. A second attempt of the same id nests in the
                first.
            task_type: Name of the function that it runs.
            carrier: The carrier (the dict that carries trace context with a job) that came with
                the message, or its JSON text; anything else counts as none.
            retry_count: Attempts made before this one, at least 0.
            queue: Name of the job's queue, if known.
            worker_id: The worker that runs it; None: the one that ``heartbeat`` belongs to.
            heartbeat: That worker's heartbeat, which then carries the job's id; None if another
                process sends it.
            is_inline: True if the caller runs the job in place, as an eager Celery task: without a
                carrier it then belongs to the code around the call. Default False, as in a worker:
                then the carrier alone says what it belongs to, and without one it belongs to
                nothing, whatever a job before or another instrumentation left behind.

        Returns:
            The attempt; end it with ``close(task_id)`` in the same thread or task. Never raises.
        """
        job_id = safe_str(task_id)
        with on_worker(heartbeat, is_inline=is_inline):
            span = job(
                task_id=job_id,
                task_type=task_type,
                carrier=read_carrier(carrier),
                worker_id=worker_id,
                retry_count=retry_count,
                queue=queue,
            )
        span.is_inline = is_inline
        span.__enter__()
        run = Run(job_id, span, self._current.get())
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


@safely
def report_lost(
    task_id: str,
    task_type: str,
    carrier: Any,
    *,
    error: str,
    retry_count: int,
    worker_id: str | None,
    will_retry: bool = False,
    span_id: str | None = None,
    reason: str | None = None,
) -> None:
    """
    Publish the end of a job whose own process cannot: it was killed, or no process started it.

    The event is queued as it is, without a span, and says that another than the job reports its end
    (``ended_by``): an end that the job itself reports takes precedence. It is a ``task_retry`` if
    ``will_retry``, else a ``task_failed``. Does nothing before ``configure()`` and while monitoring
    is off. Never waits for Redis or raises: what fails is logged, and nothing is published. An
    event above 8,192 bytes is truncated.

    Args:
        task_id: Id of the job.
        task_type: Name of the function that it runs.
        carrier: The carrier (the dict that carries trace context with a job) that came with the
            message, or its JSON text; anything else counts as none. Names research task, project,
            phase, run and trace. A ``traceparent`` without a trace id of 32 lower-case hex digits
            counts as none.
        error: What happened, for people.
        retry_count: Attempts made before the one that ended; a negative number counts as 0.
        worker_id: The worker that ran it; None if no worker did.
        will_retry: Whether the framework runs the job again.
        span_id: The span of the attempt that ended, as 16 hex digits; None: the collector finds it
            by job, run and attempt.
        reason: Why it ended so, as one of the reasons of ``MonitoringEvent.reason``, such as
            ``killed``; default None: not known.
    """
    bridge = current_bridge()
    if bridge is None or bridge.bus is None:
        return
    # safe_str, here and below: the event's model refuses halves of surrogate pairs.
    ids = {key: safe_str(item) for key, item in read_carrier(carrier).items()}
    trace_id = _trace_id_of(ids.get("traceparent", ""))
    event_type = MonitoringEventType.TASK_RETRY if will_retry else MonitoringEventType.TASK_FAILED
    bridge.bus.publish(
        MonitoringEvent(
            event_type=event_type,
            status=TaskStatus.RETRYING if will_retry else TaskStatus.FAILED,
            task_id=safe_str(task_id),
            task_type=safe_str(task_type),
            parent_task_id=ids.get(semconv.CARRIER_PARENT_TASK_ID) or trace_id,
            project_id=ids.get(semconv.CARRIER_PROJECT_ID),
            phase=ids.get(semconv.CARRIER_PHASE),
            retry_count=max(0, retry_count),
            worker_id=None if worker_id is None else safe_str(worker_id),
            error=safe_str(error),
            trace_id=trace_id,
            span_id=span_id,
            run_id=ids.get(semconv.CARRIER_RUN_ID),
            ended_by="other",
            reason=reason,
        )
    )


def _trace_id_of(traceparent: str) -> str | None:
    """The trace id of a ``version-trace_id-span_id-flags``; None if it has no valid one."""
    found = traceparent.partition("-")[2].partition("-")[0]
    return found if _TRACE_ID.fullmatch(found) and found.strip("0") else None
