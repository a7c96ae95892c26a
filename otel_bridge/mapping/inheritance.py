"""
What a span inherits from those above it, and what a span that is not ours is among them.

A trace is a research task. Its root is the task itself, unless it is a request (kind SERVER or
CLIENT): then the first agent or workflow inside is, and without one the trace has no root event.
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
"""Trace and span; span 0 is the trace itself."""


class InheritedContext(NamedTuple):
    """What the spans inside a span inherit, and what the span itself stands for."""

    parent_task_id: str | None
    project_id: str | None
    phase: str | None
    role: str | None = None
    task_id: str | None = None
    message_id: str | None = None
    """Of the queue's message that a job or its enqueueing is about."""
    is_again: bool = False
    """The message went back to its queue: nothing new was enqueued."""
    is_request: bool = False
    """Inside a request that is the trace's root and in which no agent has begun."""
    is_lent: bool = False
    """From someone who knows the trace's task: for spans that name no other project."""


def own_context(attributes: Attributes) -> InheritedContext:
    """Of a span of ours."""
    get = attributes.get
    return InheritedContext(
        get(semconv.PARENT_TASK_ID), get(semconv.PROJECT_ID), get(semconv.PHASE)
    )


class InheritedContexts:
    """
    Remembers the spans whose children may still come, a bounded number; for one thread.

    Attributes:
        lent: What the collector's state knows of spans told elsewhere; asked for each request.
    """

    def __init__(self) -> None:
        self.lent: Mapping[Key, InheritedContext] = {}
        self._known: OrderedDict[Key, InheritedContext] = OrderedDict()

    def get(self, key: Key) -> InheritedContext | None:
        """What is known of a span."""
        return self._known.get(key)

    def remember(self, key: Key, lineage: InheritedContext) -> None:
        """Know it from here on; the oldest is forgotten first."""
        self._known[key] = lineage
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def pass_on(self, span: SpanView, context: SpanContext) -> None:
        """A span that is left out: those inside inherit what it would have inherited."""
        above = self._above(span, context)
        if above is not None:
            self.remember((context.trace_id, context.span_id), above)

    def trace(
        self,
        span: SpanView,
        context: SpanContext,
        attributes: Attributes,
        reading: Classification | None,
    ) -> InheritedContext:
        """
        Find what a span that is not ours stands for, and remember it.

        Args:
            span: Its start or, when that said nothing, its end.
            context: Its own.
            attributes: As they are at this moment.
            reading: What the rules read in them.
        """
        above = self._above(span, context) or InheritedContext(None, None, None)
        project_id = attributes.get(semconv.PROJECT_ID, above.project_id)
        if above.is_lent and project_id != above.project_id:
            above = self.get((context.trace_id, 0)) or InheritedContext(None, None, None)
        inherited = InheritedContext(
            above.parent_task_id or f"{context.trace_id:032x}",
            project_id,
            above.phase,
            is_request=above.is_request,
            is_lent=above.is_lent,
        )
        found = self._place(span, context, reading, inherited, above)
        found = found._replace(message_id=message_id_of(attributes))
        is_inside_job = found.role == "enqueue" and above.role == "job"
        if is_inside_job and found.message_id and found.message_id == above.message_id:
            found = found._replace(task_id=above.task_id, is_again=True)
        self.remember((context.trace_id, context.span_id), found)
        return found

    def _above(self, span: SpanView, context: SpanContext) -> InheritedContext | None:
        trace_id = context.trace_id
        whole = self.get((trace_id, 0))
        if span.parent is None:
            return whole
        found = self.get((trace_id, span.parent.span_id))
        if not self.lent:
            return found or whole
        lent = self.lent.get((trace_id, 0))
        if found is None:
            return self.lent.get((trace_id, span.parent.span_id)) or whole or lent
        return lent if lent is not None and _may_join(found, lent, trace_id) else found

    def _is_first(self, context: SpanContext) -> bool:
        """Whether no other agent is the trace's task; a span may be told more than once."""
        own = f"{context.span_id:016x}"
        known = self.get((context.trace_id, _TASK))
        if known is None:
            self.remember(
                (context.trace_id, _TASK), InheritedContext(None, None, None, task_id=own)
            )
        return known is None or known.task_id == own

    def _place(
        self,
        span: SpanView,
        context: SpanContext,
        reading: Classification | None,
        inherited: InheritedContext,
        above: InheritedContext,
    ) -> InheritedContext:
        trace_id = f"{context.trace_id:032x}"
        is_queued = reading is not None and span.kind in (SpanKind.PRODUCER, SpanKind.CONSUMER)
        if span.parent is None and not is_queued:
            if reading is None and span.kind in _REQUESTS:
                return inherited._replace(is_request=True)
            return inherited._replace(role="research_task", task_id=trace_id)
        if reading is None:
            return inherited
        if reading.role == "phase":
            if inherited.is_request and self._is_first(context):
                task = inherited._replace(role="research_task", task_id=trace_id)
                return task._replace(is_request=False)
            return inherited._replace(role="phase", phase=reading.task_type)
        if reading.role == "job" and span.kind is SpanKind.CONSUMER and span.parent:
            # Both sides of a queue know the span that put the job there.
            named_by = f"{span.parent.span_id:016x}"
            if above.role == "enqueue" and above.task_id is not None:
                named_by = above.task_id
            return inherited._replace(role="job", task_id=named_by)
        return inherited._replace(role=reading.role, task_id=f"{context.span_id:016x}")


def _may_join(found: InheritedContext, lent: InheritedContext, trace_id: int) -> bool:
    """Whether a span came before its task was known, and nothing was told of it since."""
    is_alone = found.role is None and found.parent_task_id == f"{trace_id:032x}"
    return is_alone and found.project_id in (None, lent.project_id)


_REQUESTS: Final = (SpanKind.SERVER, SpanKind.CLIENT)
"""Roots of these kinds are requests: a card for each would bury the tasks."""
_TASK: Final = -1
"""No span's id: under it, which agent is the trace's task."""
_MAX_KNOWN: Final = 20_000
