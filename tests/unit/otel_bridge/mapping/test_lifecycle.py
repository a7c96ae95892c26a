"""The table of starts and ends: which event each kind of span is, by how it ended."""

from __future__ import annotations

import pytest

from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEventType, TaskStatus
from otel_bridge.mapping.lifecycle import (
    ENQUEUE,
    EVENTS,
    FAILED_ENQUEUE,
    JOB,
    PHASE,
    RESEARCH_TASK,
    SPAN,
    event_of,
)


def test_types_and_statuses_are_those_of_the_model() -> None:
    """Every event of the table has a type and a status that a reader knows."""
    found = [event for events in EVENTS.values() for event in events.values()]
    for event in found:
        assert MonitoringEventType(event.event_type) == event.event_type
        assert TaskStatus(event.status) == event.status


def test_kinds_are_those_of_our_own_spans_and_one_more() -> None:
    """Our own spans and those of others share the table; ``span`` is for what is none of these."""
    own = {value for name, value in vars(semconv).items() if name.startswith("KIND_")}
    assert set(EVENTS) == own | {SPAN}


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        (RESEARCH_TASK, ["task_started", "task_completed", "task_failed", "task_retry"]),
        (JOB, ["task_started", "task_completed", "task_failed", "task_retry"]),
        (PHASE, ["phase_started", "phase_completed", "phase_completed", "phase_completed"]),
        (ENQUEUE, [None, "task_enqueued", "task_failed", None]),
        (SPAN, ["span_started", "span_ended", "span_ended", None]),
        ("other", [None, None, None, None]),
    ],
)
def test_the_events_of_each_kind(kind: str, events: list[str | None]) -> None:
    """Start, success, failure and retry of each kind; an enqueue has no event at its start."""
    found = [event_of(kind, outcome) for outcome in (None, "completed", "failed", "retrying")]
    assert [event and event.event_type for event in found] == events


@pytest.mark.parametrize("kind", [RESEARCH_TASK, JOB, PHASE, SPAN])
def test_a_status_says_how_a_span_ended(kind: str) -> None:
    """While a span runs it is processing; its end has the status of its outcome."""
    for outcome, status in ((None, "processing"), ("completed", "completed"), ("failed", "failed")):
        event = event_of(kind, outcome)
        assert event is not None
        assert (event.status, event.is_about_end) == (status, outcome is not None)


def test_an_enqueued_job_has_the_time_of_its_start() -> None:
    """The event of an enqueue is about the start of the send, a failed one about its end."""
    taken = event_of(ENQUEUE, "completed")
    assert taken == ("task_enqueued", "pending", False)
    assert event_of(ENQUEUE, "failed") is FAILED_ENQUEUE
    assert FAILED_ENQUEUE == ("task_failed", "failed", True)
