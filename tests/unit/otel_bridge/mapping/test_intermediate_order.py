"""Intermediate spans that arrive in another order than they started, again, or too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.trace import SpanKind

from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.redaction import MetaAllowlist
from otel_bridge.mapping import intermediate
from otel_bridge.mapping.mapper import SpanMapper

SECOND = 1_000_000_000
NOON = 1_790_000_000 * SECOND
"""A whole second."""
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}
POST = {"http.request.method": "POST"}


class Story:
    """Spans that a test hands to the mapper in the order it wants, and their events."""

    def __init__(self, **options: Any) -> None:
        self.mapper = SpanMapper(MetaAllowlist(()), **options)
        self.events: list[dict[str, Any]] = []
        self._provider = TracerProvider(shutdown_on_exit=False)

    def span(
        self,
        name: str,
        parent: Span | None = None,
        *,
        scope: str = "app",
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: dict[str, Any] | None = None,
        start_time: int | None = None,
    ) -> Span:
        """A span that the mapper has not seen."""
        context = None if parent is None else trace.set_span_in_context(parent)
        span = self._provider.get_tracer(scope).start_span(
            name, context, kind, attributes, start_time=start_time
        )
        assert isinstance(span, Span)
        return span

    def start(self, *spans: Span) -> None:
        for span in spans:
            self._note(span, is_end=False)

    def end(self, *spans: Span) -> None:
        for span in spans:
            span.end()
            self._note(span, is_end=True)

    def arrive(self, *spans: Span) -> None:
        """Start and end of each, as a request of OTLP holds them: ended spans, children first."""
        for span in spans:
            self.start(span)
            self.end(span)

    def _note(self, span: Span | ReadableSpan, *, is_end: bool) -> None:
        fields = self.mapper.fields(span, is_end=is_end)
        for event in [*self.mapper.take_intermediate(), *([] if fields is None else [fields])]:
            MonitoringEvent.model_validate(event)
            self.events.append(event)

    def sent(self, event_type: str = "span_started") -> list[str]:
        """Names of the spans that have an event of this type."""
        return [event["name"] for event in self.events if event["event_type"] == event_type]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def otlp() -> Story:
    return Story(parents_come_first=False)


def test_a_parent_that_arrives_after_its_child_is_sent(otlp: Story) -> None:
    """Over OTLP a tool arrives before the wrapper and the request around it: both are sent."""
    request = otlp.span("POST /ask", kind=SpanKind.SERVER)
    wrapper = otlp.span("wrapper", request)
    tool = otlp.span("fetch", wrapper, attributes=TOOL)
    idle = otlp.span("idle", request)
    otlp.arrive(tool, idle, wrapper, request)
    assert [(event["event_type"], event["name"]) for event in otlp.events] == [
        ("task_started", "fetch"),
        ("task_completed", "fetch"),
        ("span_started", "wrapper"),
        ("span_ended", "wrapper"),
        ("span_started", "POST /ask"),
        ("span_ended", "POST /ask"),
    ]


def test_the_parents_that_are_awaited_are_bounded(
    otlp: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the bound the parent that has been awaited longest is not sent any more."""
    monkeypatch.setattr(intermediate, "_MAX_AWAITED", 2)
    requests = [otlp.span(f"request {n}", kind=SpanKind.SERVER) for n in range(3)]
    otlp.arrive(*[otlp.span("fetch", request, attributes=TOOL) for request in requests])
    otlp.arrive(*requests)
    assert otlp.sent() == ["request 1", "request 2"]


def test_in_a_process_no_parent_is_awaited(story: Story) -> None:
    """A parent that a process has not seen by then never comes; nothing is kept for it."""
    request = story.span("POST /ask", kind=SpanKind.SERVER)
    story.start(story.span("another", kind=SpanKind.SERVER))
    story.arrive(story.span("fetch", request, attributes=TOOL))
    story.start(request)
    assert story.sent() == []
    assert story.mapper._intermediate._awaited == {}


def test_a_start_that_arrives_again_is_not_sent_again(story: Story) -> None:
    """A span that was sent is sent once, also when its start is mapped a second time."""
    request = story.span("POST /ask", kind=SpanKind.SERVER)
    story.start(request, story.span("fetch", request, attributes=TOOL))
    story.start(request, story.span("fetch", request, attributes=TOOL))
    assert story.sent() == ["POST /ask"]


