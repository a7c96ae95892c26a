"""Third-party spans: the events of each rule, their context, and the table in the docs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import SpanKind, StatusCode
from otel_bridge_collector.otlp.mapping import OtlpReceiver, read_spans
from otel_bridge_collector.otlp.rejections import Rejections

from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.redaction import MetaAllowlist
from otel_bridge.mapping.inheritance import InheritedContext
from otel_bridge.mapping.mapper import SpanMapper
from otel_bridge.mapping.third_party import RULES, ignore_scope, unignore_scope
from tests.support.spans import START_NS, SpanRecorder, tracer_with

DOCS = Path(__file__).parents[4] / "docs" / "MAPPING.md"

Attrs = Mapping[str, Any]


class Story:
    """A trace as a span processor sees it, and its events in the same order."""

    def __init__(self) -> None:
        self.mapper = SpanMapper(MetaAllowlist(()))
        self.events: list[dict[str, Any]] = []
        story = self

        class Feeder(SpanRecorder):
            def on_start(self, span: Span, parent_context: Any = None) -> None:
                story.note(span, is_end=False)

            def on_end(self, span: ReadableSpan) -> None:
                story.note(span, is_end=True)

        self.tracer = tracer_with(Feeder())

    def note(self, span: Span | ReadableSpan, *, is_end: bool) -> None:
        fields = self.mapper.fields(span, is_end=is_end)
        for event in [*self.mapper.take_intermediate(), *([] if fields is None else [fields])]:
            MonitoringEvent.model_validate(event)
            self.events.append(event)

    def shown(self) -> list[tuple[Any, ...]]:
        names = ("event_type", "task_type", "phase")
        return [tuple(event.get(name) for name in names) for event in self.events]


@pytest.fixture
def story() -> Story:
    return Story()


def test_an_agent_run_is_a_research_task(story: Story) -> None:
    """Workflow ⊃ agent ⊃ model and tool calls: task, phase and jobs, with the trace's id."""
    start = story.tracer.start_as_current_span
    with start("invoke_workflow trip", attributes={"gen_ai.operation.name": "invoke_workflow"}):
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
        with start("invoke_agent planner", attributes=agent):
            chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1"}
            with start("chat m-1", kind=SpanKind.CLIENT, attributes=chat), start("POST"):
                pass
            tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
            with (
                pytest.raises(TimeoutError),
                start("execute_tool search", attributes=tool),
            ):
                raise TimeoutError("the source did not answer")
    assert story.shown() == [
        ("task_started", "invoke_workflow trip", None),
        ("phase_started", "planner", "planner"),
        ("task_started", "chat m-1", "planner"),
        ("task_completed", "chat m-1", "planner"),
        ("task_started", "search", "planner"),
        ("task_failed", "search", "planner"),
        ("phase_completed", "planner", "planner"),
        ("task_completed", "invoke_workflow trip", None),
    ]
    root = story.events[0]
    assert {root["trace_id"]} == {event["parent_task_id"] for event in story.events}
    assert root["task_id"] == root["trace_id"]
    assert root["meta"] == {"title": "invoke_workflow trip"}
    assert story.events[5]["error"] == "TimeoutError: the source did not answer"


