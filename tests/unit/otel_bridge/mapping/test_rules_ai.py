"""What the tables for agents, models and tools make of the values that their libraries send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from otel_bridge.mapping.classification import WRAPPER
from otel_bridge.mapping.rules_ai import AI_RULES
from otel_bridge.mapping.rules_platforms import PLATFORM_RULES
from otel_bridge.mapping.third_party import RULES, classify

INTERNAL = SpanKind.INTERNAL


def read(name: str, **attributes: Any) -> tuple[Any, ...] | None:
    found = classify(
        ReadableSpan(name), {key.replace("__", "."): attributes[key] for key in attributes}
    )
    return None if found is None else found[:2]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("langsmith.span.kind", "chain", "phase"),
        ("langsmith.span.kind", "llm", "job"),
        ("langfuse.observation.type", "span", "phase"),
        ("langfuse.observation.type", "generation", "job"),
        ("langfuse.observation.type", "event", None),
        ("mlflow.spanType", '"AGENT"', "phase"),
        ("mlflow.spanType", '"CHAT_MODEL"', "job"),
        ("mlflow.spanType", "UNKNOWN", None),
        ("lmnr.span.type", "DEFAULT", "phase"),
        ("lmnr.span.type", "TOOL", "job"),
        ("mastra.span.type", "WORKFLOW_RUN", "phase"),
        ("mastra.span.type", "tool_call", "job"),
        ("mastra.span.type", "model_chunk", None),
        ("genkit:metadata:subtype", "tool.v2", "job"),
        ("genkit:type", "flow", "phase"),
        ("genkit:type", "flowStep", "phase"),
        ("genkit:type", "action", None),
        ("braintrust.span_attributes", '{"type":"task"}', "phase"),
        ("braintrust.span_attributes", '{"type":"llm"}', "job"),
        ("braintrust.span_attributes", "{", None),
        ("braintrust.span_attributes", "[1]", None),
        ("langfuse.observation.type", 7, None),
    ],
)
def test_the_kind_is_in_one_attribute(key: str, value: object, expected: str | None) -> None:
    """A value in a table is a phase or a job with the span's name; another is no match."""
    found = classify(ReadableSpan("step"), {key: value})
    assert (None if found is None else found[:2]) == (expected and (expected, "step"))


def test_names() -> None:
    """The name that people gave counts before the span's own."""
    assert read("x", **{"genkit:type": "flow", "genkit:name": "menu"}) == ("phase", "menu")
    assert read("function_tool", lk__function_tool__name="look_up") == ("job", "look_up")
    braintrust = '{"type":"tool","name":"search"}'
    assert read("x", braintrust__span_attributes=braintrust) == ("job", "search")
    component = {"haystack__component__name": "retriever"}
    assert read("haystack.component.run", **component) == ("job", "retriever")
    pipeline = {"haystack__pipeline__max_runs_per_component": 1}
    assert read("haystack.pipeline.run", **pipeline) == ("phase", "haystack.pipeline.run")
    assert read("haystack.agent.step", haystack__agent__max_steps=1) is None


@pytest.mark.parametrize(
    "operation", ["agent_step", "execute_event_loop_cycle", "chain", "create_agent"]
)
def test_one_step_of_an_agent_is_no_job(operation: str) -> None:
    """Words outside the conventions stand for a wrapper around model and tool calls."""
    model = {"gen_ai__request__model": "m"}
    assert read("step 1", gen_ai__operation__name=operation, **model) is None


@pytest.mark.parametrize(
    ("name", "kind", "attributes", "expected"),
    [
        ("chat m", "model_inference", ("chat", "m"), ("job", "chat m")),
        ("llm", "model_generation", ("model_generation", "m"), None),
        ("chat m", "model_generation", ("chat", "m"), ("job", "chat m")),
        ("agent_step x", "model_step", ("agent_step", "m"), None),
        ("invoke_workflow w", "workflow_run", ("invoke_workflow", None), ("phase", "w")),
        ("workflow_step s", "workflow_step", ("workflow_step", None), ("phase", "s")),
    ],
)
def test_mastra(
    name: str, kind: str, attributes: tuple[str, str | None], expected: tuple[str, str] | None
) -> None:
    """A model call counts once, whichever release says it; steps and chunks are no jobs."""
    operation, model = attributes
    more = {} if model is None else {"gen_ai__request__model": model}
    found = read(name, mastra__span__type=kind, gen_ai__operation__name=operation, **more)
    assert found == expected


