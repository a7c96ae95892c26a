"""
What a span inherits from its ancestors, and what a third-party span is.

A trace is a research task, and its root span is the task itself, unless that is a request (kind
SERVER or CLIENT). What a span is depends on the span and on the enqueue above it only: which node
of its trace the card shows is decided by the collector, which sees all of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from opentelemetry.trace import SpanContext, SpanKind

from otel_bridge.events import semconv
from otel_bridge.mapping.lifecycle import ENQUEUE, JOB, PHASE, RESEARCH_TASK
from otel_bridge.mapping.rules_platforms import is_never_a_task
from otel_bridge.mapping.span_view import Attributes, SpanView
from otel_bridge.mapping.third_party import Classification, message_id_of

__all__ = ["InheritedContext", "InheritedContexts", "Key", "own_context"]

Key = tuple[int, int]
"""Trace id and span id; span id 0 stands for the trace as a whole."""


class InheritedContext(NamedTuple):
    """What the children of a span inherit, and what the span itself is; immutable, ids as text."""

    parent_task_id: str | None
    """Id of the research task."""
    project_id: str | None
    phase: str | None
    role: str | None = None
    """``research_task``, ``phase``, ``job`` or ``enqueue``; None: none of these."""
    task_id: str | None = None
    """Id of the job or research task that the span stands for."""
    message_id: str | None = None
    """Id of the queue message that a job or an enqueue is about."""
    is_requeue: bool = False
    """The span put its own message back into the queue, so no new job was enqueued."""
    is_correlated: bool = False
    """Inherited from a task that the collector knows; for spans that name no other project only."""


_NOTHING: Final = InheritedContext(None, None, None)


def own_context(attributes: Attributes) -> InheritedContext:
    """
    Return what the children of a span of this library inherit from it; never raises.

    Args:
        attributes: The span's attributes, of which ``nexus.parent_task.id``, ``nexus.project.id``
            and ``nexus.phase`` are read, and not checked.

    Returns:
        A record with ``parent_task_id`` (the research task), ``project_id`` and ``phase``; None for
        each that is missing. What it says of the span itself is not read here: ``role``,
        ``task_id`` and ``message_id`` are None, ``is_requeue`` and ``is_correlated`` False.
    """
    get = attributes.get
    return InheritedContext(
        get(semconv.PARENT_TASK_ID), get(semconv.PROJECT_ID), get(semconv.PHASE)
    )


class InheritedContexts:
    """
    Remembers what the children of a span inherit from it: research task, project and phase.

    At most 20,000 entries, two for a span of this library: its own and that of its trace. The
    oldest is forgotten first, without an error: its children then take what is known of their
    trace. ``SpanMapper`` creates it and calls it for each span in order of arrival, from one thread
    at a time. It is neither started nor closed; no method waits or raises.

    Attributes:
        correlated: What the collector knows of spans that a worker reported to it live; it sets
            this for each OTLP request, so that spans exported by OTLP find their research task. By
            trace id and span id; span id 0 holds the task of a whole trace. Empty in workers.
    """

    def __init__(self) -> None:
        self.correlated: Mapping[Key, InheritedContext] = {}
        self._remembered: OrderedDict[Key, InheritedContext] = OrderedDict()

    def get(self, key: Key) -> InheritedContext | None:
        """
        Return what is remembered of a span; never raises.

        Args:
            key: Trace id and span id, whole numbers; span id 0: the research task of the whole
                trace.

        Returns:
            The research task, project and phase that its children inherit, and its own role
            (``research_task``, ``phase``, ``job``, ``enqueue`` or None), job id and message id.
            None if the span is unknown, or forgotten because 20,000 others came after it.
        """
        return self._remembered.get(key)

    def remember(self, key: Key, inherited: InheritedContext) -> None:
        """Remember what a span's children inherit; over 20,000 entries the oldest is forgotten."""
        self._remembered[key] = inherited
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def remember_own(self, key: Key, inherited: InheritedContext) -> None:
        """
        Remember a span of this library, and its research task as that of the whole trace.

        A span whose parent is unknown here, because another process started it, then belongs to
        that task. Never raises; over 20,000 entries (two for each such span) the oldest is
        forgotten.

        Args:
            key: Trace id and span id of the span.
            inherited: Its research task, project and phase, each None if it has none. The trace
                takes the first two of a span with a phase, and all of another.
        """
        self.remember(key, inherited)
        of_trace = inherited
        if inherited.phase is not None:
            of_trace = InheritedContext(inherited.parent_task_id, inherited.project_id, None)
        self.remember((key[0], 0), of_trace)

    def remember_ignored(self, span: SpanView, context: SpanContext) -> None:
        """
        Record a span that makes no event itself, so that its children inherit from its parent.

        If nothing is known of its parent and its trace, nothing is recorded. Never raises; over
        20,000 entries the oldest is forgotten.

        Args:
            span: A span of an instrumentation scope that ``ignore_scope`` leaves out of the live
                view.
            context: The span's own context, with its ids.
        """
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

        A third-party span is one that this package did not start. Its role is what it is shown as:
        ``research_task``, ``phase``, ``job``, ``enqueue``, or None for none of these. Never raises;
        over 20,000 entries the oldest is forgotten.

        Args:
            span: The span at its start or, if its start gave no role, at its end.
            context: The span's own context.
            attributes: The span's attributes at this moment.
            classification: What the mapping rules (``RULES``, one for each library) read in the
                attributes; None if no rule matched.

        Returns:
            Its research task (without a known one: the trace id), project, phase and own role.
        """
        parent = self._parent_context(span, context) or _NOTHING
        project_id = attributes.get(semconv.PROJECT_ID, parent.project_id)
        if parent.is_correlated and project_id != parent.project_id:
            parent = self.get((context.trace_id, 0)) or _NOTHING
        role = _role_of(span, classification)
        phase, task_id, message_id, is_requeue = parent.phase, None, None, False
        if role == PHASE and classification is not None:
            phase = classification.task_type
        elif role == RESEARCH_TASK:
            task_id = f"{context.trace_id:032x}"
        elif role is not None:
            task_id = None if classification is None else classification.job_id
            if task_id is None:
                task_id = _job_id(span, context, role, parent)
            message_id = message_id_of(attributes)
            is_own_message = message_id is not None and message_id == parent.message_id
            if role == ENQUEUE and parent.role == JOB and is_own_message:
                task_id, is_requeue = parent.task_id, True
        found = InheritedContext(
            parent.parent_task_id or f"{context.trace_id:032x}",
            project_id,
            phase,
            role,
            task_id,
            message_id,
            is_requeue,
            parent.is_correlated,
        )
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


def _role_of(span: SpanView, classification: Classification | None) -> str | None:
    if span.parent is None:
        if classification is None:
            is_task = span.kind not in _REQUEST_KINDS and not is_never_a_task(span.name)
            return RESEARCH_TASK if is_task else None
        if span.kind not in _QUEUE_KINDS:
            return RESEARCH_TASK
    return None if classification is None else classification.role


def _job_id(span: SpanView, context: SpanContext, role: str, parent: InheritedContext) -> str:
    if role == JOB and span.kind is SpanKind.CONSUMER and span.parent is not None:
        # A consumer span names its job by the producer span that enqueued it. Both sides know that
        # span; Celery and others set the id of the message only at the end.
        if parent.role == ENQUEUE and parent.task_id is not None:
            return parent.task_id
        return f"{span.parent.span_id:016x}"
    return f"{context.span_id:016x}"


def _may_correlate(found: InheritedContext, correlated: InheritedContext, trace_id: int) -> bool:
    """Whether a span arrived before its task was known, and was no event of another task."""
    is_alone = found.role is None and found.parent_task_id == f"{trace_id:032x}"
    return is_alone and found.project_id in (None, correlated.project_id)


_REQUEST_KINDS: Final = (SpanKind.SERVER, SpanKind.CLIENT)
"""Root spans of these kinds are requests: a card for each request would bury the tasks."""
_QUEUE_KINDS: Final = (SpanKind.PRODUCER, SpanKind.CONSUMER)
"""Root spans of these kinds, if a rule matches them, are a job's enqueue or the job."""
_MAX_REMEMBERED: Final = 20_000
