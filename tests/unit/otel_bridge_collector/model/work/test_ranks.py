"""``otel_bridge_collector.model.work.ranks``: what an event is about, and who reports an end."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from otel_bridge_collector.model.events import (
    ENDED_BY,
    ENQUEUE,
    FACTS,
    JOB,
    OTHER,
    PHASE,
    RULE,
    SELF,
    SNAPSHOT,
    SPAN,
    TASK,
)
from otel_bridge_collector.model.work.ranks import is_own_verdict, kind_of, rank_of

from tests.support.histories import event, span

KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "job": ({"event_type": "task_started", "task_id": "j", "parent_task_id": "t"}, JOB),
    "job of no task": ({"event_type": "task_failed", "task_id": "j"}, JOB),
    "root": ({"event_type": "task_started", "task_id": "t", "parent_task_id": "t"}, TASK),
    "enqueue": ({"event_type": "task_enqueued", "task_id": "j"}, ENQUEUE),
    "failed enqueue": (
        {"event_type": "task_failed", "task_id": "j", "span_kind": "PRODUCER"},
        ENQUEUE,
    ),
    "enqueue of the task": (
        {"event_type": "task_enqueued", "task_id": "t", "parent_task_id": "t"},
        ENQUEUE,
    ),
    "phase": ({"event_type": "phase_completed", "phase": "a", "task_id": "j"}, PHASE),
    "phase without a name": ({"event_type": "phase_started", "span_id": span(1)}, SPAN),
    "phase of nothing": ({"event_type": "phase_started"}, -1),
    "span": ({"event_type": "span_ended", "span_id": span(1), "task_id": "j"}, SPAN),
    "span of nothing": ({"event_type": "span_started"}, -1),
    "work without a job": ({"event_type": "task_started", "span_id": span(1)}, SPAN),
    "work of nothing": ({"event_type": "task_started"}, -1),
}


@pytest.mark.parametrize("case", KINDS)
def test_kind_of_an_event(case: str) -> None:
    """The type, the ids and the span kind say what an event is about; without ids nothing."""
    fields, kind = KINDS[case]
    one = event(0, **fields)
    assert kind_of(one, FACTS[one.event_type]) == kind


RANKS: dict[str, tuple[dict[str, Any], int]] = {
    "its own span": ({"event_type": "task_completed", "span_id": span(1)}, SELF),
    "its own span, by another": (
        {"event_type": "task_failed", "span_id": span(1), "ended_by": "other"},
        OTHER,
    ),
    "its own span, by a rule": (
        {"event_type": "task_failed", "span_id": span(1), "ended_by": "rule"},
        RULE,
    ),
    "a snapshot": (
        {"event_type": "span_ended", "span_id": span(1), "ended_by": "snapshot"},
        SNAPSHOT,
    ),
    "a word that a newer release may send": (
        {"event_type": "task_failed", "span_id": span(1), "ended_by": "broker"},
        SELF,
    ),
    "no span": ({"event_type": "task_completed"}, OTHER),
    "no span, by itself": ({"event_type": "task_completed", "ended_by": "self"}, OTHER),
    "no span, by a rule": ({"event_type": "task_failed", "ended_by": "rule"}, RULE),
    "stalled": ({"event_type": "task_stalled", "span_id": span(1)}, RULE),
    "stalled, by itself": (
        {"event_type": "task_stalled", "span_id": span(1), "ended_by": "self"},
        RULE,
    ),
    "stalled, its worker lost": ({"event_type": "task_stalled", "reason": "worker_lost"}, RULE),
    "stalled, silent": ({"event_type": "task_stalled", "reason": "silent"}, 0),
    "stalled, its queue emptied": ({"event_type": "task_stalled", "reason": "queue_emptied"}, 0),
    "a start": ({"event_type": "task_started", "ended_by": "self"}, 0),
    "progress": ({"event_type": "task_progress", "span_id": span(1)}, 0),
}


@pytest.mark.parametrize("case", RANKS)
def test_who_reports_an_end(case: str) -> None:
    """A span knows its own end best, then other processes, then rules; a start is no end."""
    fields, rank = RANKS[case]
    one = event(0, **fields)
    assert rank_of(one, FACTS[one.event_type]) == rank


def test_the_order_of_reporters() -> None:
    """Of two reports of an end the one by itself is before another's, a rule's and a snapshot's."""
    assert sorted(ENDED_BY, key=lambda name: ENDED_BY[name]) == [
        "snapshot",
        "rule",
        "other",
        "self",
    ]


def test_which_reports_are_no_sign_of_life() -> None:
    """That nothing is heard of a job is no event by which something is heard of its task."""
    kinds = ("task_stalled", "task_failed")
    reasons = ("silent", "queue_emptied", "worker_lost", None)
    found = {
        (kind, reason)
        for kind, reason in itertools.product(kinds, reasons)
        if is_own_verdict(event(0, kind, task_id="j", reason=reason))
    }
    assert found == {("task_stalled", "silent"), ("task_stalled", "queue_emptied")}
