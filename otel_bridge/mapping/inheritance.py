"""
What a span inherits from its ancestors, and which role a third-party span has among them.

A trace is a research task. Its root span is the task itself, unless the root is a request (kind
SERVER or CLIENT). Then the first agent or workflow inside the request is the task; without one, no
event of the trace starts the task.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from opentelemetry.trace import SpanContext, SpanKind

from otel_bridge.events import semconv
from otel_bridge.mapping.span_view import Attributes, SpanView
from otel_bridge.mapping.third_party import Classification, message_id_of

__all__ = ["InheritedContext", "InheritedContexts", "Key", "own_context"]

Key = tuple[int, int]
"""Trace id and span id; span id 0 stands for the trace as a whole."""


class InheritedContext(NamedTuple):
    """What the children of a span inherit, and the role of the span itself."""

    parent_task_id: str | None
    """Id of the research task."""
    project_id: str | None
    phase: str | None
    role: str | None = None
    """``research_task``, ``phase``, ``job`` or ``enqueue``; None: the span is no event."""
    task_id: str | None = None
    """Id of the job or research task that the span stands for."""
    message_id: str | None = None
    """Id of the queue message that a job or an enqueue is about."""
    is_requeue: bool = False
    """The span put its own message back into the queue, so no new job was enqueued."""
    is_in_request: bool = False
    """The span is inside a request that is the root of its trace, and inside no agent yet."""
    is_correlated: bool = False
    """Inherited from a task that the collector knows; for spans that name no other project only."""


def own_context(attributes: Attributes) -> InheritedContext:
    """Return what the children of one of our own spans inherit, from the span's attributes."""
    get = attributes.get
    return InheritedContext(
        get(semconv.PARENT_TASK_ID), get(semconv.PROJECT_ID), get(semconv.PHASE)
    )


class InheritedContexts:
    """
    Remembers spans whose children may still arrive, at most 20,000; for one thread at a time.

    Attributes:
        correlated: What the collector knows of spans that reached it on another path; it sets this
            for each OTLP request. Keys with span id 0 hold the task of a whole trace. Empty in
            workers.
    """

    def __init__(self) -> None:
        self.correlated: Mapping[Key, InheritedContext] = {}
        self._remembered: OrderedDict[Key, InheritedContext] = OrderedDict()

    def get(self, key: Key) -> InheritedContext | None:
        """Return what is remembered of a span, or None."""
        return self._remembered.get(key)

    def remember(self, key: Key, inherited: InheritedContext) -> None:
        """Remember what the children of a span inherit; over the bound the oldest is forgotten."""
        self._remembered[key] = inherited
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def remember_ignored(self, span: SpanView, context: SpanContext) -> None:
        """Record an ignored span, so that its children still inherit from its parent."""
        parent = self._parent_context(span, context)
        if parent is not None:
            self.remember((context.trace_id, context.span_id), parent)

    def resolve(
        self,
        span: SpanView,
        context: SpanContext,
        attributes: Attributes,
        classification: Classification | None,
    ) -> InheritedContext:
        """
        Find the role of a third-party span and what it inherits, and remember both.

        Args:
            span: The span at its start or, if its start gave no role, at its end.
            context: The span's own context.
            attributes: The span's attributes at this moment.
            classification: What the mapping rules read in the attributes; None if no rule matched.
        """
        empty = InheritedContext(None, None, None)
        parent = self._parent_context(span, context) or empty
        project_id = attributes.get(semconv.PROJECT_ID, parent.project_id)
        if parent.is_correlated and project_id != parent.project_id:
            parent = self.get((context.trace_id, 0)) or empty
        inherited = InheritedContext(
            parent.parent_task_id or f"{context.trace_id:032x}",
            project_id,
            parent.phase,
            is_in_request=parent.is_in_request,
            is_correlated=parent.is_correlated,
        )
        found = self._with_role(span, context, classification, inherited, parent)
        found = found._replace(message_id=message_id_of(attributes))
        is_enqueue_in_job = found.role == "enqueue" and parent.role == "job"
        if is_enqueue_in_job and found.message_id and found.message_id == parent.message_id:
            found = found._replace(task_id=parent.task_id, is_requeue=True)
        self.remember((context.trace_id, context.span_id), found)
        return found

    def _parent_context(self, span: SpanView, context: SpanContext) -> InheritedContext | None:
        trace_id = context.trace_id
        of_trace = self.get((trace_id, 0))
        if span.parent is None:
            return of_trace
        found = self.get((trace_id, span.parent.span_id))
        if not self.correlated:
            return found or of_trace
        correlated = self.correlated.get((trace_id, 0))
        if found is None:
            return self.correlated.get((trace_id, span.parent.span_id)) or of_trace or correlated
        if correlated is not None and _may_correlate(found, correlated, trace_id):
            return correlated
        return found

    def _is_task_agent(self, context: SpanContext) -> bool:
        """
        Whether an agent inside a request is the task of its trace: the first one is.

        The answer stays the same when a span arrives again.
        """
        own = f"{context.span_id:016x}"
        known = self.get((context.trace_id, _TASK_AGENT))
        if known is None:
            self.remember(
                (context.trace_id, _TASK_AGENT), InheritedContext(None, None, None, task_id=own)
            )
        return known is None or known.task_id == own

    def _with_role(
        self,
        span: SpanView,
        context: SpanContext,
        classification: Classification | None,
        inherited: InheritedContext,
        parent: InheritedContext,
    ) -> InheritedContext:
        trace_id = f"{context.trace_id:032x}"
        is_queued = classification is not None and span.kind in (
            SpanKind.PRODUCER,
            SpanKind.CONSUMER,
        )
        if span.parent is None and not is_queued:
            if classification is None and span.kind in _REQUEST_KINDS:
                return inherited._replace(is_in_request=True)
            return inherited._replace(role="research_task", task_id=trace_id)
        if classification is None:
            return inherited
        if classification.role == "phase":
            if inherited.is_in_request and self._is_task_agent(context):
                task = inherited._replace(role="research_task", task_id=trace_id)
                return task._replace(is_in_request=False)
            return inherited._replace(role="phase", phase=classification.task_type)
        if classification.role == "job" and span.kind is SpanKind.CONSUMER and span.parent:
            # A consumer span names its job by the producer span that enqueued it. Both sides know
            # that span; Celery and others set the id of the message only at the end.
            task_id = f"{span.parent.span_id:016x}"
            if parent.role == "enqueue" and parent.task_id is not None:
                task_id = parent.task_id
            return inherited._replace(role="job", task_id=task_id)
        return inherited._replace(role=classification.role, task_id=f"{context.span_id:016x}")


def _may_correlate(found: InheritedContext, correlated: InheritedContext, trace_id: int) -> bool:
    """Whether a span arrived before its task was known, and was no event of another task."""
    is_alone = found.role is None and found.parent_task_id == f"{trace_id:032x}"
    return is_alone and found.project_id in (None, correlated.project_id)


_REQUEST_KINDS: Final = (SpanKind.SERVER, SpanKind.CLIENT)
"""Root spans of these kinds are requests: a card for each request would bury the tasks."""
_TASK_AGENT: Final = -1
"""In a key in place of a span id: holds which agent is the task of the trace."""
_MAX_REMEMBERED: Final = 20_000
