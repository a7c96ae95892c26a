"""
``Attempt``: one call of the coordinator's method that runs a job, and how it ended.

``RunningJob`` is what the commands say that the coordinator sends to Redis meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otel_bridge.coordinator.shape import (
    ERROR_FIELDS,
    Task,
    count_of,
    error_of,
    field,
    is_same_job,
    status_of,
    text,
)
from otel_bridge.events import semconv
from otel_bridge.events.model import TaskStatus
from otel_bridge.spans.context_managers import job
from otel_bridge.spans.job import Job
from otel_bridge.spans.scope import current_scope, on_worker
from otel_bridge.spans.span_context_manager import one_line

__all__ = ["RUNNING_JOB", "Attempt", "RunningJob", "RunsJobs", "failure_in"]

logger = logging.getLogger(__name__)

_ENDS: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RETRYING)
_NO_CHANGE: Final = contextlib.nullcontext()
_INTERRUPTED: Final = "interrupted: the worker was cancelled before the job ended"
_STATUS_FIELDS: Final = ("status", "state")
_RECORD_FIELDS: Final = ("data", "task", "record", "job", "json", "body", "value", "info")
"""Fields of a hash that may hold the whole task as JSON; a ``result`` has a status of its own."""
_DEAD: Final = re.compile(
    r"^(dead|failed|failures?|errors?|dlq)|(dead|failed|dlq|dead[-_]?letters?)$"
)
_BOOKKEEPING: Final = frozenset(
    (
        *("processing", "in_progress", "in-progress", "inprogress", "inflight", "in_flight"),
        *("in-flight", "running", "active", "working", "leases", "lease", "locks", "claims"),
        *("completed", "complete", "done", "finished", "success", "succeeded", "processed"),
        *("results", "result", "history", "archive", "log", "events", "metrics", "stats", "seen"),
    )
)
_QUEUE_WORDS: Final = (
    *("queue", "retry", "retries", "delay", "schedul", "pending", "wait", "task", "job", "todo"),
    *("work", "ready", "backlog"),
)


@dataclass(slots=True, eq=False)
class RunningJob:
    """
    What a coordinator records about a job while its ``_process_task`` runs it.

    ``_process_task`` is the coordinator's method that runs one job. ``Attempt`` creates this for
    each call, the context variable ``RUNNING_JOB`` holds it, and ``CommandObserver`` fills it in. A
    record; it checks and limits nothing.

    Attributes:
        task_id (str): Id of the job.
        status_keys (frozenset[str]): Redis keys whose values hold the job's status: a text, JSON or
            a hash.
        error_key (str): Redis key whose value is the job's error.
        span (Job): The job's open span.
        codes (Collection[CodeType]): The code of ``_process_task``; an exception that it catches
            itself is noted.
        around (BaseException | None): The exception that was being handled where ``_process_task``
            was called, which is none of the job's.
        status (TaskStatus | None): The last status recorded: pending, processing, completed, failed
            or retrying. None if none was, or one that is no known word for these.
        error (str | None): The last error recorded, of any length; None if none was.
        is_queued_again (bool): Whether the coordinator has put the job into a queue during the
            call; at first False.
        is_dead (bool): Whether it has put the job into a list of failed ones; at first False.
        handled (str | None): The last exception that ``_process_task`` caught itself and was
            handling when it sent a command; None if none was seen.
    """

    task_id: str
    status_keys: frozenset[str]
    error_key: str
    span: Job
    codes: Collection[types.CodeType] = ()
    around: BaseException | None = None
    status: TaskStatus | None = None
    error: str | None = None
    is_queued_again: bool = False
    is_dead: bool = False
    handled: str | None = None

    def reads(self, key: Any) -> bool:
        """Whether a key, as a command has it, is one whose value says something of the job."""
        name = key if type(key) is str else text(key)
        return name in self.status_keys or name == self.error_key

    def record_write(self, key: str, value: Any) -> None:
        """
        Take the job's status and error from a value that the coordinator has written to Redis.

        Sets ``status`` and ``error``; another key, or a value that is neither, changes nothing.
        Texts are read whole, whatever their length.

        Args:
            key: The key that was written.
            value: Its whole value, text, bytes or a number; of a hash a dict of the fields written.

        Raises:
            Exception: What a mapping or ``__str__`` of the value raises; the caller logs it.
        """
        if key == self.error_key:
            found = error_of(value)
            if found is None and not isinstance(value, Mapping):
                found = text(value)
            self.error = found or self.error
        elif key in self.status_keys:
            if isinstance(value, Mapping):
                self._record_fields(value)
                return
            self.status = status_of(value) or self.status
            self.error = error_of(value) or self.error

    def _record_fields(self, fields: Mapping[str, Any]) -> None:
        named = [fields[name] for name in _STATUS_FIELDS if name in fields]
        for value in named or [fields[name] for name in _RECORD_FIELDS if name in fields]:
            self.status = status_of(value) or self.status
            self.error = error_of(value) or self.error
        self.error = error_of(fields) or self.error

    def record_push(self, key: str, values: tuple[Any, ...], is_queue: bool) -> None:
        """
        Take from a push to a list, sorted set or stream whether the job is queued again or dead.

        A list that jobs were taken from is a queue. Of another one its name decides: with a part
        such as ``dead`` or ``failed`` it is a list of failed jobs, with ``processing`` or ``done``
        the coordinator's bookkeeping, which says nothing, with ``queue`` or ``retry`` a queue.

        Args:
            key: Name of the list.
            values: What was pushed, text or bytes; another job says nothing.
            is_queue: Whether jobs were taken from it here; else its name decides.
        """
        name = key.lower()
        is_dead = False
        if not is_queue:
            parts = name.split(":")
            is_dead = any(_DEAD.search(part) for part in parts)
            is_named_as_queue = any(word in name for word in _QUEUE_WORDS)
            if not is_dead and (not _BOOKKEEPING.isdisjoint(parts) or not is_named_as_queue):
                return
        if any(is_same_job(value, self.task_id) for value in values):
            self.is_dead = is_dead
            self.is_queued_again = not is_dead

    def note_handled(self, error: BaseException) -> None:
        """Note an exception that is being handled, if ``_process_task`` has caught it itself."""
        if error is self.around or not isinstance(error, Exception):
            return
        caught = error.__traceback__
        # The first entry of a traceback is the frame that catches the exception.
        if caught is not None and caught.tb_frame.f_code in self.codes:
            handled = one_line(error)
            if handled != self.handled:
                self.handled = handled
                self.span.keep_stack(error)


def failure_in(result: Any) -> str | None:
    """
    Return why a job has failed by what ``_process_task`` returned; None if it does not say so.

    Args:
        result: A word such as ``failed``, or an object or mapping with such a ``status``, with an
            ``error``, or with ``success`` or ``ok`` that is False; also an exception.
    """
    if isinstance(result, Exception):
        return one_line(result)
    if result is None or isinstance(result, bool | int | float | list | tuple):
        return None
    if isinstance(result, str | bytes):
        is_failed = len(result) < 40 and status_of(result) is TaskStatus.FAILED
        return f"it returned {text(result)}" if is_failed else None
    found = next((field(result, name) for name in ERROR_FIELDS if field(result, name)), None)
    # Not a method that has such a name, as a logger's ``error``.
    error = error_of(result) if isinstance(found, str | Exception | Mapping) else None
    for name in _STATUS_FIELDS:
        if status_of(field(result, name)) is TaskStatus.FAILED:
            return error or f"it returned a {name} of failed"
    for name in ("success", "ok"):
        if field(result, name) is False:
            return error or f"it returned {name}=False"
    return error


RUNNING_JOB: ContextVar[RunningJob | None] = ContextVar("otel_bridge_running_job", default=None)
"""The job that the caller runs in."""


class RunsJobs(Protocol):
    """The state of a coordinator, as its attempts need it: ``InstrumentedCoordinator``."""

    status_prefix: str
    phases: Mapping[str, str]
    has_recorded_ends: bool
    carriers: OrderedDict[str, dict[str, str]]

    def keep_carrier(self, task_id: str, carrier: dict[str, str]) -> None:
        """Keep the carrier of a job's next attempt."""

    def project_of(self, task: Task, around: str | None) -> str | None:
        """Return the project of a task."""

    def queue_of(self, task_id: str) -> str | None:
        """Return the queue that the calling worker took a job from."""


