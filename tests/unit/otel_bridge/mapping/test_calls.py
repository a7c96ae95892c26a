"""
One call that several instrumentations describe is one job; calls inside tools are their own.

The attributes are those that these libraries set, each run with a fake model: openai-v2 2.3b0,
OpenLLMetry's OpenAI 0.62.4, OpenInference's OpenAI 0.1.66 and LangChain 0.1.80 (its kind at the end
only), pydantic-ai 2.68, OpenInference's OpenAI Agents 2.6.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from otel_bridge.events.redaction import MetaAllowlist
from otel_bridge.mapping import calls
from otel_bridge.mapping.calls import Call, CallsInside, call_of, is_same
from otel_bridge.mapping.classification import Classification
from otel_bridge.mapping.mapper import SpanMapper
from tests.support.spans import SpanRecorder

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
LLM = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-2024-08-06"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}
OTHER_TOOL = {"openinference.span.kind": "TOOL", "tool.name": "fetch"}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
OTHER_AGENT = {"openinference.span.kind": "AGENT", "agent.name": "planner"}
V2 = "opentelemetry.instrumentation.openai_v2"
INFERENCE = "openinference.instrumentation.openai"
LANGCHAIN = "openinference.instrumentation.langchain"


class Program:
    """A process with several instrumentations; the events that its spans become."""

    def __init__(self) -> None:
        self.mapper = SpanMapper(MetaAllowlist(()))
        self.events: list[dict[str, Any]] = []
        program = self

        class Feeder(SpanRecorder):
            def on_start(self, span: Span, parent_context: Any = None) -> None:
                program.note(span, is_end=False)

            def on_end(self, span: ReadableSpan) -> None:
                program.note(span, is_end=True)

        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(Feeder())

    def note(self, span: Span | ReadableSpan, *, is_end: bool) -> None:
        fields = self.mapper.fields(span, is_end=is_end)
        self.events += [*self.mapper.take_intermediate(), *([] if fields is None else [fields])]

    @contextmanager
    def span(
        self,
        scope: str,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        late: Mapping[str, Any] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[trace.Span]:
        tracer = self.provider.get_tracer(scope)
        given = dict(attributes or {})
        with tracer.start_as_current_span(name, kind=kind, attributes=given) as span:
            yield span
            span.set_attributes(dict(late or {}))

    def roles(self) -> dict[str, str]:
        """What each span with an event is in the end: job, phase, task or span."""
        found = {}
        for event in self.events:
            kind = event["event_type"].partition("_")[0]
            if kind == "task" and event.get("task_id") != event["parent_task_id"]:
                kind = "job"
            found[event["name"]] = kind
        return found


@pytest.fixture
def program() -> Program:
    return Program()


def call(operation: str, name: str | None, scope: str = "a", **times: int | None) -> Call:
    start, end = times.get("start", 5), times.get("end")
    assert start is not None
    return Call(operation, name, scope, start, end)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (call("model", "gpt-4o"), call("model", "gpt-4o", "b"), True),
        (call("model", "gpt-4o"), call("model", "openai/GPT-4o-2024-08-06", "b"), True),
        (call("model", "claude-opus-4-20250514"), call("model", "claude-opus-4-latest", "b"), True),
        (call("model", "gpt-4o"), call("model", "gpt-4o-mini", "b"), False),
        (call("model", "gpt-4o"), call("model", "gpt-4o"), False),
        (call("model", None), call("model", "gpt-4o", "b"), True),
        (call("model", "gpt-4o"), call("model", None, "b"), True),
        (call("model", "x"), call("embedding", "x", "b"), False),
        (call("tool", "fetch"), call("tool", "fetch", "b"), True),
        (call("tool", "fetch"), call("tool", "fetch"), False),
        (call("tool", "fetch"), call("tool", "read", "b"), False),
        (call("phase", "planner"), call("phase", "planner", "b"), True),
        (call("phase", "planner"), call("phase", "planner"), False),
        (call("message", "add"), call("message", "add", "b"), True),
        (call("enqueue", None), call("enqueue", None, "b"), True),
        (call("enqueue", None), call("enqueue", None), False),
        (call("model", "x", end=9), call("model", "x", "b", start=8), True),
        (call("model", "x", end=9), call("model", "x", "b", start=9), False),
        (call("model", "x", end=5), call("model", "x", "b", start=5), True),
        (call("model", "x"), call("model", "x", "b", start=4), False),
    ],
)
def test_which_calls_are_the_same(outer: Call, inner: Call, expected: bool) -> None:
    """The same operation and name, in another scope, begun while the outer one runs."""
    assert is_same(outer, inner) is expected


@pytest.mark.parametrize(
    ("attributes", "role", "expected"),
    [
        (CHAT, "job", ("model", "gpt-4o")),
        ({"gen_ai.request.model": "gpt-4o"}, "job", ("model", "gpt-4o")),
        ({"llm.request.type": "completion"}, "job", ("model", None)),
        (
            {"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "m"},
            "job",
            ("model", "m"),
        ),
        ({"ai.operationId": "ai.embed.doEmbed"}, "job", ("embedding", None)),
        ({"openinference.span.kind": "LLM", "llm.model_name": "unknown"}, "job", ("model", None)),
        ({"mlflow.spanType": '"CHAT_MODEL"'}, "job", ("model", None)),
        ({"langsmith.span.kind": "tool", "gen_ai.operation.name": "chat"}, "job", ("tool", "type")),
        (
            {"mastra.span.type": "model_inference", "gen_ai.operation.name": "x"},
            "job",
            ("model", None),
        ),
        (TOOL, "job", ("tool", "type")),
        ({"gen_ai.operation.name": "retrieval"}, "job", None),
        ({"openinference.span.kind": "RERANKER"}, "job", None),
        ({"traceloop.span.kind": "task"}, "job", None),
        ({"messaging.system": "kafka"}, "job", None),
        ({}, "phase", ("phase", "type")),
        ({}, "enqueue", ("enqueue", None)),
    ],
)
def test_what_a_span_does(attributes: dict[str, Any], role: Any, expected: Any) -> None:
    """The attribute of the first rule that matches decides; a job of another kind is no call."""
    span = ReadableSpan("x", instrumentation_scope=InstrumentationScope("s"))
    found = call_of(span, attributes, Classification(role, "type"))
    assert (None if found is None else (found.operation, found.name)) == expected


def test_a_job_from_a_queue_is_a_call_by_its_type() -> None:
    """Two instrumentations of a queue that name the same job describe the same message."""
    span = ReadableSpan("run/add", kind=SpanKind.CONSUMER)
    found = call_of(span, {}, Classification("job", "add"))
    assert found is not None
    assert (found.operation, found.name, found.scope) == ("message", "add", "")


def test_calls_inside_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The span whose inner call was noted first is forgotten first."""
    monkeypatch.setattr(calls, "_MAX_SPANS", 2)
    inside = CallsInside()
    for number in range(3):
        inside.note((1, number), call("model", str(number)))
    assert [found and found.name for found in map(inside.get, [(1, 0), (1, 1), (1, 2)])] == [
        None,
        "1",
        "2",
    ]


