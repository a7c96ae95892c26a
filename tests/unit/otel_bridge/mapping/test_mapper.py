"""From span to event: each kind's start and end, whole."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from otel_bridge.events import semconv
from otel_bridge.events.encoding import encode_event
from otel_bridge.events.event_ids import event_id_of
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.redaction import MetaAllowlist
from otel_bridge.mapping.mapper import SpanMapper
from tests.support.spans import START_NS, SpanRecorder, job_attributes, tracer_with

MS = 1_000_000
START_TEXT = "2026-09-21T14:13:20.123456Z"
END_TEXT = "2026-09-21T14:13:22.623456Z"


def mapper(**options: Any) -> SpanMapper:
    return SpanMapper(MetaAllowlist(options.pop("allowed", ())), **options)


def one_span(
    attributes: Mapping[str, Any],
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    at_end: Mapping[str, Any] | None = None,
    raised: Exception | None = None,
    status: str | None = None,
) -> tuple[Span, ReadableSpan]:
    """The two objects a processor gets for one span of 2.5 s."""
    recorder = SpanRecorder()
    tracer = tracer_with(recorder)
    with tracer.start_as_current_span("root"):
        span = tracer.start_span("x", kind=kind, attributes=dict(attributes), start_time=START_NS)
        if raised is not None:
            span.record_exception(raised)
        if status is not None:
            span.set_status(StatusCode.ERROR, status)
        for key, value in (at_end or {}).items():
            span.set_attribute(key, value)
        span.end(START_NS + 2500 * MS)
    return recorder.started[1], recorder.ended[0]


def mapped(live: Span, ended: ReadableSpan, **options: Any) -> list[dict[str, Any]]:
    """The events of a span, without the random id; ids of the trace checked apart."""
    made = mapper(**options)
    found = []
    for span, is_end in ((live, False), (ended, True)):
        fields = made.fields(span, is_end=is_end)
        if fields is not None:
            assert uuid.UUID(fields.pop("event_id")).version == 4
            context, parent = span.context, span.parent
            assert context is not None
            assert parent is not None
            assert fields.pop("trace_id") == f"{context.trace_id:032x}"
            assert fields.pop("span_id") == f"{context.span_id:016x}"
            assert fields.pop("parent_span_id") == f"{parent.span_id:016x}"
            found.append(fields)
    return found


JOB = {
    "project_id": "p1",
    "parent_task_id": "t1",
    "task_id": "j1",
    "task_type": "search",
    "phase": "find",
    "worker_id": 3,
    "retry_count": 0,
    "queue": "nexus:tasks:normal_priority",
}


def test_a_job_starts_and_completes() -> None:
    """A job's span is task_started and task_completed with everything its attributes say."""
    events = mapped(*one_span(job_attributes(), kind=SpanKind.CONSUMER))
    assert events == [
        {"ts": START_TEXT, "event_type": "task_started", **JOB, "status": "processing"},
        {
            "ts": END_TEXT,
            "event_type": "task_completed",
            **JOB,
            "status": "completed",
            "duration_ms": 2500.0,
        },
    ]


@pytest.mark.parametrize(
    ("outcome", "event_type", "status"),
    [("failed", "task_failed", "failed"), ("retrying", "task_retry", "retrying")],
)
def test_a_job_ends_as_its_outcome_says(outcome: str, event_type: str, status: str) -> None:
    """``nexus.outcome`` decides, and ``nexus.error`` says why."""
    at_end = {semconv.OUTCOME: outcome, semconv.ERROR: "TimeoutError: slow"}
    end = mapped(*one_span(job_attributes(), at_end=at_end))[1]
    assert end == {
        "ts": END_TEXT,
        "event_type": event_type,
        **JOB,
        "status": status,
        "duration_ms": 2500.0,
        "error": "TimeoutError: slow",
    }


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        ({"raised": ValueError("no address"), "status": "boom"}, "ValueError: no address"),
        ({"status": "boom"}, "boom"),
        ({"status": "", "at_end": {"error.type": "timeout"}}, "timeout"),
        ({"status": ""}, None),
    ],
)
def test_without_an_outcome_the_status_decides(extra: dict[str, Any], error: str | None) -> None:
    """A span that ended in error failed; the best description there is becomes the error."""
    end = mapped(*one_span(job_attributes(), **extra))[1]
    assert (end["event_type"], end["status"]) == ("task_failed", "failed")
    assert end.get("error") == error


