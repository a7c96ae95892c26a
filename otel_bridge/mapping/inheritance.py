"""
What a span inherits from its ancestors, and what a third-party span is.

A trace is a research task, and its root span is the task itself, unless that is a request (kind
SERVER or CLIENT). What a span is depends on the span and on the enqueue above it only: which node
of its trace the card shows is decided by the collector, which sees all of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from opentelemetry.trace import SpanContext, SpanKind

from otel_bridge.events import semconv
from otel_bridge.mapping.calls import Call, CallsInside, call_of, is_call, is_same
from otel_bridge.mapping.lifecycle import ENQUEUE, JOB, PHASE, RESEARCH_TASK
from otel_bridge.mapping.links import continued_trace, is_whole_run
from otel_bridge.mapping.rules_platforms import is_never_a_task
from otel_bridge.mapping.span_view import Attributes, SpanView
from otel_bridge.mapping.third_party import Classification, classify, message_id_of

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
    call: Call | None = None
    """What the span does; of a span without a role what the one around it does."""
    is_double: bool = False
    """The span is about the same as one around it, or inside it, and so has no role."""
    parent_id: int | None = None
    """The parent's span id, if that is in this process."""
    is_linked: bool = False
    """The span goes on with another trace, so what is above it only delivered the work."""


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
        self._inside = CallsInside()

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
        parent_task_id = parent.parent_task_id
        linked = continued_trace(span)
        if linked is not None:
            parent_task_id = self._continue(linked, context.trace_id, project_id)
        role = _role_of(span, classification)
        if linked is not None and is_whole_run(span):
            role = RESEARCH_TASK
        key = (context.trace_id, context.span_id)
        call, is_double = self._call_of(span, key, attributes, classification, role, parent)
        if is_double:
            role = None
        phase, task_id, message_id, is_requeue = parent.phase, None, None, False
        if role == PHASE and classification is not None:
            phase = classification.task_type
        elif role == RESEARCH_TASK:
            task_id = f"{context.trace_id:032x}"
        elif role is not None:
            task_id = None if classification is None else classification.job_id
            if task_id is None and linked is not None:
                # Its parent only delivered it, and may have delivered others.
                task_id = f"{context.span_id:016x}"
            elif task_id is None:
                task_id = _job_id(span, context, role, parent)
            message_id = message_id_of(attributes)
            is_own_message = message_id is not None and message_id == parent.message_id
            if role == ENQUEUE and parent.role == JOB and is_own_message:
                task_id, is_requeue = parent.task_id, True
        found = InheritedContext(
            parent_task_id or f"{context.trace_id:032x}",
            project_id,
            phase,
            role,
            task_id,
            message_id,
            is_requeue,
            parent.is_correlated,
            call,
            is_double,
            _local_parent(span),
            linked is not None,
        )
        self.remember(key, found)
        return found

    def _continue(self, linked: int, trace_id: int, project_id: str | None) -> str:
        """The task of the linked trace, which that of the whole trace is from now on."""
        known = self.get((linked, 0))
        task_id = None if known is None else known.parent_task_id
        if task_id is None:
            task_id = f"{linked:032x}"
        if self.get((trace_id, 0)) is None:
            self.remember((trace_id, 0), InheritedContext(task_id, project_id, None))
        return task_id

    def _call_of(
        self,
        span: SpanView,
        key: Key,
        attributes: Attributes,
        classification: Classification | None,
        role: str | None,
        parent: InheritedContext,
    ) -> tuple[Call | None, bool]:
        """What the span does, and whether a span around it or inside it does the same."""
        outer, inside = parent.call, self._inside.get(key)
        if outer is not None and _is_entry(span):
            outer = None
        own = None if classification is None else call_of(span, attributes, classification)
        if role == RESEARCH_TASK and (own is None or own.operation == PHASE):
            # Without a scope: the phase around all of a task says nothing that the task does not.
            name = span.name if own is None else own.name
            own = Call(PHASE, name, "", span.start_time or 0, span.end_time)
        if own is None:
            if inside is not None and role is None:
                self._note_inside(key, span, inside)
            return (outer if role is None else None), False
        if own.operation not in _NESTED:
            is_same_job = outer is not None and is_same(outer, own)
            return (outer if is_same_job else own), is_same_job
        before = self.get(key)
        is_around = inside is not None and is_same(own, inside)
        if before is not None and before.is_double:
            return before.call, True
        is_known = before is not None and before.role is not None
        if is_known and (span.end_time is None or not is_around):
            # What an open span was shown as, it stays.
            return own, False
        if role == RESEARCH_TASK:
            return None if is_around else own, False
        if outer is not None and is_same(outer, own):
            return outer, True
        if is_around and inside is not None:
            self._note_inside(key, span, inside)
            return outer, True
        own.is_shown = True
        self._note_inside(key, span, own)
        return own, False

    def _note_inside(self, key: Key, span: SpanView, call: Call) -> None:
        """Note a call at all spans around it, up to the first that has a role."""
        parent_id = _local_parent(span)
        for _ in range(_MAX_DEPTH):
            if parent_id is None:
                return
            key = (key[0], parent_id)
            self._inside.note(key, call)
            around = self.get(key)
            if around is None or around.role is not None:
                return
            parent_id = around.parent_id

    def note_ended(self, spans: Iterable[SpanView]) -> None:
        """
        Note the calls of ended spans, so that it does not matter which requests they come in.

        Exporters send a span when it ends, the inner ones first. If an outer one is in the same
        request it is mapped first, and would be the job; in a later one the inner would. Only for
        spans received by OTLP; never raises.

        Args:
            spans: The ended spans of a request, inner ones first.
        """
        for span in spans:
            attributes, context = span.attributes or {}, span.context
            if context is None:
                continue
            key = (context.trace_id, context.span_id)
            own = None
            if is_call(attributes) and (found := classify(span, attributes)) is not None:
                own = call_of(span, attributes, found)
                if own is None:
                    continue
            inside, before = self._inside.get(key), self.get(key)
            is_double = before is not None and before.is_double
            if own is None or is_double or (inside is not None and is_same(own, inside)):
                own = inside
            elif before is not None and before.role is not None:
                own.is_shown = True
            if own is None or own.operation not in _NESTED:
                continue
            parent_id = _local_parent(span)
            around = None if parent_id is None else self.get((key[0], parent_id))
            outer = None if around is None else around.call
            if own.is_shown or outer is None or not is_same(outer, own):
                self._note_inside(key, span, own)

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


def _is_entry(span: SpanView) -> bool:
    """Whether its parent, if it has one, is in another process."""
    return span.parent is None or span.parent.is_remote or span.kind is SpanKind.SERVER


def _local_parent(span: SpanView) -> int | None:
    return None if span.parent is None or _is_entry(span) else span.parent.span_id


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


_NESTED: Final = ("model", "embedding", "tool", PHASE)
"""Calls that a span around them may describe too, and say so only at its end."""
_MAX_DEPTH: Final = 64
_REQUEST_KINDS: Final = (SpanKind.SERVER, SpanKind.CLIENT)
"""Root spans of these kinds are requests: a card for each request would bury the tasks."""
_QUEUE_KINDS: Final = (SpanKind.PRODUCER, SpanKind.CONSUMER)
"""Root spans of these kinds, if a rule matches them, are a job's enqueue or the job."""
_MAX_REMEMBERED: Final = 20_000
