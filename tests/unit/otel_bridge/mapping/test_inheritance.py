"""What a span inherits, and the role that it gets; with spans of the SDK."""

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
    """Starts spans inside each other, and resolves the role of each."""

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

    def resolve(self, span: Span) -> InheritedContext:
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


def test_a_root_is_the_task_of_its_trace(story: Trace) -> None:
    """A root span of a third party is a research task, and the trace id is its id."""
    root = story.start("nightly import")
    found = story.resolve(root)
    assert (found.role, found.task_id, found.parent_task_id) == (
        "research_task",
        trace_id(root),
        trace_id(root),
    )


@pytest.mark.parametrize("kind", [SpanKind.SERVER, SpanKind.CLIENT])
def test_a_request_is_no_task_and_its_agents_are_phases(story: Trace, kind: SpanKind) -> None:
    """What an agent is does not depend on the spans above it, which may arrive after it."""
    request = story.start("POST /chat", kind=kind)
    first = story.start("run", AGENT, parent=request)
    second = story.start("run", AGENT, parent=first)
    before = [story.resolve(span).role for span in (first, second)]
    places = [story.resolve(span) for span in (request, first, second)]
    assert before == ["phase", "phase"]
    assert [found.role for found in places] == [None, "phase", "phase"]
    assert {found.parent_task_id for found in places} == {trace_id(request)}


@pytest.mark.parametrize("kind", [SpanKind.SERVER, SpanKind.CLIENT, SpanKind.INTERNAL])
def test_an_agent_at_the_root_is_the_task(story: Trace, kind: SpanKind) -> None:
    """A root that a rule matches is a task, also of the kinds that requests have."""
    assert story.resolve(story.start("run", AGENT, kind=kind)).role == "research_task"


def test_phase_and_project_are_inherited(story: Trace) -> None:
    """A tool inside an agent is a job of the agent's phase and of the root's project."""
    root = story.start("research", {semconv.PROJECT_ID: "p"})
    agent = story.start("run", AGENT, parent=root)
    between = story.start("retry loop", parent=agent)
    tool = story.start("fetch", TOOL, parent=between)
    found = [story.resolve(span) for span in (root, agent, between, tool)][-1]
    assert (found.role, found.phase, found.project_id) == ("job", "planner", "p")


def test_children_of_an_ignored_span_inherit_from_its_parent(story: Trace) -> None:
    """A span inside an ignored one inherits what the ignored one would have inherited."""
    root = story.start("research", {semconv.PROJECT_ID: "p"})
    agent = story.start("run", AGENT, parent=root)
    hidden = story.start("run/pay", parent=agent)
    tool = story.start("fetch", TOOL, parent=hidden)
    story.resolve(root)
    story.resolve(agent)
    story.contexts.remember_ignored(hidden, context_of(hidden))
    assert (story.resolve(tool).phase, story.resolve(tool).project_id) == ("planner", "p")


def test_both_sides_of_a_queue_name_the_job(story: Trace) -> None:
    """The producer span names the job that it enqueues, and the consumer span takes that name."""
    sending = story.start("apply_async/pay", kind=SpanKind.PRODUCER)
    running = story.start("run/pay", parent=sending, kind=SpanKind.CONSUMER)
    enqueued, ran = story.resolve(sending), story.resolve(running)
    assert (enqueued.role, ran.role) == ("enqueue", "job")
    assert enqueued.task_id == ran.task_id == f"{context_of(sending).span_id:016x}"


def test_a_requeue_is_no_new_job(story: Trace) -> None:
    """A job that enqueues its own message again keeps its id; another message is another job."""
    message = {"messaging.message.id": "m1"}
    sending = story.start("apply_async/pay", message, kind=SpanKind.PRODUCER)
    running = story.start("run/pay", message, parent=sending, kind=SpanKind.CONSUMER)
    again = story.start("apply_async/pay", message, parent=running, kind=SpanKind.PRODUCER)
    other = {"messaging.message.id": "m2"}
    new = story.start("apply_async/pay", other, parent=running, kind=SpanKind.PRODUCER)
    first, _, requeued, enqueued = (story.resolve(span) for span in (sending, running, again, new))
    assert (requeued.is_requeue, requeued.task_id) == (True, first.task_id)
    assert (enqueued.is_requeue, enqueued.task_id == first.task_id) == (False, False)


def test_a_span_inside_one_of_ours_belongs_to_its_task(story: Trace) -> None:
    """A third-party span inherits task, project and phase from the attributes of our own span."""
    ours = story.start("job search", job_attributes())
    own = own_context(ours.attributes or {})
    context = context_of(ours)
    story.contexts.remember_own((context.trace_id, context.span_id), own)
    found = story.resolve(story.start("fetch", TOOL, parent=ours))
    assert (found.parent_task_id, found.project_id, found.phase) == ("t1", "p1", "find")
    elsewhere = story.start("fetch", TOOL, parent=story.start("of another process", parent=ours))
    beside = story.resolve(elsewhere)
    assert (beside.parent_task_id, beside.project_id, beside.phase) == ("t1", "p1", None)


