"""Event type, status, counts and error of our own spans, for each kind and outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEventType, TaskStatus
from otel_bridge.mapping.own import OUTCOMES, is_count, own_end, own_start
from tests.support.spans import START_NS, SpanRecorder, tracer_with

RUNNING = {"event_type": "task_started", "status": "processing"}
ENQUEUED = {"event_type": "task_enqueued", "status": "pending"}


def of_kind(kind: str, **attributes: Any) -> dict[str, Any]:
    """Attributes of one of our spans; ``task_id`` stands for ``nexus.task.id`` and so on."""
    names = {
        "task_id": semconv.TASK_ID,
        "outcome": semconv.OUTCOME,
        "error": semconv.ERROR,
        "total": "nexus.count.total",
        "completed": "nexus.count.completed",
    }
    return {semconv.SPAN_KIND: kind, **{names[key]: value for key, value in attributes.items()}}


def ended(attributes: Mapping[str, Any], status: StatusCode | None = None) -> ReadableSpan:
    """A span of 2.5 s with these attributes."""
    recorder = SpanRecorder()
    span = tracer_with(recorder).start_span("x", attributes=attributes, start_time=START_NS)
    if status is not None:
        span.set_status(status)
    span.end(START_NS + 2_500_000_000)
    return recorder.ended[0]


def end_of(
    attributes: Mapping[str, Any],
    status: StatusCode | None = None,
    *,
    was_start_sent: bool = True,
) -> dict[str, Any] | None:
    span = ended(attributes, status)
    return own_end(span, span.attributes or {}, was_start_sent)


def test_outcomes_are_types_and_statuses_of_the_model() -> None:
    """Every outcome has an event type and a status that a reader knows."""
    assert set(OUTCOMES) == {"completed", "failed", "retrying"}
    for event_type, status in OUTCOMES.values():
        assert (MonitoringEventType(event_type), TaskStatus(status)) == (event_type, status)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (of_kind("research_task"), RUNNING),
        (of_kind("job", task_id="j1", total=3), RUNNING),
        (of_kind("enqueue", task_id="j1"), ENQUEUED),
        (of_kind("enqueue"), None),
        (of_kind("other", task_id="j1"), None),
    ],
)
def test_the_start_of_each_kind(
    attributes: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    """Tasks and jobs run, an enqueued job waits; without a job id an enqueue is no event yet."""
    assert own_start(attributes) == expected


@pytest.mark.parametrize(
    ("total", "counts"), [(42, {"total": 42}), (None, None), (True, None), (1.5, None), ("7", None)]
)
def test_the_start_of_a_phase_has_its_total_alone(
    total: Any, counts: dict[str, int] | None
) -> None:
    """Counts that were set since belong to the end; a total that is no whole number is ignored."""
    attributes = of_kind("phase", completed=40, **({} if total is None else {"total": total}))
    assert own_start(attributes) == {
        "event_type": "phase_started",
        "status": "processing",
        "counts": counts,
    }


@pytest.mark.parametrize("kind", ["research_task", "job"])
@pytest.mark.parametrize(
    ("outcome", "event_type", "status"),
    [
        ("completed", "task_completed", "completed"),
        ("failed", "task_failed", "failed"),
        ("retrying", "task_retry", "retrying"),
    ],
)
def test_an_end_is_its_outcome(kind: str, outcome: str, event_type: str, status: str) -> None:
    """``nexus.outcome`` decides type and status; a success has no error, whatever was recorded."""
    found = end_of(of_kind(kind, outcome=outcome, error="ValueError: x"), StatusCode.ERROR)
    assert found == {
        "event_type": event_type,
        "status": status,
        "duration_ms": 2500.0,
        "counts": None,
        "error": None if outcome == "completed" else "ValueError: x",
    }


@pytest.mark.parametrize("outcome", [{}, {"outcome": "exploded"}])
@pytest.mark.parametrize(
    ("status", "expected"),
    [(None, "completed"), (StatusCode.OK, "completed"), (StatusCode.ERROR, "failed")],
)
def test_without_a_known_outcome_the_status_decides(
    outcome: dict[str, str], status: StatusCode | None, expected: str
) -> None:
    """A span of status ERROR failed, any other completed."""
    found = end_of(of_kind("job", **outcome), status)
    assert found is not None
    assert found["status"] == expected


@pytest.mark.parametrize("outcome", list(OUTCOMES))
def test_every_end_of_a_phase_is_one_type(outcome: str) -> None:
    """The end of a phase is ``phase_completed``, and its status says how it ended."""
    found = end_of(of_kind("phase", outcome=outcome))
    assert found is not None
    assert (found["event_type"], found["status"]) == ("phase_completed", OUTCOMES[outcome][1])


def test_an_end_has_all_counts_that_are_numbers() -> None:
    """``nexus.count.<name>`` is a count; other values and other prefixes are not."""
    attributes = {
        **of_kind("phase", total=42, completed=40),
        "nexus.count.ratio": 0.5,
        "nexus.count.is_done": True,
        "nexus.counter": 9,
    }
    found = end_of(attributes)
    assert found is not None
    assert found["counts"] == {"total": 42, "completed": 40}


@pytest.mark.parametrize(
    ("attributes", "was_start_sent", "expected"),
    [
        (of_kind("enqueue", task_id="j1"), True, None),
        (of_kind("enqueue", task_id="j1"), False, ENQUEUED),
        (of_kind("enqueue"), False, None),
    ],
)
def test_an_enqueue_is_published_once(
    attributes: dict[str, Any], was_start_sent: bool, expected: dict[str, Any] | None
) -> None:
    """The end of an enqueue is an event only if its start was none and the job has an id now."""
    assert end_of(attributes, was_start_sent=was_start_sent) == expected


def test_the_end_of_an_unknown_kind_is_no_event() -> None:
    """A kind of a newer release is ignored."""
    assert end_of(of_kind("other", outcome="failed")) is None


@pytest.mark.parametrize(
    ("value", "expected"), [(0, True), (-3, True), (True, False), (1.0, False), ("1", False)]
)
def test_a_count_is_a_whole_number(value: Any, expected: bool) -> None:
    """Numbers with a fraction, texts and booleans are no counts."""
    assert is_count(value) is expected
