"""
Duck typing for a user's own coordinator: its fields, its statuses, a place for the carrier.

Nothing here imports the user's classes or requires a base class. A task is an object, a pydantic
model or a mapping; its type and status are enums or texts.
"""

from __future__ import annotations

import contextlib
import copy
import enum
import functools
import inspect
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, MutableMapping
from typing import Any, Final, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from otel_bridge.events.model import TaskStatus

__all__ = [
    "PAYLOAD_KEY",
    "Restore",
    "attribute_values",
    "count_of",
    "error_of",
    "field",
    "is_same_job",
    "outermost_caller",
    "put_carrier",
    "research_field",
    "research_task_of",
    "status_of",
    "take_carrier",
    "text",
]

PAYLOAD_KEY: Final = "_otel_bridge"
"""
Key of the carrier in a job's payload.

Its value is one JSON text, so that a payload typed ``dict[str, str]`` can hold it.
"""

Restore = Callable[[], None]
"""Puts back the payload that ``put_carrier`` replaced."""

_STATUS_OF: Final = {
    **dict.fromkeys(
        ("completed", "complete", "done", "success", "succeeded", "successful", "finished"),
        TaskStatus.COMPLETED,
    ),
    **dict.fromkeys(
        ("failed", "failure", "error", "dead", "cancelled", "canceled", "timeout", "rejected"),
        TaskStatus.FAILED,
    ),
    **dict.fromkeys(("retrying", "retry", "retried", "requeued"), TaskStatus.RETRYING),
    **dict.fromkeys(("pending", "queued", "scheduled", "waiting"), TaskStatus.PENDING),
    **dict.fromkeys(("processing", "running", "in_progress", "started"), TaskStatus.PROCESSING),
}
_ERROR_FIELDS: Final = ("error", "error_message", "last_error")
_RESEARCH_ID_NAMES: Final = ("research_task_id", "parent_task_id", "task_id", "parent_id")
_RECORD_ID_NAMES: Final = ("task_id", "id", "research_task_id", "parent_task_id")
_RECORD_FIELDS: Final = (
    *("title", "project_id", "research_query", "research_type", "task_type"),
    *("domain", "domain_hint"),
)
"""Fields of a record beside the id. Not ``name`` and ``type`` alone: a logger has a name."""
_NO_RECORDS: Final = (str, int, float, list, tuple)
_NO_PAYLOAD: Final = object()


def field(task: Any, name: str, default: Any = None) -> Any:
    """
    Read a field of a task: an item of a mapping or an attribute of an object.

    Args:
        task: The object or mapping.
        name: Name of the field.
        default: Returned if there is no such field; default None.

    Returns:
        The value; ``default`` if there is no such field. Raises only what a property of the task
        raises, other than ``AttributeError``.
    """
    if isinstance(task, Mapping):
        return task.get(name, default)
    return getattr(task, name, default)


def text(value: Any) -> str | None:
    """
    Return a value as text of any length; None stays None.

    An enum member is its value. Bytes are decoded as UTF-8, with U+FFFD for what is not UTF-8.
    Raises only what the ``__str__`` of another value raises.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(value)


def _object_in(value: Any) -> dict[str, Any] | None:
    """The JSON object in a text; None for anything else, also for JSON nested too deeply."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def count_of(value: Any) -> int:
    """Return a value that is a whole number of at least 0; 0 for anything else."""
    return value if isinstance(value, int) and value >= 0 else 0


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


def status_of(value: Any) -> TaskStatus | None:
    """
    Read the status that a coordinator has recorded.

    Args:
        value: An enum member, text, bytes, the output of ``str()`` such as
            ``TaskStatus.COMPLETED``, or a JSON object with a ``status``. Case does not matter.

    Returns:
        ``COMPLETED``, ``FAILED``, ``RETRYING``, ``PENDING`` or ``PROCESSING``. Synonyms such as
        ``done``, ``error``, ``requeued``, ``queued`` and ``running`` are known. None for another
        text, JSON that cannot be read, and None. Raises only what the ``__str__`` of ``value``
        raises.
    """
    status = text(value)
    if status is None:
        return None
    record = _object_in(status)
    if record is not None:
        status = text(record.get("status")) or ""
    return _STATUS_OF.get(status.strip().rsplit(".", 1)[-1].lower())


def error_of(record: Any) -> str | None:
    """
    Read the error from what a coordinator has recorded about a task.

    Args:
        record: An object or mapping, or a JSON object as text or bytes; other text has no error.

    Returns:
        The first of ``error``, ``error_message`` and ``last_error`` that is not empty, as text of
        any length; None if there is none, or the JSON cannot be read. Raises only what a property
        of ``record`` raises.
    """
    if isinstance(record, str | bytes):
        record = _object_in(text(record))
    for name in _ERROR_FIELDS:
        found = field(record, name)
        if found:
            return text(found)
    return None


def is_same_job(pushed: Any, task_id: str) -> bool:
    """
    Return whether a value that was pushed to a Redis queue is this job; never raises.

    Args:
        pushed: The value, text or bytes of any length: the job's id, or a JSON object whose ``id``
            (else ``task_id``) is the job's id. For anything else, also for JSON that cannot be
            read, the answer is False.
        task_id: Id of the job.
    """
    value = text(pushed) if isinstance(pushed, str | bytes) else None
    # JSON may escape characters of the id (a quote, a slash, é), so a backslash is worth parsing.
    if value is None or (task_id not in value and "\\" not in value):
        return False
    record = _object_in(value)
    if record is None:
        return value == task_id
    return text(record.get("id", record.get("task_id"))) == task_id


# --- the carrier in the payload ----------------------------------------------------------------