def test_a_completed_job_has_no_error() -> None:
    """An exception that was recorded but dealt with does not colour a success."""
    at_end = {semconv.OUTCOME: "completed"}
    end = mapped(*one_span(job_attributes(), raised=ValueError("x"), at_end=at_end))[1]
    assert (end["event_type"], "error" in end) == ("task_completed", False)


def test_a_research_task_is_its_own_task() -> None:
    """The root span's events carry the research task's id twice, its title and its domain."""
    attributes = {
        semconv.SPAN_KIND: semconv.KIND_RESEARCH_TASK,
        semconv.PARENT_TASK_ID: "t1",
        semconv.TASK_TYPE: "data_aggregation",
        semconv.TASK_TITLE: "Private Schools GA",
        semconv.TASK_DOMAIN: "schools",
        "nexus.meta.budget": 12,
    }
    start, end = mapped(*one_span(attributes))
    assert list(start)[2:5] == ["parent_task_id", "task_id", "task_type"]
    assert start == {
        "ts": START_TEXT,
        "event_type": "task_started",
        "parent_task_id": "t1",
        "task_id": "t1",
        "task_type": "data_aggregation",
        "status": "processing",
        "meta": {"budget": 12, "title": "Private Schools GA", "domain": "schools"},
    }
    assert (end["event_type"], end["task_id"]) == ("task_completed", "t1")


def test_a_phase_starts_with_its_total_and_completes_with_its_counts() -> None:
    """Counts set later belong to the end, though both are read after it."""
    attributes = {
        semconv.SPAN_KIND: semconv.KIND_PHASE,
        semconv.PARENT_TASK_ID: "t1",
        semconv.PHASE: "search",
        "nexus.count.total": 42,
    }
    at_end = {"nexus.count.completed": 40, "nexus.count.failed": 2, "nexus.count.ratio": 0.5}
    assert mapped(*one_span(attributes, at_end=at_end)) == [
        {
            "ts": START_TEXT,
            "event_type": "phase_started",
            "parent_task_id": "t1",
            "phase": "search",
            "status": "processing",
            "counts": {"total": 42},
        },
        {
            "ts": END_TEXT,
            "event_type": "phase_completed",
            "parent_task_id": "t1",
            "phase": "search",
            "status": "completed",
            "duration_ms": 2500.0,
            "counts": {"total": 42, "completed": 40, "failed": 2},
        },
    ]


def test_a_failed_phase_is_a_completed_phase_that_failed() -> None:
    """There is one event type for a phase's end; its status tells how."""
    attributes = {semconv.SPAN_KIND: semconv.KIND_PHASE, semconv.PHASE: "search"}
    end = mapped(*one_span(attributes, at_end={semconv.OUTCOME: "failed"}))[1]
    assert (end["event_type"], end["status"]) == ("phase_completed", "failed")


def test_an_enqueue_is_told_once_at_its_start() -> None:
    """A PRODUCER span is one task_enqueued."""
    attributes = job_attributes(**{semconv.SPAN_KIND: semconv.KIND_ENQUEUE})
    events = mapped(*one_span(attributes, kind=SpanKind.PRODUCER))
    assert events == [{"ts": START_TEXT, "event_type": "task_enqueued", **JOB, "status": "pending"}]


def test_an_enqueue_without_an_id_waits_for_its_end() -> None:
    """When the job's id comes after the start, the end tells; still only once."""
    recorder = SpanRecorder()
    span = tracer_with(recorder).start_span(
        "x", attributes={semconv.SPAN_KIND: semconv.KIND_ENQUEUE}
    )
    made = mapper()
    assert made.fields(recorder.started[0], is_end=False) is None
    span.set_attribute(semconv.TASK_ID, "j9")
    span.end()
    end = made.fields(recorder.ended[0], is_end=True)
    assert end is not None
    assert (end["event_type"], end["task_id"]) == ("task_enqueued", "j9")