def test_claude_code() -> None:
    """Model and tool calls have the names of model and tool; what is inside a tool call is none."""
    kind = "span__type"
    assert read("claude_code.interaction", **{kind: "interaction"}) == (
        "phase",
        "claude_code.interaction",
    )
    assert read("claude_code.llm_request", **{kind: "llm_request", "model": "m"}) == ("job", "m")
    assert read("claude_code.tool", **{kind: "tool", "tool_name": "Bash"}) == ("job", "Bash")
    assert read("claude_code.tool.execution", **{kind: "tool.execution"}) is None
    assert read("other", **{kind: "tool"}) is None


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"gen_ai.operation.name": "execute_task", "gen_ai.task.name": "Prompt"}, "Prompt"),
        ({"gen_ai.operation.name": "memory.search"}, "the span"),
        ({"gen_ai.operation.name": "embeddings"}, "embeddings"),
    ],
)
def test_an_operation_outside_the_conventions_is_no_name(
    attributes: dict[str, Any], name: str
) -> None:
    """Its task's name or the span's says what was done."""
    assert read("the span", **attributes) == ("job", name)


def test_a_model_that_is_set_later_is_in_the_name() -> None:
    """By the convention the name of a call is its operation and the model."""
    assert read("chat gpt-5", gen_ai__operation__name="chat") == ("job", "chat gpt-5")
    assert read("chatter", gen_ai__operation__name="chat") == ("job", "chat")


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"openinference.span.kind": "LLM", "llm.model_name": "unknown"}, "Mock.chat"),
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "unknown"}, "chat"),
        ({"llm.request.type": "chat", "gen_ai.request.model": "unknown"}, "chat"),
    ],
)
def test_a_model_called_unknown_is_none(attributes: dict[str, Any], name: str) -> None:
    """LlamaIndex 0.14 and OpenLLMetry 0.62 (run) write the word; the span's name says more."""
    assert read("Mock.chat", **attributes) == ("job", name)


def test_titles() -> None:
    """Of an agent or workflow that is the root, the name that it was given is the title."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    found = classify(ReadableSpan("invoke_agent gpt-4o"), agent)
    assert found is not None
    assert found.title == "planner"
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    found = classify(ReadableSpan("litellm_request"), call)
    assert found is not None
    assert found.title == "chat m"
    unnamed = classify(ReadableSpan("x"), {"gen_ai.operation.name": "invoke_agent"})
    assert unnamed is not None
    assert unnamed.title is None


KEYS = sorted({key for rule in (*AI_RULES, *PLATFORM_RULES) for key in rule.keys})
VALUES = st.one_of(
    st.text(max_size=20),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.lists(st.text(max_size=3), max_size=3),
    st.sampled_from(["flow", "task", "llm", '"LLM"', "invoke_agent", '{"type":{}}', "[" * 3000]),
)


@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
    st.sampled_from(list(SpanKind)),
    st.one_of(
        st.text(max_size=20), st.sampled_from(["dag_run.x", "run/x", "RunActivity:x", "a send"])
    ),
)
def test_the_chosen_rules_find_what_all_rules_find(
    attributes: dict[str, Any], kind: SpanKind, name: str
) -> None:
    """Rules are chosen by the attributes that are there; trying all in order finds the same."""
    span = ReadableSpan(name, kind=kind)
    every = (rule.classify(span, attributes) for rule in RULES)
    first = next((one for one in every if one is not None), None)
    assert classify(span, attributes) == (None if first is WRAPPER else first)