class Attempt:
    """
    One call of the coordinator's method that runs a job (``_process_task``), and the job's span.

    Its wrapper creates it, enters ``running.span`` around the call and calls ``set_outcome`` before
    the span ends. There is no time limit. Creating it raises only what a property of ``task``
    raises; the wrapper logs it.

    Args:
        coordinator: State of the coordinator that runs it.
        source: The task that the method got; its status, error and retry count are read at the end.
        task: What was read of it before the call.
        carrier: The dict with trace context in the task's payload; None: that kept in this process.
        worker_id: Id of the worker that runs it; None: no worker is known.
        codes: The code of ``_process_task``.
        is_inline: Whether a job without a carrier belongs to the work around the call. False in a
            worker: what encloses that is not the job's.
    """

    def __init__(
        self,
        coordinator: RunsJobs,
        source: Any,
        task: Task,
        carrier: dict[str, str] | None,
        worker_id: int | str | None,
        codes: Collection[types.CodeType] = (),
        *,
        is_inline: bool = True,
    ) -> None:
        task_id = task.task_id
        kept_carrier = coordinator.carriers.pop(task_id, None)
        self._coordinator = coordinator
        self._source = source
        self._task = task
        self._error_before: str | None = None
        with contextlib.suppress(Exception):  # a property of the task; its end is read again
            self._error_before = error_of(source)
        carrier = carrier or kept_carrier
        # What a carrier says counts alone; what encloses a worker is not the job's in any case.
        around = carrier.get(semconv.CARRIER_PROJECT_ID) if carrier else None
        if not carrier and is_inline:
            around = current_scope().project_id
        project_id = coordinator.project_of(task, around)
        with (
            _NO_CHANGE
            if carrier or is_inline
            else on_worker(current_scope().worker, is_inline=False)
        ):
            span = job(
                task_id=task_id,
                task_type=task.task_type,
                carrier=carrier,
                worker_id=worker_id,
                retry_count=task.retry_count,
                queue=coordinator.queue_of(task_id),
                parent_task_id=task.parent_task_id,
                project_id=project_id,
                phase=coordinator.phases.get(task.task_type),
            )
        span.is_inline = is_inline
        prefix = f"{coordinator.status_prefix}:{task_id}"
        self.running = RunningJob(
            task_id,
            frozenset((f"{prefix}:status", prefix)),
            f"{prefix}:error",
            span,
            codes,
            sys.exc_info()[1],
        )

    def set_outcome(self, failure: BaseException | None, result: Any = None) -> None:
        """
        Give the span the outcome that the coordinator recorded: completed, failed, or a retry.

        Never raises: an error is logged, and the span ends as if nothing had been recorded.

        Args:
            failure: The exception that left ``_process_task``; None: it returned.
            result: What it returned.
        """
        try:
            running = self.running
            outcome, seen = self._outcome(failure, result)
            if outcome is TaskStatus.COMPLETED:
                running.span.complete()
                return
            reason: BaseException | str = (
                running.error
                or error_of(self._source)
                or (failure if isinstance(failure, Exception) else None)
                or (_INTERRUPTED if failure is not None else seen or running.handled)
                or "the coordinator gave no reason"
            )
            for raised in (failure, result):
                if isinstance(raised, Exception):
                    running.span.keep_stack(raised)
            if outcome is TaskStatus.RETRYING:
                running.span.retry(reason)
                self._coordinator.keep_carrier(running.task_id, running.span.retry_carrier)
            else:
                running.span.fail(reason)
        except Exception:
            logger.exception("otel-bridge could not read how a job ended")

    def _outcome(self, failure: BaseException | None, result: Any) -> tuple[TaskStatus, str | None]:
        """
        How the attempt ended, by the first of these that says so, and why if nothing recorded it.

        A job that was queued again is a retry. Then the status written to Redis counts, then the
        status set on the task, then a status of pending or a higher retry count, which are retries
        as well. Then the exception, because most coordinators swallow it, and some record another
        outcome and raise all the same. What is left has returned without a status: it has completed
        unless something says otherwise.
        """
        running, before = self.running, self._task
        if running.is_queued_again:
            return TaskStatus.RETRYING, None
        written, on_task = running.status, None
        if written not in _ENDS:
            on_task = status_of(field(self._source, "status"))
            if on_task is before.status:
                on_task = None  # not set by this attempt
        for status in (written, on_task):
            if status in _ENDS:
                self._coordinator.has_recorded_ends = True
                return status, None
        is_waiting_again = written is TaskStatus.PENDING or (
            on_task is TaskStatus.PENDING and before.status is not None
        )
        if is_waiting_again or count_of(field(self._source, "retry_count")) > before.retry_count:
            return TaskStatus.RETRYING, None
        if failure is not None:
            return TaskStatus.FAILED, None
        found = self._contradiction(written or on_task, result)
        return (TaskStatus.COMPLETED if found is None else TaskStatus.FAILED), found

    def _contradiction(self, status: TaskStatus | None, result: Any) -> str | None:
        """Why a job that returned without a status has not completed; None: nothing says so."""
        running = self.running
        error = error_of(self._source)
        if running.error is not None or (error is not None and error != self._error_before):
            return running.error or error
        if running.is_dead:
            return running.handled or "the coordinator put it into a list of failed jobs"
        found = failure_in(result) or running.handled
        if found is not None:
            return found
        span_status = getattr(trace.get_current_span(), "status", None)
        if span_status is not None and span_status.status_code is StatusCode.ERROR:
            return span_status.description or "its span was marked as failed"
        if status is TaskStatus.PROCESSING and self._coordinator.has_recorded_ends:
            return (
                "it returned without a last status, which this coordinator records for other jobs"
            )
        return None
