"""What each mapping rule reads in a span: role, type of the job or name of the phase, queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from otel_bridge.mapping import third_party
from otel_bridge.mapping.classification import text_of

PRODUCER, CONSUMER = SpanKind.PRODUCER, SpanKind.CONSUMER
INTERNAL, CLIENT = SpanKind.INTERNAL, SpanKind.CLIENT
OPERATION = "messaging.operation.type"
OLD_OPERATION = "messaging.operation"
QUEUE = {"messaging.destination.name": "q"}
OLD_QUEUE = {"messaging.destination": "old"}


def span(name: str, kind: SpanKind = INTERNAL, scope: str | None = None) -> ReadableSpan:
    made = None if scope is None else InstrumentationScope(scope)
    return ReadableSpan(name, kind=kind, instrumentation_scope=made)


def classified(name: str, kind: SpanKind, attributes: dict[str, Any]) -> tuple[Any, ...] | None:
    found = third_party.classify(span(name, kind), attributes)
    return None if found is None else tuple(found[:3])


@pytest.mark.parametrize(
    ("name", "kind", "attributes", "expected"),
    [
        ("apply_async/a/b", PRODUCER, {}, ("enqueue", "a/b", None)),
        ("apply_async/a", PRODUCER, OLD_QUEUE, ("enqueue", "a", "old")),
        ("run/a", CONSUMER, {"celery.task_name": "t.add"}, ("job", "t.add", None)),
        ("run/a", PRODUCER, {}, ("enqueue", "run/a", None)),
        ("apply_async/", PRODUCER, {}, ("enqueue", "apply_async/", None)),
        ("run/a", INTERNAL, {}, None),
    ],
)
def test_celery(name: str, kind: SpanKind, attributes: dict[str, Any], expected: Any) -> None:
    """Celery's spans have the task after the slash, or in an attribute, and the queue."""
    assert classified(name, kind, attributes) == expected


@pytest.mark.parametrize(
    ("name", "kind", "attributes", "expected"),
    [
        ("send/a", PRODUCER, {**QUEUE}, ("enqueue", "a", None)),
        ("execute/a", CONSUMER, {"taskiq.task_name": "t"}, ("job", "t", None)),
        ("execute/a", PRODUCER, {}, ("enqueue", "execute/a", None)),
    ],
)
def test_taskiq(name: str, kind: SpanKind, attributes: dict[str, Any], expected: Any) -> None:
    """Taskiq's spans have the task after the slash, or in an attribute, and no queue."""
    assert classified(name, kind, attributes) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"dramatiq.action": "send", "dramatiq.actor_name": "a", "dramatiq.queue_name": "q"},
            ("enqueue", "a", "q"),
        ),
        ({"dramatiq.action": "process"}, ("job", "job", None)),
        ({"dramatiq.action": "ack", "dramatiq.actor_name": "a"}, None),
        ({"dramatiq.actor_name": "a"}, None),
    ],
)
def test_dramatiq(attributes: dict[str, Any], expected: Any) -> None:
    """Dramatiq's spans name action, actor and queue in attributes; no actor is ``job``."""
    assert classified("x", INTERNAL, attributes) == expected


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        (CONSUMER, {"rq.job.function": "f", OPERATION: "process", **QUEUE}, ("job", "f", "q")),
        (PRODUCER, {"rq.job.function": "f", OLD_OPERATION: "publish"}, ("enqueue", "f", None)),
        (CONSUMER, {"rq.job.function": "", OPERATION: "process"}, ("job", "x", None)),
        (INTERNAL, {"rq.job.function": "f"}, None),
    ],
)
def test_rq(kind: SpanKind, attributes: dict[str, Any], expected: Any) -> None:
    """RQ's spans name the function in an attribute, an empty one the span does."""
    assert classified("x", kind, attributes) == expected


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("pay send", PRODUCER, ("enqueue", "pay", "q")),
        ("pay process", CONSUMER, ("job", "pay", "q")),
        ("pay send", CONSUMER, ("job", "pay send", "q")),
        ("pay the bill send", PRODUCER, ("enqueue", "pay the bill send", "q")),
        (" send", PRODUCER, ("enqueue", " send", "q")),
        ("send", PRODUCER, ("enqueue", "send", "q")),
        ("pay run", CONSUMER, ("job", "pay run", "q")),
    ],
)
def test_arq(name: str, kind: SpanKind, expected: Any) -> None:
    """Arq's spans are one word and the verb; other names are classified by their kind alone."""
    assert classified(name, kind, QUEUE) == expected
    old = classified(name, kind, OLD_QUEUE)
    assert old == (*expected[:2], "old")


