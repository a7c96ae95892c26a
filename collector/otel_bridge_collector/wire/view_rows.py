"""
What each view takes and shows: parameters, heads and rows, as ``/ws/views`` sends them.

All times are integer milliseconds since the Unix epoch, UTC. None means unknown, never 0. ``k`` is
the row's key: the same for the same thing, and never used again for another one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from otel_bridge_collector.wire.messages import Status

__all__ = [
    "MAX_ROWS",
    "Anchor",
    "AnchorKey",
    "AnchorRow",
    "FailureRow",
    "ListHead",
    "ListParams",
    "OverviewHead",
    "OverviewParams",
    "PhasePart",
    "QueueRow",
    "TaskRow",
    "TasksHead",
    "TasksParams",
    "WorkerRow",
]

MAX_ROWS = 200
"""Rows of one window, at most."""

_Text = Annotated[str, Field(max_length=200)]
_Id = Annotated[str, Field(max_length=512)]


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AnchorRow(_Params):
    """A window that starts at a row's number: where a scroll bar was dragged to."""

    row: int = Field(ge=0, le=10_000_000)


class AnchorKey(_Params):
    """A window that holds on to one row, whatever comes or goes above it."""

    key: _Id
    above: int = Field(default=0, ge=0, le=MAX_ROWS)
    """How many rows to show above that one."""


Anchor = Literal["end"] | AnchorRow | AnchorKey


class OverviewParams(_Params):
    """Of the view ``overview``."""

    project: _Id | None = None


class ListParams(_Params):
    """Of the views ``failures``, ``queues`` and ``workers``."""

    project: _Id | None = None
    at: Anchor = AnchorRow(row=0)
    count: int = Field(default=60, ge=1, le=MAX_ROWS)


class TasksParams(_Params):
    """Of the view ``tasks``; a task is listed if it passes all that is given."""

    project: _Id | None = None
    status: tuple[Status, ...] | None = Field(default=None, max_length=6)
    type: _Text | None = None
    """Only tasks of exactly this ``task_type``."""
    text: _Text | None = None
    """Only tasks with this text in title, id or project, in any case."""
    sort: Literal["attention", "newest", "slowest"] = "attention"
    at: Anchor = AnchorRow(row=0)
    count: int = Field(default=40, ge=1, le=MAX_ROWS)
    keys: tuple[_Id, ...] | None = Field(default=None, max_length=MAX_ROWS)
    """Show these tasks in this order, and no window: a list that stands still under a pointer."""


class _Sent(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_serialization_defaults_required=True
    )


class OverviewHead(_Sent):
    """The numbers of the header; the view ``overview`` has no rows."""

    tasks: dict[Status, int]
    """Tasks by status; a status that no task has is left out."""
    jobs_running: int
    jobs_running_by_type: dict[str, int]
    jobs_ended_per_sec: float
    """Over the last minute, or since the first event in it."""
    events_per_sec: float
    error_rate_1m: float | None
    """Failed jobs divided by ended jobs, 0 to 1; None if none ended."""
    error_rate_5m: float | None
    events: int | None
    """Events folded since the collector started; None for a reader limited to projects."""
    events_dropped: int | None
    workers_online: int | None
    """None for a reader limited to projects, like all that is shared between projects."""
    workers_lost: int | None
    """Workers that went offline in the last hour without a word."""
    queued: dict[str, int] | None
    """The depth of each queue, as last reported."""


class ListHead(_Sent):
    """Of the views ``failures``, ``queues`` and ``workers``."""

    first: int
    """The number of the window's first row."""
    total: int
    """Rows in all."""


class TasksHead(_Sent):
    """Of the view ``tasks``."""

    first: int
    total: int
    """Tasks that pass the filters."""
    total_all: int
    """Tasks before the filters."""
    attention: int
    """Tasks before the filters that are stalled or have failed."""


class PhasePart(_Sent):
    """One phase of a task: one bar of its card."""

    name: str
    status: Status
    start: int | None
    end: int | None
    total: int | None
    """Jobs expected; None while unknown."""
    done: int
    """Jobs that have completed."""
    failed: int
    rate: float | None
    """Jobs ended per second over the last minute; None until enough have ended."""


class TaskRow(_Sent):
    """One research task, or one trace that no event names a task of."""

    k: str
    title: str | None
    type: str | None
    domain: str | None
    project: str | None
    trace: str | None
    status: Status
    why: str | None
    """Why it needs attention, in one word; None: it does not."""
    start: int | None
    end: int | None
    seen: int
    """When its newest event was received."""
    phase: str | None
    """The phase that runs, or ran last."""
    done: int
    failed: int
    pending: int
    running: int
    stalled: int
    retries: int
    eta_sec: float | None
    """Rough estimate of the seconds left; None until there is enough to estimate from."""
    error: str | None
    message: str | None
    not_held: int
    """Nodes that were counted and are no longer in memory."""
    phases: tuple[PhasePart, ...]


class WorkerRow(_Sent):
    """One worker; ``k`` names its process too, because ids are used again."""

    k: str
    id: int | str
    status: Literal["online", "offline", "stopped"]
    host: str | None
    pid: int | None
    start: int | None
    seen: int | None
    job: str | None
    """Of the job that it runs; None also if that is another project's."""
    job_type: str | None
    job_task: str | None
    job_start: int | None
    done: int
    failed: int
    dropped: int
    """Events that its process dropped, according to its last heartbeat."""


class QueueRow(_Sent):
    """One queue; ``k`` is its name."""

    k: str
    depth: int
    at: int
    """When that depth was measured."""


class FailureRow(_Sent):
    """Failed jobs of one project with the same error, numbers, ids and quoted texts aside."""

    k: str
    error: str
    """Of the newest of these failures."""
    type: str | None
    phase: str | None
    count: int
    first: int
    last: int
    jobs: tuple[str, ...]
    """The newest of these jobs, at most ten."""
    tasks: tuple[str, ...]
    project: str | None
