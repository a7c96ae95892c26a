"""
Duck typing for a user's own coordinator: its fields, its statuses, a place for the carrier.

Nothing here imports the user's classes or requires a base class. A task is an object, a pydantic
model or a mapping; its type and status are enums or texts.
"""

from __future__ import annotations

import copy
import enum
import functools
import json
import re
import uuid
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from typing import Any, Final, NamedTuple, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from otel_bridge.events.model import TaskStatus

__all__ = [
    "ERROR_FIELDS",
    "PAYLOAD_KEY",
    "Restore",
    "Task",
    "count_of",
    "error_of",
    "field",
    "is_same_job",
    "pushed_id",
    "put_carrier",
    "read_task",
    "status_of",
    "take_carrier",
    "take_carrier_of_text",
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
ERROR_FIELDS: Final = ("error", "error_message", "last_error")
_OTHER_ID_NAMES: Final = ("task_id", "job_id")
_FIELDS: Final = (
    *("id", "type", "task_type", "payload", "retry_count", "parent_task_id", "project_id"),
    *("status", *ERROR_FIELDS, *_OTHER_ID_NAMES),
)
_NO_PAYLOAD: Final = object()
_MAX_ID: Final = 200
"""A longer text is no id: not one that people could read."""
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
"""Made once: ``json.dumps`` with separators of its own makes an encoder in each call."""
_CARRIER_IN_TEXT: Final = r'"_otel_bridge"\s*:\s*("(?:[^"\\]|\\.)*")'
_CARRIER_AFTER: Final = re.compile(r",\s*" + _CARRIER_IN_TEXT)
_CARRIER_BEFORE: Final = re.compile(_CARRIER_IN_TEXT + r"\s*,?\s*")


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
    if type(task) is dict or isinstance(task, Mapping):
        return task.get(name, default)
    return getattr(task, name, default)


@functools.lru_cache(maxsize=1000)
def _is_plain_model(kind: Hashable) -> bool:
    """
    Whether a class is a pydantic model that keeps all fields that are read in its ``__dict__``.

    To ask a model for a field that it cannot have takes 2 us, because that raises inside.
    """
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return False
    if kind.model_config.get("extra") == "allow" or "__getattr__" in vars(kind):
        return False
    return not any(hasattr(kind, name) for name in _FIELDS)


def _getter(task: Any) -> Callable[[str], Any]:
    """What reads a field of a task; None for one that is absent."""
    kind = type(task)
    if kind is not dict and _is_plain_model(cast(Hashable, kind)):
        return cast(Callable[[str], Any], task.__dict__.get)
    if kind is dict or isinstance(task, Mapping):
        return cast(Mapping[str, Any], task).get
    return functools.partial(field, task)


class Task(NamedTuple):
    """
    What is read of a task, once for each submission and each attempt; a record.

    Attributes:
        task_id: Its id.
        task_type: Its type; ``job`` if it has none.
        retry_count: Attempts before, at least 0.
        parent_task_id: Id of its research task; None if it names none.
        project_id: Its project, or that of its payload; None if neither names one.
        status: Its status before; None if it has none that is known.
    """

    task_id: str
    task_type: str
    retry_count: int
    parent_task_id: str | None
    project_id: str | None
    status: TaskStatus | None


def read_task(task: Any) -> Task | None:
    """
    Read the fields of a task.

    Args:
        task: An object or mapping with an ``id``, ``task_id`` or ``job_id``, JSON of one as text or
            bytes, or the id itself (a text of 200 characters at most, a number or a UUID).

    Returns:
        None if it has no id. Raises only what a property of the task raises.
    """
    kind = type(task)
    if kind is not dict and isinstance(task, str | bytes | int | uuid.UUID):
        record = _object_in(text(task))
        if record is None:
            found = None if isinstance(task, bool) else text(task)
            if not found or len(found) > _MAX_ID or found[0] in "[{":
                return None
            return Task(found, "job", 0, None, None, None)
        task = record
    get = _getter(task)
    task_id = get("id")
    for name in _OTHER_ID_NAMES:
        if task_id is None:
            task_id = get(name)
    if task_id is None:
        return None
    payload = get("payload")
    project_id = get("project_id") or (
        payload.get("project_id") if type(payload) is dict or isinstance(payload, Mapping) else None
    )
    return Task(
        text(task_id) or "",
        text(get("type") or get("task_type")) or "job",
        count_of(get("retry_count")),
        text(get("parent_task_id")),
        text(project_id),
        status_of(get("status")),
    )


def text(value: Any) -> str | None:
    """
    Return a value as text of any length; None stays None.

    An enum member is its value. Bytes are decoded as UTF-8, with U+FFFD for what is not UTF-8.
    Raises only what the ``__str__`` of another value raises.
    """
    if value is None or type(value) is str:
        return value
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
    known = _STATUS_OF.get(status)
    if known is not None:
        return known
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
    if record is None:
        return None
    get = _getter(record)
    for name in ERROR_FIELDS:
        found = get(name)
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
    return pushed_id(value) == task_id


def pushed_id(pushed: Any) -> str | None:
    """
    Return the id of the job that was pushed to a Redis queue; never raises.

    Args:
        pushed: As ``is_same_job`` takes it; a text that is no JSON object is the id itself.

    Returns:
        None if it is neither text nor bytes, or JSON without an id.
    """
    value = text(pushed) if isinstance(pushed, str | bytes) else None
    record = _object_in(value)
    if record is None:
        return value
    return text(record.get("id", record.get("task_id")))


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
    carrying[PAYLOAD_KEY] = _encode(dict(carrier))
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
        task: An object or mapping, whose ``payload`` is changed in place, or the payload itself.

    Returns:
        The carrier; None if there is none, or none that can be read (it is removed all the same).
    """
    is_payload = type(task) is dict and PAYLOAD_KEY in task
    payload = task if is_payload else field(task, "payload")
    if not isinstance(payload, dict):
        return None
    packed = payload.pop(PAYLOAD_KEY, _NO_PAYLOAD)
    return _carrier_in(packed)


def _carrier_in(packed: Any) -> dict[str, str] | None:
    found = _object_in(packed)
    if found is None:
        return None
    return {str(key): value for key, value in found.items() if isinstance(value, str)}


def take_carrier_of_text(task: str | bytes) -> tuple[str | bytes, dict[str, str] | None]:
    """
    Remove the carrier from a task that is still JSON; the rest of the text stays as it is.

    Args:
        task: Text, or bytes in UTF-8, of any length.

    Returns:
        The task, and the carrier: the dict that carries trace context with a job; None if there is
        none. Never raises.
    """
    if (PAYLOAD_KEY if isinstance(task, str) else PAYLOAD_KEY.encode()) not in task:  # type: ignore[operator]
        return task, None
    whole = task if isinstance(task, str) else task.decode(errors="surrogateescape")
    for pattern in (_CARRIER_AFTER, _CARRIER_BEFORE):
        found = pattern.search(whole)
        if found is None:
            continue
        carrier = _carrier_in(json.loads(found[1]))
        whole = whole[: found.start()] + whole[found.end() :]
        rest = whole if isinstance(task, str) else whole.encode(errors="surrogateescape")
        return rest, carrier
    return task, None
