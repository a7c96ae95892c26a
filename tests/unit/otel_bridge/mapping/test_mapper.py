"""The events of a span, start and end, with all their fields."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import SpanKind, StatusCode

from otel_bridge.clock import iso_utc
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
    """The two objects that a processor gets for one span of 2.5 s."""
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
    """The events of a span without its ids, which are checked here."""
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
    """The span of a job gives task_started and task_completed, with a field per attribute."""
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
def test_the_outcome_of_a_job_decides_its_end(outcome: str, event_type: str, status: str) -> None:
    """``nexus.outcome`` gives type and status of the end, ``nexus.error`` its error."""
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
    """A span of status ERROR failed; the most precise description becomes the error."""
    end = mapped(*one_span(job_attributes(), **extra))[1]
    assert (end["event_type"], end["status"]) == ("task_failed", "failed")
    assert end.get("error") == error


def test_a_completed_job_has_no_error() -> None:
    """A recorded exception that the job recovered from is not the error of a completed job."""
    at_end = {semconv.OUTCOME: "completed"}
    end = mapped(*one_span(job_attributes(), raised=ValueError("x"), at_end=at_end))[1]
    assert (end["event_type"], "error" in end) == ("task_completed", False)


def test_a_research_task_is_its_own_task() -> None:
    """Events of a root span have the research task's id as both ids, its title and its domain."""
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
    """Counts that were set later are in the end alone, also when the start is read after it."""
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


def test_the_end_of_a_failed_phase_is_phase_completed() -> None:
    """There is one event type for the end of a phase; its status says how it ended."""
    attributes = {semconv.SPAN_KIND: semconv.KIND_PHASE, semconv.PHASE: "search"}
    end = mapped(*one_span(attributes, at_end={semconv.OUTCOME: "failed"}))[1]
    assert (end["event_type"], end["status"]) == ("phase_completed", "failed")


def test_an_enqueue_is_one_event_when_it_has_ended() -> None:
    """The span of an enqueue gives one task_enqueued, with the time and the id of its start."""
    attributes = job_attributes(**{semconv.SPAN_KIND: semconv.KIND_ENQUEUE})
    live, ended = one_span(attributes, kind=SpanKind.PRODUCER)
    made = mapper()
    assert made.fields(live, is_end=False) is None
    found = made.fields(ended, is_end=True)
    assert found is not None
    assert found["event_id"] == event_id_of(live.get_span_context(), START_NS, is_end=False)
    assert mapped(live, ended) == [
        {"ts": START_TEXT, "event_type": "task_enqueued", **JOB, "status": "pending"}
    ]


def test_an_enqueue_that_failed_is_a_failed_job() -> None:
    """A send that raised gives task_failed about the PRODUCER span, and no task_enqueued."""
    attributes = job_attributes(**{semconv.SPAN_KIND: semconv.KIND_ENQUEUE})
    at_end = {semconv.OUTCOME: "failed", semconv.ERROR: "ConnectionError: away"}
    live, ended = one_span(attributes, kind=SpanKind.PRODUCER, at_end=at_end)
    assert mapped(live, ended) == [
        {
            "ts": END_TEXT,
            "event_type": "task_failed",
            **JOB,
            "status": "failed",
            "duration_ms": 2500,
            "error": "ConnectionError: away",
            "span_kind": "PRODUCER",
        }
    ]
    made = mapper().fields(ended, is_end=True)
    assert made is not None
    assert made["event_id"] == event_id_of(live.get_span_context(), START_NS, is_end=True)


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_an_enqueue_without_a_job_id_is_no_event(outcome: str) -> None:
    """A job that never got an id was never in a queue."""
    attributes = {semconv.SPAN_KIND: semconv.KIND_ENQUEUE}
    assert mapped(*one_span(attributes, at_end={semconv.OUTCOME: outcome})) == []


def test_the_job_id_of_an_enqueue_may_come_last() -> None:
    """An id that only the queue could give is read at the end of the span."""
    attributes = {semconv.SPAN_KIND: semconv.KIND_ENQUEUE}
    (event,) = mapped(*one_span(attributes, at_end={semconv.TASK_ID: "j9"}))
    assert (event["event_type"], event["task_id"]) == ("task_enqueued", "j9")


def test_events_of_spans_carry_their_incarnation_and_run() -> None:
    """The process and the run of a job are in each event of it; a fork makes another mapper."""
    attributes = job_attributes(**{semconv.RUN_ID: "00f067aa0ba902b7"})
    for event in mapped(*one_span(attributes), incarnation="0123456789abcdef"):
        assert (event["incarnation"], event["run_id"]) == ("0123456789abcdef", "00f067aa0ba902b7")
        assert list(event)[-2:] == ["incarnation", "run_id"]
    assert not {"incarnation", "run_id"} & set(mapped(*one_span(job_attributes()))[0])


