"""
The wrapped methods of a user's orchestrator: the root of a research task, and its phases.

An orchestrator runs a research task as phases of jobs. Which task a call works on, and what is
known of it, is read from the call's arguments.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel

from otel_bridge.bridge import current_bridge
from otel_bridge.coordinator.calls import AsyncMethod, Method
from otel_bridge.coordinator.phase_counter import PhaseCounter
from otel_bridge.coordinator.shape import error_of, field, status_of, text
from otel_bridge.coordinator.submission import PHASE_COUNTER
from otel_bridge.events.model import TaskStatus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.spans.context_managers import research_task
from otel_bridge.spans.scope import current_scope
from otel_bridge.spans.span_context_manager import safe_repr
from otel_bridge.spans.work_spans import Phase, ResearchTask

__all__ = [
    "attribute_values",
    "in_phase",
    "in_research_task",
    "outermost_caller",
    "research_field",
    "research_task_of",
    "status_key",
]

logger = logging.getLogger(__name__)

KnownProject = Callable[[str], str | None]

_ID_NAMES: Final = ("research_task_id", "parent_task_id", "task_id", "parent_id")
_RECORD_ID_NAMES: Final = ("task_id", "id", "research_task_id", "parent_task_id")
_TITLES: Final = ("title", "name", "research_query")
_PROJECTS: Final = ("project_id", "project")
_TYPES: Final = ("research_type", "task_type", "type")
_DOMAINS: Final = ("domain", "domain_hint")
_RECORD_FIELDS: Final = ("title", "research_query", *_PROJECTS, "research_type", "task_type")
"""Fields of a record beside the id. Not ``name`` and ``type`` alone: a logger has a name."""
_NESTED: Final = ("metadata", "meta", "config", "options", "payload")
"""Mappings inside of a record in which its project is looked for."""
_NO_RECORDS: Final = (str, bytes, int, float, list, tuple, uuid.UUID)


def in_phase(
    method: Method, label: str, interval_sec: float, known_project: KnownProject
) -> AsyncMethod:
    """
    Make the wrapper of a method that is one phase of a research task.

    Args:
        method: The orchestrator's method.
        label: Name of the phase.
        interval_sec: Seconds between two counts of the phase's jobs.
        known_project: Gives the project of a research task, if it is known; must not wait or raise.
    """

    async def run_phase(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
        bridge = current_bridge()
        if bridge is not None and bridge.bus is None:
            return await method.call(orchestrator, *args, **kwargs)
        scope = current_scope()
        if scope.parent_task_id is None:
            task_id, record = _research_task(method, orchestrator, args, kwargs)
            fields = _research_fields(record, kwargs)
            project_id = fields.get("project_id") or (known_project(task_id) if task_id else None)
            scope = replace(scope, parent_task_id=task_id, project_id=project_id)
        with Phase(label, replace(scope, phase=label), None) as phase:
            counter = PhaseCounter(phase, status_key(orchestrator), interval_sec)
            token = PHASE_COUNTER.set(counter)
            try:
                return await method.call(orchestrator, *args, **kwargs)
            finally:
                PHASE_COUNTER.reset(token)
                counter.close()

    return run_phase


def in_research_task(method: Method, known_project: KnownProject) -> AsyncMethod:
    """
    Make the wrapper of the method that runs a whole research task; it becomes the root span.

    Args:
        method: The orchestrator's method.
        known_project: Gives the project of a research task, if it is known; must not wait or raise.
    """

    async def run(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
        bridge = current_bridge()
        is_off = bridge is not None and bridge.bus is None
        task_id, record = _research_task(method, orchestrator, args, kwargs)
        if is_off or task_id is None or current_scope().parent_task_id == task_id:
            return await method.call(orchestrator, *args, **kwargs)
        fields = _research_fields(record, kwargs)
        if fields.get("project_id") is None:
            fields["project_id"] = known_project(task_id)
        with research_task(task_id, **fields) as root:
            result = await method.call(orchestrator, *args, **kwargs)
            _fail_if_recorded(root, record)
            return result

    return run


def _research_fields(record: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a research task beside its id; nothing if a property of it raises."""
    try:
        return {
            "title": research_field(record, *_TITLES),
            "project_id": _project_in(record) or text(kwargs.get("project_id")),
            "task_type": research_field(record, *_TYPES),
            "domain": research_field(record, *_DOMAINS),
        }
    except Exception:
        logger.exception("otel-bridge could not read a research task; only its id is shown")
        return {}


def _project_in(record: Any) -> str | None:
    found = research_field(record, *_PROJECTS)
    for name in _NESTED:
        if found is None and isinstance(nested := field(record, name), Mapping):
            found = research_field(nested, *_PROJECTS)
    return found


def _fail_if_recorded(root: ResearchTask, record: Any) -> None:
    try:
        if status_of(field(record, "status")) is TaskStatus.FAILED:
            root.fail(error_of(record) or "the orchestrator recorded it as failed")
    except Exception:
        logger.exception("otel-bridge could not read how a research task ended")


