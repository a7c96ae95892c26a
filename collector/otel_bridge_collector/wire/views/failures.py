"""
What the views ``failures`` and ``failure`` show: heads and rows, as ``/ws/views`` sends them.

All times are integer milliseconds since the Unix epoch, UTC. None means unknown, never 0. ``k`` is
the row's key: the same for the same thing, and never used again for another one.
"""

from __future__ import annotations

from otel_bridge_collector.wire.base import WireModel
from otel_bridge_collector.wire.views.rows import ListHead

__all__ = ["FailedRow", "FailureHead", "FailureRow", "FailuresHead"]


class FailuresHead(ListHead):
    """
    The head of the view ``failures``; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        first: The number of the window's first row, from 0.
        total: Rows in all: causes.
        count: Failures of all these causes together.
    """

    count: int


class FailureRow(WireModel):
    """
    Failed jobs of one project with the same error, numbers, ids and quoted texts aside. A record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: A text that stands for this project and this error.
        error: Of the newest of these failures.
        type: Type of its job; None if unknown.
        types: Types of the newest of these jobs, at most ten.
        phase: Phase of its job; None if it has none.
        why: Why the newest of these failed, if that was not the job's own error: a reason of
            ``MonitoringEvent.reason``, such as ``time_limit``; None: its own error, or not known.
        count: How many failures.
        first: When the first came, ms.
        last: When the last came, ms.
        jobs: Ids of the newest of these jobs, at most ten.
        tasks: Ids of their research tasks, at most ten.
        project: Their project; None: they have none.
        stack: The span, 16 hex digits, whose stack is theirs: ``GET /monitor/nodes/{stack}`` gives
            it for a day. None: they came without one.
    """

    k: str
    error: str
    type: str | None
    types: tuple[str, ...]
    phase: str | None
    why: str | None
    count: int
    first: int
    last: int
    jobs: tuple[str, ...]
    tasks: tuple[str, ...]
    project: str | None
    stack: str | None


class FailureHead(FailureRow):
    """
    The head of the view ``failure``: one cause of failures, with the fields of ``FailureRow``.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.
    """


class FailedRow(WireModel):
    """
    One failure of the view ``failure``; a record.

    It stays listed once its node has left the collector's memory, as long as its task is held and
    it is one of the newest 50 that left.
    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: The task's id, a space, and the key of the attempt in the view ``tree``.
        task: Id of its research task, or the trace id of work without one.
        title: The task's name, for people.
        node: The key of the attempt in the view ``tree``.
        job: The job's id; None: what failed is the research task itself.
        type: Its type; None if unknown, as for ``worker``.
        at: When it failed, ms.
        error: Why it failed, at most 500 characters; None: no reason was given.
        why: Why it failed, if that was not the job's own error, as in ``FailureRow``.
        worker: Who ran it.
        stack: The span, 16 hex digits, whose stack is that of this failure; None: it has none.
    """

    k: str
    task: str
    title: str
    node: str
    job: str | None
    type: str | None
    at: int
    error: str | None
    why: str | None
    worker: int | str | None
    stack: str | None