@functools.cache
def _is_carried(task_class: Hashable) -> bool:
    """Whether a class accepts our key with a text value in its ``payload``; pydantic may not."""
    if not (isinstance(task_class, type) and issubclass(task_class, BaseModel)):
        return True
    declared = task_class.model_fields.get("payload")
    if declared is None:
        return True
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(declared.annotation or Any)
        kept = adapter.validate_python({PAYLOAD_KEY: "text"})
    except (ValidationError, TypeError, ValueError):
        return False
    return isinstance(kept, dict) and PAYLOAD_KEY in kept


def put_carrier(task: Any, carrier: Mapping[str, str]) -> Restore | None:
    """
    Put the carrier into a task's payload until the returned function is called.

    The payload is replaced by a copy, because two tasks may share one payload. Validation on
    assignment and ``frozen`` are bypassed. Raises only what a property ``payload`` of the task, or
    copying the payload, raises.

    Args:
        task: An object or mapping with a ``payload``.
        carrier: The dict that carries trace context with a job; stored under ``_otel_bridge`` as
            one JSON text.

    Returns:
        A function that puts the original payload back, unless the coordinator has replaced the
        payload meanwhile (in a class with ``__slots__``, also then). None, with the task unchanged,
        if the payload is no dict, its type does not accept the key, or the task cannot be changed.
    """
    payload = field(task, "payload")
    if not isinstance(payload, dict) or not _is_carried(cast(Hashable, type(task))):
        return None
    carrying = copy.copy(payload)
    carrying[PAYLOAD_KEY] = json.dumps(dict(carrier), separators=(",", ":"))
    place = task if isinstance(task, MutableMapping) else getattr(task, "__dict__", None)
    if place is not None and "payload" in place:
        place["payload"] = carrying

        def restore() -> None:
            if place.get("payload") is carrying:
                place["payload"] = payload

        return restore
    try:
        object.__setattr__(task, "payload", carrying)
    except (AttributeError, TypeError):
        return None
    return lambda: object.__setattr__(task, "payload", payload)


def take_carrier(task: Any) -> dict[str, str] | None:
    """
    Remove the carrier from a task's payload, where it is JSON text under ``_otel_bridge``.

    The carrier is the dict that carries trace context with a job. Raises only what a property
    ``payload`` of the task raises.

    Args:
        task: An object or mapping; its ``payload`` is changed in place.

    Returns:
        The carrier; None if there is none, or none that can be read (it is removed all the same).
    """
    payload = field(task, "payload")
    if not isinstance(payload, dict):
        return None
    packed = payload.pop(PAYLOAD_KEY, _NO_PAYLOAD)
    found = _object_in(packed)
    if found is None:
        return None
    return {str(key): value for key, value in found.items() if isinstance(value, str)}


# --- orchestrators -----------------------------------------------------------------------------


def research_task_of(
    method: Callable[..., Any], owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[str | None, Any]:
    """
    Find the research task that a call of an orchestrator's method works on.

    Raises only what a property of an argument or of the orchestrator raises.

    Args:
        method: The method as a plain function.
        owner: The orchestrator.
        args: The call's positional arguments.
        kwargs: The call's keyword arguments.

    Returns:
        Its id as text, and the object or mapping that holds further fields; each None if not found,
        both None if the arguments do not fit the method. The id is the first found of: an argument
        named ``research_task_id``, ``parent_task_id``, ``task_id`` or ``parent_id``; a field of an
        argument with such a name or ``id``; the first argument if it is a text; an attribute of the
        orchestrator with such a name. Beside an id that is an argument of its own, what holds
        further fields is the first argument that has a title, project, type or domain.
    """
    try:
        bound = inspect.signature(method).bind(owner, *args, **kwargs).arguments
    except (TypeError, ValueError):
        return None, None
    given = dict(list(bound.items())[1:])
    for name in _RESEARCH_ID_NAMES:
        found = given.get(name)
        if isinstance(found, str | int) and found != "":
            return str(found), _record_among(given.values())
    for value in given.values():
        if isinstance(value, _NO_RECORDS):
            continue
        for name in _RECORD_ID_NAMES:
            found = field(value, name)
            if isinstance(found, str | int) and found != "":
                return str(found), value
    first = next(iter(given.values()), None)
    if isinstance(first, str) and first:
        return first, _record_among(given.values())
    for name in _RESEARCH_ID_NAMES:
        found = getattr(owner, name, None)
        if isinstance(found, str | int) and found != "":
            return str(found), owner
    return None, None


def _record_among(values: Iterable[Any]) -> Any:
    """The first argument beside the id that says something of the research task; else None."""
    for value in values:
        if isinstance(value, _NO_RECORDS):
            continue
        if any(research_field(value, name) is not None for name in _RECORD_FIELDS):
            return value
    return None


def research_field(record: Any, *names: str) -> str | None:
    """
    Return the first of some fields that is a text or enum and not empty, as text; else None.

    Raises only what a property of ``record`` raises.

    Args:
        record: An object or mapping; None has no fields.
        names: Names of the fields, in the order in which they are tried.
    """
    for name in names:
        found = field(record, name)
        if isinstance(found, str | enum.Enum) and text(found):
            return text(found)
    return None


def outermost_caller(owner: type, methods: Mapping[str, str]) -> str | None:
    """
    Find the coroutine method of a class that calls the given methods.

    If several do, it is the one that none of the others calls. This is read from the names in the
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
    for name, found in inspect.getmembers(owner, inspect.iscoroutinefunction):
        if name in methods:
            continue
        called_names = set(
            getattr(getattr(inspect.unwrap(found), "__code__", None), "co_names", ())
        )
        if called_names & set(methods):
            names_in[name] = called_names
    outer = [
        name
        for name in names_in
        if not any(name in called for other, called in names_in.items() if other != name)
    ]
    return outer[0] if len(outer) == 1 else None
