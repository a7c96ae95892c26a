"""
What the collector says to a dashboard: control messages and the snapshot's parts.

Events travel as ``MonitoringEvent`` JSON; everything here carries ``type`` and never
``event_type``, which is how a client tells the two apart. The dashboard's ``wire.ts`` is generated
from these models. All times ISO 8601 UTC text, all ids as in ``MonitoringEvent``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
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


class _Wire(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_serialization_defaults_required=True
    )


class PhaseProgress(_Wire):
    """One bar of a task card."""

    name: str
    status: Status
    started_at: str | None = None
    ended_at: str | None = None
    duration_ms: float | None = None
    total: int | None = None
    """Jobs expected; None while unknown (the bar is indeterminate)."""
    completed: int = 0
    failed: int = 0
    pending: int = 0
    retrying: int = 0
    rate_per_sec: float | None = None
    """Jobs ended per second over the last minute; None until there are enough."""
    message: str | None = None


class SpanBar(_Wire):
    """One bar of the waterfall: a phase, a queued or running or ended job."""

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


class TaskCard(_Wire):
    """One research task."""

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
    """Rough seconds until done; None until it means something."""
    completed: int = 0
    failed: int = 0
    pending: int = 0
    retries: int = 0
    error: str | None = None
    message: str | None = None
    phases: list[PhaseProgress] = Field(default_factory=list)
    spans: list[SpanBar] = Field(default_factory=list)
    """Open spans first, then the newest ended ones; bounded."""


class WorkerState(_Wire):
    """One worker."""

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
    """Events its process had to drop, as its last heartbeat says."""


class QueueDepth(_Wire):
    """Jobs waiting in one queue."""

    queue: str
    depth: int
    at: str


class FailureGroup(_Wire):
    """Failures with the same error."""

    key: str
    error: str
    task_type: str | None = None
    phase: str | None = None
    count: int
    first_at: str
    last_at: str
    task_ids: list[str] = Field(default_factory=list)
    """The newest jobs, at most ten."""
    parent_task_ids: list[str] = Field(default_factory=list)
    project_id: str | None = None


class GlobalStats(_Wire):
    """The header's numbers; also ``meta`` of the collector's own ``stats_snapshot`` events."""

    workers_online: int = 0
    queue_depth: dict[str, int] = Field(default_factory=dict)
    in_progress: int = 0
    in_progress_by_type: dict[str, int] = Field(default_factory=dict)
    open_tasks: int = 0
    throughput_per_sec: float = 0.0
    """Jobs ended per second over the last minute, or since the first event in it."""
    events_per_sec: float = 0.0
    error_rate_1m: float | None = None
    """Failed of ended jobs, 0 to 1; None when none ended."""
    error_rate_5m: float | None = None
    events_in: int = 0
    events_dropped: int = 0
    """Dropped by workers, as their heartbeats say, plus unreadable ones."""


class SnapshotMessage(_Wire):
    """Everything a dashboard needs to start, true at ``position``."""

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


class GapMessage(_Wire):
    """Events are missing here; a client that asked for snapshots gets a fresh one next."""

    type: Literal["gap"] = "gap"
    reason: Literal["slow", "trimmed", "epoch", "malformed", "overflow"]
    position: str | None = None
    """Where the stream goes on after the gap."""
    dropped: int | None = None
    """How many events; None when nobody can know."""


class TickMessage(_Wire):
    """Sent every few seconds to clients that use an added parameter: proof of life, clock skew."""

    type: Literal["tick"] = "tick"
    server_time: str
    position: str