@pytest.mark.parametrize(
    ("name", "kind", "attributes", "expected"),
    [
        ("apply_async/t.add", SpanKind.PRODUCER, {}, ("task_enqueued", "t.add")),
        ("run/t.add", SpanKind.CONSUMER, {}, ("task_started", "t.add")),
        ("send/add", SpanKind.PRODUCER, {}, ("task_enqueued", "add")),
        ("execute/add", SpanKind.CONSUMER, {}, ("task_started", "add")),
        (
            "x",
            SpanKind.PRODUCER,
            {"dramatiq.action": "send", "dramatiq.actor_name": "count"},
            ("task_enqueued", "count"),
        ),
        (
            "x",
            SpanKind.CONSUMER,
            {"rq.job.function": "f", "messaging.operation.type": "process"},
            ("task_started", "f"),
        ),
        ("llm", SpanKind.INTERNAL, {"openinference.span.kind": "LLM"}, ("task_started", "llm")),
        (
            "crew",
            SpanKind.INTERNAL,
            {"openinference.span.kind": "AGENT", "agent.name": "writer"},
            ("phase_started", "writer"),
        ),
        (
            "x.tool",
            SpanKind.INTERNAL,
            {"traceloop.span.kind": "tool", "traceloop.entity.name": "fetch"},
            ("task_started", "fetch"),
        ),
        (
            "openai.chat",
            SpanKind.CLIENT,
            {"llm.request.type": "chat", "gen_ai.request.model": "m-1"},
            ("task_started", "chat m-1"),
        ),
        (
            "send 10",
            SpanKind.CLIENT,
            {"messaging.operation.type": "send", "messaging.destination.name": "orders"},
            None,
        ),
        (
            "orders publish",
            SpanKind.PRODUCER,
            {"messaging.operation.type": "send", "messaging.destination.name": "orders"},
            ("task_enqueued", "orders publish"),
        ),
        ("fetch send", SpanKind.PRODUCER, {}, ("task_enqueued", "fetch")),
        ("fetch process", SpanKind.CONSUMER, {}, ("task_started", "fetch")),
        ("poll", SpanKind.CONSUMER, {"messaging.operation.type": "receive"}, None),
        ("work", SpanKind.CONSUMER, {}, ("task_started", "work")),
        ("GET /", SpanKind.SERVER, {}, None),
        ("inner", SpanKind.INTERNAL, {}, None),
    ],
)
def test_each_family(
    story: Story, name: str, kind: SpanKind, attributes: Attrs, expected: tuple[str, str] | None
) -> None:
    """Inside a root span, the start of each family's span is an event of the expected type."""
    with story.tracer.start_as_current_span("root"):
        story.events.clear()
        story.tracer.start_span(name, kind=kind, attributes=dict(attributes)).end()
    started = [(event["event_type"], event["task_type"]) for event in story.events[:-1]]
    assert started[:1] == ([] if expected is None else [expected])


def test_both_sides_of_a_queue_name_the_job_alike(story: Story) -> None:
    """The job of a consumer is the one that its producer enqueued; a retry is no completion."""
    tracer = story.tracer
    with tracer.start_as_current_span("root"):
        sent = tracer.start_span("apply_async/t.add", kind=SpanKind.PRODUCER)
        sent.end()
        context = trace.set_span_in_context(sent)
        run = tracer.start_span("run/t.add", context, kind=SpanKind.CONSUMER)
        run.set_attribute("celery.state", "RETRY")
        run.end()
    kinds = [event["event_type"] for event in story.events]
    assert kinds[1:4] == ["task_enqueued", "task_started", "task_retry"]
    assert len({event["task_id"] for event in story.events[1:4]}) == 1


def ended(
    spans: Sequence[tuple[str, SpanKind, dict[str, Any], int | None]],
    receiver: OtlpReceiver | None = None,
) -> list[dict[str, Any]]:
    """Events of spans (name, kind, attributes, parent) that came by OTLP, ended, parents first."""
    request = ExportTraceServiceRequest()
    found = request.resource_spans.add().scope_spans.add().spans
    for number, (name, kind, attributes, parent) in enumerate(spans):
        span = found.add(name=name, kind=kind.value + 1, trace_id=b"t" * 16)
        span.span_id = (number + 1).to_bytes(8, "big")
        span.parent_span_id = b"" if parent is None else (parent + 1).to_bytes(8, "big")
        span.start_time_unix_nano = 1_000_000 + number
        span.end_time_unix_nano = 2_000_000 + number
        for key, value in attributes.items():
            pair = span.attributes.add(key=key)
            if isinstance(value, int):
                pair.value.int_value = value
            else:
                pair.value.string_value = value
    rejected = Rejections()
    read = read_spans(request, None, rejected)
    events = (receiver or OtlpReceiver()).receive(read, rejected).events
    return [event.model_dump(mode="json", exclude_none=True) for event in events]


