"""
Duck typing for coordinators we did not write: fields, status words, and a place for the carrier.

Nothing here imports the user's classes or asks them to be ours. A task is an object, a pydantic
model or a mapping; its type and status are enums or texts.
"""

from __future__ import annotations

import copy
import enum
import functools
import inspect
import json
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from typing import Any, Final, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from otel_bridge.events.model import TaskStatus

__all__ = [
    "PAYLOAD_KEY",
    "Restore",
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
"""Key in a job's payload; its value is one text, so that ``dict[str, str]`` payloads hold it."""

Restore = Callable[[], None]

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
_NO_PAYLOAD: Final = object()


def field(task: Any, name: str, default: Any = None) -> Any:
    """A task's field, whether it is an object's or a mapping's."""
    if isinstance(task, Mapping):
        return task.get(name, default)
    return getattr(task, name, default)


def text(value: Any) -> str | None:
    """A value as text: an enum's value, decoded bytes; None stays None."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(value)


def _object_in(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def status_of(value: Any) -> TaskStatus | None:
    """
    Read a recorded status; None for a word of the user's own.

    Takes enums, texts, bytes, ``TaskStatus.COMPLETED`` as printed by ``str()``, and a JSON object
    with a ``status``.
    """
    word = text(value)
    if word is None:
        return None
    record = _object_in(word)
    if record is not None:
        word = text(record.get("status")) or ""
    return _STATUS_OF.get(word.strip().rsplit(".", 1)[-1].lower())


def error_of(record: Any) -> str | None:
    """The error that a task, a mapping or a JSON object names, if any."""
    if isinstance(record, str | bytes):
        record = _object_in(text(record))
    for name in _ERROR_FIELDS:
        found = field(record, name)
        if found:
            return text(found)
    return None


def is_same_job(pushed: Any, task_id: str) -> bool:
    """Whether a value pushed to a queue is this job: its id, or JSON with that ``id``."""
    value = text(pushed) if isinstance(pushed, str | bytes) else None
    # JSON may have escaped what is in the id: é, a quote, a slash.
    if value is None or (task_id not in value and "\\" not in value):
        return False
    record = _object_in(value)
    if record is None:
        return value == task_id
    return text(record.get("id", record.get("task_id"))) == task_id


# --- the carrier in the payload ----------------------------------------------------------------


@functools.cache
def _is_carried(task_class: Hashable) -> bool:
    """Whether a model's ``payload`` lets a text under a key of ours through validation."""
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
    Let a task carry ``carrier`` until the returned function is called.

    The payload is replaced by a copy and put back afterwards, past validation and ``frozen``: two
    tasks may share one payload. None when the payload is not a dict or its type refuses the key.
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
    """Take the carrier out of a task's payload, so that no handler meets it; None: none there."""
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
    Which research task a call of an orchestrator's method is about: its id and its record.

    Looked for in arguments named like one, in an argument's ``task_id`` or ``id``, in a first
    argument that is a text, and last in the orchestrator's own attributes.
    """
    try:
        bound = inspect.signature(method).bind(owner, *args, **kwargs).arguments
    except (TypeError, ValueError):
        return None, None
    given = dict(list(bound.items())[1:])
    for name in _RESEARCH_ID_NAMES:
        found = given.get(name)
        if isinstance(found, str | int) and found != "":
            return str(found), None
    for value in given.values():
        if isinstance(value, str | int | float | list | tuple):
            continue
        for name in _RECORD_ID_NAMES:
            found = field(value, name)
            if isinstance(found, str | int) and found != "":
                return str(found), value
    first = next(iter(given.values()), None)
    if isinstance(first, str) and first:
        return first, None
    for name in _RESEARCH_ID_NAMES:
        found = getattr(owner, name, None)
        if isinstance(found, str | int) and found != "":
            return str(found), owner
    return None, None


def research_field(record: Any, *names: str) -> str | None:
    """The first of a record's fields that is there, as text."""
    for name in names:
        found = field(record, name)
        if isinstance(found, str | enum.Enum) and text(found):
            return text(found)
    return None


def outermost_caller(owner: type, methods: Mapping[str, str]) -> str | None:
    """
    The coroutine method whose body calls the given ones and that no such method calls itself.

    Read from the names in the compiled code; None when there is none, or more than one.
    """
    names_in: dict[str, set[str]] = {}
    for name, found in inspect.getmembers(owner, inspect.iscoroutinefunction):
        if name in methods:
            continue
        code = inspect.unwrap(found).__code__
        if set(code.co_names) & set(methods):
            names_in[name] = set(code.co_names)
    outer = [
        name
        for name in names_in
        if not any(name in called for other, called in names_in.items() if other != name)
    ]
    return outer[0] if len(outer) == 1 else None
