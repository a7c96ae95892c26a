"""What our own spans say of themselves, for each kind and outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from otel_bridge.events import semconv
from otel_bridge.mapping.lifecycle import EVENTS
from otel_bridge.mapping.own import OUTCOMES, is_count, own_facts
from otel_bridge.mapping.span_view import Facts
from tests.support.spans import START_NS, SpanRecorder, job_attributes, tracer_with


def of_kind(kind: str, **attributes: Any) -> dict[str, Any]:
    """Attributes of one of our spans; ``task_id`` stands for ``nexus.task.id`` and so on."""
    names = {
        "task_id": semconv.TASK_ID,
        "parent_task_id": semconv.PARENT_TASK_ID,
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


def facts_of(
    attributes: Mapping[str, Any], status: StatusCode | None = None, *, is_end: bool = True
) -> Facts:
    span = ended(attributes, status)
    return own_facts(span, span.attributes or {}, is_end=is_end)


def test_outcomes_are_those_of_the_table() -> None:
    """Every outcome that an attribute may name is one that the table of events has."""
    assert {*OUTCOMES, None} == set(EVENTS["job"])


def test_attributes_are_facts_as_they_are() -> None:
    """Ids, type, phase, attempt and queue of a job are read from its attributes, unchanged."""
    assert facts_of({**job_attributes("j1"), semconv.TASK_TITLE: 7}, is_end=False) == Facts(
        project_id="p1",
        parent_task_id="t1",
        task_id="j1",
        task_type="search",
        phase="find",
        retry_count=0,
        queue="nexus:tasks:normal_priority",
        title=7,
        kind="job",
        outcome=None,
        counts=None,
        error=None,
    )


def test_a_research_task_is_its_own_job() -> None:
    """The id of a research task is also its ``task_id``, unless it names another one."""
    assert facts_of(of_kind("research_task", parent_task_id="t")).task_id == "t"
    assert facts_of(of_kind("research_task", parent_task_id="t", task_id="u")).task_id == "u"
    assert facts_of(of_kind("job", parent_task_id="t")).task_id is None


@pytest.mark.parametrize("kind", ["research_task", "phase", "enqueue", "job", "other", 7])
def test_a_start_has_no_outcome(kind: Any) -> None:
    """The start of a span has neither outcome nor error, whatever is in its attributes by now."""
    attributes = {**of_kind("", outcome="failed", error="E"), semconv.SPAN_KIND: kind}
    found = facts_of(attributes, is_end=False)
    assert (found.kind, found.outcome, found.error) == (str(kind), None, None)


@pytest.mark.parametrize(
    ("total", "counts"), [(42, {"total": 42}), (None, None), (True, None), (1.5, None), ("7", None)]
)
def test_the_start_of_a_phase_has_its_total_alone(
    total: Any, counts: dict[str, int] | None
) -> None:
    """Counts that were set since belong to the end; a total that is no whole number is ignored."""
    attributes = of_kind("phase", completed=40, **({} if total is None else {"total": total}))
    assert facts_of(attributes, is_end=False).counts == counts
    assert facts_of({**attributes, semconv.SPAN_KIND: "job"}, is_end=False).counts is None


@pytest.mark.parametrize("kind", ["research_task", "phase", "enqueue", "job"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_end_has_its_outcome(kind: str, outcome: str) -> None:
    """``nexus.outcome`` decides; a success has no error, whatever was recorded."""
    found = facts_of(of_kind(kind, outcome=outcome, error="ValueError: x"), StatusCode.ERROR)
    error = None if outcome == "completed" else "ValueError: x"
    assert (found.kind, found.outcome, found.error) == (kind, outcome, error)


@pytest.mark.parametrize("outcome", [{}, {"outcome": "exploded"}])
@pytest.mark.parametrize(
    ("status", "expected"),
    [(None, "completed"), (StatusCode.OK, "completed"), (StatusCode.ERROR, "failed")],
)
def test_without_a_known_outcome_the_status_decides(
    outcome: dict[str, str], status: StatusCode | None, expected: str
) -> None:
    """A span of status ERROR failed, any other completed."""
    assert facts_of(of_kind("job", **outcome), status).outcome == expected


@pytest.mark.parametrize("kind", ["phase", "job", "research_task"])
def test_an_end_has_all_counts_that_are_numbers(kind: str) -> None:
    """``nexus.count.<name>`` is a count; other values and other prefixes are not."""
    attributes = {
        **of_kind(kind, total=42, completed=40),
        "nexus.count.ratio": 0.5,
        "nexus.count.is_done": True,
        "nexus.counter": 9,
    }
    assert facts_of(attributes).counts == {"total": 42, "completed": 40}
    assert facts_of({**of_kind(kind), "nexus.count.ratio": 0.5}).counts is None


def test_an_enqueue_has_no_counts() -> None:
    """Counts are of work that is done; a job that is put into its queue has none."""
    assert facts_of(of_kind("enqueue", total=42)).counts is None


@pytest.mark.parametrize(
    ("value", "expected"), [(0, True), (-3, True), (True, False), (1.0, False), ("1", False)]
)
def test_a_count_is_a_whole_number(value: Any, expected: bool) -> None:
    """Numbers with a fraction, texts and booleans are no counts."""
    assert is_count(value) is expected