def test_a_celery_retry_that_came_by_otlp_is_one_job() -> None:
    """Two attempts are one job with a retry, because both have the id of the same message."""
    message = {"messaging.message.id": "m1"}
    other = {"messaging.message.id": "m2"}
    retrying = {**message, "celery.state": "RETRY", "celery.retry.reason": "the bank is away"}
    events = ended(
        [
            ("apply_async/pay", SpanKind.PRODUCER, message, None),
            ("run/pay", SpanKind.CONSUMER, retrying, 0),
            ("apply_async/pay", SpanKind.PRODUCER, message, 1),
            ("apply_async/pay", SpanKind.PRODUCER, other, 1),
            ("run/pay", SpanKind.CONSUMER, {**message, "celery.retries": 1}, 2),
        ]
    )
    first = events[0]["task_id"]
    attempts = [(e["event_type"], e.get("retry_count")) for e in events if e["task_id"] == first]
    assert attempts == [
        ("task_enqueued", None),
        ("task_started", None),
        ("task_started", 1),
        ("task_retry", None),
        ("task_completed", 1),
    ]
    assert [e["event_type"] for e in events if e["task_id"] != first] == ["task_enqueued"]
    assert next(e for e in events if e["event_type"] == "task_retry")["error"] == "the bank is away"


