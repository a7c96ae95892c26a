"""
``MonitoringEvent``: the one thing that travels, from a worker's span to a browser.

Its fields are the public contract; everything else in the package makes, carries, folds or shows
them. The model validates what strangers publish; the publish path builds the same JSON from a
plain dict (a test keeps the two byte-identical), because validating costs three times as much.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import pydantic_core
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from otel_bridge.errors import EventTooLargeError

__all__ = [
    "DEFAULT_MAX_EVENT_SIZE_BYTES",
    "MIN_EVENT_SIZE_BYTES",
    "STATS_EVENT_TYPES",
    "MonitoringEvent",
    "MonitoringEventType",
    "TaskStatus",
    "encode_event",
]

DEFAULT_MAX_EVENT_SIZE_BYTES: Final = 8192
MIN_EVENT_SIZE_BYTES: Final = 1024


class MonitoringEventType(StrEnum):
    """What happened; each type has exactly one authority (ARCHITECTURE.md)."""

    WORKER_STARTED = "worker_started"
    WORKER_HEARTBEAT = "worker_heartbeat"
    WORKER_STOPPED = "worker_stopped"
    TASK_ENQUEUED = "task_enqueued"
    TASK_STARTED = "task_started"
    TASK_RETRY = "task_retry"
    TASK_COMPLETED = "task_completed"
    TASK_FAILED = "task_failed"
    TASK_STALLED = "task_stalled"
    PHASE_STARTED = "phase_started"
    PHASE_COMPLETED = "phase_completed"
    QUEUE_DEPTH_UPDATE = "queue_depth_update"
    STATS_SNAPSHOT = "stats_snapshot"


STATS_EVENT_TYPES: Final = frozenset(
    {MonitoringEventType.QUEUE_DEPTH_UPDATE, MonitoringEventType.STATS_SNAPSHOT}
)
"""Aggregates: what ``stats_only=true`` lets through and what also goes to the stats channel."""


class TaskStatus(StrEnum):
    """Where a job or a research task stands."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    RETRYING = "retrying"


def _iso(value: datetime) -> str:
    value = value.astimezone(UTC)
    return value.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def _now() -> datetime:
    return datetime.now(UTC)


def _event_id() -> str:
    return str(uuid.uuid4())


class MonitoringEvent(BaseModel):
    """
    One fact about a worker, a queue, a research task, a phase or a job.

    ``None`` fields are left out of the JSON. Unknown fields are ignored on the way in, so that a
    newer publisher does not break an older collector.

    Attributes:
        event_id: UUID 4 as text; the same fact keeps its id when it is sent again.
        ts: When it happened, UTC. JSON: ISO 8601 with six decimals and ``Z``.
        event_type: See ``MonitoringEventType``.
        project_id: Whose work it is; None is visible to unrestricted readers only.
        parent_task_id: The research task.
        task_id: The job; for the research task's own events equal to ``parent_task_id``.
        task_type: What kind of job, e.g. ``data_aggregation_search``.
        phase: The phase it belongs to, e.g. ``search``.
        worker_id: Who did it.
        retry_count: Attempts before this one; 0 for the first.
        status: Where the job, phase or research task stands after this event.
        duration_ms: How long what ended took, milliseconds.
        counts: Whole numbers by name: ``total completed failed pending retrying`` for progress,
            queue names for depths, ``dropped`` in a heartbeat.
        queue: The queue's full name.
        message: One line for people.
        error: One line: ``ValueError: page has no address``.
        meta: Anything JSON; ``title``, ``type``, ``domain`` of a research task; ``host``, ``pid``
            of a worker; ``truncated: true`` when the event was cut to fit.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_span_id: 16 hex digits; None for a root span.
        position: Opaque place in the log; set when the event is appended.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: str = Field(default_factory=_event_id)
    ts: Annotated[AwareDatetime, PlainSerializer(_iso, return_type=str, when_used="json")] = Field(
        default_factory=_now
    )
    event_type: MonitoringEventType
    project_id: str | None = None
    parent_task_id: str | None = None
    task_id: str | None = None
    task_type: str | None = None
    phase: str | None = None
    worker_id: int | str | None = None
    retry_count: int | None = Field(default=None, ge=0)
    status: TaskStatus | None = None
    duration_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    counts: dict[str, int] | None = None
    queue: str | None = None
    message: str | None = None
    error: str | None = None
    meta: dict[str, Any] | None = None
    trace_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    span_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    parent_span_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    position: str | None = None

    def to_fields(self) -> dict[str, Any]:
        """The fields that are not None, in model order, ``ts`` as text: what JSON is made of."""
        own = self.__dict__
        fields = {name: own[name] for name in _FIELD_ORDER if own[name] is not None}
        fields["ts"] = _iso(self.ts)
        return fields

    def to_json(self, max_bytes: int = DEFAULT_MAX_EVENT_SIZE_BYTES) -> bytes:
        """
        Encode as UTF-8 JSON of at most ``max_bytes``.

        Raises:
            EventTooLargeError: The identifying fields alone are over the limit.
        """
        return encode_event(self.to_fields(), max_bytes)

    def fit(self, max_bytes: int) -> MonitoringEvent:
        """
        Return an event whose JSON is at most ``max_bytes``; itself when it fits already.

        Raises:
            EventTooLargeError: The identifying fields alone are over the limit.
        """
        fields = self.to_fields()
        data = encode_event(fields, max_bytes)
        if data == _to_json(fields):
            return self
        return MonitoringEvent.model_validate_json(data)


_FIELD_ORDER: Final = tuple(MonitoringEvent.model_fields)


def encode_event(fields: Mapping[str, Any], max_bytes: int) -> bytes:
    """
    Encode an event's fields (in model order, no None) as JSON of at most ``max_bytes``.

    What is too large is cut until it fits, never refused for its texts: first ``message``,
    ``error`` and the strings in ``meta``, all to one common length; then ``meta`` to the few keys
    the dashboard knows; then ``counts``. ``meta.truncated`` says so. NaN and infinity become
    null, what JSON has no form for becomes text.

    Raises:
        EventTooLargeError: It does not fit even without its texts.
    """
    data = _to_json(fields)
    return data if len(data) <= max_bytes else _shrink(fields, max_bytes)


def _to_json(fields: Mapping[str, Any]) -> bytes:
    try:
        return pydantic_core.to_json(fields, inf_nan_mode="null", fallback=str)
    except (ValueError, RecursionError):
        # Half a surrogate pair, bytes that are no UTF-8, a dict that holds itself: rare, so only
        # then pay for a clean copy.
        return pydantic_core.to_json(_plain(fields), inf_nan_mode="null")


_MAX_DEPTH: Final = 16
_KEPT_META: Final = ("title", "type", "domain", "host", "pid")
_MIN_TEXT_BYTES: Final = 32
_ELLIPSIS: Final = "…"
_ELLIPSIS_BYTES: Final = 3


def _plain(value: Any, depth: int = 0) -> Any:
    """Copy a value as what JSON knows: dict, list, str, number, bool, None."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return _ELLIPSIS
    if isinstance(value, Mapping):
        return {_text(key): _plain(item, depth + 1) for key, item in list(value.items())}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value).encode(errors="replace").decode()


