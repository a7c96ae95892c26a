"""
Messages to a client other than events: control messages and the parts of a snapshot.

Events travel as ``MonitoringEvent`` JSON. Every message here carries ``type`` and never
``event_type``, which is how a client distinguishes the two. The dashboard's ``wire.ts`` is
generated from these models. All times are ISO 8601 UTC text; all ids are as in ``MonitoringEvent``.

A message contains all its fields, null where nothing is known, except the fields that were added
after the first release: those are left out while they are None, so that 2,000 bars do not carry
them for nothing, and a client must do without them.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from otel_bridge_collector.wire.base import WireModel

__all__ = [
    "EndedBy",
    "FailureGroup",
    "GapMessage",
    "GlobalStats",
    "PhaseProgress",
    "QueueDepth",
    "SnapshotMessage",
    "SpanBar",
    "Status",
    "TaskCard",
    "TickMessage",
    "WorkerState",
]

Status = Literal["pending", "processing", "completed", "failed", "retrying", "stalled"]

EndedBy = Literal["self", "other", "rule", "snapshot"]
"""Who reported an end, as ``MonitoringEvent.ended_by``. An end that a snapshot made up ends nothing
in the fold, so a bar never carries that word."""


def _is_none(value: object) -> bool:
    return value is None


_OPTIONAL: Final[Any] = Field(default=None, exclude_if=_is_none)
"""Of a field that is left out while it is None (0.1 us a field)."""


class PhaseProgress(WireModel):
    """Progress of one phase: one bar of a task card."""

    name: str
    status: Status
    started_at: str | None = None
    ended_at: str | None = None
    duration_ms: float | None = None
    total: int | None = None
    """Jobs expected; None while unknown, and the bar is indeterminate."""
    completed: int = 0
    failed: int = 0
    pending: int = 0
    """Expected jobs that have not ended: they wait, run, are to be tried again or are stalled."""
    retrying: int = 0
    rate_per_sec: float | None = None
    """Jobs ended per second over the last minute; None until enough have ended for a rate."""
    message: str | None = None
    stalled: int | None = _OPTIONAL
    """Of the pending ones: jobs that are stalled."""
    runs: int | None = _OPTIONAL
    """How often the phase has run; 0 where only jobs name it."""
    not_held: int | None = _OPTIONAL
    """Direct children that are counted but no longer in memory; left out where only jobs name the
    phase."""


class SpanBar(WireModel):
    """One bar of the waterfall: a research task, a phase, or a queued, running or ended job."""

    span_id: str
    parent_span_id: str | None = None
    trace_id: str | None = None
    kind: Literal["research_task", "phase", "enqueue", "job"]
    name: str
    task_id: str | None = None
    task_type: str | None = None
    phase: str | None = None
    worker_id: int | str | None = None
    status: Status
    retry_count: int = 0
    queued_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    duration_ms: float | None = None
    error: str | None = None
    depth: int | None = _OPTIONAL
    """How many nodes are above it in its card: 0 for the research task itself. An enqueue is none,
    so a job is as deep as its enqueue was."""
    run: int | None = _OPTIONAL
    """Of a job: which of its runs this bar belongs to, counted from 1."""
    runs: int | None = _OPTIONAL
    """Of a job: how many runs are known of it."""
    incarnation: str | None = _OPTIONAL
    """The life of the worker process that ran it, where the publisher sends it."""
    ended_by: EndedBy | None = _OPTIONAL
    """Who reported the end: the work itself, another process, or a status rule; left out while it
    is open. A publisher without spans is always ``other``."""
    reason: str | None = _OPTIONAL
    """Why it is stalled: ``worker_lost``, ``heartbeat_lost``, ``queue_emptied``, ``silent``,
    ``parent_ended``, ``card_ended``, or what a publisher said."""


class TaskCard(WireModel):
    """The state of one research task, as its card shows it."""

    task_id: str
    title: str | None = None
    task_type: str | None = None
    domain: str | None = None
    project_id: str | None = None
    trace_id: str | None = None
    status: Status
    current_phase: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    duration_ms: float | None = None
    last_event_at: str | None = None
    eta_sec: float | None = None
    """Rough estimate of the seconds left; None until there is enough to estimate from."""
    completed: int = 0
    failed: int = 0
    pending: int = 0
    """Expected jobs that have not ended: they wait, run, are to be tried again or are stalled."""
    retries: int = 0
    error: str | None = None
    message: str | None = None
    phases: list[PhaseProgress] = Field(default_factory=list)
    spans: list[SpanBar] = Field(default_factory=list)
    """Open spans first, then the newest ended ones; the number is bounded."""
    stalled: int | None = _OPTIONAL
    """Of the pending ones: jobs that are stalled."""
    reason: str | None = _OPTIONAL
    """Why the card is stalled, as ``SpanBar.reason``."""
    not_held: int | None = _OPTIONAL
    """Spans that are counted but no longer in memory."""


class WorkerState(WireModel):
    """The state of one worker."""

    worker_id: int | str
    status: Literal["online", "offline", "stopped"]
    host: str | None = None
    pid: int | None = None
    started_at: str | None = None
    last_heartbeat_at: str | None = None
    current_task_id: str | None = None
    current_task_type: str | None = None
    current_parent_task_id: str | None = None
    current_started_at: str | None = None
    completed: int = 0
    failed: int = 0
    dropped_events: int = 0
    """Events that its process dropped, according to its last heartbeat."""
    incarnation: str | None = _OPTIONAL
    """The life of its process, where the publisher sends it; the latest of several."""


class QueueDepth(WireModel):
    """The number of jobs that wait in one queue."""

    queue: str
    depth: int
    at: str


class FailureGroup(WireModel):
    """Failed jobs of one project with the same error, numbers, ids and quoted texts aside."""

    key: str
    error: str
    """Of the newest of these failures."""
    task_type: str | None = None
    phase: str | None = None
    count: int
    first_at: str
    last_at: str
    task_ids: list[str] = Field(default_factory=list)
    """The newest of these jobs, at most ten."""
    parent_task_ids: list[str] = Field(default_factory=list)
    project_id: str | None = None


class GlobalStats(WireModel):
    """The numbers of the dashboard's header; also ``meta`` of the leader's ``stats_snapshot``."""

    workers_online: int = 0
    queue_depth: dict[str, int] = Field(default_factory=dict)
    in_progress: int = 0
    in_progress_by_type: dict[str, int] = Field(default_factory=dict)
    open_tasks: int = 0
    throughput_per_sec: float = 0.0
    """Jobs ended per second over the last minute, or since the first event in it."""
    events_per_sec: float = 0.0
    error_rate_1m: float | None = None
    """Failed jobs divided by ended jobs, 0 to 1; None if none ended."""
    error_rate_5m: float | None = None
    events_in: int = 0
    events_dropped: int = 0
    """Events dropped by workers, according to their heartbeats, plus unreadable events."""


class SnapshotMessage(WireModel):
    """The whole state that a dashboard needs to start, valid at ``position``."""

    type: Literal["snapshot"] = "snapshot"
    position: str
    server_time: str
    tasks: list[TaskCard] = Field(default_factory=list)
    workers: list[WorkerState] = Field(default_factory=list)
    queues: list[QueueDepth] = Field(default_factory=list)
    failures: list[FailureGroup] = Field(default_factory=list)
    stats: GlobalStats = Field(default_factory=GlobalStats)
    events: list[dict[str, Any]] = Field(default_factory=list)
    """The newest events, oldest first, at most 200."""
    partial: tuple[str, ...] | None = _OPTIONAL
    """What is missing, as sentences: a collector that shares the work does not answer."""


class GapMessage(WireModel):
    """Events are missing here; a client that asked for a snapshot gets a fresh one next."""

    type: Literal["gap"] = "gap"
    reason: Literal["slow", "trimmed", "epoch", "malformed", "overflow", "clock"]
    position: str | None = None
    """The position after which the stream continues."""
    dropped: int | None = None
    """How many events are missing; None if that is unknown."""
    shards: list[int] | None = _OPTIONAL
    """Of a log of several shards: those that have the gap; left out: all of the log. With the
    reason ``clock`` their events came after others that follow them in the log's order."""


class TickMessage(WireModel):
    """A keep-alive for clients that asked for a snapshot, a position or batches; sent every 2 s."""

    type: Literal["tick"] = "tick"
    server_time: str
    """Lets the client measure the skew between its clock and the collector's."""
    position: str