@pytest.mark.parametrize("attributes", [{}, {"http.method": "GET"}, {"nexus.span.kind": "other"}])
def test_other_spans_are_no_events(attributes: dict[str, Any]) -> None:
    """A span that no rule matches gives no event."""
    assert mapped(*one_span(attributes)) == []


def test_named_attributes_enter_meta() -> None:
    """Attributes of the allowlist are in ``meta`` beside those under ``nexus.meta.``."""
    more: dict[str, Any] = {"agent.name": "scout", "agent.key": "x", "nexus.meta.a": 1}
    attributes = {**job_attributes(), **more}
    start = mapped(*one_span(attributes), allowed=["agent.name"])[0]
    assert start["meta"] == {"agent.name": "scout", "a": 1}


def test_a_forked_child_skips_the_spans_of_its_parent() -> None:
    """The end of a span that started before the fork is published by the parent process alone."""
    live, ended = one_span(job_attributes())
    assert mapper(forked_at_ns=START_NS + 1).fields(ended, is_end=True) is None
    del live


def test_a_forked_child_publishes_its_own_backdated_spans() -> None:
    """A span that the child starts with a time before the fork still belongs to the child."""
    events = mapped(*one_span(job_attributes()), forked_at_ns=START_NS + 1)
    assert [event["event_type"] for event in events] == ["task_started", "task_completed"]


def test_ids_and_texts_of_a_wrong_type_become_text() -> None:
    """Attributes that users set as a number or a list still give a valid event."""
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


def test_start_and_end_have_the_derived_ids_and_their_own_times() -> None:
    """The ids of both events derive from the span's context and start time, see ``event_ids``."""
    live, ended = one_span(job_attributes())
    context = live.get_span_context()
    made = mapper()
    events = [made.fields(live, is_end=False), made.fields(ended, is_end=True)]
    assert [event and event["event_id"] for event in events] == [
        event_id_of(context, START_NS, is_end=False),
        event_id_of(context, START_NS, is_end=True),
    ]


def test_a_span_without_times_is_an_event_of_this_moment() -> None:
    """A span that has no times gets the time at which it is mapped, and an id all the same."""
    context = one_span({})[0].get_span_context()
    span = ReadableSpan("x", context=context, attributes=job_attributes())
    before = time.time_ns()
    fields = mapper().fields(span, is_end=True)
    assert fields is not None
    assert iso_utc(before) <= fields["ts"] <= iso_utc(time.time_ns())
    assert "duration_ms" not in fields
    assert fields["event_id"] == event_id_of(context, 0, is_end=True)


def test_a_span_without_context_or_attributes_is_no_event() -> None:
    """The API's spans that record nothing have neither context nor attributes."""
    context = one_span({})[0].get_span_context()
    nothing: Any = SimpleNamespace(context=context, attributes=None)
    assert mapper().fields(nothing, is_end=False) is None
    unknown: Any = SimpleNamespace(context=None, attributes=job_attributes())
    assert mapper().fields(unknown, is_end=False) is None


class PlainMapping(Mapping[str, Any]):
    """A mapping that has no ``copy``."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = items

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def test_attributes_may_be_any_mapping() -> None:
    """Attributes in a mapping without ``copy`` are read like those of the SDK."""
    span, _ = one_span(job_attributes())
    other: Any = SimpleNamespace(
        context=span.context,
        parent=span.parent,
        start_time=span.start_time,
        attributes=PlainMapping(job_attributes()),
    )
    assert mapper().fields(other, is_end=False) == mapper().fields(span, is_end=False)


def test_a_job_outside_any_research_task_belongs_to_its_trace() -> None:
    """Without a research task the trace counts as one: its id is the ``parent_task_id``."""
    live, _ = one_span({semconv.SPAN_KIND: semconv.KIND_JOB, semconv.TASK_ID: "j1"})
    fields = mapper().fields(live, is_end=False)
    assert fields is not None
    assert fields["parent_task_id"] == fields["trace_id"]


def test_spans_from_the_fork_on_belong_to_the_child() -> None:
    """The end of a span that started at the fork or later is published, seen its start or not."""
    _, ended = one_span(job_attributes())
    found = [mapper(forked_at_ns=START_NS - n).fields(ended, is_end=True) for n in (0, 1)]
    assert [event is not None for event in found] == [True, True]


def test_a_backdated_span_of_the_child_leaves_the_parents_spans_alone() -> None:
    """Only the very span that the child started early is its own, and only until it ends."""
    made = mapper(forked_at_ns=START_NS + 1)
    live, ended = one_span(job_attributes())
    _, of_parent = one_span(job_attributes())
    assert made.fields(live, is_end=False) is not None
    assert made.fields(of_parent, is_end=True) is None
    assert made.fields(ended, is_end=True) is not None
    assert made.fields(ended, is_end=True) is None