def test_agents_inside_a_request_are_phases(story: Story) -> None:
    """A request and a wrapper are spans, sent before what is inside; each agent is a phase."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    start = story.tracer.start_as_current_span
    with start("POST /chat", kind=SpanKind.SERVER):
        with start("middleware"), start("invoke_agent planner", attributes=agent):
            story.tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"}).end()
        with start("invoke_agent planner", attributes=agent):
            pass
    assert story.shown() == [
        ("span_started", None, None),
        ("span_started", None, None),
        ("phase_started", "planner", "planner"),
        ("task_started", "chat", "planner"),
        ("task_completed", "chat", "planner"),
        ("phase_completed", "planner", "planner"),
        ("span_ended", None, None),
        ("phase_started", "planner", "planner"),
        ("phase_completed", "planner", "planner"),
        ("span_ended", None, None),
    ]
    request, wrapper, agent = story.events[:3]
    assert [event.get("span_kind") for event in (request, wrapper, agent)] == ["SERVER", None, None]
    assert [event["name"] for event in (request, wrapper, agent)] == [
        "POST /chat",
        "middleware",
        "invoke_agent planner",
    ]
    assert (wrapper["parent_span_id"], agent["parent_span_id"]) == (
        request["span_id"],
        wrapper["span_id"],
    )
    assert {event["parent_task_id"] for event in story.events} == {request["trace_id"]}


def test_an_agent_that_arrives_twice_is_the_same_phase() -> None:
    """A request sent again, or a heartbeat of an open span, gives the same events as before."""
    agent = {"gen_ai.operation.name": "invoke_agent"}
    spans = [("POST /chat", SpanKind.SERVER, {}, None), ("run", SpanKind.INTERNAL, agent, 0)]
    receiver = OtlpReceiver()
    first, second = ended(spans, receiver), ended(spans, receiver)
    assert sorted(event["event_type"] for event in first) == [
        "phase_completed",
        "phase_started",
        "span_ended",
        "span_started",
    ]
    assert second == first


def test_an_agent_of_another_processs_request_is_a_phase(story: Story) -> None:
    """In a request that is not the root no agent is the task: another process may have one."""
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    caller = trace.SpanContext(7, 9, True, sampled)
    context = trace.set_span_in_context(trace.NonRecordingSpan(caller))
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    server = story.tracer.start_span("POST /chat", context, kind=SpanKind.SERVER)
    inside = trace.set_span_in_context(server)
    story.tracer.start_span("invoke_agent planner", inside, attributes=agent).end()
    request, *events = story.events
    assert (request["span_kind"], request["remote_parent"]) == ("SERVER", True)
    assert (request["trace_id"], request["parent_span_id"]) == (f"{7:032x}", f"{9:016x}")
    assert [event["event_type"] for event in events] == ["phase_started", "phase_completed"]
    assert "remote_parent" not in events[0]


def test_a_model_call_inside_our_task_belongs_to_it(story: Story) -> None:
    """A model call inside our phase has our research task, project and phase."""
    ours = {
        semconv.SPAN_KIND: semconv.KIND_PHASE,
        semconv.PARENT_TASK_ID: "r1",
        semconv.PROJECT_ID: "p1",
        semconv.PHASE: "search",
    }
    with story.tracer.start_as_current_span("phase search", attributes=ours):
        with story.tracer.start_as_current_span("between"):
            pass
        chat = {"gen_ai.operation.name": "chat"}
        story.tracer.start_span("chat", attributes=chat).end()
    events = [
        event
        for event in story.events
        if event["task_type" if "task_type" in event else "phase"] == "chat"
    ]
    assert [(e["parent_task_id"], e["project_id"], e["phase"]) for e in events] == [
        ("r1", "p1", "search")
    ] * 2


def test_late_attributes_are_read_at_the_end(story: Story) -> None:
    """A span whose attributes come after its start gives the event of its end alone."""
    with story.tracer.start_as_current_span("root"):
        story.events.clear()
        span = story.tracer.start_span("late")
        span.set_attribute("gen_ai.operation.name", "execute_tool")
        span.set_status(StatusCode.ERROR, "no answer")
        span.end()
        assert [(e["event_type"], e["error"]) for e in story.events] == [
            ("task_failed", "no answer")
        ]


def test_the_page_lists_every_rule() -> None:
    """``docs/MAPPING.md`` has a row for each rule, in their order, with its trigger."""
    table = DOCS.read_text(encoding="utf-8").partition("| Rule")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines()[1:] if line.startswith("| ")]
    assert rows == [f"| {rule.name} | {rule.trigger} |" for rule in RULES]


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.text(max_size=5), max_size=3),
)
NAMES = st.sampled_from(
    [
        "gen_ai.operation.name",
        "openinference.span.kind",
        "traceloop.span.kind",
        "messaging.operation.type",
        "messaging.destination.name",
        "dramatiq.action",
        "celery.state",
        "celery.retries",
        "messaging.message.id",
        "llm.request.type",
        "rq.job.function",
        "nexus.project.id",
        "nexus.span.kind",
        "nexus.outcome",
    ]
)


@given(
    name=st.text(max_size=30),
    kind=st.sampled_from(list(SpanKind)),
    attributes=st.dictionaries(NAMES, VALUES, max_size=5),
)
def test_any_span_is_a_valid_event_or_none(
    name: str, kind: SpanKind, attributes: dict[str, Any]
) -> None:
    """No name, kind or attribute value makes the mapping raise or an event invalid."""
    story = Story()
    with story.tracer.start_as_current_span(name, kind=kind, attributes=attributes):
        story.tracer.start_span(name, kind=kind, attributes=attributes).end()


def test_an_enqueue_at_the_root_is_no_finished_task(story: Story) -> None:
    """A trace whose root is ``apply_async`` is open until its job has ended."""
    sent = story.tracer.start_span("apply_async/t.add", kind=SpanKind.PRODUCER)
    sent.end()
    run = story.tracer.start_span(
        "run/t.add", trace.set_span_in_context(sent), kind=SpanKind.CONSUMER
    )
    run.set_attributes({"celery.state": "RETRY", "celery.retry.reason": "TimeoutError()"})
    run.end()
    kinds = [event["event_type"] for event in story.events]
    assert kinds == ["task_enqueued", "task_started", "task_retry"]
    assert story.events[-1]["error"] == "TimeoutError()"
    assert len({event["parent_task_id"] for event in story.events}) == 1


def test_a_span_of_another_trace_is_no_parent(story: Story) -> None:
    """A parent id of another trace gives no project, and a span's own project comes first."""
    root = story.tracer.start_span("root", attributes={"nexus.project.id": "beta"})
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    forged = trace.SpanContext(1, root.get_span_context().span_id, True, sampled)
    context = trace.set_span_in_context(trace.NonRecordingSpan(forged))
    story.events.clear()
    tool = {"gen_ai.operation.name": "execute_tool"}
    story.tracer.start_span("t", context, attributes=tool)
    inside = trace.set_span_in_context(root)
    story.tracer.start_span("t", inside, attributes=tool | {"nexus.project.id": "alpha"})
    assert [event.get("project_id") for event in story.events] == [None, "alpha"]


