"""
``CoordinatorInstrumentor``: one call that makes a user's own coordinator visible.

The methods of the coordinator's class are wrapped; its source stays as it is. Events come from what
the coordinator does anyway: the tasks it submits, the statuses it writes, the jobs it queues again.
Nothing here makes the coordinator wait for Redis, raises into it, or changes the arguments and
results of its methods.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from otel_bridge.coordinator.calls import (
    NOT_GIVEN,
    OPEN_WORKER,
    TASK_NAMES,
    TASKS_NAMES,
    WORKER_NAMES,
    AsyncMethod,
    Method,
    Parameter,
    open_worker,
)
from otel_bridge.coordinator.jobs import (
    NO_ID,
    InstrumentedCoordinator,
    InstrumentedCoordinators,
)
from otel_bridge.coordinator.observer import SUBMISSION
from otel_bridge.coordinator.orchestrator import in_phase, in_research_task, outermost_caller
from otel_bridge.coordinator.running import RUNNING_JOB, Attempt
from otel_bridge.coordinator.shape import (
    PAYLOAD_KEY,
    read_task,
    take_carrier,
    take_carrier_of_text,
)
from otel_bridge.coordinator.submission import Submission
from otel_bridge.errors import ConfigurationError
from otel_bridge.projects.resolver import KnowledgeBase
from otel_bridge.spans.context_managers import worker
from otel_bridge.spans.span_context_manager import safe_str
from otel_bridge.workers.queue_depth import DEFAULT_INTERVAL_SEC

__all__ = ["CoordinatorInstrumentor"]

logger = logging.getLogger(__name__)

_PROGRESS_INTERVAL_SEC: Final = 5.0

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class CoordinatorInstrumentor(BaseInstrumentor):  # type: ignore[misc,unused-ignore]
    """
    Makes a user's own coordinator visible: wraps methods of its class, and of an orchestrator's.

    Call ``CoordinatorInstrumentor().instrument(coordinator_class=...)`` once in each process,
    before the coordinator runs. A coordinator queues jobs and runs workers; an orchestrator runs a
    research task as phases of such jobs. ``instrument()`` takes these keyword arguments; all but
    the first are optional:

    * ``coordinator_class``: a class with the ``async`` methods ``submit_tasks(tasks, ...)``,
      ``_worker(worker_id, ...)`` and ``_process_task(task, ...)``, and with the attributes
      ``redis_client``, ``TASK_QUEUE_PREFIX`` and ``TASK_STATUS_PREFIX``. Its tasks are objects or
      mappings with ``id`` (or ``task_id``, ``job_id``), ``type``, ``payload``, ``retry_count`` and
      ``parent_task_id``, JSON of these, or ids. The methods' signatures are their own: which
      argument is the task and which the worker's id is read from the parameters' names, else from
      their order; a worker without an id gets one.
    * ``submit_method``, ``worker_method``, ``process_method``, ``redis_attribute``: the names of
      these methods and of the Redis client, if they differ.
    * ``orchestrator_class``: the class whose methods are the phases of a research task.
    * ``phases``: the name of the phase for each method, such as ``{"run_search": "search"}``.
    * ``task_phases``: the phase that a job belongs to, by the job's type, such as
      ``{"data_aggregation_search": "search"}``: for phases that are no methods. Where one method
      runs several phases, it can also open ``otel_bridge.phase("search")`` around each.
    * ``run_method``: the orchestrator's method that runs a whole research task; it becomes the root
      span. Default: the one coroutine method whose body calls the phases.
    * ``knowledge_base``: asked in the background for projects that no job names. Default: the
      database of ``MONITORING_KNOWLEDGE_BASE_URL``, if that is set.
    * ``depth_interval_sec``: seconds between two samples of the queue depths; default 5.
    * ``progress_interval_sec``: seconds between two counts of a phase's jobs; default 5.

    A second ``instrument()`` does nothing but log a warning. ``uninstrument()`` restores the
    classes and the Redis clients. The wrapped methods never wait for Redis on our behalf, and get
    the arguments of the call as they are; only the carrier is taken out of a payload. An error of
    ours in a submission or a job is logged, and it runs without being shown; so does what cannot be
    read, which is one warning. Of each coordinator at most 100 queues are sampled.

    How a job ended is what the coordinator records, in Redis or on the task, before what it raises.
    A job that returns without a status has completed, unless something says otherwise: a recorded
    error, a list of failed jobs, what it returned, a span marked as failed, an exception that
    ``_process_task`` caught and was handling when it sent a command, or a status of ``processing``
    where other jobs had a last one. A failure that leaves no trace at all is shown as completed.

    Raises:
        ConfigurationError: ``coordinator_class`` is missing, ``phases`` are given without
            ``orchestrator_class``, a class lacks a method, or the method cannot be watched: it is
            not ``async``, a property, an async generator or abstract, or its class cannot be
            changed. The text names the method, the reason and what to do. Nothing is wrapped then.
        TypeError: An argument has another name than these.
    """

    _restores: list[Callable[[], None]]
    _methods: list[Method]
    _checked: set[type]
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
        task_phases: Mapping[str, str] | None = None,
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
        self._coordinators = states = InstrumentedCoordinators(
            redis_attribute, knowledge_base, depth_interval_sec, task_phases
        )
        plan: list[tuple[Method, Callable[[Method], AsyncMethod]]] = [
            (Method(coordinator_class, submit_method, "submit_method"), self._submitting),
            (Method(coordinator_class, worker_method, "worker_method"), self._working),
            (Method(coordinator_class, process_method, "process_method"), self._processing),
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
            known = states.known_project

            def phase_wrapper(label: str) -> Callable[[Method], AsyncMethod]:
                return lambda method: in_phase(method, label, progress_interval_sec, known)

            plan += [
                (Method(orchestrator_class, name, "phases"), phase_wrapper(label))
                for name, label in phases.items()
            ]
            if run_method is not None:
                run = Method(orchestrator_class, run_method, "run_method")
                plan.append((run, lambda method: in_research_task(method, known)))
        self._restores = []
        self._methods = [method for method, _ in plan[:3]]
        self._checked = set()
        try:
            for method, wrap in plan:
                self._restores.append(method.install(wrap(method)))
        except ConfigurationError:
            self._restore()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        self._restore()
        self._coordinators.close()

    def _restore(self) -> None:
        while self._restores:
            self._restores.pop()()

    def _state_of(self, coordinator: Any) -> InstrumentedCoordinator | None:
        kind = type(coordinator)
        if kind not in self._checked:
            self._checked.add(kind)
            with contextlib.suppress(Exception):  # of a class that cannot be looked at
                self._warn_of_overrides(kind)
        return self._coordinators.get(coordinator)

    def _warn_of_overrides(self, kind: type) -> None:
        for method in self._methods:
            override = method.overridden_by(kind)
            if override is not None:
                logger.warning(
                    "otel-bridge: %s.%s is not watched, because it replaces the one of %s; "
                    "pass %s as coordinator_class",
                    override.__qualname__,
                    method.name,
                    method.owner.__qualname__,
                    override.__qualname__,
                )

    # --- the coordinator's three methods -----------------------------------------------------

    def _submitting(self, method: Method) -> AsyncMethod:
        tasks_of = method.parameter(TASKS_NAMES, or_first=True)
        call = method.call

        async def submit(coordinator: Any, *args: Any, **kwargs: Any) -> Any:
            (args, kwargs), submission = self._before_submit(coordinator, tasks_of, args, kwargs)
            if submission is None:
                return await call(coordinator, *args, **kwargs)
            token = SUBMISSION.set(submission)
            failure: BaseException | None = None
            try:
                return await call(coordinator, *args, **kwargs)
            except BaseException as error:
                failure = error
                raise
            finally:
                SUBMISSION.reset(token)
                submission.close(failure)

        return submit

    def _before_submit(
        self,
        coordinator: Any,
        tasks_of: Parameter | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[_Arguments, Submission | None]:
        submission: Submission | None = None
        try:
            state = self._state_of(coordinator)
            if state is None:
                return (args, kwargs), None
            tasks: Any = NOT_GIVEN if tasks_of is None else tasks_of.of(args, kwargs)
            if tasks_of is None or tasks is NOT_GIVEN:
                state.warn_once("a submission has no argument with tasks; its jobs are not shown")
                return (args, kwargs), None
            if tasks is None:
                return (args, kwargs), None
            is_one = isinstance(tasks, Mapping | str | bytes) or not isinstance(tasks, Iterable)
            if not is_one and not isinstance(tasks, Sequence | Collection):
                # An iterator can be read only once, and the coordinator must read it as well.
                tasks, again = _read_iterator(tasks)
                args, kwargs = tasks_of.replaced(args, kwargs, again)
            submission = Submission(state)
            for task in [tasks] if is_one else tasks:
                submission.add(task)
        except Exception:
            logger.exception("otel-bridge could not observe a submission; jobs of it are not shown")
        return (args, kwargs), submission

    def _working(self, method: Method) -> AsyncMethod:
        named = method.parameter(WORKER_NAMES)
        id_of = named or method.parameter((), or_first=True)
        call = method.call

        async def work(coordinator: Any, *args: Any, **kwargs: Any) -> Any:
            self._state_of(coordinator)
            given = None if id_of is None else id_of.of(args, kwargs)
            # Of a parameter with another name only a number or text is an id, not an Event.
            if given is NOT_GIVEN or (named is None and type(given) not in (int, str)):
                given = None
            # Not of a job or submission that has started the worker, whose context it inherits.
            tokens = RUNNING_JOB.set(None), SUBMISSION.set(None)
            try:
                with open_worker(given) as shown, worker(shown):
                    return await call(coordinator, *args, **kwargs)
            finally:
                RUNNING_JOB.reset(tokens[0])
                SUBMISSION.reset(tokens[1])

        return work

    def _processing(self, method: Method) -> AsyncMethod:
        task_of = method.parameter(TASK_NAMES, or_first=True, is_not=WORKER_NAMES)
        worker_of = method.parameter(WORKER_NAMES)
        call, codes = method.call, method.codes

        async def process(coordinator: Any, *args: Any, **kwargs: Any) -> Any:
            (args, kwargs), attempt = self._before_process(
                coordinator, task_of, worker_of, codes, args, kwargs
            )
            if attempt is None:
                return await call(coordinator, *args, **kwargs)
            running = attempt.running
            token = RUNNING_JOB.set(running)
            failure: BaseException | None = None
            result: Any = None
            with running.span:
                try:
                    result = await call(coordinator, *args, **kwargs)
                    return result
                except BaseException as error:
                    failure = error
                    raise
                finally:
                    attempt.set_outcome(failure, result)
                    RUNNING_JOB.reset(token)

        return process

    def _before_process(
        self,
        coordinator: Any,
        task_of: Parameter | None,
        worker_of: Parameter | None,
        codes: Collection[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[_Arguments, Attempt | None]:
        try:
            source = NOT_GIVEN if task_of is None else task_of.of(args, kwargs)
            # Removed even while monitoring is off here: no handler may find it in the payload.
            carrier = take_carrier(source)
            if carrier is None and isinstance(source, str | bytes):
                source, carrier = take_carrier_of_text(source)
                if carrier is not None and task_of is not None:
                    args, kwargs = task_of.replaced(args, kwargs, source)
            if carrier is None:
                carrier = _carrier_among((*args, *kwargs.values()))
            state = self._coordinators.get(coordinator)
            if state is None:
                return (args, kwargs), None
            task = None if source is NOT_GIVEN else read_task(source)
            if task is None:
                state.warn_once(NO_ID, type(source).__qualname__)
                return (args, kwargs), None
            open_one = OPEN_WORKER.get()
            worker_id = None if worker_of is None else worker_of.of(args, kwargs)
            if open_one is not None and worker_id in (None, NOT_GIVEN, open_one.given):
                worker_id = open_one.shown
            if worker_id is NOT_GIVEN:
                worker_id = None
            if worker_id is not None and type(worker_id) is not int:
                worker_id = safe_str(worker_id)
            is_inline = open_one is None
            attempt = Attempt(state, source, task, carrier, worker_id, codes, is_inline=is_inline)
        except Exception:
            logger.exception("otel-bridge could not observe a job; it runs, but is not shown")
            return (args, kwargs), None
        return (args, kwargs), attempt


def _carrier_among(values: Iterable[Any]) -> dict[str, str] | None:
    """The carrier in a payload that is an argument of its own."""
    for value in values:
        if type(value) is dict and PAYLOAD_KEY in value:
            return take_carrier(value)
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
