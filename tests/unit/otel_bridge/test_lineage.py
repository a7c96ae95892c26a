"""What a span inherits and stands for; the spans are the SDK's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanContext, SpanKind

from otel_bridge import lineage, semconv
from otel_bridge.foreign_spans import read_foreign
from otel_bridge.lineage import Lineage, Lineages, own_lineage
from tests.support.spans import SpanRecorder, job_attributes, tracer_with

AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}


class Trace:
    """Starts spans one inside the other, and asks what each stands for."""

    def __init__(self) -> None:
        self.lineages = Lineages()
        self._recorder = SpanRecorder()
        self._tracer = tracer_with(self._recorder)

    def start(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        parent: Span | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Span:
        context = None if parent is None else trace.set_span_in_context(parent)
        self._tracer.start_span(name, context, kind, dict(attributes or {}))
        return self._recorder.started[-1]

    def place(self, span: Span) -> Lineage:
        attributes = span.attributes or {}
        reading = read_foreign(span, attributes)
        return self.lineages.trace(span, context_of(span), attributes, reading)


def context_of(span: Span) -> SpanContext:
    return span.get_span_context()


def trace_id(span: Span) -> str:
    return f"{context_of(span).trace_id:032x}"


@pytest.fixture
def story() -> Trace:
    return Trace()


def test_a_root_is_the_task_and_its_name_the_traces(story: Trace) -> None:
    """A root of another's trace is a research task with the trace's id."""
    root = story.start("nightly import")
    found = story.place(root)
    assert (found.role, found.task_id, found.parent_task_id) == (
        "research_task",
        trace_id(root),
        trace_id(root),
    )


@pytest.mark.parametrize("kind", [SpanKind.SERVER, SpanKind.CLIENT])
def test_a_request_is_no_task_until_an_agent_begins(story: Trace, kind: SpanKind) -> None:
    """Of a request, the first agent inside is the task; a second one is a phase of it."""
    request = story.start("POST /chat", kind=kind)
    assert (story.place(request).role, story.place(request).is_request) == (None, True)
    first = story.start("run", AGENT, parent=request)
    second = story.start("run", AGENT, parent=request)
    told = [story.place(span) for span in (first, second, first)]
    assert [found.role for found in told] == ["research_task", "phase", "research_task"]
    assert {found.parent_task_id for found in told} == {trace_id(request)}


def test_the_inner_inherit_phase_and_project(story: Trace) -> None:
    """A tool inside an agent's phase is a job of it, and of the project that the root named."""
    root = story.start("research", {semconv.PROJECT_ID: "p"})
    agent = story.start("run", AGENT, parent=root)
    between = story.start("retry loop", parent=agent)
    tool = story.start("fetch", TOOL, parent=between)
    found = [story.place(span) for span in (root, agent, between, tool)][-1]
    assert (found.role, found.phase, found.project_id) == ("job", "planner", "p")


def test_what_is_left_out_hides_nothing(story: Trace) -> None:
    """Inside a span that another tells of, one inherits what that span would have."""
    root = story.start("research", {semconv.PROJECT_ID: "p"})
    agent = story.start("run", AGENT, parent=root)
    hidden = story.start("run/pay", parent=agent)
    tool = story.start("fetch", TOOL, parent=hidden)
    story.place(root)
    story.place(agent)
    story.lineages.pass_on(hidden, context_of(hidden))
    assert (story.place(tool).phase, story.place(tool).project_id) == ("planner", "p")


def test_both_sides_of_a_queue_name_the_job(story: Trace) -> None:
    """The span that put a job into its queue names it, there and where it runs."""
    sending = story.start("apply_async/pay", kind=SpanKind.PRODUCER)
    running = story.start("run/pay", parent=sending, kind=SpanKind.CONSUMER)
    put, ran = story.place(sending), story.place(running)
    assert (put.role, ran.role) == ("enqueue", "job")
    assert put.task_id == ran.task_id == f"{context_of(sending).span_id:016x}"


def test_a_message_that_goes_back_is_nothing_new(story: Trace) -> None:
    """A job that puts its own message back keeps its name; another message is a job of its own."""
    message = {"messaging.message.id": "m1"}
    sending = story.start("apply_async/pay", message, kind=SpanKind.PRODUCER)
    running = story.start("run/pay", message, parent=sending, kind=SpanKind.CONSUMER)
    again = story.start("apply_async/pay", message, parent=running, kind=SpanKind.PRODUCER)
    other = {"messaging.message.id": "m2"}
    new = story.start("apply_async/pay", other, parent=running, kind=SpanKind.PRODUCER)
    first, _, back, made = (story.place(span) for span in (sending, running, again, new))
    assert (back.is_again, back.task_id) == (True, first.task_id)
    assert (made.is_again, made.task_id == first.task_id) == (False, False)


def test_inside_a_span_of_ours_one_belongs_to_its_task(story: Trace) -> None:
    """What our own spans say is passed on to spans that are not ours."""
    ours = story.start("job search", job_attributes())
    own = own_lineage(ours.attributes or {})
    context = context_of(ours)
    story.lineages.remember((context.trace_id, context.span_id), own)
    found = story.place(story.start("fetch", TOOL, parent=ours))
    assert (found.parent_task_id, found.project_id, found.phase) == ("t1", "p1", "find")


def test_the_oldest_are_forgotten(story: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many traces pass by, a bounded number of spans is remembered."""
    monkeypatch.setattr(lineage, "_MAX_KNOWN", 3)
    spans = [story.start(f"task {number}") for number in range(5)]
    for span in spans:
        story.place(span)
    known = [story.lineages.get((context_of(s).trace_id, context_of(s).span_id)) for s in spans]
    assert [found is not None for found in known] == [False, False, True, True, True]