def test_an_intermediate_span_that_completed_has_no_error(story: Story) -> None:
    """An exception that a request handled is neither its status nor its error."""
    request = story.span("POST /ask", kind=SpanKind.SERVER)
    story.start(request, story.span("fetch", request, attributes=TOOL))
    request.record_exception(ValueError("handled"))
    story.end(request)
    (ended,) = (event for event in story.events if event["event_type"] == "span_ended")
    assert (ended["status"], "error" in ended) == ("completed", False)


def test_a_span_that_turned_out_to_be_a_job_is_no_intermediate_span(story: Story) -> None:
    """A tool whose attributes came late is a job, and is not sent as a span for what it left."""
    late = story.span("late", story.span("root"))
    story.start(late)
    late.set_attributes(TOOL)
    story.end(late)
    story.arrive(story.span("fetch", late, attributes=TOOL))
    assert story.sent() == []
    assert story.sent("task_completed") == ["late", "fetch"]


def test_an_enqueue_may_be_a_root(story: Story) -> None:
    """A process that only enqueues needs no span around it."""
    story.arrive(story.span("x", kind=SpanKind.PRODUCER))
    assert [event["event_type"] for event in story.events] == ["task_enqueued"]


@pytest.mark.parametrize("is_work_first", [True, False])
def test_our_own_enqueue_has_what_is_above_it_beside_work(
    story: Story, is_work_first: bool
) -> None:
    """A wrapper around our enqueue is sent in a trace with work, whatever comes first."""
    request = story.span("POST /ask", kind=SpanKind.SERVER)
    wrapper = story.span("wrapper", request)
    enqueue = {semconv.SPAN_KIND: semconv.KIND_ENQUEUE, semconv.TASK_ID: "j1"}
    spans = [
        story.span("fetch", request, attributes=TOOL),
        story.span("x", wrapper, attributes=enqueue),
    ]
    story.start(request, wrapper, *(spans if is_work_first else reversed(spans)))
    assert sorted(story.sent()) == ["POST /ask", "wrapper"]


def test_traces_that_only_enqueue_are_bounded(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three such traces with a bound of two, the first one's wrapper is forgotten."""
    monkeypatch.setattr(intermediate, "_MAX_TRACES", 2)
    requests = [story.span(f"request {n}", kind=SpanKind.SERVER) for n in range(3)]
    wrappers = [story.span(f"wrapper {n}", request) for n, request in enumerate(requests)]
    for request, wrapper in zip(requests, wrappers, strict=True):
        story.start(request, wrapper)
        story.arrive(story.span("x", wrapper, kind=SpanKind.PRODUCER))
    assert len(story.mapper._intermediate._traces) == 2
    for request in reversed(requests):
        story.start(story.span("fetch", request, attributes=TOOL))
    assert story.sent() == [
        "request 2",
        "wrapper 2",
        "request 1",
        "wrapper 1",
        "request 0",
    ]


def test_a_span_of_a_late_library_is_work(story: Story) -> None:
    """Where a library says late what its spans are, an enqueue has what is above it at once."""
    request = story.span("POST /ask", kind=SpanKind.SERVER)
    chain = story.span("chain", request, scope="openinference.instrumentation.langchain")
    wrapper = story.span("wrapper", request)
    story.start(request, chain, wrapper)
    story.arrive(story.span("x", wrapper, kind=SpanKind.PRODUCER))
    assert story.sent() == ["POST /ask", "chain", "wrapper"]


def calls(story: Story, root: Span, starts: Sequence[int]) -> int:
    """How many of the calls that start at these times are sent at once."""
    before = len(story.sent())
    for at in starts:
        call = story.span(
            "call",
            root,
            kind=SpanKind.CLIENT,
            attributes=POST,
            start_time=1_790_000_000 * SECOND + at,
        )
        story.start(call)
    return len(story.sent()) - before


def test_a_second_of_calls_begins_with_the_clocks(story: Story) -> None:
    """Calls are counted by whole seconds: 20 of those from 0.0 to 0.9 s, then 20 from 1.0 s on."""
    root = story.span("root")
    story.start(root)
    first = calls(story, root, [0] * 15 + [SECOND // 10 * 9 + n for n in range(10)])
    assert (first, calls(story, root, [SECOND] * 25)) == (20, 20)