@pytest.mark.parametrize("scopes", [(V2, INFERENCE), (INFERENCE, V2)])
def test_a_model_call_with_two_instrumentors_is_one_job(
    program: Program, scopes: tuple[str, str]
) -> None:
    """The outer one is the job from its start; the inner one, with a request between, is none."""
    with (
        program.span("app", "root"),
        program.span(scopes[0], "outer", CHAT, kind=SpanKind.CLIENT),
        program.span("http", "POST", {"http.request.method": "POST"}, kind=SpanKind.CLIENT),
        program.span(scopes[1], "inner", LLM),
    ):
        pass
    assert program.roles() == {"root": "task", "outer": "job", "POST": "span"}


def test_an_outer_call_known_late_leaves_the_job_to_the_inner_one(program: Program) -> None:
    """LangChain's span says at its end that it was the model call; the client's was, by then."""
    with (
        program.span("app", "root"),
        program.span(LANGCHAIN, "ChatOpenAI", late=LLM),
        program.span("app", "between"),
        program.span(V2, "chat gpt-4o", CHAT, kind=SpanKind.CLIENT),
    ):
        pass
    assert program.roles() == {
        "root": "task",
        "ChatOpenAI": "span",
        "between": "span",
        "chat gpt-4o": "job",
    }


def test_the_model_that_a_tool_calls_is_a_job_of_its_own(program: Program) -> None:
    """A tool inside a model's run, and the same model inside the tool: none is the same call."""
    with (
        program.span("pydantic-ai", "root", AGENT),
        program.span("pydantic-ai", "chat", CHAT),
        program.span("pydantic-ai", "tool", TOOL),
        program.span("mcp", "tool again", OTHER_TOOL),
        program.span(V2, "chat in the tool", CHAT),
    ):
        pass
    assert program.roles() == {
        "root": "task",
        "chat": "job",
        "tool": "job",
        "tool again": "span",
        "chat in the tool": "job",
    }


