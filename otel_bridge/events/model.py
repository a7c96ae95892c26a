"""
``MonitoringEvent``: the one thing that travels, from a worker's span to a browser.

Its fields are the public contract; everything else in the package makes, carries, folds or shows
them. The model validates what strangers publish; the publish path builds the same JSON from a
plain dict (a test keeps the two byte-identical), because validating costs three times as much.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from otel_bridge.events.encoding import DEFAULT_MAX_EVENT_SIZE_BYTES, FIELD_ORDER, encode_event

__all__ = [
    "STATS_EVENT_TYPES",
    "MonitoringEvent",
    "MonitoringEventType",
    "TaskStatus",
]


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
        fields = {name: own[name] for name in FIELD_ORDER if own[name] is not None}
        fields["ts"] = _iso(self.ts)
        return fields

    def to_json(self, max_bytes: int = DEFAULT_MAX_EVENT_SIZE_BYTES) -> bytes:
        """
        Encode as UTF-8 JSON of at most ``max_bytes``.

        Raises:
            EventTooLargeError: The identifying fields alone are over the limit.
        """
        return encode_event(self.to_fields(), max_bytes)
