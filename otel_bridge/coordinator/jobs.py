"""
The state behind an instrumented coordinator, for each of its instances.

The wrapped methods of ``instrumentor.py`` use it; nothing here awaits anything.
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from otel_bridge.bridge import Bridge, current_bridge
from otel_bridge.coordinator.observer import CommandObserver
from otel_bridge.coordinator.poller import CoordinatorPoller
from otel_bridge.coordinator.shape import Task
from otel_bridge.projects.lookup import ProjectLookup
from otel_bridge.projects.resolver import KnowledgeBase
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.spans.span_context_manager import safe_repr

__all__ = [
    "NO_ID",
    "InstrumentedCoordinator",
    "InstrumentedCoordinators",
]

logger = logging.getLogger(__name__)

_MAX_CARRIERS: Final = 4096
"""
Carriers kept in this process, at most; the oldest is dropped first.

They serve workers of the same process, for jobs whose payload cannot hold the carrier.
"""

_MAX_HELD: Final = 100
"""Instances without weak references that are watched; they are held until the end."""
_MAX_WARNINGS: Final = 20
"""Kinds of tasks that cannot be read and are logged, for each coordinator."""
NO_ID: Final = (
    "a task of type %s has no id, task_id or job_id that can be read; it runs, but is not shown"
)


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
        phases: The phase that jobs belong to, by their type; None: none is known by the type.

    Attributes:
        has_recorded_ends: Whether a last status of a job was seen in a call of ``_process_task``;
            at first False.

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
        phases: Mapping[str, str] | None = None,
    ) -> None:
        keys = DEFAULT_KEYS if bridge is None else bridge.redis_keys
        queue_prefix = str(getattr(coordinator, "TASK_QUEUE_PREFIX", keys.task_queue_prefix))
        prefix = str(getattr(coordinator, "TASK_STATUS_PREFIX", keys.task_prefix))
        self.status_prefix = prefix.rstrip(":")
        self.client = client
        self.bridge = bridge
        self.phases: Mapping[str, str] = phases or {}
        self.has_recorded_ends = False
        self.carriers: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._warned: set[str] = set()
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

    def project_of(self, task: Task, around: str | None) -> str | None:
        """
        Return the project of a task: its own, the one around it, or that of its research task.

        The first known counts, else None. ``around`` is the project that its carrier or the
        enclosing work names. Never waits or raises: an unknown project is looked up in the
        background, for later tasks, where failures are logged.
        """
        project_id, parent = task.project_id or around, task.parent_task_id
        if parent is None or self.projects is None:
            return project_id
        if project_id is not None:
            self.projects.learn(parent, project_id)
            return project_id
        return self.projects.known(parent)

    def warn_once(self, text: str, *values: object) -> None:
        """Log a warning, unless this coordinator has had the same before; never raises."""
        message = text % values
        if message not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(message)
            logger.warning("otel-bridge: %s", message)

    def queue_of(self, task_id: str) -> str | None:
        """Return the queue that the calling worker took a job from; None if it is not known."""
        return None if self.observer is None else self.observer.queue_of(task_id)

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
        phases: The phase that jobs belong to, by their type; None: none is known by the type.
    """

    def __init__(
        self,
        redis_attribute: str,
        knowledge_base: KnowledgeBase | None,
        depth_interval_sec: float,
        phases: Mapping[str, str] | None = None,
    ) -> None:
        self._redis_attribute = redis_attribute
        self._knowledge_base = knowledge_base
        self._depth_interval_sec = depth_interval_sec
        self._phases = phases
        self._by_id: dict[int, InstrumentedCoordinator] = {}
        self._held: dict[int, Any] = {}
        """Instances without weak references, held so that their ids are not used again."""

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
                self._watch_lifetime(coordinator)
            created = InstrumentedCoordinator(
                coordinator,
                client,
                bridge,
                self._knowledge_base,
                self._depth_interval_sec,
                self._phases,
            )
        except Exception:
            logger.exception(
                "otel-bridge could not observe %s; its jobs are not shown", safe_repr(coordinator)
            )
            return None
        self._by_id[id(coordinator)] = created
        return created

    def _watch_lifetime(self, coordinator: Any) -> None:
        try:
            weakref.finalize(coordinator, self._forget, id(coordinator)).atexit = False
        except TypeError:
            if not hasattr(type(coordinator), "__slots__") or len(self._held) >= _MAX_HELD:
                raise
            self._held[id(coordinator)] = coordinator

    def known_project(self, task_id: str) -> str | None:
        """Return the project of a research task, if a coordinator has learnt it; never waits."""
        for state in list(self._by_id.values()):
            found = None if state.projects is None else state.projects.known(task_id)
            if found is not None:
                return found
        return None

    def _forget(self, identity: int) -> None:
        self._held.pop(identity, None)
        found = self._by_id.pop(identity, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Close the state of every instance and forget it; returns at once."""
        for identity in list(self._by_id):
            self._forget(identity)
