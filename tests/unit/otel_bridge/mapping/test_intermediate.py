"""Intermediate spans: which are sent, when, and what their two events say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.trace import Span as ApiSpan
from opentelemetry.trace import SpanKind, StatusCode

from otel_bridge.events.event_ids import event_id_of
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.redaction import MetaAllowlist
from otel_bridge.mapping import intermediate
from otel_bridge.mapping.mapper import SpanMapper
from otel_bridge.mapping.third_party import ignore_scope, unignore_scope
from tests.support.spans import START_NS, SpanRecorder, job_attributes

SECOND = 1_000_000_000
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}
POST = {"http.request.method": "POST"}


class Story:
    """Spans of one process, and the events that are published, in their order."""

    def __init__(self, scope: str = "app", **options: Any) -> None:
        self.mapper = SpanMapper(MetaAllowlist(()), **options)
        self.events: list[dict[str, Any]] = []
        story = self

        class Feeder(SpanRecorder):
            def on_start(self, span: Span, parent_context: Any = None) -> None:
                story.note(span, is_end=False)

            def on_end(self, span: ReadableSpan) -> None:
                story.note(span, is_end=True)

        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Feeder())
        self.tracer = provider.get_tracer(scope)

    def note(self, span: Span | ReadableSpan, *, is_end: bool) -> None:
        fields = self.mapper.fields(span, is_end=is_end)
        for event in [*self.mapper.take_intermediate(), *([] if fields is None else [fields])]:
            MonitoringEvent.model_validate(event)
            self.events.append(event)

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
    ) -> Iterator[Span]:
        with self.tracer.start_as_current_span(
            name, kind=kind, attributes=dict(attributes or {})
        ) as span:
            assert isinstance(span, Span)
            yield span

    def shown(self) -> list[tuple[str, str]]:
        """Type and name of each event; our own spans have no name, but a phase."""
        return [(event["event_type"], event.get("name", "ours")) for event in self.events]


def inside(span: ApiSpan) -> Any:
    return trace.set_span_in_context(span)


@pytest.fixture
def story() -> Story:
    return Story()


def test_spans_with_nothing_inside_are_not_sent(story: Story) -> None:
    """A web request with its queries costs no event."""
    with story.span("GET /", SpanKind.SERVER, POST), story.span("handler"):
        for _ in range(3):
            with story.span("select", SpanKind.CLIENT, {"db.system": "postgresql"}):
                pass
    assert story.events == []


def test_what_is_above_an_event_is_sent_before_it(story: Story) -> None:
    """All spans from the event up to one that was sent before, the topmost first, each once."""
    with (
        story.span("POST /ask", SpanKind.SERVER, POST),
        story.span("handler"),
        story.span("run", attributes=AGENT),
    ):
        with story.span("retry loop"), story.span("fetch", attributes=TOOL):
            pass
        with story.span("fetch", attributes=TOOL):
            pass
    assert story.shown() == [
        ("span_started", "POST /ask"),
        ("span_started", "handler"),
        ("phase_started", "run"),
        ("span_started", "retry loop"),
        ("task_started", "fetch"),
        ("task_completed", "fetch"),
        ("span_ended", "retry loop"),
        ("task_started", "fetch"),
        ("task_completed", "fetch"),
        ("phase_completed", "run"),
        ("span_ended", "handler"),
        ("span_ended", "POST /ask"),
    ]


def test_the_two_events_of_an_intermediate_span() -> None:
    """Ids, times, parent, kind and name; the start has the time of the start, however late sent."""
    story = Story(incarnation="0123456789abcdef")
    root = story.tracer.start_span("root")
    request = story.tracer.start_span(
        "GET /x",
        inside(root),
        kind=SpanKind.SERVER,
        start_time=START_NS,
    )
    assert isinstance(request, Span)
    tool = story.tracer.start_span("fetch", inside(request), attributes=TOOL)
    request.set_status(StatusCode.ERROR, "boom")
    request.end(START_NS + SECOND)
    tool.end()
    context = request.get_span_context()
    common = {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_span_id": f"{root.get_span_context().span_id:016x}",
        "incarnation": "0123456789abcdef",
        "span_kind": "SERVER",
        "name": "GET /x",
    }
    task = {"parent_task_id": f"{context.trace_id:032x}"}
    started, ended = (event for event in story.events if event["event_type"].startswith("span_"))
    assert started == {
        "event_id": event_id_of(context, START_NS, is_end=False),
        "ts": "2026-09-21T14:13:20.123456Z",
        "event_type": "span_started",
        **task,
        "status": "processing",
        **common,
    }
    assert ended == {
        "event_id": event_id_of(context, START_NS, is_end=True),
        "ts": "2026-09-21T14:13:21.123456Z",
        "event_type": "span_ended",
        **task,
        "status": "failed",
        "duration_ms": 1000,
        "error": "boom",
        **common,
    }
    order = list(MonitoringEvent.model_fields)
    for event in (started, ended):
        assert list(event) == [name for name in order if name in event]


def test_a_span_that_ended_before_it_was_needed_is_sent_whole(story: Story) -> None:
    """Work that a request leaves behind, such as a background task, sends start and end of it."""
    with story.span("POST /ask", SpanKind.SERVER) as request:
        pass
    assert story.events == []
    story.tracer.start_span("fetch", inside(request), attributes=TOOL).end()
    assert story.shown()[:3] == [
        ("span_started", "POST /ask"),
        ("span_ended", "POST /ask"),
        ("task_started", "fetch"),
    ]


def test_our_own_spans_have_what_is_above_them(story: Story) -> None:
    """A wrapper between our phase and our job is sent, so that the job stays inside the phase."""
    phase = job_attributes(**{"nexus.span.kind": "phase"})
    with story.span("phase find", attributes=phase), story.span("wrapper"):
        story.tracer.start_span("job search", attributes=dict(job_attributes())).end()
    types = [kind for kind, _ in story.shown()]
    assert types[:3] == ["phase_started", "span_started", "task_started"]
    assert story.events[1]["project_id"] == "p1"
    assert story.events[1]["parent_task_id"] == "t1"


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_request_that_only_enqueues_is_not_sent(story: Story, is_ours: bool) -> None:
    """Three events instead of one for each message of a web service would show nothing more."""
    own = job_attributes(**{"nexus.span.kind": "enqueue"})
    with story.span("POST /orders", SpanKind.SERVER, POST):
        story.tracer.start_span(
            "orders publish",
            kind=SpanKind.PRODUCER,
            attributes=dict(own) if is_ours else {"messaging.operation.type": "send"},
        ).end()
    assert [kind for kind, _ in story.shown()] == ["task_enqueued"]


@pytest.mark.parametrize("is_enqueue_first", [True, False])
def test_an_enqueue_has_what_is_above_it_once_something_runs(
    story: Story, is_enqueue_first: bool
) -> None:
    """In a trace with work, a wrapper around an enqueue is sent, whatever comes first."""
    send = {"messaging.operation.type": "send"}
    with story.span("POST /orders", SpanKind.SERVER) as request:
        with story.span("first"):
            story.tracer.start_span(
                "x", kind=SpanKind.PRODUCER, attributes=send if is_enqueue_first else TOOL
            ).end()
        with story.span("second"):
            story.tracer.start_span(
                "x", kind=SpanKind.PRODUCER, attributes=TOOL if is_enqueue_first else send
            ).end()
    sent = [name for kind, name in story.shown() if kind == "span_started"]
    assert sorted(sent) == ["POST /orders", "first", "second"]
    assert request.get_span_context().is_valid


def test_the_enqueues_of_a_trace_without_work_are_bounded(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many wrappers around enqueues, the first sixteen are sent when work begins."""
    monkeypatch.setattr(intermediate, "_MAX_ENQUEUES", 2)
    with story.span("POST /orders", SpanKind.SERVER):
        for number in range(3):
            with story.span(f"wrapper {number}"):
                story.tracer.start_span("x", kind=SpanKind.PRODUCER).end()
        story.tracer.start_span("fetch", attributes=TOOL).end()
    sent = [name for kind, name in story.shown() if kind == "span_started"]
    assert sent == ["POST /orders", "wrapper 0", "wrapper 1"]