def test_an_ignored_scope_is_left_out(story: Story) -> None:
    """Spans of an ignored scope are no events; spans inside them still belong to the task."""
    with story.tracer.start_as_current_span("root"):
        ignore_scope("test")
        ignore_scope(tracer_scope(story))
        try:
            with story.tracer.start_as_current_span("run/x", kind=SpanKind.CONSUMER):
                pass
        finally:
            unignore_scope("test")
            unignore_scope(tracer_scope(story))
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "maps"}
        story.tracer.start_span("t", attributes=tool).end()
    kinds = [event["task_type"] for event in story.events if "task_type" in event]
    assert kinds == ["maps", "maps"]


def tracer_scope(story: Story) -> str:
    span = story.tracer.start_span("probe", kind=SpanKind.CLIENT)
    assert isinstance(span, Span)
    assert span.instrumentation_scope is not None
    return span.instrumentation_scope.name


CHAT = {"gen_ai.operation.name": "chat"}
MS = 1_000_000


def test_a_completed_span_has_duration_and_queue_but_no_error(story: Story) -> None:
    """The end of a job says how long it took; an exception that was handled is not its error."""
    attributes = {"messaging.destination.name": "q"}
    with story.tracer.start_as_current_span("root"):
        span = story.tracer.start_span(
            "work", kind=SpanKind.CONSUMER, attributes=attributes, start_time=START_NS
        )
        span.record_exception(ValueError("handled"))
        span.end(START_NS + 2500 * MS)
    start, end = story.events[1:3]
    assert (start["queue"], end["queue"]) == ("q", "q")
    assert (end["event_type"], end["status"]) == ("task_completed", "completed")
    assert end["duration_ms"] == 2500.0
    assert "error" not in end
    assert (start["ts"][-10:], end["ts"][-10:]) == ("20.123456Z", "22.623456Z")
    assert start["event_id"] != end["event_id"]


def test_a_role_is_kept_from_start_to_end(story: Story) -> None:
    """A job whose attributes change while it runs still ends as that job, under its name."""
    with story.tracer.start_as_current_span("root"):
        span = story.tracer.start_span("x", attributes=CHAT)
        span.set_attribute("gen_ai.operation.name", "invoke_agent")
        span.end()
    start, end = story.events[1:3]
    assert (start["event_type"], end["event_type"]) == ("task_started", "task_completed")
    assert start["task_id"] == end["task_id"]


def test_a_start_that_arrives_again_is_the_same_event(story: Story) -> None:
    """The start of a job gives the same event each time that it is mapped."""
    with story.tracer.start_as_current_span("root"):
        span = story.tracer.start_span("execute/x", kind=SpanKind.CONSUMER)
        assert isinstance(span, Span)
        again = story.mapper.fields(span, is_end=False)
    assert again == story.events[1]


