"""
Recognises work that two instrumentations describe: a call inside the same call counts once.

With two instrumentors for one client (say those of OpenTelemetry and of OpenInference for OpenAI),
a model call is two spans, one directly inside the other, and would be two jobs. So is a tool call,
an agent, and a message in a queue. The inner one is then an ordinary span; if the outer one says
only later what it is, the outer one is.

"Directly" means that only spans without a role (requests, wrappers) are between the two, all in one
process. A model that an agent's tool calls is inside the tool, so it is a call of its own.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

from opentelemetry.trace import SpanKind

from otel_bridge.mapping.classification import Classification
from otel_bridge.mapping.span_view import Attributes, SpanView, scope_of

__all__ = ["Call", "CallsInside", "call_of", "is_call", "is_same"]


class Call:
    """
    What a span does, as far as it takes to see that another span is about the same.

    A record; checks nothing.

    Attributes:
        operation: ``model``, ``embedding``, ``tool``, ``phase``, ``enqueue`` or ``message``.
        name: Of the model, tool, phase or job; None: not known, or an enqueue.
        scope: The instrumentation scope, empty if unknown.
        start_ns: Its start.
        end_ns: Its end; None while it runs.
        is_shown: It is a job or phase; else it may turn out to be the same as one around it.
    """

    __slots__ = ("end_ns", "is_shown", "name", "operation", "scope", "start_ns")

    def __init__(
        self, operation: str, name: str | None, scope: str, start_ns: int, end_ns: int | None
    ) -> None:
        self.operation = operation
        self.name = name
        self.scope = scope
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.is_shown = False


_KINDS: Final = (
    "langsmith.span.kind",
    "mastra.span.type",
    "gen_ai.operation.name",
    "openinference.span.kind",
    "traceloop.span.kind",
    "llm.request.type",
    "ai.operationId",
    "langfuse.observation.type",
    "mlflow.spanType",
    "lmnr.span.type",
)
"""Attributes that say what a span is, in the order of the rules; the first that is there counts."""
_MODEL_NAMES: Final = (
    "gen_ai.request.model",
    "llm.model_name",
    "embedding.model_name",
    "ai.model.id",
    "langfuse.observation.model.name",
)
_MARKERS: Final = frozenset({*_KINDS, _MODEL_NAMES[0]})
_OPERATIONS: Final = {
    **dict.fromkeys(("chat", "completion", "text_completion", "generate_content"), "model"),
    **dict.fromkeys(
        ("llm", "chat_model", "generation", "model_generation", "model_inference"), "model"
    ),
    **dict.fromkeys(("dogenerate", "dostream"), "model"),
    **dict.fromkeys(("embedding", "embeddings", "doembed"), "embedding"),
    **dict.fromkeys(("tool", "execute_tool", "toolcall", "tool_call", "mcp_tool_call"), "tool"),
}
"""By the value of such an attribute, in lower case and without what is before its last dot."""
_MODEL_OPERATIONS: Final = frozenset({"model", "embedding"})
_VERSION: Final = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{6,8}|\d{3}|latest)$")


def is_call(attributes: Attributes) -> bool:
    """Whether the attributes may be those of a model call, a tool call or an agent."""
    return not _MARKERS.isdisjoint(attributes)


def call_of(span: SpanView, attributes: Attributes, classification: Classification) -> Call | None:
    """
    Return what a classified span does, or None for a job that no other span would describe too.

    Never raises.

    Args:
        span: The span, at its start or its end.
        attributes: Its attributes at this moment.
        classification: What the rules read in them.
    """
    start_ns, scope = span.start_time or 0, scope_of(span)
    role = classification.role
    if role == "enqueue":
        return Call("enqueue", None, scope, start_ns, span.end_time)
    if role == "phase":
        return Call("phase", classification.task_type, scope, start_ns, span.end_time)
    if span.kind is SpanKind.CONSUMER:
        return Call("message", classification.task_type, scope, start_ns, span.end_time)
    if not is_call(attributes):
        return None
    kind = next((str(attributes[key]) for key in _KINDS if key in attributes), "chat")
    # MLflow writes JSON, so there are quotation marks around the word.
    operation = _OPERATIONS.get(kind.strip('"').lower().rpartition(".")[2])
    if operation is None:
        return None
    name: str | None = classification.task_type
    if operation != "tool":
        models = (attributes.get(key) for key in _MODEL_NAMES)
        name = next((str(model) for model in models if model and model != "unknown"), None)
    return Call(operation, name, scope, start_ns, span.end_time)


def is_same(outer: Call, inner: Call) -> bool:
    """
    Return whether a call directly inside another is the same one, described twice; never raises.

    In two instrumentation scopes, because an agent, a tool or a model may call itself. Of a model:
    the same operation and, where both name one, the same model, without its provider and version.
    Of others: the same name; an enqueue has none.

    Args:
        outer: The call that holds the other.
        inner: The other. It must start before the outer one ends: a context that is never detached
            makes later calls children of an earlier one.
    """
    if outer.operation != inner.operation or outer.scope == inner.scope:
        return False
    if inner.start_ns < outer.start_ns:
        return False
    if outer.end_ns is not None and inner.start_ns >= outer.end_ns > outer.start_ns:
        return False
    if outer.operation not in _MODEL_OPERATIONS or outer.name is None or inner.name is None:
        return outer.name == inner.name or outer.operation in _MODEL_OPERATIONS
    return _model_of(outer.name) == _model_of(inner.name)


def _model_of(name: str) -> str:
    """``gpt-4o`` of ``openai/gpt-4o-2024-08-06``."""
    return _VERSION.sub("", name.lower().rpartition("/")[2])


class CallsInside:
    """
    Remembers which call is directly inside a span, for spans that say late what they are.

    At most 20,000 spans; the oldest is forgotten. For one thread at a time; never raises.
    """

    def __init__(self) -> None:
        self._inside: OrderedDict[tuple[int, int], Call] = OrderedDict()
        self.get = self._inside.get
        """The last call that was noted inside a span, by trace id and span id; None: none was."""

    def note(self, key: tuple[int, int], call: Call) -> None:
        """Note a call directly inside the span with this trace id and span id."""
        self._inside[key] = call
        if len(self._inside) > _MAX_SPANS:
            self._inside.popitem(last=False)


_MAX_SPANS: Final = 20_000
