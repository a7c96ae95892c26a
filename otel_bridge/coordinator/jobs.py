"""
The state behind an instrumented coordinator: its instances, one submission, one attempt at a job.

The wrapped methods of ``instrumentor.py`` use it; nothing here awaits anything.
"""

from __future__ import annotations

import contextvars
import logging
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from otel_bridge.bridge import Bridge, current_bridge
from otel_bridge.coordinator.observer import RUNNING_JOB, CommandObserver, RunningJob
from otel_bridge.coordinator.phase_counter import PhaseCounter
from otel_bridge.coordinator.poller import CoordinatorPoller
from otel_bridge.coordinator.shape import (
    Restore,
    count_of,
    error_of,
    field,
    put_carrier,
    status_of,
    text,
)
from otel_bridge.events.model import TaskStatus
from otel_bridge.projects.lookup import ProjectLookup
from otel_bridge.projects.resolver import KnowledgeBase
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.spans.context_managers import enqueue, job
from otel_bridge.spans.scope import current_scope
from otel_bridge.spans.span_context_manager import safe_repr
from otel_bridge.spans.work_spans import Enqueue

__all__ = [
    "PHASE_COUNTER",
    "Attempt",
    "InstrumentedCoordinator",
    "InstrumentedCoordinators",
    "Submission",
]

logger = logging.getLogger(__name__)

_MAX_CARRIERS: Final = 4096
"""
Carriers kept in this process, at most; the oldest is dropped first.

They serve workers of the same process, for jobs whose payload cannot hold the carrier.
"""
_INTERRUPTED: Final = "interrupted: the worker was cancelled before the job ended"

PHASE_COUNTER: ContextVar[PhaseCounter | None] = ContextVar(
    "otel_bridge_phase_counter", default=None
)
"""Counts the jobs of the phase that the caller runs in."""


class InstrumentedCoordinator:
    """
    What is known about one coordinator (the user's object that queues jobs and runs workers).

    Creating it replaces methods of the Redis client to observe its commands, and starts to sample
    queue depths on the timer thread, where errors are logged; ``close()`` undoes both.

    Args:
        coordinator: Its ``TASK_QUEUE_PREFIX`` and ``TASK_STATUS_PREFIX`` name its keys; without
            them ``nexus:tasks:`` and ``nexus:task:``, where ``nexus`` is ``MONITORING_KEY_PREFIX``.
        client: Its asynchronous Redis client; None: only spans are created.
        bridge: What ``configure()`` made; None before: no queue depths or lookups of projects.
        knowledge_base: Asked for projects; None: the bridge's own is asked, if it has one.
        depth_interval_sec: Seconds between two samples of the queue depths.

    Raises:
        AttributeError, TypeError: ``client`` is no object whose methods can be replaced.
    """

    def __init__(
        self,
        coordinator: Any,
        client: Any,
        bridge: Bridge | None,
        knowledge_base: KnowledgeBase | None,
        depth_interval_sec: float,
    ) -> None:
        keys = DEFAULT_KEYS if bridge is None else bridge.redis_keys
        queue_prefix = str(getattr(coordinator, "TASK_QUEUE_PREFIX", keys.task_queue_prefix))
        prefix = str(getattr(coordinator, "TASK_STATUS_PREFIX", keys.task_prefix))
        self.status_prefix = prefix.rstrip(":")
        self.client = client
        self.bridge = bridge
        self.carriers: OrderedDict[str, dict[str, str]] = OrderedDict()
        self.observer = None if client is None else CommandObserver(client, queue_prefix)
        self.poller: CoordinatorPoller | None = None
        self.projects: ProjectLookup | None = None
        if bridge is not None and self.observer is not None:
            self.poller = CoordinatorPoller(bridge, client, self.observer, depth_interval_sec)
            self.projects = ProjectLookup(
                self.poller.connect_async,
                knowledge_base or bridge.knowledge_base,
                keys=bridge.redis_keys,
            )

    def status_key(self, task_id: str) -> str:
        """Return the Redis key of a job's status: ``<status prefix>:{task_id}:status``."""
        return f"{self.status_prefix}:{task_id}:status"

    def keep_carrier(self, task_id: str, carrier: dict[str, str]) -> None:
        """
        Keep a job's carrier (the dict with its trace context), if its payload cannot hold it.

        At most 4,096 jobs; the oldest is dropped and not linked to its enqueue. Never raises.
        """
        self.carriers[task_id] = carrier
        self.carriers.move_to_end(task_id)
        if len(self.carriers) > _MAX_CARRIERS:
            self.carriers.popitem(last=False)

    def project_of(self, task: Any, parent: str | None) -> str | None:
        """
        Return the project of a task: its own, its payload's, the enclosing one or its parent's.

        The first known counts, else None. ``task`` is an object or mapping, ``parent`` the id of
        its research task. Never waits: an unknown project is looked up in the background, for later
        tasks, where failures are logged. Raises only what a property of ``task`` raises.
        """
        payload = field(task, "payload")
        project_id = text(field(task, "project_id")) or (
            text(payload.get("project_id")) if isinstance(payload, Mapping) else None
        )
        project_id = project_id or current_scope().project_id
        if parent is None or self.projects is None:
            return project_id
        if project_id is not None:
            self.projects.learn(parent, project_id)
            return project_id
        return self.projects.known(parent)

    def close(self) -> None:
        """Restore the Redis client and stop the background work; returns at once."""
        if self.observer is not None:
            self.observer.close()
        if self.poller is not None:
            self.poller.close()
        if self.projects is not None:
            self.projects.close()