def test_an_enqueue_is_published_at_its_end(story: Story) -> None:
    """The broker has taken the job by then; also where the start was not seen."""
    with story.tracer.start_as_current_span("root"):
        span = story.tracer.start_span("send/x", kind=SpanKind.PRODUCER)
        assert len(story.events) == 1
        span.end()
    assert isinstance(span, Span)
    again = SpanMapper(MetaAllowlist(())).fields(span, is_end=True)
    assert again == story.events[1]
    assert (again["event_type"], again["span_kind"]) == ("task_enqueued", "PRODUCER")


def test_an_enqueue_that_failed_is_a_failed_job(story: Story) -> None:
    """A send whose span ended in an error gives the failure of the job that it was for."""
    with story.tracer.start_as_current_span("root"):
        attributes = {"dramatiq.action": "send"}
        span = story.tracer.start_span("x", attributes=attributes)
        span.set_status(StatusCode.ERROR, "away")
        span.end()
    failed = story.events[1]
    assert (failed["event_type"], failed["error"], failed["task_id"]) == (
        "task_failed",
        "away",
        failed["span_id"],
    )
    assert list(failed)[-2:] == ["span_kind", "name"]
    assert failed["span_kind"] == "PRODUCER"


def test_the_name_at_the_end_is_the_right_one(story: Story) -> None:
    """A span that learns its name while it runs has it at its end, as task, job and phase."""
    start = story.tracer.start_as_current_span
    with start("root") as root:
        with start("x", attributes={"gen_ai.operation.name": "invoke_agent"}) as agent:
            with start("y", attributes=CHAT) as chat:
                chat.set_attribute("gen_ai.request.model", "m-1")
                chat.update_name("chat m-1")
            agent.set_attribute("gen_ai.agent.name", "planner")
        root.update_name("plan a trip")
    chat_end, agent_end, root_end = story.events[3:]
    assert (chat_end["task_type"], chat_end["name"]) == ("chat m-1", "chat m-1")
    assert (agent_end["phase"], agent_end["name"]) == ("planner", "x")
    assert (root_end["meta"], root_end["name"]) == ({"title": "plan a trip"}, "plan a trip")


def test_an_agent_that_is_tried_again_is_a_phase_that_ended(story: Story) -> None:
    """Phases have no retries: the end of an agent's span completes its phase."""
    agent = {"gen_ai.operation.name": "invoke_agent", "celery.state": "RETRY"}
    with story.tracer.start_as_current_span("root"):
        story.tracer.start_span("x", attributes=agent).end()
    end = story.events[2]
    assert (end["event_type"], end["status"]) == ("phase_completed", "completed")


def test_a_failed_agent_is_a_failed_phase(story: Story) -> None:
    """The end of a phase that failed has the status ``failed`` and the error."""
    agent = {"gen_ai.operation.name": "invoke_agent"}
    with story.tracer.start_as_current_span("root"):
        span = story.tracer.start_span("x", attributes=agent)
        span.set_status(StatusCode.ERROR, "no answer")
        span.end()
    end = story.events[2]
    assert (end["event_type"], end["status"], end["error"]) == (
        "phase_completed",
        "failed",
        "no answer",
    )


