"""
``Submission``: one call of the coordinator's method that queues tasks, and the spans of its jobs.

A job is one when Redis has taken it: a push that failed makes none, whether the coordinator
swallows the error or not.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Any

from otel_bridge.coordinator.jobs import NO_ID, InstrumentedCoordinator
from otel_bridge.coordinator.phase_counter import PhaseCounter
from otel_bridge.coordinator.running import RUNNING_JOB, RunningJob
from otel_bridge.coordinator.shape import Restore, Task, pushed_id, put_carrier, read_task
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.scope import current_scope
from otel_bridge.spans.work_spans import Enqueue

__all__ = ["PHASE_COUNTER", "Submission"]

logger = logging.getLogger(__name__)

PHASE_COUNTER: ContextVar[PhaseCounter | None] = ContextVar(
    "otel_bridge_phase_counter", default=None
)
"""Counts the jobs of the phase that the caller runs in."""


class Submission:
    """
    One call of the coordinator's method that queues tasks (``submit_tasks``), and its spans.

    Its wrapper creates it, calls ``add`` for each task (of any number) before the original method
    runs, and ``close`` after it; it logs what ``add`` raises. Meanwhile the observer of the Redis
    commands calls ``note_push``.

    Attributes:
        is_closed: Whether ``close`` was called: what a task that was started meanwhile does later
            is not part of the submission.
    """

    def __init__(self, coordinator: InstrumentedCoordinator) -> None:
        self.is_closed = False
        self._coordinator = coordinator
        self._open: dict[str, tuple[contextvars.Context, Enqueue]] = {}
        self._repeated: list[tuple[contextvars.Context, Enqueue]] = []
        self._restores: list[Restore] = []
        self._groups: dict[str, tuple[list[str], str | None]] = {}
        self._requeued: RunningJob | None = None
        self._pushed: list[tuple[str | None, tuple[Any, ...]]] = []
        self._failed: list[tuple[tuple[Any, ...], BaseException]] = []
        self._failure: BaseException | None = None

    def add(self, source: Any) -> None:
        """
        Open a task's ``enqueue`` span and put the carrier into its payload, until ``close``.

        The carrier is the dict that carries trace context with a job; it is kept in this process
        too. A task that is queued again has no new span: it gets the carrier of its next attempt.
        ``source`` is an object or mapping, JSON of one, or an id; one without an id is one warning.
        Raises only what a property of ``source`` raises; the caller logs it.
        """
        task = read_task(source)
        if task is None:
            self._coordinator.warn_once(NO_ID, type(source).__qualname__)
            return
        carrier = self._carrier_of_retry(task) or self._open_span(task)
        restore = put_carrier(source, carrier)
        if restore is not None:
            self._restores.append(restore)
        self._coordinator.keep_carrier(task.task_id, carrier)

    def _carrier_of_retry(self, task: Task) -> dict[str, str] | None:
        """
        The carrier for a job that is queued again; None for a new job.

        A job that is queued again has no ``task_enqueued``: the ``task_retry`` of the attempt
        before says that it waits again.
        """
        running = RUNNING_JOB.get()
        if running is not None and running.task_id == task.task_id:
            self._requeued = running
            return running.span.retry_carrier
        if task.retry_count:
            return self._coordinator.carriers.get(task.task_id)
        return None

    def _open_span(self, task: Task) -> dict[str, str]:
        scope = current_scope()
        parent = task.parent_task_id or scope.parent_task_id
        project_id = self._coordinator.project_of(
            task if task.parent_task_id else task._replace(parent_task_id=parent),
            scope.project_id,
        )
        span = enqueue(
            task_id=task.task_id,
            task_type=task.task_type,
            parent_task_id=parent,
            project_id=project_id,
            phase=self._coordinator.phases.get(task.task_type),
            retry_count=task.retry_count,
        )
        # In a copy of the context, or the next task's span would become this one's child.
        context = contextvars.copy_context()
        carrier: dict[str, str] = context.run(span.__enter__)
        if task.task_id in self._open:
            self._repeated.append((context, span))
        else:
            self._open[task.task_id] = (context, span)
        if parent is not None:
            ids, _ = self._groups.setdefault(parent, ([], project_id))
            ids.append(task.task_id)
        return carrier

    def note_push(
        self, queue: str | None, values: tuple[Any, ...], error: BaseException | None
    ) -> None:
        """
        Record elements that a Redis command has pushed; called when Redis has answered.

        Args:
            queue: Full name of the queue; None: the list is no queue.
            values: The elements, text or bytes, of any number; they are held until ``close``.
            error: Why Redis did not take them; None: it did.
        """
        if error is None:
            self._pushed.append((queue, values))
        else:
            self._failed.append((values, error))
            self.note_failure(error)

    def note_failure(self, error: BaseException) -> None:
        """Record that a Redis command of the call has failed; the first error is kept."""
        self._failure = self._failure or error

    def close(self, error: BaseException | None) -> None:
        """
        Restore the payloads, end the spans and count the jobs; never raises: an error is logged.

        A job whose push failed is none, also if ``submit_tasks`` has swallowed the error; so is one
        that was not pushed, where another command has failed. One that Redis has taken is a job,
        also if ``submit_tasks`` has raised after it.

        Args:
            error: What ``submit_tasks`` raised: jobs that Redis is not known to have are none;
                None: it returned.
        """
        self.is_closed = True
        try:
            for restore in self._restores:
                restore()
        except Exception:
            logger.exception("otel-bridge could not restore a payload")
        errors: dict[str, BaseException] = {}
        if error is not None or self._failure is not None:
            try:
                errors = self._not_queued(error)
            except Exception:
                logger.exception("otel-bridge could not read which jobs were queued")
        if self._requeued is not None and self._requeued.task_id not in errors:
            self._requeued.is_queued_again = True
        queue_of = self._queues()
        for task_id, (context, span) in self._open.items():
            failure = errors.get(task_id)
            queue = queue_of(task_id)
            if failure is None and queue is not None:
                span.queued(task_id, queue=queue)
            context.run(span.__exit__, None if failure is None else type(failure), failure, None)
        for context, span in self._repeated:
            context.run(span.__exit__, None if error is None else type(error), error, None)
        try:
            self._count(errors)
        except Exception:
            logger.exception("otel-bridge could not count the jobs of a submission")

    def _not_queued(self, error: BaseException | None) -> dict[str, BaseException]:
        """Why jobs are not in their queue, by their id."""
        queued = {pushed_id(value) for _, values in self._pushed for value in values}
        failed = {pushed_id(value): why for values, why in self._failed for value in values}
        ids = (*self._open, *(() if self._requeued is None else [self._requeued.task_id]))
        # Pushes in a form that is not read, such as pickle, may hold any of the jobs.
        is_read = not self._pushed or not queued.isdisjoint(ids)
        otherwise = error or (self._failure if is_read else None)
        found: dict[str, BaseException] = {}
        for task_id in ids:
            failure = failed.get(task_id, otherwise)
            if task_id not in queued and failure is not None:
                found[task_id] = failure
        return found

    def _queues(self) -> Callable[[str], str | None]:
        """Which queue each job went to; elements are parsed only if there are several queues."""
        names = {queue for queue, _ in self._pushed if queue is not None}
        if len(names) < 2:
            name = next(iter(names), None)
            return lambda _: name
        found = {
            pushed_id(value): queue
            for queue, values in self._pushed
            if queue is not None
            for value in values
        }
        return found.get

    def _count(self, errors: Collection[str]) -> None:
        """Add the new jobs to their research tasks' Redis sets, later, and to the open phase."""
        poller = self._coordinator.poller
        if poller is not None:
            for parent, (ids, project_id) in self._groups.items():
                poller.add_to_group(parent, [id_ for id_ in ids if id_ not in errors], project_id)
        counter = PHASE_COUNTER.get()
        queued = [task_id for task_id in self._open if task_id not in errors]
        if counter is not None and queued:
            counter.add_jobs(queued, poller)
