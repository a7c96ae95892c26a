"""
Mapping rules for agents, model calls and tools: conventions, frameworks and tracing services.

Each reads what a span is in an attribute of its own; for most that is one row of a table.

Sources: semantic conventions 0.66b2 (``gen_ai.*``), OpenInference, OpenLLMetry; run: the npm
packages ``ai`` 4.3, 5.0, 6.0 and ``@ai-sdk/otel`` 1.0, langfuse 3, langsmith 0.15, haystack-ai 3.4,
strands-agents 1.62, google-adk 2.13; read: lmnr 0.8, mlflow 3, livekit-agents 1.8,
``@mastra/otel-exporter`` 0.3 and 1.4, Genkit's telemetry schema, Braintrust's SDKs, the monitoring
page of Claude Code 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from otel_bridge.mapping.classification import (
    WRAPPER,
    Classification,
    Classifier,
    MappingRule,
    text_of,
)
from otel_bridge.mapping.span_view import Attributes, SpanView

__all__ = ["AI_RULES"]

_Role = Literal["job", "phase"]


def _roles(phases: str, jobs: str) -> dict[str, _Role]:
    """By the value of an attribute, in lower case; a value in neither is a wrapper."""
    found: dict[str, _Role] = dict.fromkeys(phases.split(), "phase")
    return found | dict.fromkeys(jobs.split(), "job")


def _by_value(key: str, roles: Mapping[str, _Role], *names: str) -> Classifier:
    """An attribute says what the span is; its name is in one of ``names``, else the span's own."""

    def read(span: SpanView, attributes: Attributes) -> Classification | None:
        value = attributes.get(key)
        # MLflow writes JSON, so there are quotation marks around the word.
        role = roles.get(value.strip('"').lower()) if isinstance(value, str) else None
        return (
            None if role is None else Classification(role, text_of(attributes, *names) or span.name)
        )

    return read


def _if_present(role: _Role, name: str) -> Classifier:
    """An attribute that is on one kind of span only holds its name."""

    def read(_: SpanView, attributes: Attributes) -> Classification | None:
        found = text_of(attributes, name)
        return None if found is None else Classification(role, found)

    return read


def _model_of(attributes: Attributes, *names: str) -> str | None:
    """A name; LlamaIndex and OpenLLMetry call a model ``unknown`` that they cannot name."""
    found = text_of(attributes, *names)
    return None if found == "unknown" else found


def _gen_ai(span: SpanView, attributes: Attributes) -> Classification | None:
    operation = text_of(attributes, "gen_ai.operation.name")
    if operation is None:
        return None
    if operation in _GEN_AI_PHASES:
        name = text_of(attributes, "gen_ai.agent.name", "gen_ai.workflow.name", "gen_ai.agent.id")
        return Classification("phase", name or span.name, title=name)
    if operation == "execute_tool":
        return Classification("job", text_of(attributes, "gen_ai.tool.name") or span.name)
    if operation in _GEN_AI_WRAPPERS:
        return WRAPPER
    model = _model_of(attributes, "gen_ai.request.model")
    if model is not None:
        name = f"{operation} {model}"
        return Classification("job", name, title=name)
    if operation in _GEN_AI_CALLS:
        # By the convention the name is both. pydantic-ai 2.68 sets the model just after the start.
        is_named = span.name.startswith(f"{operation} ")
        return Classification("job", span.name if is_named else operation)
    return Classification("job", text_of(attributes, "gen_ai.task.name") or span.name)


def _open_inference(span: SpanView, attributes: Attributes) -> Classification | None:
    kind = text_of(attributes, "openinference.span.kind")
    if kind is None:
        return None
    if kind.upper() in ("AGENT", "CHAIN"):
        name = text_of(attributes, "agent.name", "graph.node.id")
        return Classification("phase", name or span.name, title=name)
    name = _model_of(attributes, "tool.name", "llm.model_name", "embedding.model_name")
    return Classification("job", name or span.name)