def _research_task(
    method: Method, owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[str | None, Any]:
    try:
        return research_task_of(method.arguments(args, kwargs), owner)
    except Exception:
        logger.exception("otel-bridge could not find the research task of %s", safe_repr(owner))
        return None, None


def research_task_of(given: Mapping[str, Any] | None, owner: Any) -> tuple[str | None, Any]:
    """
    Find the research task that a call of an orchestrator's method works on.

    Raises only what a property of an argument or of the orchestrator raises.

    Args:
        given: The call's arguments by name; None: they do not fit the method.
        owner: The orchestrator.

    Returns:
        Its id as text, and the object or mapping that holds further fields; each None if not found,
        both None if the arguments do not fit the method. The id is the first found of: an argument
        named ``research_task_id``, ``parent_task_id``, ``task_id`` or ``parent_id``; a field of an
        argument with such a name or ``id``; the first argument if it is a text or UUID; an
        attribute of the orchestrator with such a name. Beside an id that is an argument of its own,
        what holds further fields is the first argument that has a title, project, type or domain.
    """
    if given is None:
        return None, None
    for name in _ID_NAMES:
        found = _id(given.get(name))
        if found is not None:
            return found, _record_among(given.values())
    for value in given.values():
        if isinstance(value, _NO_RECORDS):
            continue
        for name in _RECORD_ID_NAMES:
            found = _id(field(value, name))
            if found is not None:
                return found, value
    first = next(iter(given.values()), None)
    found = None if isinstance(first, int) else _id(first)
    if found is not None:
        return found, _record_among(given.values())
    for name in _ID_NAMES:
        found = _id(getattr(owner, name, None))
        if found is not None:
            return found, owner
    return None, None


def _id(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | uuid.UUID) and value != "" else None


def _record_among(values: Iterable[Any]) -> Any:
    """The first argument beside the id that says something of the research task; else None."""
    for value in values:
        if isinstance(value, _NO_RECORDS):
            continue
        names: tuple[str, ...] = (*_RECORD_FIELDS, *_DOMAINS)
        if isinstance(value, Mapping | BaseModel) or dataclasses.is_dataclass(value):
            names += (*_TITLES, *_TYPES)  # what holds only data means these
        if any(research_field(value, name) is not None for name in names):
            return value
        if isinstance(value, Mapping) and _project_in(value) is not None:
            return value
    return None


def research_field(record: Any, *names: str) -> str | None:
    """
    Return the first of some fields that is a text, enum or UUID and not empty, as text; else None.

    Raises only what a property of ``record`` raises.

    Args:
        record: An object or mapping; None has no fields.
        names: Names of the fields, in the order in which they are tried.
    """
    for name in names:
        found = field(record, name)
        if isinstance(found, str | enum.Enum | uuid.UUID) and text(found):
            return text(found)
    return None


def attribute_values(owner: Any) -> list[Any]:
    """
    Return the values of an object's own attributes, in its ``__dict__`` and its ``__slots__``.

    Never raises: what cannot be read is left out.
    """
    values: list[Any] = []
    with contextlib.suppress(Exception):
        values += getattr(owner, "__dict__", {}).values()
    for base in type(owner).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with contextlib.suppress(Exception):
                values.append(getattr(owner, name))
    return values


def status_key(orchestrator: Any) -> Callable[[str], str]:
    """Return what gives the Redis key of a job's status, by its id; never raises."""
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


def outermost_caller(owner: type, methods: Mapping[str, str]) -> str | None:
    """
    Find the coroutine method of a class that calls the given methods.

    If several do, it is the one that none of the others calls. One that calls the inherited method
    by ``super()`` calls what that calls. This is read from the names in the
    compiled code, so no method is run. What reading an attribute of the class raises passes
    through.

    Args:
        owner: The class.
        methods: The methods to look for, as keys; the values are not used.

    Returns:
        The method's name; None if there is no such method, or more than one. A wrapper around
        something that has no Python code is left out.
    """
    names_in: dict[str, set[str]] = {}
    for name, _ in inspect.getmembers(owner, inspect.iscoroutinefunction):
        if name in methods:
            continue
        called_names: set[str] = set()
        # Also what an override calls by ``super()``: the phases may be called there.
        for definition in (vars(base)[name] for base in owner.__mro__ if name in vars(base)):
            function = getattr(definition, "__func__", definition)
            code = getattr(inspect.unwrap(function), "__code__", None)
            called_names |= set(getattr(code, "co_names", ()))
            if "super" not in called_names:
                break
        if called_names & set(methods):
            names_in[name] = called_names
    outer = [
        name
        for name in names_in
        if not any(name in called for other, called in names_in.items() if other != name)
    ]
    return outer[0] if len(outer) == 1 else None