@pytest.mark.parametrize(
    "attributes",
    [
        {OLD_OPERATION: "process", "messaging.destination.name": "orders"},
        {OPERATION: "process"},
        {"messaging.system": "kafka"},
    ],
)
def test_a_queues_name_before_the_verb_is_not_the_job(attributes: dict[str, str]) -> None:
    """The messaging conventions call a span ``orders process``; arq's rule leaves it alone."""
    found = classified("orders process", CONSUMER, attributes)
    assert found is not None
    assert found[:2] == ("job", "orders process")


@pytest.mark.parametrize("operation", [OPERATION, OLD_OPERATION])
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (PRODUCER, "create", ("enqueue", "x", "q")),
        (INTERNAL, "send", ("enqueue", "x", "q")),
        (CLIENT, "send", None),
        (CLIENT, "process", ("job", "x", "q")),
        (INTERNAL, "deliver", ("job", "x", "q")),
        (INTERNAL, "receive", None),
        (CONSUMER, "settle", None),
        (CONSUMER, "receive", None),
        (CONSUMER, "other", ("job", "x", "q")),
    ],
)
def test_messaging(operation: str, kind: SpanKind, value: str, expected: Any) -> None:
    """The operation decides, in its present and its former attribute; a batch is no message."""
    assert classified("x", kind, {operation: value, **QUEUE}) == expected


def test_the_present_attributes_take_precedence() -> None:
    """Where a span has an attribute under its present and its former name, the present counts."""
    both = {OPERATION: "process", OLD_OPERATION: "send", **QUEUE, **OLD_QUEUE}
    assert classified("x", INTERNAL, both) == ("job", "x", "q")
    assert classified("x", PRODUCER, {**QUEUE, **OLD_QUEUE}) == ("enqueue", "x", "q")
    assert classified("x", INTERNAL, {OPERATION: "process", **OLD_QUEUE}) == ("job", "x", "old")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.agent.name": "a", "gen_ai.workflow.name": "w", "gen_ai.agent.id": "i"}, "a"),
        ({"gen_ai.workflow.name": "w", "gen_ai.agent.id": "i"}, "w"),
        ({"gen_ai.agent.id": "i"}, "i"),
        ({}, "x"),
    ],
)
@pytest.mark.parametrize("operation", ["invoke_agent", "invoke_workflow", "invoke_node"])
def test_agents(operation: str, attributes: dict[str, Any], expected: str) -> None:
    """An agent or workflow is a phase with the most telling name that the span has."""
    found = classified("x", INTERNAL, {"gen_ai.operation.name": operation, **attributes})
    assert found == ("phase", expected, None)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}, "search"),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.request.model": "m"}, "x"),
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, "chat m"),
        ({"gen_ai.operation.name": "chat", "gen_ai.tool.name": "search"}, "chat"),
        ({"llm.request.type": "chat", "gen_ai.request.model": "m"}, "chat m"),
        ({"llm.request.type": "chat"}, "chat"),
        ({"openinference.span.kind": "TOOL", "tool.name": "t", "llm.model_name": "m"}, "t"),
        ({"openinference.span.kind": "LLM", "llm.model_name": "m"}, "m"),
        ({"openinference.span.kind": "EMBEDDING", "embedding.model_name": "e"}, "e"),
        ({"openinference.span.kind": "RERANKER", "agent.name": "a"}, "x"),
        ({"traceloop.span.kind": "task", "traceloop.entity.name": "n"}, "n"),
        ({"traceloop.span.kind": "tool", "llm.request.type": "chat"}, "x"),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "weather"}, "weather"),
        ({"ai.operationId": "ai.toolCall"}, "x"),
        ({"ai.operationId": "ai.streamText.doStream", "ai.model.id": "m"}, "m"),
        ({"ai.operationId": "ai.embed.doEmbed"}, "x"),
        ({"gen_ai.request.model": "m"}, "m"),
    ],
)
def test_calls_of_tools_and_models(attributes: dict[str, Any], expected: str) -> None:
    """Calls of tools and models are jobs, named by the tool, the operation and the model."""
    assert classified("x", INTERNAL, attributes) == ("job", expected, None)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"openinference.span.kind": "agent", "agent.name": "a", "graph.node.id": "n"}, "a"),
        ({"openinference.span.kind": "CHAIN", "graph.node.id": "n"}, "n"),
        ({"openinference.span.kind": "CHAIN", "tool.name": "t"}, "x"),
        ({"traceloop.span.kind": "workflow", "traceloop.entity.name": "w"}, "w"),
        ({"traceloop.span.kind": "agent"}, "x"),
        ({"ai.operationId": "ai.generateText", "ai.telemetry.functionId": "sum"}, "sum"),
        ({"ai.operationId": "ai.generateText", "ai.model.id": "m"}, "ai.generateText"),
    ],
)
def test_agents_of_other_conventions(attributes: dict[str, Any], expected: str) -> None:
    """Agents, chains, workflows and the calls of the AI SDK around its model calls are phases."""
    assert classified("x", INTERNAL, attributes) == ("phase", expected, None)


