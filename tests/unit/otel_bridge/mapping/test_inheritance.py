"""What a span inherits and stands for; the spans are the SDK's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanContext, SpanKind

from otel_bridge.events import semconv
from otel_bridge.mapping import inheritance
from otel_bridge.mapping.inheritance import InheritedContext, InheritedContexts, own_context
from otel_bridge.mapping.third_party import classify
from tests.support.spans import SpanRecorder, job_attributes, tracer_with

AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}


class Trace:
    """Starts spans one inside the other, and asks what each stands for."""

    def __init__(self) -> None:
        self.contexts = InheritedContexts()
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

    def place(self, span: Span) -> InheritedContext:
        attributes = span.attributes or {}
        classification = classify(span, attributes)
        return self.contexts.resolve(span, context_of(span), attributes, classification)


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
    assert (story.place(request).role, story.place(request).is_in_request) == (None, True)
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
    story.contexts.remember_ignored(hidden, context_of(hidden))
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
    assert (back.is_requeue, back.task_id) == (True, first.task_id)
    assert (made.is_requeue, made.task_id == first.task_id) == (False, False)


def test_inside_a_span_of_ours_one_belongs_to_its_task(story: Trace) -> None:
    """What our own spans say is passed on to spans that are not ours."""
    ours = story.start("job search", job_attributes())
    own = own_context(ours.attributes or {})
    context = context_of(ours)
    story.contexts.remember((context.trace_id, context.span_id), own)
    found = story.place(story.start("fetch", TOOL, parent=ours))
    assert (found.parent_task_id, found.project_id, found.phase) == ("t1", "p1", "find")


def test_the_oldest_are_forgotten(story: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many traces pass by, a bounded number of spans is remembered."""
    monkeypatch.setattr(inheritance, "_MAX_REMEMBERED", 3)
    spans = [story.start(f"task {number}") for number in range(5)]
    for span in spans:
        story.place(span)
    known = [story.contexts.get((context_of(s).trace_id, context_of(s).span_id)) for s in spans]
    assert [found is not None for found in known] == [False, False, True, True, True]


LENT = InheritedContext("task", "alpha", None, is_correlated=True)


def lend(story: Trace, request: Span, parent: InheritedContext = LENT) -> None:
    """As the collector does: for the trace, and for a span that it knows."""
    assert request.parent is not None
    trace = request.parent.trace_id
    story.contexts.correlated = {(trace, 0): LENT, (trace, request.parent.span_id): parent}


@pytest.fixture
def request_inside(story: Trace) -> Span:
    """A request that another process makes to this one."""
    return story.start("POST /chat", parent=story.start("ours"), kind=SpanKind.SERVER)


def test_a_lent_task_is_inherited(story: Trace, request_inside: Span) -> None:
    """Task and project of the trace, phase of the parent; passed on to all inside."""
    lend(story, request_inside, parent=LENT._replace(phase="search"))
    story.place(request_inside)
    found = story.place(story.start("fetch", TOOL, parent=request_inside))
    assert (found.role, found.phase) == ("job", "search")
    assert (found.parent_task_id, found.project_id) == ("task", "alpha")


def test_another_project_inherits_nothing_lent(story: Trace, request_inside: Span) -> None:
    """At any depth: a span that names another project is beside the task, with all inside."""
    lend(story, request_inside)
    story.place(request_inside)
    other = story.start("run", {**AGENT, semconv.PROJECT_ID: "beta"}, parent=request_inside)
    tool = story.start("fetch", TOOL, parent=other)
    same = story.start("fetch", {**TOOL, semconv.PROJECT_ID: "alpha"}, parent=request_inside)
    found = [story.place(span) for span in (other, tool, same)]
    assert [(one.parent_task_id, one.project_id) for one in found] == [
        (trace_id(other), "beta"),
        (trace_id(other), "beta"),
        ("task", "alpha"),
    ]


def test_what_told_nothing_joins_later(story: Trace, request_inside: Span) -> None:
    """A request that came before its task was known keeps nothing inside it from joining."""
    early = story.start("run", AGENT, parent=request_inside)
    for span in (request_inside, early):
        story.place(span)
    lend(story, request_inside)
    inside_early = story.place(story.start("fetch", TOOL, parent=early))
    beside = story.place(story.start("fetch", TOOL, parent=request_inside))
    assert inside_early.parent_task_id == trace_id(early)
    assert beside.parent_task_id == "task"


def test_a_request_of_another_project_lets_nothing_join(story: Trace) -> None:
    """Its project was named by itself alone, and those inside are of it."""
    attributes = {semconv.PROJECT_ID: "beta"}
    asked = story.start("POST /chat", attributes, parent=story.start("ours"))
    story.place(asked)
    lend(story, asked)
    found = story.place(story.start("fetch", TOOL, parent=asked))
    assert (found.parent_task_id, found.project_id) == (trace_id(asked), "beta")


def test_a_second_root_is_lent_nothing(story: Trace, request_inside: Span) -> None:
    """A span without a parent is its trace's root, whatever the state says."""
    lend(story, request_inside)
    assert request_inside.parent is not None
    root = story.start("nightly import")
    story.contexts.correlated = {(context_of(root).trace_id, 0): LENT}
    assert story.place(root).parent_task_id == trace_id(root)


def test_a_queues_job_is_named_as_it_was_lent(story: Trace) -> None:
    """A consumer of a job that one of ours enqueued goes by that job's name."""
    job = story.start("work process", parent=story.start("enqueue"), kind=SpanKind.CONSUMER)
    lend(story, job, parent=LENT._replace(role="enqueue", task_id="j1"))
    assert (story.place(job).role, story.place(job).task_id) == ("job", "j1")


def test_ones_own_task_comes_first(story: Trace, request_inside: Span) -> None:
    """What the same sender told of the trace counts before what the state knows of it."""
    trace = context_of(request_inside).trace_id
    story.contexts.correlated = {(trace, 0): LENT}
    story.contexts.remember((trace, 0), InheritedContext("own", "p", None))
    assert story.place(request_inside).parent_task_id == "own"
