"""
``event_of``: the event that the start or the end of a span is, for our own spans and for others.

One table, so that the two kinds of spans cannot disagree. ``own`` and ``third_party`` read what a
span is; which node of a tree it becomes is decided by the collector alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "ENQUEUE",
    "EVENTS",
    "FAILED_ENQUEUE",
    "JOB",
    "PHASE",
    "RESEARCH_TASK",
    "SPAN",
    "EventOfSpan",
    "event_of",
]

RESEARCH_TASK: Final = "research_task"
PHASE: Final = "phase"
ENQUEUE: Final = "enqueue"
JOB: Final = "job"
SPAN: Final = "span"
"""None of the others: a request, or a wrapper around them."""


class EventOfSpan(NamedTuple):
    """Type and status of the event that a span's start or end becomes; from ``event_of``."""

    event_type: str
    status: str
    is_about_end: bool
    """Whether the event has the time and the id of the span's end; else those of its start."""


_TASK_ENDS: Final[dict[str | None, EventOfSpan]] = {
    "completed": EventOfSpan("task_completed", "completed", True),
    "failed": EventOfSpan("task_failed", "failed", True),
    "retrying": EventOfSpan("task_retry", "retrying", True),
}

FAILED_ENQUEUE: Final = EventOfSpan("task_failed", "failed", True)
"""The broker did not take the job."""

EVENTS: Final[dict[str, dict[str | None, EventOfSpan]]] = {
    RESEARCH_TASK: {None: EventOfSpan("task_started", "processing", False), **_TASK_ENDS},
    JOB: {None: EventOfSpan("task_started", "processing", False), **_TASK_ENDS},
    PHASE: {
        None: EventOfSpan("phase_started", "processing", False),
        "completed": EventOfSpan("phase_completed", "completed", True),
        "failed": EventOfSpan("phase_completed", "failed", True),
        "retrying": EventOfSpan("phase_completed", "retrying", True),
    },
    # Published when the broker has taken the job, with the time at which the send began: published
    # at its start, a send that failed left a job that waited for ever.
    ENQUEUE: {
        "completed": EventOfSpan("task_enqueued", "pending", False),
        "failed": FAILED_ENQUEUE,
    },
    SPAN: {
        None: EventOfSpan("span_started", "processing", False),
        "completed": EventOfSpan("span_ended", "completed", True),
        "failed": EventOfSpan("span_ended", "failed", True),
    },
}
"""By what a span is, then by how it ended; None: it has not."""


def event_of(kind: str, outcome: str | None) -> EventOfSpan | None:
    """
    Return type and status of the event that a span's start or end is, or None if it is none.

    A look-up in a table; never raises for text.

    Args:
        kind: What the span is: ``research_task``, ``phase``, ``enqueue`` (of a job into its queue),
            ``job`` or ``span`` (a request or wrapper around them).
        outcome: How the span ended: ``completed``, ``failed`` or ``retrying``; None for its start.

    Returns:
        A record: ``event_type``, e.g. ``task_started``; ``status``, e.g. ``processing``; and
        ``is_about_end``: whether the event has the time and the id of the span's end. None for
        other text, for the start of an enqueue (it counts once the broker has the job), and for an
        enqueue or ``span`` that is ``retrying``.
    """
    events = EVENTS.get(kind)
    return None if events is None else events.get(outcome)