def test_the_oldest_are_forgotten(story: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of remembered spans is bounded, whatever the number of traces."""
    monkeypatch.setattr(inheritance, "_MAX_REMEMBERED", 3)
    spans = [story.start(f"task {number}") for number in range(5)]
    for span in spans:
        story.resolve(span)
    known = [story.contexts.get((context_of(s).trace_id, context_of(s).span_id)) for s in spans]
    assert [found is not None for found in known] == [False, False, True, True, True]


CORRELATED = InheritedContext("task", "alpha", None, is_correlated=True)


def correlate(story: Trace, request: Span, parent: InheritedContext = CORRELATED) -> None:
    """Set what a collector knows: the task of the trace, and the parent of the request."""
    assert request.parent is not None
    trace = request.parent.trace_id
    story.contexts.correlated = {(trace, 0): CORRELATED, (trace, request.parent.span_id): parent}


@pytest.fixture
def request_inside(story: Trace) -> Span:
    """A request that another process makes to this one."""
    return story.start("POST /chat", parent=story.start("ours"), kind=SpanKind.SERVER)


def test_a_correlated_task_is_inherited(story: Trace, request_inside: Span) -> None:
    """A request and all spans inside it inherit task and project of the trace, and the phase."""
    correlate(story, request_inside, parent=CORRELATED._replace(phase="search"))
    story.resolve(request_inside)
    found = story.resolve(story.start("fetch", TOOL, parent=request_inside))
    assert (found.role, found.phase) == ("job", "search")
    assert (found.parent_task_id, found.project_id) == ("task", "alpha")


def test_another_project_is_not_correlated(story: Trace, request_inside: Span) -> None:
    """A span that names another project stays out of the task, and so does all inside it."""
    correlate(story, request_inside)
    story.resolve(request_inside)
    other = story.start("run", {**AGENT, semconv.PROJECT_ID: "beta"}, parent=request_inside)
    tool = story.start("fetch", TOOL, parent=other)
    same = story.start("fetch", {**TOOL, semconv.PROJECT_ID: "alpha"}, parent=request_inside)
    found = [story.resolve(span) for span in (other, tool, same)]
    assert [(one.parent_task_id, one.project_id) for one in found] == [
        (trace_id(other), "beta"),
        (trace_id(other), "beta"),
        ("task", "alpha"),
    ]


def test_a_span_without_a_role_is_correlated_later(story: Trace, request_inside: Span) -> None:
    """A request that arrived before its task was known passes the task on once it is known."""
    early = story.start("run", AGENT, parent=request_inside)
    for span in (request_inside, early):
        story.resolve(span)
    correlate(story, request_inside)
    inside_early = story.resolve(story.start("fetch", TOOL, parent=early))
    beside = story.resolve(story.start("fetch", TOOL, parent=request_inside))
    assert inside_early.parent_task_id == trace_id(early)
    assert beside.parent_task_id == "task"


def test_a_request_of_another_project_is_not_correlated_later(story: Trace) -> None:
    """A request that names another project passes that on to its children, not the task."""
    attributes = {semconv.PROJECT_ID: "beta"}
    asked = story.start("POST /chat", attributes, parent=story.start("ours"))
    story.resolve(asked)
    correlate(story, asked)
    found = story.resolve(story.start("fetch", TOOL, parent=asked))
    assert (found.parent_task_id, found.project_id) == (trace_id(asked), "beta")


def test_a_root_is_never_correlated(story: Trace, request_inside: Span) -> None:
    """A span without a parent is the root of its trace, whatever the collector knows."""
    correlate(story, request_inside)
    assert request_inside.parent is not None
    root = story.start("nightly import")
    story.contexts.correlated = {(context_of(root).trace_id, 0): CORRELATED}
    assert story.resolve(root).parent_task_id == trace_id(root)


def test_a_consumer_takes_the_job_id_of_a_correlated_enqueue(story: Trace) -> None:
    """The consumer of a job that our own span enqueued has the id of that job."""
    job = story.start("work process", parent=story.start("enqueue"), kind=SpanKind.CONSUMER)
    correlate(story, job, parent=CORRELATED._replace(role="enqueue", task_id="j1"))
    assert (story.resolve(job).role, story.resolve(job).task_id) == ("job", "j1")


def test_the_senders_own_task_comes_first(story: Trace, request_inside: Span) -> None:
    """What the same sender sent of the trace takes precedence over what the collector knows."""
    trace = context_of(request_inside).trace_id
    story.contexts.correlated = {(trace, 0): CORRELATED}
    story.contexts.remember((trace, 0), InheritedContext("own", "p", None))
    assert story.resolve(request_inside).parent_task_id == "own"


def test_the_trace_of_one_of_ours_is_known_to_spans_without_a_parent_here(story: Trace) -> None:
    """A span whose parent another process has belongs to the task that its trace is known for."""
    ours = story.start("research")
    inside = story.start("fetch", TOOL, parent=story.start("elsewhere", parent=ours))
    key = (context_of(ours).trace_id, 0)
    story.contexts.remember(key, InheritedContext("task", "alpha", None))
    found = story.resolve(inside)
    assert (found.parent_task_id, found.project_id, found.role) == ("task", "alpha", "job")


def test_a_second_root_of_a_trace_belongs_to_its_task(story: Trace) -> None:
    """A root in a trace that already has a task inherits that task."""
    root = story.start("nightly import")
    key = (context_of(root).trace_id, 0)
    story.contexts.remember(key, InheritedContext("task", "alpha", None))
    assert story.resolve(root).parent_task_id == "task"


def test_another_project_falls_back_to_the_senders_own_task(story: Trace) -> None:
    """A span that names another project than the correlated task belongs to its sender's task."""
    asked = story.start("POST /chat", parent=story.start("ours"), kind=SpanKind.SERVER)
    correlate(story, asked)
    story.resolve(asked)
    key = (context_of(asked).trace_id, 0)
    story.contexts.remember(key, InheritedContext("own", "beta", "search"))
    other = story.start("run", {**TOOL, semconv.PROJECT_ID: "beta"}, parent=asked)
    found = story.resolve(other)
    assert (found.parent_task_id, found.project_id, found.phase) == ("own", "beta", "search")


def test_children_of_an_ignored_root_inherit_nothing(story: Trace) -> None:
    """An ignored root leaves nothing behind that a child could inherit."""
    hidden = story.start("run/pay")
    story.contexts.remember_ignored(hidden, context_of(hidden))
    assert story.contexts.get((context_of(hidden).trace_id, context_of(hidden).span_id)) is None
    tool = story.resolve(story.start("fetch", TOOL, parent=hidden))
    assert (tool.parent_task_id, tool.role) == (trace_id(hidden), "job")


def test_only_an_enqueue_can_be_a_requeue(story: Trace) -> None:
    """A job inside a job with the id of the same message is no requeue."""
    message = {"messaging.message.id": "m1"}
    sending = story.start("apply_async/pay", message, kind=SpanKind.PRODUCER)
    running = story.start("run/pay", message, parent=sending, kind=SpanKind.CONSUMER)
    inside = story.start("fetch", {**TOOL, **message}, parent=running)
    assert [story.resolve(one).is_requeue for one in (sending, running, inside)] == [False] * 3
    again = story.start("apply_async/pay", message, parent=sending, kind=SpanKind.PRODUCER)
    assert not story.resolve(again).is_requeue


def test_a_consumer_without_a_known_enqueue_is_named_by_its_parent(story: Trace) -> None:
    """A job whose parent is no enqueue that is known has the id of the parent span."""
    sending = story.start("POST /pay", parent=story.start("root"), kind=SpanKind.SERVER)
    job = story.start("run/pay", parent=sending, kind=SpanKind.CONSUMER)
    unknown = story.resolve(job).task_id
    story.resolve(story.start("apply_async/pay", parent=job, kind=SpanKind.PRODUCER))
    inside = story.resolve(story.start("run/pay", parent=job, kind=SpanKind.CONSUMER)).task_id
    expected = [f"{context_of(parent).span_id:016x}" for parent in (sending, job)]
    assert [unknown, inside] == expected


def test_nothing_is_correlated_before_the_collector_says_so() -> None:
    """Contexts begin without anything that another path brought, as in every worker."""
    assert InheritedContexts().correlated == {}


def test_a_task_without_a_phase_is_that_of_its_trace(story: Trace) -> None:
    """Spans whose parent is unknown belong to our task, also when our span has no phase."""
    ours = story.start("research")
    key = (context_of(ours).trace_id, context_of(ours).span_id)
    story.contexts.remember_own(key, InheritedContext("t1", "p1", None))
    tool = story.start("fetch", TOOL, parent=story.start("elsewhere", parent=ours))
    assert (story.resolve(tool).parent_task_id, story.resolve(tool).project_id) == ("t1", "p1")


def test_a_span_without_a_role_is_no_job(story: Trace) -> None:
    """A wrapper has neither the id of a job nor that of a message, whatever its attributes."""
    wrapper = story.start("w", {"messaging.message.id": "m1"}, parent=story.start("root"))
    found = story.resolve(wrapper)
    assert (found.role, found.task_id, found.message_id) == (None, None, None)