@pytest.mark.parametrize("attributes", [{}, {"http.method": "GET"}, {"nexus.span.kind": "other"}])
def test_other_spans_are_no_events(attributes: dict[str, Any]) -> None:
    """A span that nobody's rule knows says nothing."""
    assert mapped(*one_span(attributes)) == []


def test_named_attributes_enter_meta() -> None:
    """The allowlist adds to what the user put under ``nexus.meta.``."""
    more: dict[str, Any] = {"agent.name": "scout", "agent.key": "x", "nexus.meta.a": 1}
    attributes = {**job_attributes(), **more}
    start = mapped(*one_span(attributes), allowed=["agent.name"])[0]
    assert start["meta"] == {"agent.name": "scout", "a": 1}


def test_in_a_forked_child_the_parents_spans_are_not_told_again() -> None:
    """Of a span that began before the fork the parent tells the end."""
    live, ended = one_span(job_attributes())
    assert mapper(forked_at_ns=START_NS + 1).fields(ended, is_end=True) is None
    del live


def test_in_a_forked_child_its_own_backdated_spans_are_told() -> None:
    """A span that the child starts with an earlier time is the child's all the same."""
    events = mapped(*one_span(job_attributes()), forked_at_ns=START_NS + 1)
    assert [event["event_type"] for event in events] == ["task_started", "task_completed"]


def test_ids_and_texts_of_a_wrong_type_become_text() -> None:
    """What a stranger set as a number or a list still makes a valid event."""
    attributes = {
        semconv.SPAN_KIND: semconv.KIND_JOB,
        semconv.TASK_ID: 17,
        semconv.PHASE: ["a", "b"],
        semconv.WORKER_ID: 1.5,
        semconv.RETRY_COUNT: -1,
        semconv.MESSAGE: 5,
    }
    fields = mapper().fields(one_span(attributes)[0], is_end=False)
    assert fields is not None
    event = MonitoringEvent.model_validate(fields)
    assert (event.task_id, event.phase, event.worker_id, event.message) == (
        "17",
        "('a', 'b')",
        "1.5",
        "5",
    )
    assert event.retry_count is None


ATTRIBUTE = st.text(max_size=20) | st.integers(-(2**40), 2**40) | st.booleans() | st.floats()
KEYS = st.sampled_from(
    [value for name, value in vars(semconv).items() if name.isupper() and "." in str(value)]
    + ["nexus.count.total", "nexus.count.completed", "nexus.meta.x", "other"]
)


@given(
    st.dictionaries(KEYS, ATTRIBUTE | st.lists(st.text(max_size=5), max_size=3), max_size=12),
    st.sampled_from(["research_task", "phase", "enqueue", "job"]),
    st.booleans(),
)
def test_any_span_of_ours_makes_what_the_model_would_write(
    attributes: dict[str, Any], kind: str, has_failed: bool
) -> None:
    """Whatever the attributes, the fields validate and encode to the model's own bytes."""
    attributes[semconv.SPAN_KIND] = kind
    live, ended = one_span(attributes, status="boom" if has_failed else None)
    made = mapper()
    for span, is_end in ((live, False), (ended, True)):
        fields = made.fields(span, is_end=is_end)
        if fields is not None:
            data = encode_event(fields, 1_000_000)
            event = MonitoringEvent.model_validate_json(data)
            assert event.to_json(1_000_000) == data
            assert list(json.loads(data)) == [
                name for name in MonitoringEvent.model_fields if name in fields
            ]


ids = st.tuples(
    st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 2**63), st.booleans()
)


@given(ids, ids)
def test_event_ids_are_uuids_and_differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """Version 4 in form; the same for the same side of a span and for no other of its trace."""
    other = (one[0], *other[1:])
    first, second = (
        event_id_of(SpanContext(trace_id, span_id, is_remote=False), start, is_end=is_end)
        for trace_id, span_id, start, is_end in (one, other)
    )
    assert uuid.UUID(first).version == 4
    assert uuid.UUID(first).variant == uuid.RFC_4122
    assert (first == second) == (one == other)