def _traceloop(span: SpanView, attributes: Attributes) -> Classification | None:
    kind = text_of(attributes, "traceloop.span.kind")
    request = text_of(attributes, "llm.request.type")
    if kind is None and request is not None:
        model = _model_of(attributes, "gen_ai.request.model")
        name = f"{request} {model}" if model else request
        return Classification("job", name, title=name)
    if kind is None:
        return None
    name = text_of(attributes, "traceloop.entity.name") or span.name
    return Classification("phase" if kind in ("workflow", "agent") else "job", name, title=name)


def _vercel(span: SpanView, attributes: Attributes) -> Classification | None:
    """``ai.generateText`` holds its ``ai.generateText.doGenerate`` and ``ai.toolCall`` spans."""
    operation = text_of(attributes, "ai.operationId")
    if operation is None:
        return None
    if operation == "ai.toolCall":
        return Classification("job", text_of(attributes, "ai.toolCall.name") or span.name)
    if operation.rpartition(".")[2].startswith("do"):
        model = _model_of(attributes, "ai.model.id", "gen_ai.request.model")
        return Classification("job", model or span.name)
    name = text_of(attributes, "ai.telemetry.functionId") or operation
    return Classification("phase", name, title=name)


def _mastra(span: SpanView, attributes: Attributes) -> Classification | None:
    """
    Workflows, agents, and what they call; loops and chunks between them are wrappers.

    Since 1.0 ``model_inference`` is the call of a model and ``model_generation`` the loop around
    several; before, there was only the latter. The operation says which of the two is the call.
    """
    kind = str(attributes.get("mastra.span.type", "")).lower()
    if not kind:
        return None
    operation = str(attributes.get("gen_ai.operation.name", ""))
    if kind in ("model_generation", "model_inference"):
        model = _model_of(attributes, "gen_ai.request.model")
        if operation != "chat":
            return WRAPPER
        return Classification("job", f"chat {model}" if model else "chat")
    role = _MASTRA.get(kind)
    if role is None:
        return WRAPPER
    names = ("gen_ai.agent.name",) if kind == "agent_run" else ("gen_ai.tool.name",)
    name = text_of(attributes, *names) or span.name.removeprefix(f"{operation} ")
    return Classification(role, name, title=name if role == "phase" else None)


def _model_call(_: SpanView, attributes: Attributes) -> Classification | None:
    """For instrumentations that name the model and no operation."""
    model = _model_of(attributes, "gen_ai.request.model")
    return None if model is None else Classification("job", model)


def _braintrust(span: SpanView, attributes: Attributes) -> Classification | None:
    """The attribute holds a JSON object with the type of the span and, at times, its name."""
    value = attributes.get("braintrust.span_attributes")
    if not isinstance(value, str) or len(value) > _MAX_JSON:
        return None
    try:
        found: Any = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    role = _BRAINTRUST.get(str(found.get("type")))
    name = found.get("name")
    return None if role is None else Classification(role, str(name) if name else span.name)


def _genkit(span: SpanView, attributes: Attributes) -> Classification | None:
    """The type of a flow or its step; of an action its subtype, which may end in a version."""
    kind = text_of(attributes, "genkit:metadata:subtype", "genkit:type")
    role = None if kind is None else _GENKIT.get(kind.partition(".")[0])
    if role is None:
        return None
    return Classification(role, text_of(attributes, "genkit:name") or span.name)


def _claude_code(span: SpanView, attributes: Attributes) -> Classification | None:
    """A prompt is a phase; spans inside a tool call, such as its wait for the user, are none."""
    if not span.name.startswith("claude_code."):
        return None
    kind = attributes.get("span.type")
    if kind == "interaction":
        return Classification("phase", span.name)
    if kind == "llm_request":
        name = text_of(attributes, "gen_ai.request.model", "model")
        return Classification("job", name or span.name)
    if kind == "tool":
        return Classification("job", text_of(attributes, "tool_name") or span.name)
    return None


def _haystack(span: SpanView, attributes: Attributes) -> Classification | None:
    """A pipeline, an agent in it, or one of their components."""
    name = text_of(attributes, "haystack.component.name")
    if name is not None:
        return Classification("job", name)
    return Classification("phase", span.name) if span.name in _HAYSTACK_PHASES else None