class InstrumentedCoordinators:
    """
    Keeps what is known about each coordinator instance, without a limit on their number.

    Created by ``CoordinatorInstrumentor.instrument()``, closed by ``uninstrument()``; the state of
    an instance is closed when that is garbage-collected. ``get`` logs errors and raises none.

    Args:
        redis_attribute: The instance's attribute that holds its Redis client.
        knowledge_base: Asked for projects; None: the bridge's own is asked, if it has one.
        depth_interval_sec: Seconds between two samples of the queue depths.
    """

    def __init__(
        self, redis_attribute: str, knowledge_base: KnowledgeBase | None, depth_interval_sec: float
    ) -> None:
        self._redis_attribute = redis_attribute
        self._knowledge_base = knowledge_base
        self._depth_interval_sec = depth_interval_sec
        self._by_id: dict[int, InstrumentedCoordinator] = {}

    def get(self, coordinator: Any) -> InstrumentedCoordinator | None:
        """
        Return the state of an instance, created at the first call.

        It is created again when the instance has another Redis client or ``configure()`` has made
        another bridge. While its client cannot be read, only spans are created. None while
        monitoring is off, or if it could not be created. Never raises: an error is logged.
        """
        bridge = current_bridge()
        if bridge is not None and bridge.bus is None:
            return None
        found = self._by_id.get(id(coordinator))
        try:
            client = getattr(coordinator, self._redis_attribute, None)
        except Exception:
            client = None
            if found is None or found.client is not None:
                logger.exception("otel-bridge could not read %s", self._redis_attribute)
        if found is not None and found.client is client and found.bridge is bridge:
            return found
        try:
            if found is not None:
                found.close()
            else:
                weakref.finalize(coordinator, self._forget, id(coordinator)).atexit = False
            created = InstrumentedCoordinator(
                coordinator, client, bridge, self._knowledge_base, self._depth_interval_sec
            )
        except Exception:
            logger.exception(
                "otel-bridge could not observe %s; its jobs are not shown", safe_repr(coordinator)
            )
            return None
        self._by_id[id(coordinator)] = created
        return created

    def _forget(self, identity: int) -> None:
        found = self._by_id.pop(identity, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Close the state of every instance and forget it; returns at once."""
        for identity in list(self._by_id):
            self._forget(identity)


class Submission:
    """
    One call of the coordinator's method that queues tasks (``submit_tasks``), and its spans.

    Its wrapper creates it, calls ``add`` for each task (of any number) and ``count_new_jobs``
    before the original method runs, and ``close`` after it; it logs what they raise.
    """

    def __init__(self, coordinator: InstrumentedCoordinator) -> None:
        self._coordinator = coordinator
        self._open: list[tuple[contextvars.Context, Enqueue]] = []
        self._restores: list[Restore] = []
        self._new: list[str] = []
        self._groups: dict[str, tuple[list[str], str | None]] = {}

    def add(self, task: Any) -> None:
        """
        Open a task's ``enqueue`` span and put the carrier into its payload, until ``close``.

        The carrier is the dict that carries trace context with a job; it is kept in this process
        too. A task that is queued again has no new span: it gets the carrier of its next attempt.
        ``task`` is an object or mapping; without ``id`` it is ignored. Raises only what a property
        of ``task`` raises; the caller logs it.
        """
        task_id = text(field(task, "id"))
        if task_id is None:
            return
        carrier = self._carrier_of_retry(task_id, task) or self._open_span(task_id, task)
        restore = put_carrier(task, carrier)
        if restore is not None:
            self._restores.append(restore)
        self._coordinator.keep_carrier(task_id, carrier)

    def _carrier_of_retry(self, task_id: str, task: Any) -> dict[str, str] | None:
        """
        The carrier for a job that is queued again; None for a new job.

        A job that is queued again has no ``task_enqueued``: the ``task_retry`` of the attempt
        before says that it waits again.
        """
        running = RUNNING_JOB.get()
        if running is not None and running.task_id == task_id:
            running.is_queued_again = True
            return running.span.retry_carrier
        if field(task, "retry_count"):
            return self._coordinator.carriers.get(task_id)
        return None

    def _open_span(self, task_id: str, task: Any) -> dict[str, str]:
        parent = text(field(task, "parent_task_id")) or current_scope().parent_task_id
        project_id = self._coordinator.project_of(task, parent)
        span = enqueue(
            task_id=task_id,
            task_type=text(field(task, "type")) or "job",
            parent_task_id=parent,
            project_id=project_id,
            retry_count=count_of(field(task, "retry_count")),
        )
        # In a copy of the context, or the next task's span would become this one's child.
        context = contextvars.copy_context()
        carrier: dict[str, str] = context.run(span.__enter__)
        self._open.append((context, span))
        self._new.append(task_id)
        if parent is not None:
            ids, _ = self._groups.setdefault(parent, ([], project_id))
            ids.append(task_id)
        return carrier

    def count_new_jobs(self) -> None:
        """Add the new jobs to their research tasks' Redis sets, later, and to the open phase."""
        poller = self._coordinator.poller
        if poller is not None:
            for parent, (ids, project_id) in self._groups.items():
                poller.add_to_group(parent, ids, project_id)
        counter = PHASE_COUNTER.get()
        if counter is not None and self._new:
            counter.add_jobs(self._new, poller)

    def close(self, error: BaseException | None) -> None:
        """
        Restore the payloads and end the spans; never raises: an error is logged.

        Args:
            error: What ``submit_tasks`` raised: the spans fail; None: they end as completed.
        """
        try:
            for restore in self._restores:
                restore()
        except Exception:
            logger.exception("otel-bridge could not restore a payload")
        error_type = None if error is None else type(error)
        for context, span in self._open:
            context.run(span.__exit__, error_type, error, None)


class Attempt:
    """
    One call of the coordinator's method that runs a job (``_process_task``), and the job's span.

    Its wrapper creates it, enters ``running.span`` around the call and calls ``set_outcome`` before
    the span ends. There is no time limit. Creating it raises only what a property of ``task``
    raises; the wrapper logs it.

    Args:
        coordinator: State of the coordinator that runs it.
        task: The task that the method got; its status, error and retry count are read at the end.
        task_id: The task's id.
        carrier: The dict with trace context in the task's payload; None: that kept in this process.
        worker_id: Id of the worker that the method got; None: that of the ``worker()`` block.
    """

    def __init__(
        self,
        coordinator: InstrumentedCoordinator,
        task: Any,
        task_id: str,
        carrier: dict[str, str] | None,
        worker_id: Any,
    ) -> None:
        kept_carrier = coordinator.carriers.pop(task_id, None)
        parent = text(field(task, "parent_task_id"))
        self._coordinator = coordinator
        self._task = task
        self._status_before = status_of(field(task, "status"))
        self._retries_before = count_of(field(task, "retry_count"))
        status_key = coordinator.status_key(task_id)
        self.running = RunningJob(
            task_id,
            frozenset((status_key, f"{coordinator.status_prefix}:{task_id}")),
            f"{coordinator.status_prefix}:{task_id}:error",
            job(
                task_id=task_id,
                task_type=text(field(task, "type")) or "job",
                carrier=carrier or kept_carrier,
                worker_id=worker_id if isinstance(worker_id, int | str) else text(worker_id),
                retry_count=self._retries_before,
                parent_task_id=parent,
                project_id=coordinator.project_of(task, parent),
            ),
        )

    def set_outcome(self, failure: BaseException | None) -> None:
        """
        Give the span the outcome that the coordinator recorded: completed, failed, or a retry.

        Never raises: an error is logged, and the span ends as if nothing had been recorded.

        Args:
            failure: The exception that left ``_process_task``; None: it returned.
        """
        try:
            running = self.running
            outcome = self._outcome(failure)
            reason: BaseException | str = (
                running.error
                or error_of(self._task)
                or (failure if isinstance(failure, Exception) else None)
                or (_INTERRUPTED if failure is not None else "the coordinator gave no reason")
            )
            if outcome is TaskStatus.RETRYING:
                running.span.retry(reason)
                self._coordinator.keep_carrier(running.task_id, running.span.retry_carrier)
            elif outcome is TaskStatus.FAILED:
                running.span.fail(reason)
            else:
                running.span.complete()
        except Exception:
            logger.exception("otel-bridge could not read how a job ended")

    def _outcome(self, failure: BaseException | None) -> TaskStatus:
        """
        How the attempt ended, by the first of these that says so.

        A job that was queued again is a retry. Then the status written to Redis counts, then the
        status set on the task, then a status of pending or a higher retry count, which are retries
        as well. The exception comes last, because most coordinators swallow it, and some record
        another outcome and raise all the same.
        """
        written, on_task = self.running.status, status_of(field(self._task, "status"))
        if self.running.is_queued_again:
            return TaskStatus.RETRYING
        for status in (written, on_task):
            if status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RETRYING):
                return status
        is_waiting_again = written is TaskStatus.PENDING or (
            on_task is TaskStatus.PENDING and self._status_before not in (None, TaskStatus.PENDING)
        )
        if is_waiting_again or count_of(field(self._task, "retry_count")) > self._retries_before:
            return TaskStatus.RETRYING
        return TaskStatus.COMPLETED if failure is None else TaskStatus.FAILED
