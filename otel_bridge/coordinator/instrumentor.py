"""
``CoordinatorInstrumentor``: one call that makes a user's own coordinator visible.

The methods of the coordinator's class are wrapped; its source stays as it is. Events come from what
the coordinator does anyway: the tasks it submits, the statuses it writes, the jobs it queues again.
Nothing here makes the coordinator wait for Redis, raises into it, or changes the arguments and
results of its methods.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from otel_bridge.bridge import current_bridge
from otel_bridge.coordinator.jobs import (
    PHASE_COUNTER,
    Attempt,
    InstrumentedCoordinators,
    Submission,
)
from otel_bridge.coordinator.observer import RUNNING_JOB
from otel_bridge.coordinator.phase_counter import PhaseCounter
from otel_bridge.coordinator.shape import (
    attribute_values,
    error_of,
    field,
    outermost_caller,
    research_field,
    research_task_of,
    status_of,
    take_carrier,
    text,
)
from otel_bridge.errors import ConfigurationError
from otel_bridge.events.model import TaskStatus
from otel_bridge.projects.resolver import KnowledgeBase
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.spans.context_managers import research_task, worker
from otel_bridge.spans.scope import current_scope
from otel_bridge.spans.span_context_manager import safe_repr, safe_str
from otel_bridge.spans.work_spans import Phase, ResearchTask
from otel_bridge.workers.queue_depth import DEFAULT_INTERVAL_SEC

__all__ = ["CoordinatorInstrumentor"]

logger = logging.getLogger(__name__)

_Method = Callable[..., Awaitable[Any]]

_PROGRESS_INTERVAL_SEC: Final = 5.0


class CoordinatorInstrumentor(BaseInstrumentor):  # type: ignore[misc,unused-ignore]
    """
    Makes a user's own coordinator visible: wraps methods of its class, and of an orchestrator's.

    Call ``CoordinatorInstrumentor().instrument(coordinator_class=...)`` once in each process,
    before the coordinator runs. A coordinator queues jobs and runs workers; an orchestrator runs a
    research task as phases of such jobs. ``instrument()`` takes these keyword arguments; all but
    the first are optional:

    * ``coordinator_class``: a class with the ``async`` methods ``submit_tasks(tasks, ...)``,
      ``_worker(worker_id, ...)`` and ``_process_task(task, worker_id, ...)``, and with the
      attributes ``redis_client``, ``TASK_QUEUE_PREFIX`` and ``TASK_STATUS_PREFIX``. Its tasks are
      objects or mappings with ``id``, ``type``, ``payload``, ``retry_count`` and
      ``parent_task_id``.
    * ``submit_method``, ``worker_method``, ``process_method``, ``redis_attribute``: the names of
      these methods and of the Redis client, if they differ.
    * ``orchestrator_class``: the class whose methods are the phases of a research task.
    * ``phases``: the name of the phase for each method, such as ``{"run_search": "search"}``.
    * ``run_method``: the orchestrator's method that runs a whole research task; it becomes the root
      span. Default: the one coroutine method whose body calls the phases.
    * ``knowledge_base``: asked in the background for projects that no job names. Default: the
      database of ``MONITORING_KNOWLEDGE_BASE_URL``, if that is set.
    * ``depth_interval_sec``: seconds between two samples of the queue depths; default 5.
    * ``progress_interval_sec``: seconds between two counts of a phase's jobs; default 5.

    A second ``instrument()`` does nothing but log a warning. ``uninstrument()`` restores the
    classes and the Redis clients. The wrapped methods never wait for Redis on our behalf. An error
    of ours in a submission or a job is logged, and it runs without being shown. Of each coordinator
    at most 100 queues are sampled.

    Raises:
        ConfigurationError: ``coordinator_class`` is missing, ``phases`` are given without
            ``orchestrator_class``, a class lacks a method, or the method is not ``async``. Nothing
            has been wrapped then.
        TypeError: An argument has another name than these.
    """

    _wrapped: list[tuple[type, str, Any, bool]]
    _coordinators: InstrumentedCoordinators

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no requirement: nothing but this package needs to be installed."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        self._instrument_classes(**kwargs)

    def _instrument_classes(
        self,
        *,
        coordinator_class: type | None = None,
        orchestrator_class: type | None = None,
        phases: Mapping[str, str] | None = None,
        run_method: str | None = None,
        submit_method: str = "submit_tasks",
        worker_method: str = "_worker",
        process_method: str = "_process_task",
        redis_attribute: str = "redis_client",
        knowledge_base: KnowledgeBase | None = None,
        depth_interval_sec: float = DEFAULT_INTERVAL_SEC,
        progress_interval_sec: float = _PROGRESS_INTERVAL_SEC,
    ) -> None:
        if coordinator_class is None:
            raise ConfigurationError(
                "coordinator_class is missing",
                "call CoordinatorInstrumentor().instrument(coordinator_class=YourCoordinator)",
            )
        if phases and orchestrator_class is None:
            raise ConfigurationError(
                f"phases {dict(phases)!r} were given without orchestrator_class",
                "pass the class that has these methods",
            )
        self._coordinators = InstrumentedCoordinators(
            redis_attribute, knowledge_base, depth_interval_sec
        )
        plan: list[tuple[type, str, str, Callable[[_Method], _Method]]] = [
            (coordinator_class, submit_method, "submit_method", self._submitting),
            (coordinator_class, worker_method, "worker_method", self._working),
            (coordinator_class, process_method, "process_method", self._processing),
        ]
        if orchestrator_class is not None:
            phases = phases or {}
            if run_method is None:
                run_method = outermost_caller(orchestrator_class, phases)
                if run_method is None:
                    logger.info(
                        "no single method of %s calls all phases, so there is no root span; name "
                        "it as run_method, or open research_task() around the call",
                        orchestrator_class.__qualname__,
                    )
            plan += [
                (orchestrator_class, name, "phases", _phase_wrapper(label, progress_interval_sec))
                for name, label in phases.items()
            ]
            if run_method is not None:
                plan.append((orchestrator_class, run_method, "run_method", _in_research_task))
        for owner, name, argument, _ in plan:
            _check(owner, name, argument)
        self._wrapped = []
        for owner, name, _, wrap in plan:
            original = inspect.getattr_static(owner, name)
            self._wrapped.append((owner, name, original, name in owner.__dict__))
            setattr(owner, name, functools.wraps(original)(wrap(original)))

    def _uninstrument(self, **kwargs: Any) -> None:
        for owner, name, original, is_own in reversed(self._wrapped):
            if is_own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)
        self._wrapped = []
        self._coordinators.close()

    # --- the coordinator's three methods -----------------------------------------------------

    def _submitting(self, original: _Method) -> _Method:
        async def submit(coordinator: Any, *args: Any, **kwargs: Any) -> Any:
            args, kwargs, submission = self._before_submit(coordinator, args, kwargs)
            if submission is None:
                return await original(coordinator, *args, **kwargs)
            try:
                result = await original(coordinator, *args, **kwargs)
            except BaseException as error:
                submission.close(error)
                raise
            submission.close(None)
            return result

        return submit

    def _before_submit(
        self, coordinator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], Submission | None]:
        submission: Submission | None = None
        try:
            state = self._coordinators.get(coordinator)
            if state is None:
                return args, kwargs, None
            tasks = args[0] if args else kwargs.get("tasks")
            if tasks is None:
                return args, kwargs, None
            if isinstance(tasks, Iterable) and not isinstance(tasks, Sequence | Collection):
                # An iterator can be read only once, and the coordinator must read it as well.
                tasks, again = _read_iterator(tasks)
                args, kwargs = (
                    ((again, *args[1:]), kwargs) if args else (args, {**kwargs, "tasks": again})
                )
            is_one = isinstance(tasks, Mapping) or not isinstance(tasks, Iterable)
            submission = Submission(state)
            try:
                for task in [tasks] if is_one else tasks:
                    submission.add(task)
            finally:
                submission.count_new_jobs()
        except Exception:
            logger.exception("otel-bridge could not observe a submission; jobs of it are not shown")
        return args, kwargs, submission

    def _working(self, original: _Method) -> _Method:
        async def work(coordinator: Any, *args: Any, **kwargs: Any) -> Any:
            self._coordinators.get(coordinator)
            worker_id = args[0] if args else kwargs.get("worker_id")
            with worker(worker_id if type(worker_id) is int else safe_str(worker_id)):
                return await original(coordinator, *args, **kwargs)

        return work

    def _processing(self, original: _Method) -> _Method:
        async def process(coordinator: Any, *args: Any, **kwargs: Any) -> Any:
            attempt = self._before_process(coordinator, args, kwargs)
            if attempt is None:
                return await original(coordinator, *args, **kwargs)
            token = RUNNING_JOB.set(attempt.running)
            failure: BaseException | None = None
            with attempt.running.span:
                try:
                    return await original(coordinator, *args, **kwargs)
                except BaseException as error:
                    failure = error
                    raise
                finally:
                    attempt.set_outcome(failure)
                    RUNNING_JOB.reset(token)

        return process

    def _before_process(
        self, coordinator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Attempt | None:
        try:
            task = args[0] if args else kwargs.get("task")
            # Removed even while monitoring is off here: no handler may find it in the payload.
            carrier = take_carrier(task)
            state = self._coordinators.get(coordinator)
            task_id = text(field(task, "id"))
            if state is None or task_id is None:
                return None
            worker_id = args[1] if len(args) > 1 else kwargs.get("worker_id")
            return Attempt(state, task, task_id, carrier, worker_id)
        except Exception:
            logger.exception("otel-bridge could not observe a job; it runs, but is not shown")
            return None


def _read_iterator(tasks: Iterable[Any]) -> tuple[list[Any], Iterable[Any]]:
    """The items of an iterator, and what gives the coordinator the same, with its exception."""
    items = []
    try:
        for item in tasks:
            items.append(item)
    except Exception as error:
        return items, _repeat(items, error)
    return items, items


def _repeat(items: list[Any], error: Exception) -> Iterator[Any]:
    yield from items
    raise error


def _check(owner: type, name: str, argument: str) -> None:
    found = getattr(owner, name, None)
    if found is None:
        raise ConfigurationError(
            f"{owner.__qualname__} has no method {name!r}", f"name an existing one in {argument}"
        )
    if not inspect.iscoroutinefunction(found):
        raise ConfigurationError(
            f"{owner.__qualname__}.{name} is not an async method",
            f"name an async method in {argument}",
        )


# --- the orchestrator's methods ----------------------------------------------------------------


def _phase_wrapper(label: str, interval_sec: float) -> Callable[[_Method], _Method]:
    return functools.partial(_in_phase, label=label, interval_sec=interval_sec)


def _in_phase(original: _Method, *, label: str, interval_sec: float) -> _Method:
    async def run_phase(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
        bridge = current_bridge()
        if bridge is not None and bridge.bus is None:
            return await original(orchestrator, *args, **kwargs)
        scope = current_scope()
        if scope.parent_task_id is None:
            task_id, _ = _research_task(original, orchestrator, args, kwargs)
            scope = replace(scope, parent_task_id=task_id)
        with Phase(label, replace(scope, phase=label), None) as phase:
            counter = PhaseCounter(phase, _status_key(orchestrator), interval_sec)
            token = PHASE_COUNTER.set(counter)
            try:
                return await original(orchestrator, *args, **kwargs)
            finally:
                PHASE_COUNTER.reset(token)
                counter.close()

    return run_phase


def _in_research_task(original: _Method) -> _Method:
    async def run(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
        bridge = current_bridge()
        is_off = bridge is not None and bridge.bus is None
        task_id, record = _research_task(original, orchestrator, args, kwargs)
        if is_off or task_id is None or current_scope().parent_task_id == task_id:
            return await original(orchestrator, *args, **kwargs)
        with research_task(task_id, **_research_fields(record, kwargs)) as root:
            result = await original(orchestrator, *args, **kwargs)
            _fail_if_recorded(root, record)
            return result

    return run


def _research_fields(record: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a research task beside its id; nothing if a property of it raises."""
    try:
        return {
            "title": research_field(record, "title", "name", "research_query"),
            "project_id": research_field(record, "project_id") or text(kwargs.get("project_id")),
            "task_type": research_field(record, "research_type", "task_type", "type"),
            "domain": research_field(record, "domain", "domain_hint"),
        }
    except Exception:
        logger.exception("otel-bridge could not read a research task; only its id is shown")
        return {}