_MAX_JSON: Final = 4096
_GEN_AI_PHASES: Final = frozenset(
    {"invoke_agent", "invoke_workflow", "invoke_node"}  # the last: Google's ADK
)
_GEN_AI_CALLS: Final = frozenset(
    {"chat", "text_completion", "generate_content", "embeddings", "retrieval"}
)
"""Their operation is a name, if the model is not known; of others the span's name says more."""
_GEN_AI_WRAPPERS: Final = frozenset(
    {"execute_event_loop_cycle", "agent_step", "chain", "create_agent"}
)
"""One step of an agent, around its model and tool calls (of Strands, the AI SDK 7, LangSmith); and
what only makes an agent."""
_LANGFUSE: Final = _roles(
    "span agent chain", "generation tool retriever embedding evaluator guardrail"
)
_LANGSMITH: Final = _roles("chain agent", "llm tool retriever embedding prompt parser")
_MLFLOW: Final = _roles(
    "agent chain workflow task",
    "llm chat_model tool retriever parser embedding reranker memory guardrail evaluator",
)
_LAMINAR: Final = _roles("default evaluation executor", "llm tool evaluator human_evaluator cached")
_MASTRA: Final = _roles(
    "agent_run workflow_run workflow_step",
    "tool_call mcp_tool_call provider_tool_call rag_embedding workflow_sleep workflow_wait_event",
)
_BRAINTRUST: Final = _roles("task eval", "llm tool function score")
_GENKIT: Final = _roles(
    "flow flowStep agent prompt executable-prompt",
    "model tool retriever embedder indexer reranker evaluator background-model",
)
_HAYSTACK_PHASES: Final = frozenset({"haystack.pipeline.run", "haystack.agent.run"})


def _table(name: str, key: str, roles: Mapping[str, _Role], *names: str) -> MappingRule:
    return MappingRule(name, f"`{key}`", _by_value(key, roles, *names), (key,))


AI_RULES: Final = (
    # Before GenAI: they set ``gen_ai.operation.name`` too, to words outside the conventions.
    _table("LangSmith", "langsmith.span.kind", _LANGSMITH),
    MappingRule("Mastra", "`mastra.span.type`", _mastra, ("mastra.span.type",)),
    MappingRule("GenAI", "`gen_ai.operation.name`", _gen_ai, ("gen_ai.operation.name",)),
    MappingRule(
        "OpenInference",
        "`openinference.span.kind`",
        _open_inference,
        ("openinference.span.kind",),
    ),
    MappingRule(
        "OpenLLMetry",
        "`traceloop.span.kind`; `llm.request.type` of its model calls",
        _traceloop,
        ("traceloop.span.kind", "llm.request.type"),
    ),
    MappingRule("Vercel AI SDK", "`ai.operationId`", _vercel, ("ai.operationId",)),
    _table("Langfuse", "langfuse.observation.type", _LANGFUSE),
    _table("MLflow", "mlflow.spanType", _MLFLOW),
    _table("Laminar", "lmnr.span.type", _LAMINAR),
    MappingRule(
        "Braintrust", "`braintrust.span_attributes`", _braintrust, ("braintrust.span_attributes",)
    ),
    MappingRule(
        "Genkit",
        "`genkit:type`, `genkit:metadata:subtype`",
        _genkit,
        ("genkit:type", "genkit:metadata:subtype"),
    ),
    MappingRule(
        "LiveKit",
        "`lk.function_tool.name`",
        _if_present("job", "lk.function_tool.name"),
        ("lk.function_tool.name",),
    ),
    MappingRule("Claude Code", "`claude_code.X` with `span.type`", _claude_code, ("span.type",)),
    MappingRule(
        "Haystack",
        "`haystack.component.name`; spans `haystack.pipeline.run`, `haystack.agent.run`",
        _haystack,
        (
            "haystack.component.name",
            "haystack.pipeline.max_runs_per_component",
            "haystack.agent.max_steps",
        ),
    ),
    MappingRule("Model call", "`gen_ai.request.model`", _model_call, ("gen_ai.request.model",)),
)
"""In the order in which they are tried."""