def test_a_call_inside_work_is_sent_at_once(story: Story) -> None:
    """What a called service does is in another process; a query's children are nowhere."""
    with story.span("GET /", SpanKind.SERVER), story.span("call", SpanKind.CLIENT, POST):
        pass
    assert story.events == []
    with story.span("run", attributes=AGENT):
        with story.span("call", SpanKind.CLIENT, POST):
            pass
        with story.span("select", SpanKind.CLIENT, {"db.system": "redis"}):
            pass
        with story.span("inner", attributes=POST):
            pass
    assert story.shown()[1:-1] == [("span_started", "call"), ("span_ended", "call")]


def test_calls_are_limited_by_the_second(story: Story) -> None:
    """Twenty calls that start within one second are sent at once; in the next one it goes on."""
    with story.span("run", attributes=AGENT):
        for number in range(25):
            story.tracer.start_span(
                "call", kind=SpanKind.CLIENT, attributes=POST, start_time=START_NS + number
            )
        story.tracer.start_span(
            "later", kind=SpanKind.CLIENT, attributes=POST, start_time=START_NS + SECOND
        )
        sent = [name for kind, name in story.shown() if kind == "span_started"]
    assert sent == ["call"] * 20 + ["later"]


def test_a_library_that_says_late_what_a_span_is() -> None:
    """Its spans are shown by name while they run; at the end each becomes what it is, or a span."""
    story = Story("openinference.instrumentation.langchain")
    with story.span("POST /ask", SpanKind.SERVER):
        with story.span("RunnableSequence") as chain:
            with story.span("ChatOpenAI") as call:
                call.set_attributes({"openinference.span.kind": "LLM", "llm.model_name": "m-1"})
            chain.set_attribute("openinference.span.kind", "CHAIN")
        with story.span("parser"):
            pass
    assert story.shown() == [
        ("span_started", "POST /ask"),
        ("span_started", "RunnableSequence"),
        ("span_started", "ChatOpenAI"),
        ("task_completed", "ChatOpenAI"),
        ("phase_completed", "RunnableSequence"),
        ("span_started", "parser"),
        ("span_ended", "parser"),
        ("span_ended", "POST /ask"),
    ]
    assert story.events[3]["span_id"] == story.events[2]["span_id"]