def test_the_first_rule_that_matches_counts() -> None:
    """A span that two libraries claim is what the earlier rule says."""
    both = {"gen_ai.operation.name": "chat", "openinference.span.kind": "AGENT"}
    assert classified("run/a", CONSUMER, both) == ("job", "a", None)
    assert classified("x", INTERNAL, both) == ("job", "chat", None)
    queued = {OPERATION: "process", "gen_ai.operation.name": "chat"}
    assert classified("x", INTERNAL, queued) == ("job", "chat", None)


def test_retries() -> None:
    """Celery says by a state, Taskiq by a reason, that an attempt will be made again."""
    retrying = [{"celery.state": "RETRY"}, {"taskiq.retry.reason": ""}]
    done: list[dict[str, Any]] = [{"celery.state": "SUCCESS"}, {}]
    assert [third_party.is_retry(one) for one in [*retrying, *done]] == [True, True, False, False]
    reasons = [{"celery.retry.reason": "away"}, {"taskiq.retry.reason": "slow"}, {}]
    assert [third_party.retry_reason_of(one) for one in reasons] == ["away", "slow", None]


@pytest.mark.parametrize("name", ["celery.retries", "dramatiq.retry_count", "taskiq._retries"])
@pytest.mark.parametrize(
    ("value", "expected"), [(2, 2), (1, 1), (0, None), (-1, None), (True, None), ("2", None)]
)
def test_the_number_of_retries(name: str, value: Any, expected: int | None) -> None:
    """Attempts before this one are a positive whole number; no other value counts."""
    assert third_party.retries_of({name: value}) == expected


def test_the_id_of_a_message() -> None:
    """The id of the queue's message is found where each instrumentation puts it, as text."""
    names = ["messaging.message.id", "dramatiq.message_id", "rq.job.id"]
    assert [third_party.message_id_of({name: 7}) for name in names] == ["7", "7", "7"]
    assert third_party.message_id_of(dict(zip(names, "abc", strict=True))) == "a"
    assert third_party.message_id_of({"messaging.message.id": "", "rq.job.id": "c"}) == "c"
    assert third_party.message_id_of({}) is None


def test_scopes_are_ignored_by_name() -> None:
    """Only spans of an ignored scope are left out, and only until it is undone."""
    celery, other, without = span("x", scope="celery"), span("x", scope="other"), span("x")
    over_otlp: Any = SimpleNamespace(name="x")  # has no such attribute
    third_party.ignore_scope("celery")
    try:
        found = [third_party.is_ignored(one) for one in (celery, other, without, over_otlp)]
    finally:
        third_party.unignore_scope("celery")
    assert found == [True, False, False, False]
    assert not third_party.is_ignored(celery)


def test_the_first_attribute_that_says_something_counts() -> None:
    """Missing and empty ones are passed over; what is no text becomes text."""
    assert text_of({"a": "", "b": None, "c": 7}, "z", "a", "b", "c") == "7"
    assert text_of({}, "a") is None
