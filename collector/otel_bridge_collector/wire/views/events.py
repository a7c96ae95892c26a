"""
What the views of events and of search show: heads and rows, as ``/ws/views`` sends them.

All times are integer milliseconds since the Unix epoch, UTC. None means unknown, never 0. ``k`` is
the row's key: the same for the same thing, and never used again for another one.
"""

from __future__ import annotations

from typing import Literal

from otel_bridge.events.model import MonitoringEvent
from otel_bridge_collector.wire.base import WireModel
from otel_bridge_collector.wire.messages import Status

__all__ = ["EventRow", "EventsHead", "SearchHead", "SearchRow"]


class EventsHead(WireModel):
    """
    The head of the view ``events``; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        passed: Events that passed the filters since the view was first asked for, those shown
            first included. It rises by more than the rows that come if not all are shown. It is
            counted from the start again when no client has asked for the view for 60 s.
        older: The log may hold events before the first row that pass the filters:
            ``GET /monitor/events`` with the key of that row as ``before`` gives them.
    """

    passed: int
    older: bool


class EventRow(WireModel):
    """
    One event of the log; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: Its position in the log.
        event: The event, as ``/ws/monitor`` sends it.
    """

    k: str
    event: MonitoringEvent


class SearchHead(WireModel):
    """
    The head of the view ``search``; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        total: How much was found.
        exact: Whether that is all: what is no longer in memory is not searched.
        as_of: When the list was made, ms; the rows are of now.
    """

    total: int
    exact: bool
    as_of: int


class SearchRow(WireModel):
    """
    One task, or one node of a task, that has the text; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: Of a task its id; of a node the task's id, a space, and its key in the view ``tree``.
        task: The id of the task.
        node: Its key in the view ``tree``; None for a task.
        kind: What it is.
        name: Name or title, for people.
        job: The job's id; None for what is no job.
        path: Names of the rows above it, the task's first; empty for a task.
        status: As of now.
        start: When it started, ms; None: it has not, or unknown.
        error: Why it failed, at most 300 characters; None: it has not.
    """

    k: str
    task: str
    node: str | None
    kind: Literal["task", "phase", "enqueue", "job", "span"]
    name: str
    job: str | None
    path: tuple[str, ...]
    status: Status
    start: int | None
    error: str | None