def _fail_if_recorded(root: ResearchTask, record: Any) -> None:
    try:
        if status_of(field(record, "status")) is TaskStatus.FAILED:
            root.fail(error_of(record) or "the orchestrator recorded it as failed")
    except Exception:
        logger.exception("otel-bridge could not read how a research task ended")


def _research_task(
    method: _Method, owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[str | None, Any]:
    try:
        return research_task_of(method, owner, args, kwargs)
    except Exception:
        logger.exception("otel-bridge could not find the research task of %s", safe_repr(owner))
        return None, None


def _status_key(orchestrator: Any) -> Callable[[str], str]:
    bridge = current_bridge()
    keys = DEFAULT_KEYS if bridge is None else bridge.redis_keys
    prefix = (_status_prefix(orchestrator) or keys.task_prefix).rstrip(":")
    return lambda task_id: f"{prefix}:{task_id}:status"


def _status_prefix(orchestrator: Any) -> str | None:
    """The prefix of status keys that the orchestrator, or the coordinator it holds, names."""
    for found in (orchestrator, *attribute_values(orchestrator)):
        # An attribute may be anything, such as a proxy that raises outside of a request.
        with contextlib.suppress(Exception):
            named = getattr(found, "TASK_STATUS_PREFIX", None)
            if isinstance(named, str):
                return named
    return None
