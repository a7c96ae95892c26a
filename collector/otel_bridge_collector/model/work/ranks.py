"""What kind of node an event is about, and who reports an end: pure functions of one event."""

from __future__ import annotations

from typing import Final

from otel_bridge_collector.model.events import (
    END,
    ENDED_BY,
    ENQUEUE,
    JOB,
    OTHER,
    PHASE,
    RULE,
    SELF,
    SPAN,
    STALLED,
    TASK,
    Event,
    Fact,
)

__all__ = ["is_own_verdict", "kind_of", "rank_of"]

_IGNORED_REASONS: Final = ("silent", "queue_emptied")
"""Reported verdicts that each collector finds by itself, from the same log."""


def kind_of(event: Event, fact: Fact) -> int:
    """What kind of node an event is about; -1 for none, when it names neither job nor span."""
    kind = fact.kind
    if kind == PHASE:
        if event.phase:
            return PHASE
    elif kind != SPAN and event.task_id is not None:
        if kind == ENQUEUE or event.span_kind == "PRODUCER":
            return ENQUEUE
        # The root of a trace that continues another names that one as its task.
        return TASK if event.task_id in (event.parent_task_id, event.trace_id) else JOB
    return -1 if event.span_id is None else SPAN


def is_own_verdict(event: Event) -> bool:
    """Whether the event reports that nothing is heard of a job: no sign of life of its task."""
    return event.reason in _IGNORED_REASONS and event.event_type == "task_stalled"


def rank_of(event: Event, fact: Fact) -> int:
    """
    Return who reports an end: 1 a snapshot, 2 a rule, 3 another process, 4 the process itself.

    0 for an event that is not an end, and for a reported stall with the reason ``silent`` or
    ``queue_emptied``, which each collector finds by itself; another stall is by a rule. Otherwise
    ``ended_by`` decides; an absent or unknown one counts as 4, or 3 in an event without span id,
    which is 3 at most. Never raises; from any thread.

    Args:
        event: Any event.
        fact: What its type says.
    """
    if fact.side != END:
        return 0
    ended_by = event.ended_by
    if fact.status == STALLED:
        return 0 if event.reason in _IGNORED_REASONS else RULE
    rank = None if ended_by is None else ENDED_BY.get(ended_by)
    if event.span_id is None:
        # Publishers without spans have one voice, so that the latest of its ends decides.
        return OTHER if rank is None else min(rank, OTHER)
    return SELF if rank is None else rank