def test_a_call_after_the_end_of_its_parent_counts(program: Program) -> None:
    """A client that never detaches its context makes later calls children of the first."""
    with program.span("app", "root"):
        first = program.provider.get_tracer(V2).start_span("first", attributes=CHAT)
        first.end()
        with trace.use_span(first), program.span(INFERENCE, "second", LLM):
            pass
    assert program.roles() == {"root": "task", "first": "job", "second": "job"}


def test_an_agent_with_two_instrumentors_is_one_phase(program: Program) -> None:
    """The inner one is an ordinary span; an agent that calls itself is a phase again."""
    with (
        program.span("app", "root"),
        program.span("pydantic-ai", "planner", AGENT),
        program.span("openinference.instrumentation.x", "planner again", OTHER_AGENT),
        program.span("pydantic-ai", "planner in itself", AGENT),
    ):
        pass
    assert program.roles() == {
        "root": "task",
        "planner": "phase",
        "planner again": "span",
        "planner in itself": "phase",
    }


def test_the_phase_around_all_of_a_task_is_none(program: Program) -> None:
    """OpenAI Agents has ``Agent workflow`` twice, as the root and directly inside it."""
    kind = {"openinference.span.kind": "CHAIN"}
    with (
        program.span("openinference.instrumentation.openai_agents", "Agent workflow", kind),
        program.span("openinference.instrumentation.openai_agents", "Agent workflow", kind),
        program.span("openinference.instrumentation.openai_agents", "planner", OTHER_AGENT),
    ):
        pass
    kinds = [event["event_type"] for event in program.events]
    assert kinds[:3] == ["task_started", "span_started", "phase_started"]


def test_a_job_that_two_instrumentations_of_its_queue_describe_is_one(program: Program) -> None:
    """By the names of both; a message in a batch, by the same library, is a job of its own."""
    queue = {"messaging.destination.name": "q"}
    with (
        program.span("opentelemetry.instrumentation.celery", "run/add", kind=SpanKind.CONSUMER),
        program.span("sentry", "add", queue, kind=SpanKind.CONSUMER),
    ):
        pass
    with (
        program.span("kafka", "batch", queue, kind=SpanKind.CONSUMER),
        program.span("kafka", "message", queue, kind=SpanKind.CONSUMER),
    ):
        pass
    assert program.roles() == {"run/add": "job", "batch": "job", "message": "job"}


def test_an_enqueue_inside_an_enqueue_is_the_same(program: Program) -> None:
    """Celery's span holds that of the broker's client: one message, so no second job waits."""
    with (
        program.span("app", "root"),
        program.span(
            "opentelemetry.instrumentation.celery", "apply_async/add", kind=SpanKind.PRODUCER
        ),
        program.span("pika", "publish", kind=SpanKind.PRODUCER),
    ):
        pass
    kinds = [event["event_type"] for event in program.events]
    assert kinds == ["task_started", "task_enqueued", "task_completed"]