def _shrink(fields: Mapping[str, Any], max_bytes: int) -> bytes:
    plain = _plain(fields)
    counts = plain.get("counts")
    meta = plain.get("meta") or {}
    known = {key: meta[key] for key in _KEPT_META if isinstance(meta.get(key), str | int)}
    for kept_counts, kept_meta, min_text in (
        (counts, meta, _MIN_TEXT_BYTES),
        (counts, known, _MIN_TEXT_BYTES),
        (counts, {}, 0),
        (None, {}, 0),
    ):
        base = {**plain, "counts": kept_counts, "meta": kept_meta}
        data = _fit_texts(base, min_text, max_bytes)
        if data is not None:
            return data
    raise EventTooLargeError(len(_with_texts(base, 0)), max_bytes)


def _fit_texts(base: Mapping[str, Any], min_text: int, max_bytes: int) -> bytes | None:
    """Cut all texts to the greatest common length that fits; None if ``min_text`` does not."""
    best = _with_texts(base, min_text)
    if len(best) > max_bytes:
        return None
    low, high = min_text, max_bytes
    while low < high:
        middle = (low + high + 1) // 2
        data = _with_texts(base, middle)
        if len(data) <= max_bytes:
            low, best = middle, data
        else:
            high = middle - 1
    return best


def _with_texts(base: Mapping[str, Any], text_bytes: int) -> bytes:
    cut = {
        **base,
        "message": _cut(base.get("message"), text_bytes),
        "error": _cut(base.get("error"), text_bytes),
        "meta": {**_cut(base["meta"], text_bytes), "truncated": True},
    }
    return pydantic_core.to_json(
        {name: cut[name] for name in _FIELD_ORDER if cut.get(name) is not None},
        inf_nan_mode="null",
    )


def _cut(value: Any, max_bytes: int) -> Any:
    """Cut every string in a value to ``max_bytes`` of JSON, quotes not counted; "" becomes None."""
    if isinstance(value, dict):
        return {key: _cut(item, max_bytes) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, max_bytes) for item in value]
    if not isinstance(value, str):
        return value
    # A character is at least one byte of JSON and at most six (\u0000), so measure, then scale.
    text = value[: max_bytes + 1]
    size = len(pydantic_core.to_json(text)) - 2
    if size <= max_bytes and len(text) == len(value):
        return value
    room = max_bytes - _ELLIPSIS_BYTES
    if room <= 0:
        return None
    while size > room:
        text = text[: min(len(text) - 1, len(text) * room // size)]
        size = len(pydantic_core.to_json(text)) - 2
    return text + _ELLIPSIS