def test_an_ignored_span_is_not_sent(story: Story) -> None:
    """A span of a scope that an adapter replaces is no event, also with work inside."""
    ignore_scope("app")
    try:
        with story.span("run/x", SpanKind.CONSUMER) as hidden:
            pass
    finally:
        unignore_scope("app")
    story.tracer.start_span("fetch", inside(hidden), attributes=TOOL).end()
    assert [kind for kind, _ in story.shown()] == ["task_started", "task_completed"]


def test_the_oldest_are_forgotten(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound the oldest span is not sent any more; what is inside it stands alone."""
    monkeypatch.setattr(intermediate, "_MAX_RUNNING", 2)
    with story.span("GET /", SpanKind.SERVER), story.span("a"), story.span("b") as b:
        story.tracer.start_span("fetch", inside(b), attributes=TOOL).end()
    sent = [name for kind, name in story.shown() if kind == "span_started"]
    assert sent == ["a", "b"]


def test_short_spans_do_not_displace_a_long_one(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended spans have a bound of their own, and of them too the oldest is forgotten."""
    monkeypatch.setattr(intermediate, "_MAX_RUNNING", 2)
    monkeypatch.setattr(intermediate, "_MAX_ENDED", 2)
    with story.span("GET /", SpanKind.SERVER) as request:
        short = []
        for number in range(3):
            with story.span(f"short {number}") as span:
                short.append(span)
        for one in (request, *short):
            story.tracer.start_span("fetch", inside(one), attributes=TOOL).end()
    sent = [name for kind, name in story.shown() if kind == "span_started"]
    assert sent == ["GET /", "short 1", "short 2"]


def test_traces_are_bounded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a trace that was forgotten it is not known any more that something runs in it."""
    monkeypatch.setattr(intermediate, "_MAX_TRACES", 1)
    with story.span("run", attributes=AGENT) as agent:
        context = inside(agent)
    with story.span("other", attributes=AGENT):
        pass
    call = story.tracer.start_span("call", context, kind=SpanKind.CLIENT, attributes=POST)
    call.end()
    assert [name for kind, name in story.shown() if kind == "span_started"] == []


def test_the_node_of_a_span_is_the_nearest_task_phase_or_job() -> None:
    """Log lines belong to it; a request or wrapper is one only if it was sent, and in no block."""
    story = Story()

    def node(span: ApiSpan, block: int | None = None) -> int | None:
        context = span.get_span_context()
        found = story.mapper.node_of((context.trace_id, context.span_id), block)
        return None if found is None else found[0]

    def id_of(span: ApiSpan) -> int:
        return span.get_span_context().span_id

    with story.tracer.start_as_current_span("GET /", kind=SpanKind.SERVER) as request:
        assert node(request) is None
        with story.tracer.start_as_current_span("wrapper") as wrapper:
            assert node(wrapper) is None
            with story.tracer.start_as_current_span("tool", attributes=TOOL) as tool:
                assert node(tool) == id_of(tool)
                with story.tracer.start_as_current_span("query") as query:
                    assert node(query) == id_of(tool)
                    assert node(query, block=id_of(tool)) is None
            assert node(wrapper) == id_of(wrapper)
            assert node(wrapper, block=id_of(request)) is None
    with story.tracer.start_as_current_span("agent", attributes=AGENT) as agent:
        assert node(agent) == id_of(agent)
    assert story.mapper.node_of((1, 2), None) is None
