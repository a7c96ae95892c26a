"""
A coordinator that is being followed: its instances, one submission, one attempt at a job.

Used by the wrapped methods of ``instrumentor.py``; nothing here awaits anything.
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
from otel_bridge.coordinator.shape import (
    Restore,
    error_of,
    field,
    put_carrier,
    status_of,
    text,
)
from otel_bridge.coordinator.watch import (
    RUNNING,
    CommandObserver,
    CoordinatorPoller,
    PhaseCount,
    RunningJob,
)
from otel_bridge.events.model import TaskStatus
from otel_bridge.projects.lookup import ProjectLookup
from otel_bridge.projects.resolver import KnowledgeBase
from otel_bridge.spans.blocks import Enqueue
from otel_bridge.spans.context_managers import enqueue, job
from otel_bridge.spans.scope import current_scope

__all__ = ["PHASE_COUNT", "Attempt", "Coordinators", "Submission", "Watch"]

logger = logging.getLogger(__name__)

_MAX_CARRIERS: Final = 4096
"""Carriers kept for jobs that could not take them along: for workers of the same process."""
_INTERRUPTED: Final = "interrupted: the worker was cancelled before the job ended"

PHASE_COUNT: ContextVar[PhaseCount | None] = ContextVar("otel_bridge_phase_count", default=None)


class Watch:
    """What belongs to one coordinator and its Redis client."""

    def __init__(
        self,
        coordinator: Any,
        client: Any,
        bridge: Bridge | None,
        knowledge_base: KnowledgeBase | None,
        depth_interval_sec: float,
    ) -> None:
        queue_prefix = str(getattr(coordinator, "TASK_QUEUE_PREFIX", "nexus:tasks:"))
        prefix = str(getattr(coordinator, "TASK_STATUS_PREFIX", "nexus:task:"))
        self.status_prefix = prefix.rstrip(":")
        self.client = client
        self.bridge = bridge
        self.carriers: OrderedDict[str, dict[str, str]] = OrderedDict()
        self.observer = None if client is None else CommandObserver(client, queue_prefix)
        self.sidecar: CoordinatorPoller | None = None
        self.projects: ProjectLookup | None = None
        if bridge is not None and self.observer is not None:
            self.sidecar = CoordinatorPoller(bridge, client, self.observer, depth_interval_sec)
            self.projects = ProjectLookup(
                self.sidecar.connect_async, knowledge_base or bridge.knowledge_base
            )

    def status_key(self, task_id: str) -> str:
        return f"{self.status_prefix}:{task_id}:status"

    def keep(self, task_id: str, carrier: dict[str, str]) -> None:
        self.carriers[task_id] = carrier
        self.carriers.move_to_end(task_id)
        if len(self.carriers) > _MAX_CARRIERS:
            self.carriers.popitem(last=False)

    def project_of(self, task: Any, parent: str | None) -> str | None:
        payload = field(task, "payload")
        named = text(field(task, "project_id")) or (
            text(payload.get("project_id")) if isinstance(payload, Mapping) else None
        )
        named = named or current_scope().project_id
        if parent is None or self.projects is None:
            return named
        if named is not None:
            self.projects.learn(parent, named)
            return named
        return self.projects.known(parent)

    def close(self) -> None:
        if self.observer is not None:
            self.observer.close()
        if self.sidecar is not None:
            self.sidecar.close()
        if self.projects is not None:
            self.projects.close()


class Coordinators:
    """The watch of each coordinator instance; gone with the instance."""

    def __init__(
        self, redis_attribute: str, knowledge_base: KnowledgeBase | None, depth_interval_sec: float
    ) -> None:
        self._redis_attribute = redis_attribute
        self._knowledge_base = knowledge_base
        self._depth_interval_sec = depth_interval_sec
        self._watches: dict[int, Watch] = {}

    def watch(self, coordinator: Any) -> Watch | None:
        """The instance's watch; None while monitoring is off. Never raises."""
        bridge = current_bridge()
        if bridge is not None and bridge.bus is None:
            return None
        client = getattr(coordinator, self._redis_attribute, None)
        found = self._watches.get(id(coordinator))
        if found is not None and found.client is client and found.bridge is bridge:
            return found
        try:
            if found is not None:
                found.close()
            else:
                weakref.finalize(coordinator, self._forget, id(coordinator)).atexit = False
            made = Watch(
                coordinator, client, bridge, self._knowledge_base, self._depth_interval_sec
            )
        except Exception:
            logger.exception("otel-bridge could not watch %r", coordinator)
            return None
        self._watches[id(coordinator)] = made
        return made

    def _forget(self, identity: int) -> None:
        found = self._watches.pop(identity, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        for identity in list(self._watches):
            self._forget(identity)


class Submission:
    """The ``enqueue`` spans of one call of the submit method, open until it returns."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._open: list[tuple[contextvars.Context, Enqueue]] = []
        self._restores: list[Restore] = []
        self._new: list[str] = []
        self._groups: dict[str, tuple[list[str], str | None]] = {}

    def add(self, task: Any) -> None:
        """Open the task's span and let its payload carry the trace context."""
        task_id = text(field(task, "id"))
        if task_id is None:
            return
        carrier = self._of_next_attempt(task_id, task) or self._enqueue(task_id, task)
        restore = put_carrier(task, carrier)
        if restore is not None:
            self._restores.append(restore)
        self._watch.keep(task_id, carrier)

    def _of_next_attempt(self, task_id: str, task: Any) -> dict[str, str] | None:
        """The carrier of a job that is queued again: its event is the ``task_retry`` before."""
        running = RUNNING.get()
        if running is not None and running.task_id == task_id:
            running.is_queued_again = True
            return running.block.retry_carrier
        if field(task, "retry_count"):
            return self._watch.carriers.get(task_id)
        return None

    def _enqueue(self, task_id: str, task: Any) -> dict[str, str]:
        parent = text(field(task, "parent_task_id")) or current_scope().parent_task_id
        project_id = self._watch.project_of(task, parent)
        block = enqueue(
            task_id=task_id,
            task_type=text(field(task, "type")) or "job",
            parent_task_id=parent,
            project_id=project_id,
            retry_count=_count(field(task, "retry_count")),
        )
        # A context of its own: the next task's span must not become this one's child.
        context = contextvars.copy_context()
        carrier: dict[str, str] = context.run(block.__enter__)
        self._open.append((context, block))
        self._new.append(task_id)
        if parent is not None:
            ids, _ = self._groups.setdefault(parent, ([], project_id))
            ids.append(task_id)
        return carrier

    def tell(self) -> None:
        """Tell the group and the phase of the new jobs."""
        sidecar = self._watch.sidecar
        if sidecar is not None:
            for parent, (ids, project_id) in self._groups.items():
                sidecar.submitted(parent, ids, project_id)
        counting = PHASE_COUNT.get()
        if counting is not None and self._new:
            counting.submitted(self._new, sidecar)

    def close(self, error: BaseException | None) -> None:
        """Give the payloads back and end the spans."""
        try:
            for restore in self._restores:
                restore()
        except Exception:
            logger.exception("otel-bridge could not give a payload back")
        kind = None if error is None else type(error)
        for context, block in self._open:
            context.run(block.__exit__, kind, error, None)


class Attempt:
    """One call of the process method."""

    def __init__(
        self,
        watch: Watch,
        task: Any,
        task_id: str,
        carrier: dict[str, str] | None,
        worker_id: Any,
    ) -> None:
        kept = watch.carriers.pop(task_id, None)
        parent = text(field(task, "parent_task_id"))
        self._watch = watch
        self._task = task
        self._status_before = status_of(field(task, "status"))
        self._retries_before = _count(field(task, "retry_count"))
        status_key = watch.status_key(task_id)
        self.running = RunningJob(
            task_id,
            frozenset((status_key, f"{watch.status_prefix}:{task_id}")),
            f"{watch.status_prefix}:{task_id}:error",
            job(
                task_id=task_id,
                task_type=text(field(task, "type")) or "job",
                carrier=carrier or kept,
                worker_id=worker_id if isinstance(worker_id, int | str) else text(worker_id),
                retry_count=self._retries_before,
                parent_task_id=parent,
                project_id=watch.project_of(task, parent),
            ),
        )

    def settle(self, failure: BaseException | None) -> None:
        """Give the span the outcome that the coordinator has recorded; never raises."""
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
                running.block.retry(reason)
                self._watch.keep(running.task_id, running.block.retry_carrier)
            elif outcome is TaskStatus.FAILED:
                running.block.fail(reason)
            else:
                running.block.complete()
        except Exception:
            logger.exception("otel-bridge could not read how a job ended")

    def _outcome(self, failure: BaseException | None) -> TaskStatus:
        """
        How the attempt ended: what was queued, then written to Redis, then set on the task.

        The exception comes last: most coordinators swallow it, and some record an end and raise.
        """
        written, own = self.running.status, status_of(field(self._task, "status"))
        if self.running.is_queued_again:
            return TaskStatus.RETRYING
        for status in (written, own):
            if status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RETRYING):
                return status
        is_waiting_again = written is TaskStatus.PENDING or (
            own is TaskStatus.PENDING and self._status_before not in (None, TaskStatus.PENDING)
        )
        if is_waiting_again or _count(field(self._task, "retry_count")) > self._retries_before:
            return TaskStatus.RETRYING
        return TaskStatus.COMPLETED if failure is None else TaskStatus.FAILED


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
