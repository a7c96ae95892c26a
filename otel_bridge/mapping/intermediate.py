"""
Intermediate spans: they are no task, phase, job or enqueue, but such spans are inside them.

Requests and wrappers, mostly. Without them the tree has holes: the collector cannot show that a
tool call inside ``retry loop`` inside an agent belongs to the agent. Most spans of this kind have
nothing of interest inside (queries, outgoing requests), so none is sent before a span inside it is
an event. Measured: a web request with 5 queries costs no event, and 11 us of the bus's thread for
each of its spans; finding the role of each at both ends took 15.

Nor is it sent for an enqueue alone, as long as nothing runs in its trace here: a service that
publishes one message for each request would send three events instead of one.

Two are sent at once, because what is inside them is not to be seen from here: spans whose library
says only at their end what they are, and outgoing requests inside work, whose children are in
another process. Of these at most 20 a second.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any, Final

from opentelemetry.trace import SpanContext, SpanKind

from otel_bridge.clock import iso_utc
from otel_bridge.events.event_ids import digest_of, event_id_of, snapshot_id_of
from otel_bridge.mapping.inheritance import InheritedContext, Key
from otel_bridge.mapping.lifecycle import SPAN, event_of
from otel_bridge.mapping.span_view import (
    Attributes,
    Fields,
    SpanView,
    add_ids,
    add_kind,
    duration_ms,
    failure_of,
    has_failed,
    scope_of,
    shown_name,
)

__all__ = ["IntermediateSpans"]


class _IntermediateSpan:
    """One of them, as little as its two events need: the span object would be held for long."""

    __slots__ = (
        "context",
        "end",
        "inherited",
        "is_sent",
        "key",
        "kind",
        "name",
        "parent",
        "start_ns",
    )

    def __init__(
        self,
        span: SpanView,
        context: SpanContext,
        key: Key,
        inherited: InheritedContext,
        name: str,
    ) -> None:
        self.context = context
        self.key = key
        self.parent = span.parent
        self.start_ns = span.start_time or 0
        self.name = name
        self.kind = span.kind
        self.inherited = inherited
        self.is_sent = False
        self.end: tuple[int, int | None, str, str | None] | None = None
        """Time, duration, outcome and error; None while it runs."""


class IntermediateSpans:
    """
    Remembers intermediate spans and makes their events; for one thread at a time.

    An intermediate span is a request or a wrapper: no task, phase, job or enqueue itself, but with
    one inside. It is remembered when it starts, and its events (``span_started``, ``span_ended``)
    are put into the list ``events``, which ``SpanMapper`` empties and publishes, once something
    inside it is an event. ``SpanMapper`` creates this object and calls it for each span. No method
    waits; they raise only ``ValueError``, ``OverflowError`` or ``OSError``, for a time out of the
    years that the system's ``gmtime`` accepts.

    At most 20,000 that run and, apart from them, 5,000 that have ended: so a wrapper that runs for
    an hour is not forgotten because of short spans. Over each bound the oldest is forgotten: it has
    no further event. Of at most 10,000 traces it is remembered whether something runs in them.

    Args:
        incarnation: Id of one life of this process, for each event; None for spans of others.
        parents_come_first: Whether each span arrives after its parent, if that is of this process.
            False over OTLP: exporters send a span when it ends, that is before its parent.
    """

    def __init__(self, incarnation: str | None, *, parents_come_first: bool) -> None:
        self._incarnation = incarnation
        self._parents_come_first = parents_come_first
        self._running: OrderedDict[Key, _IntermediateSpan] = OrderedDict()
        self._ended: OrderedDict[Key, _IntermediateSpan] = OrderedDict()
        self._awaited: OrderedDict[Key, None] = OrderedDict()
        """Parents of what was sent that have not arrived yet."""
        self._traces: OrderedDict[int, list[int] | None] = OrderedDict()
        """None: something runs in the trace. Else the parents of its enqueues so far."""
        self._second = self._requests = 0
        self.events: list[Fields] = []
        """Events to publish before the one that is mapped now; the mapper empties it."""

    def add(
        self,
        span: SpanView,
        context: SpanContext,
        key: Key,
        inherited: InheritedContext,
        attributes: Attributes,
    ) -> None:
        """
        Remember a span, and put its start into ``events`` if it is known that it will be needed.

        ``events`` is the list that the mapper publishes. A start is needed if a span inside it was
        sent before, if its library says only at its end what a span is, and for outgoing requests
        inside work, of which 20 a second are sent at most. Of a span that was added before and
        sent, a new name is an event; over 20,000 the oldest is forgotten.

        Args:
            span: The span, at its start or when it first arrives.
            context: The span's own context.
            key: Trace id and span id.
            inherited: Research task, project and phase of its events.
            attributes: The span's attributes.

        Raises:
            ValueError, OverflowError, OSError: A time is out of the years that ``gmtime`` accepts.
        """
        name = shown_name(span, attributes)
        known = self._running.get(key)
        if known is not None and known.name != name:
            known.name = name
            if known.is_sent:
                self.events.append(self._update_of(known))
        if known is not None or key in self._ended:
            return
        found = self._running[key] = _IntermediateSpan(span, context, key, inherited, name)
        if len(self._running) > _MAX_RUNNING:
            self._running.popitem(last=False)
        if self._awaited and key in self._awaited:
            del self._awaited[key]
            self._send_from(*key)
        elif (self._parents_come_first or span.end_time is None) and self._is_sent_at_once(
            span, found, attributes
        ):
            self._send_from(*key)

    def end(self, span: SpanView, key: Key, attributes: Attributes) -> None:
        """
        Note the end of a span that was added; put it into ``events`` if its start was sent.

        ``events`` is the list that the mapper publishes. The ended span is kept, as spans inside it
        may still arrive; over 5,000 the oldest is forgotten.

        Args:
            span: The ended span. Its second end, or that of an unknown span, is ignored.
            key: Trace id and span id.
            attributes: The span's attributes; they may name the error.

        Raises:
            ValueError, OverflowError, OSError: A time is out of the years that ``gmtime`` accepts.
        """
        found = self._running.pop(key, None)
        if found is None:
            return
        self._ended[key] = found
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)
        found.name = shown_name(span, attributes)
        is_failed = has_failed(span)
        found.end = (
            span.end_time or 0,
            duration_ms(span),
            "failed" if is_failed else "completed",
            failure_of(span, attributes) if is_failed else None,
        )
        if found.is_sent:
            self.events.append(self._end_of(found))

    def is_sent(self, key: Key) -> bool:
        """Return whether the start of a span was put into ``events``; False for an unknown one."""
        found = self._running.get(key) or self._ended.get(key)
        return found is not None and found.is_sent

    def remove(self, key: Key) -> None:
        """Forget a span that turned out to be a task, phase, job or enqueue; unknown: no change."""
        self._running.pop(key, None)

    def has_work(self, trace_id: int, span: SpanView) -> None:
        """
        Put the intermediate spans above a task, phase or job into ``events``, if not sent before.

        These are the requests and wrappers that it is inside of, the topmost first; ``events`` is
        the list that the mapper publishes. Nothing is sent of a parent that is unknown or
        forgotten, nor of those above it; over OTLP they are sent when they arrive later (20,000
        are awaited). Of 10,000 traces it is remembered that something runs in them; then the
        oldest is forgotten.

        Args:
            trace_id: Its trace, in which something runs from now on.
            span: The span of the task, phase or job, which itself is an event of its own.

        Raises:
            ValueError, OverflowError, OSError: A time is out of the years that ``gmtime`` accepts.
        """
        if self._traces.get(trace_id, _NO_ENQUEUES) is not None:
            self._note_work(trace_id)
        if self._running or self._ended or not self._parents_come_first:
            parent = span.parent
            if parent is not None:
                self._send_from(trace_id, parent.span_id)

    def _note_work(self, trace_id: int) -> None:
        waiting = self._traces.get(trace_id) or ()
        self._traces[trace_id] = None
        self._trim_traces()
        for parent_id in waiting:
            self._send_from(trace_id, parent_id)

    def has_enqueue(self, trace_id: int, span: SpanView) -> None:
        """
        Put the spans above an enqueue into ``events``, once something runs in its trace.

        An enqueue puts a job into its queue; above it are requests and wrappers. ``events`` is the
        list that the mapper publishes. Until a task, phase or job runs in the trace, the parents of
        at most 16 of its enqueues are remembered; those of further enqueues are not sent. This
        holds for 10,000 traces: over that the oldest is forgotten, and nothing of it is sent.

        Args:
            trace_id: The trace of the enqueue.
            span: The span of the enqueue.

        Raises:
            ValueError, OverflowError, OSError: A time is out of the years that ``gmtime`` accepts.
        """
        parent = span.parent
        if parent is None:
            return
        waiting = self._traces.get(trace_id, _NO_ENQUEUES)
        if waiting is None:
            self._send_from(trace_id, parent.span_id)
        elif not waiting:
            self._traces[trace_id] = [parent.span_id]
            self._trim_traces()
        elif len(waiting) < _MAX_ENQUEUES and parent.span_id not in waiting:
            waiting.append(parent.span_id)

    def _trim_traces(self) -> None:
        if len(self._traces) > _MAX_TRACES:
            self._traces.popitem(last=False)

    def _is_sent_at_once(
        self, span: SpanView, found: _IntermediateSpan, attributes: Attributes
    ) -> bool:
        if found.inherited.is_double:
            return False
        trace_id = found.key[0]
        if scope_of(span).startswith(_LATE_SCOPES):
            self._note_work(trace_id)
            return True
        if (
            found.kind is not SpanKind.CLIENT
            or self._traces.get(trace_id, _NO_ENQUEUES) is not None
        ):
            return False
        if not any(name in attributes for name in _REQUEST_ATTRIBUTES):
            return False
        second = found.start_ns // 1_000_000_000
        if second != self._second:
            self._second, self._requests = second, 0
        self._requests += 1
        return self._requests <= _REQUESTS_PER_SEC

    def _send_from(self, trace_id: int, span_id: int) -> None:
        """Send this span and all above it that were not sent; the topmost first."""
        found: list[_IntermediateSpan] = []
        while True:
            key = (trace_id, span_id)
            span = self._running.get(key) or self._ended.get(key)
            if span is None:
                if not self._parents_come_first:
                    self._await(key)
                break
            if span.is_sent:
                break
            span.is_sent = True
            found.append(span)
            if span.parent is None:
                break
            span_id = span.parent.span_id
        for span in reversed(found):
            self.events.append(self._start_of(span))
            if span.end is not None:
                self.events.append(self._end_of(span))

    def _await(self, key: Key) -> None:
        self._awaited[key] = None
        if len(self._awaited) > _MAX_AWAITED:
            self._awaited.popitem(last=False)

    def _start_of(self, span: _IntermediateSpan) -> Fields:
        return self._fields(span, None, span.start_ns, {})

    def _update_of(self, span: _IntermediateSpan) -> Fields:
        """A snapshot of an open span has another name than the one before."""
        fields = self._fields(span, None, time.time_ns(), {})
        digest = digest_of(span.name.encode())
        fields["event_id"] = snapshot_id_of(span.context, span.start_ns, digest)
        fields["event_type"] = "span_updated"
        del fields["status"]
        return fields

    def _end_of(self, span: _IntermediateSpan) -> Fields:
        assert span.end is not None
        end_ns, duration, outcome, error = span.end
        texts: Fields = {} if error is None else {"error": error}
        if duration is not None:
            texts = {"duration_ms": duration, **texts}
        return self._fields(span, outcome, end_ns, texts)

    def _fields(
        self, span: _IntermediateSpan, outcome: str | None, time_ns: int, more: dict[str, Any]
    ) -> Fields:
        found = event_of(SPAN, outcome)
        assert found is not None
        inherited = span.inherited
        fields: Fields = {
            "event_id": event_id_of(span.context, span.start_ns, is_end=found.is_about_end),
            "ts": iso_utc(time_ns),
            "event_type": found.event_type,
        }
        if inherited.project_id is not None:
            fields["project_id"] = str(inherited.project_id)
        if inherited.parent_task_id is not None:
            fields["parent_task_id"] = str(inherited.parent_task_id)
        fields["status"] = found.status
        fields |= more
        trace_id, span_id = span.key
        add_ids(fields, trace_id, span_id, span.parent, self._incarnation)
        add_kind(fields, span, span.name)
        return fields


_NO_ENQUEUES: Final[list[int]] = []
_LATE_SCOPES: Final = (
    "openinference.instrumentation",
    "langsmith",
    "langfuse-sdk",
    "traceloop.tracer",
    "opentelemetry.instrumentation.langchain",
    "opentelemetry.instrumentation.llamaindex",
    "opentelemetry.instrumentation.crewai",
    "opentelemetry.instrumentation.haystack",
    "airflow.sdk.execution_time",
    "dbos-tracer",
    "gcp.vertex.agent",
    "livekit-agents",
)
"""Instrumentation scopes that say what a span is after its start only, or in the span above it.

All of them are of agents and workflows, so each of their spans is of interest. Those that set
attributes when a span starts (pydantic-ai, the OpenAI instrumentations) need not be here, nor may
those of web frameworks and databases be: every query would be an event."""
_REQUEST_ATTRIBUTES: Final = ("http.request.method", "http.method", "rpc.system")
"""A CLIENT span with one of these calls a service; others query a database or a cache."""
_REQUESTS_PER_SEC: Final = 20
"""Most of them are calls of a language model's API. 20 a second make 40 events, 0.3 ms of the bus's
thread; without one of them, what it called stands at the top of its task."""
_MAX_RUNNING: Final = 20_000
_MAX_ENDED: Final = 5_000
"""What began inside of them may still arrive; 350 bytes each."""
_MAX_AWAITED: Final = 20_000
_MAX_TRACES: Final = 10_000
_MAX_ENQUEUES: Final = 16
"""Of a trace in which nothing runs; parents of further ones are not sent."""