def test_what_is_inside_an_ignored_span_inherits_through_it(story: Story) -> None:
    """A span inside one that is left out belongs to the phase around both."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    start = story.tracer.start_as_current_span
    with start("root"), start("run", attributes=agent):
        ignore_scope("tests")
        hidden = story.tracer.start_span("hidden")
        unignore_scope("tests")
        with trace.use_span(hidden):
            story.tracer.start_span("chat", attributes=CHAT).end()
    chat = next(event for event in story.events if event.get("task_type") == "chat")
    assert chat["phase"] == "planner"
    assert "hidden" not in {event.get("task_type") for event in story.events}


OURS = {
    semconv.SPAN_KIND: semconv.KIND_PHASE,
    semconv.PARENT_TASK_ID: "r1",
    semconv.PROJECT_ID: "p1",
    semconv.PHASE: "search",
}


def test_a_span_from_elsewhere_in_the_trace_of_our_task_belongs_to_it(story: Story) -> None:
    """A span whose parent is in another process has task and project of its trace, no phase."""
    ours = story.tracer.start_span("phase search", attributes=OURS)
    trace_id = ours.get_span_context().trace_id
    elsewhere = trace.SpanContext(trace_id, 9, is_remote=True, trace_flags=trace.TraceFlags(1))
    context = trace.set_span_in_context(trace.NonRecordingSpan(elsewhere))
    story.tracer.start_span("chat", context, attributes=CHAT)
    chat = story.events[-1]
    assert (chat["parent_task_id"], chat["project_id"]) == ("r1", "p1")
    assert "phase" not in chat


def test_a_correlated_task_is_that_of_the_span(story: Story) -> None:
    """What the collector knows of a trace decides about spans whose task was not sent here."""
    elsewhere = trace.SpanContext(7, 9, is_remote=True, trace_flags=trace.TraceFlags(1))
    context = trace.set_span_in_context(trace.NonRecordingSpan(elsewhere))
    story.mapper.correlate({(7, 0): InheritedContext("r1", "p1", None, is_correlated=True)})
    story.tracer.start_span("chat", context, attributes=CHAT)
    assert (story.events[-1]["parent_task_id"], story.events[-1]["project_id"]) == ("r1", "p1")


def test_retries_and_title_of_a_span(story: Story) -> None:
    """A job has the retries that it names, ours first, and a title only if it gives one."""
    with story.tracer.start_as_current_span("root", attributes={"celery.retries": 2}):
        given: dict[str, str | int] = {
            **CHAT,
            semconv.RETRY_COUNT: 3,
            "celery.retries": 1,
            semconv.TASK_TITLE: "A talk",
        }
        story.tracer.start_span("chat", attributes=given).end()
        story.tracer.start_span("chat", attributes={**CHAT, "celery.retries": 1}).end()
    found = [(e.get("retry_count"), e.get("meta")) for e in story.events if "started" in str(e)]
    assert found[0] == (None, {"title": "root"})
    assert (found[1], found[-1]) == ((3, {"title": "A talk"}), (1, None))


@pytest.mark.parametrize(
    ("message", "title"), [("Hello Ann", "Hello Ann"), ("", "Hello {name}"), (7, "Hello {name}")]
)
def test_logfires_text_is_the_title_of_a_root(story: Story, message: str | int, title: str) -> None:
    """The root's name is Logfire's template, so its title is the text with the values."""
    story.tracer.start_span("Hello {name}", attributes={"logfire.msg": message}).end()
    assert [event["meta"] for event in story.events] == [{"title": title}] * 2


def test_a_call_that_was_cancelled_has_failed(story: Story) -> None:
    """A third-party span without status whose last exception is a cancellation is no success."""
    with story.tracer.start_as_current_span("root"):
        call = story.tracer.start_span("chat", attributes=CHAT)
        call.record_exception(asyncio.CancelledError("by the user"))
        call.end()
    (end,) = [event for event in story.events if event["event_type"] == "task_failed"]
    assert end["error"] == "cancelled (CancelledError: by the user)"


def test_an_event_names_the_kind_and_the_remote_parent_of_its_span(story: Story) -> None:
    """Kind, name and a parent in another process are in the event; what is usual is left out."""
    elsewhere = trace.SpanContext(7, 9, is_remote=True, trace_flags=trace.TraceFlags(1))
    context = trace.set_span_in_context(trace.NonRecordingSpan(elsewhere))
    names = ("span_kind", "remote_parent", "name")
    story.tracer.start_span("a", context, kind=SpanKind.CLIENT, attributes=CHAT)
    story.tracer.start_span("", attributes=CHAT)
    assert [story.events[-2].get(name) for name in names] == ["CLIENT", True, "a"]
    assert [name in story.events[-1] for name in names] == [False, False, False]
    with story.tracer.start_as_current_span("root"):
        story.tracer.start_span("b", attributes=CHAT)
    assert [story.events[-2].get(name) for name in names] == [None, None, "b"]
