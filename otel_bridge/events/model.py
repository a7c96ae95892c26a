"""
``MonitoringEvent``: the event that travels from a worker's span to a browser.

Its fields are the public contract; the rest of the package creates, transports, folds or shows
events. The model validates events of external publishers. The publish path builds the same JSON
from a plain dict (a test keeps the two byte-identical), because validating costs three times as
much.
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
    """
    What happened: a worker, a job or research task (``task_``), a phase, a queue or a span changed.

    A member is its text, e.g. ``"task_started"``. ``WORKER_STARTED``, ``WORKER_STOPPED``: a worker
    started or ended; ``WORKER_HEARTBEAT``: it is alive. ``TASK_ENQUEUED``: a job is in its queue.
    ``TASK_STARTED``, ``TASK_PROGRESS``, ``TASK_COMPLETED``, ``TASK_FAILED``: of a job or a research
    task. ``TASK_RETRY``: an attempt failed and another follows. ``TASK_STALLED``: a job can no
    longer end by itself, e.g. because its worker is gone. ``PHASE_STARTED``, ``PHASE_COMPLETED``:
    start and end of a phase, also of one that failed. ``QUEUE_DEPTH_UPDATE`` (jobs that wait) and
    ``STATS_SNAPSHOT`` carry numbers in ``counts``. ``SPAN_STARTED``, ``SPAN_UPDATED``,
    ``SPAN_ENDED``: of spans that are no task, phase or job; ``SPAN_BEATS`` lists spans that are
    alive. Other text raises ``ValueError`` here; only ``MonitoringEvent`` accepts it, as the type
    of a newer release.
    """

    WORKER_STARTED = "worker_started"
    WORKER_HEARTBEAT = "worker_heartbeat"
    WORKER_STOPPED = "worker_stopped"
    TASK_ENQUEUED = "task_enqueued"
    TASK_STARTED = "task_started"
    TASK_PROGRESS = "task_progress"
    TASK_RETRY = "task_retry"
    TASK_COMPLETED = "task_completed"
    TASK_FAILED = "task_failed"
    TASK_STALLED = "task_stalled"
    PHASE_STARTED = "phase_started"
    PHASE_COMPLETED = "phase_completed"
    QUEUE_DEPTH_UPDATE = "queue_depth_update"
    STATS_SNAPSHOT = "stats_snapshot"
    SPAN_STARTED = "span_started"
    SPAN_UPDATED = "span_updated"
    SPAN_ENDED = "span_ended"
    SPAN_BEATS = "span_beats"


STATS_EVENT_TYPES: Final = frozenset(
    {MonitoringEventType.QUEUE_DEPTH_UPDATE, MonitoringEventType.STATS_SNAPSHOT}
)
"""The aggregates: ``stats_only=true`` passes only these; they also go to the stats channel."""


class TaskStatus(StrEnum):
    """
    The status of a job, a phase or a research task; a member is its text, e.g. ``"failed"``.

    ``PENDING``: in its queue. ``PROCESSING``: runs. ``COMPLETED`` and ``FAILED``: over.
    ``RETRYING``: an attempt failed, and the job will run again. Other text raises ``ValueError``
    here; ``MonitoringEvent`` accepts it.
    """

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    RETRYING = "retrying"


def _iso_text(value: datetime) -> str:
    value = value.astimezone(UTC)
    return value.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def _now() -> datetime:
    return datetime.now(UTC)


def _event_id() -> str:
    return str(uuid.uuid4())


_KNOWN_FIRST: Final = Field(union_mode="left_to_right")
"""Known text becomes the enum's member; pydantic's default mode would keep it as text."""


_WHOLE_IN_JSON: Final = PlainSerializer(int, return_type=int, when_used="json")


class MonitoringEvent(BaseModel):
    """
    One fact about a worker, a queue, a research task, a phase, a job or a span; immutable.

    Spans become events by themselves; construct one to publish another fact by
    ``EventBus.publish``. A field of a wrong type or form, or an assignment to a field, raises
    pydantic's ``ValidationError``. Texts and collections may have any size here: the size limit
    applies when the event is encoded, by ``to_json`` or when it is published (default 8,192 bytes).
    Fields default to None unless it says otherwise; JSON leaves those out. Unknown fields are
    ignored when an event is read, and unknown types and statuses are read as text, so that a newer
    publisher does not break an older collector.

    Attributes:
        event_id: UUID 4 as text; default: a new one. An event that is sent again keeps its id.
        ts: When it happened, with a time zone; default: now. In JSON ISO 8601 in UTC, with six
            decimals and ``Z``.
        event_type: What happened; required. Text that is no ``MonitoringEventType`` is a type of a
            newer release: the collector passes it on and derives nothing from it.
        project_id: The project that the work belongs to. Only readers that are not limited to
            projects see an event without one.
        parent_task_id: The id of the research task.
        task_id: The id of the job; in events of the research task itself its own id, as in
            ``parent_task_id``.
        task_type: The kind of job, e.g. ``data_aggregation_search``.
        phase: The name of the phase that the job belongs to, e.g. ``search``.
        worker_id: The worker that did it.
        retry_count: Attempts before this one; 0 for the first.
        status: The status of the job, phase or research task after this event. Text that is no
            ``TaskStatus`` is one of a newer release.
        duration_ms: In events of an end: how long it took, milliseconds, not negative. Sent as a
            whole number, truncated: an end minus its duration is never before the start. A number
            with a fraction is read as it is.
        counts: Whole numbers by name: ``total completed failed pending retrying`` for progress,
            queue names for depths, ``dropped`` in a heartbeat.
        queue: The full name of the queue; in a ``queue_depth_update`` and a ``stats_snapshot`` the
            depths by queue name.
        message: One line for people.
        error: The reason of a failure or retry, one line: ``ValueError: page has no address``.
        meta: Any JSON object. A research task has ``title``, ``type``, ``domain``; a worker
            ``host``, ``pid``; a truncated event ``truncated: true``.
        trace_id: 32 lower-case hex digits.
        span_id: 16 lower-case hex digits.
        parent_span_id: 16 lower-case hex digits; None for a root span.
        incarnation: One life of the process that published the event: 16 hex digits made when the
            process starts and after a fork. A worker's id may be used again, this never is.
        run_id: One enqueue or requeue of a job: 16 hex digits, the same for all its attempts.
        span_kind: Of a third-party span (one that this package did not start): ``SERVER``,
            ``CLIENT``, ``PRODUCER`` or ``CONSUMER``, as OpenTelemetry has them; None for
            ``INTERNAL``. Of our own spans the type of the event says it, but for a ``task_failed``
            of a ``PRODUCER``: a job that was never in its queue.
        remote_parent: Of a third-party span: True if its parent is in another process; None if not,
            or not known.
        ended_by: Who reports an end: ``self`` (the span), ``other`` (a parent process, the broker),
            ``rule`` (silence of the worker, a sender that gave up) or ``snapshot`` (not over yet).
            Default: ``self`` for an event with a span id, else ``other``.
        beat_ms: The span is open and promises an event at least this often, milliseconds.
        name: The name of a third-party span. Our own spans have it in ``task_type`` or ``phase``.
        error_key: What failures of one cause have in common, from the stack: 16 hex digits.
        stack: True if the stack of this failure is stored, under the span's id.
        stack_of: The id of another span under which it is stored.
        reason: Why a job stalled: ``worker_lost``, ``heartbeat_lost``, ``queue_emptied`` or
            ``silent``. Or why it failed or is to be tried again, where that was not its own error:
            ``time_limit``, ``killed`` (its process was ended by a signal), ``worker_lost``,
            ``revoked`` (cancelled by a person or a program), ``expired`` (it waited for too long),
            ``refused`` (no worker knows or takes it). Other text is a reason of a newer release.
        progress: Of one job: ``done`` and, if it is known, ``total``, whole numbers.
        spans: In ``span_beats``: the ids of the spans that are alive.
        position: Opaque text for the place in the log; set when the event is appended.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: str = Field(default_factory=_event_id)
    ts: Annotated[AwareDatetime, PlainSerializer(_iso_text, return_type=str, when_used="json")] = (
        Field(default_factory=_now)
    )
    event_type: Annotated[MonitoringEventType | str, _KNOWN_FIRST]
    project_id: str | None = None
    parent_task_id: str | None = None
    task_id: str | None = None
    task_type: str | None = None
    phase: str | None = None
    worker_id: int | str | None = None
    retry_count: int | None = Field(default=None, ge=0)
    status: Annotated[TaskStatus | str, _KNOWN_FIRST] | None = None
    duration_ms: Annotated[float, _WHOLE_IN_JSON] | None = Field(
        default=None, ge=0, allow_inf_nan=False
    )
    counts: dict[str, int] | None = None
    queue: str | dict[str, Any] | None = None
    message: str | None = None
    error: str | None = None
    meta: dict[str, Any] | None = None
    trace_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    span_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    parent_span_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    incarnation: str | None = None
    run_id: str | None = None
    span_kind: str | None = None
    remote_parent: bool | None = None
    ended_by: str | None = None
    beat_ms: int | None = Field(default=None, ge=0)
    name: str | None = None
    error_key: str | None = None
    stack: bool | None = None
    stack_of: str | None = None
    reason: str | None = None
    progress: dict[str, Any] | None = None
    spans: list[str] | None = None
    position: str | None = None

    def to_fields(self) -> dict[str, Any]:
        """Return what is sent: the fields that are not None, in model order, ``ts`` as text."""
        own = self.__dict__
        fields = {name: own[name] for name in FIELD_ORDER if own[name] is not None}
        fields["ts"] = _iso_text(self.ts)
        if self.duration_ms is not None:
            fields["duration_ms"] = int(self.duration_ms)
        return fields

    def to_json(self, max_bytes: int = DEFAULT_MAX_EVENT_SIZE_BYTES) -> bytes:
        """
        Encode as UTF-8 JSON of at most ``max_bytes``: one object without line ends.

        If it is too large, texts are shortened first; then ``meta``, the texts, the depths in
        ``queue``, ``counts``, ``progress`` and ``spans`` may go, and ``meta.truncated`` is true.
        Masks no secrets: ``EventBus.publish`` does that.

        Args:
            max_bytes: Upper bound in bytes, default 8,192.

        Raises:
            EventTooLargeError: The identifying fields alone exceed the limit.
            Exception: What ``str()`` of a value in ``meta`` raises that JSON cannot express.
        """
        return encode_event(self.to_fields(), max_bytes)
