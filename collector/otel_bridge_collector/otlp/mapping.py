"""
Maps OTLP spans to events, by the same rules as the live spans of this package.

A span that has ended gives two events, a start and an end. One that is still open (``shapes.py``)
gives its start alone, then a ``span_updated`` for each snapshot that says something new, and a
share of a ``span_beats`` for each that does not. A span that is sent twice, or also arrives live
over the bus, gives events with the same ids (derived from trace, span, start and side), so the fold
knows them already.

Source: OTLP 1.7, ``opentelemetry/proto/collector/trace/v1``.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.events.redaction import MetaAllowlist, redact_fields
from otel_bridge.mapping.inheritance import InheritedContext, Key
from otel_bridge.mapping.mapper import SpanMapper
from otel_bridge_collector.otlp.rejections import Rejection, Rejections
from otel_bridge_collector.otlp.shapes import (
    HEARTBEAT_ATTRIBUTE,
    LOGFIRE_PENDING,
    OPEN_ATTRIBUTE,
    Seen,
    Shape,
    shape_of,
)
from otel_bridge_collector.otlp.snapshots import Snapshots, digest_of, event_of_snapshot

__all__ = ["OtlpReceiver", "ReadSpans", "Received", "read_spans"]

logger = logging.getLogger(__name__)

_MAX_VALUE_DEPTH: Final = 8
_MAX_UNCONFIRMED: Final = 10_000
"""While the log cannot be reached, senders send again and again; then the oldest are dropped."""
_NO_CORRELATION: Final[Mapping[Key, InheritedContext]] = {}
_PENDING_PARENT: Final = "logfire.pending_parent_id"
_KINDS: Final = {
    trace_pb2.Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    trace_pb2.Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    trace_pb2.Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}


class ReadSpans(NamedTuple):
    """The spans of a request."""

    spans: list[ReadSpan]
    """By start time, so parents come before their children."""
    parents: dict[str, set[str]]
    """Ids of the parent spans by trace id, all in hexadecimal."""


class ReadSpan(NamedTuple):
    """One span of a request: what it is, and 64 bits of all that it says, 0 if it has ended."""

    span: OtlpSpan
    seen: Seen
    digest: int


class Received(NamedTuple):
    """What the spans of a request were mapped to."""

    events: list[MonitoringEvent]
    updates: dict[str, MonitoringEvent]
    """By the id of a span's start: what its first snapshot here says, for a collector that knows
    the start already, from before a restart or from another process."""


class _SpanEvent(NamedTuple):
    name: str
    attributes: Mapping[str, Any] | None


class OtlpSpan(NamedTuple):
    """A received span in the form that ``SpanMapper`` reads."""

    name: str
    kind: SpanKind
    context: SpanContext | None
    parent: SpanContext | None
    start_time: int | None
    end_time: int | None
    status: Status
    attributes: Mapping[str, Any] | None
    events: Sequence[_SpanEvent]


class OtlpReceiver:
    """
    Maps the requests of one sender to events; for one request at a time.

    Senders do not share one, so the spans of one sender cannot change what another's inherit. It
    remembers at most 20,000 spans for that, and 10,000 events that are not confirmed to be in the
    log; the oldest are forgotten. No method raises, and it needs no closing.

    Attributes:
        producer_id: The name of this receiver as a producer in the log, 32 hexadecimal digits.
        lock: An ``asyncio.Lock``. Hold it while a request is mapped and appended, so that the
            events reach the log in the order of their numbers.

    Args:
        meta_attributes: Names of the span attributes that may be shown, at most 64 of a span; a
            name that ends in ``*`` is a prefix. Default: none.
        with_prompts: Whether prompts and answers of language models may be shown when named there;
            default False.
    """

    def __init__(self, meta_attributes: Iterable[str] = (), *, with_prompts: bool = False) -> None:
        self._mapper = SpanMapper(
            MetaAllowlist(meta_attributes, with_prompts=with_prompts), parents_come_first=False
        )
        self._snapshots = Snapshots()
        self._unconfirmed: list[MonitoringEvent] = []
        """Of intermediate spans: each is made once, also if the sender sends its request again."""
        self.producer_id = uuid.uuid4().hex
        self.lock = asyncio.Lock()
        self._next_n = 1

    def receive(
        self,
        read: ReadSpans,
        rejected: Rejections,
        *,
        correlated: Mapping[Key, InheritedContext] = _NO_CORRELATION,
    ) -> Received:
        """
        Map a request to events. Blocks for the size of the request; any thread, one at a time.

        Events of intermediate spans (requests and wrappers, which are no task, phase or job) are
        returned by each call until ``confirm`` is called, because they are made only once; at most
        10,000 of them, then the oldest are dropped. Never raises: a span that cannot be mapped is
        counted as rejected.

        Args:
            read: The spans of the request, as ``read_spans`` returns them.
            rejected: Counts the spans that cannot be mapped.
            correlated: The task, project and phase that they inherit from spans that reached the
                collector on another path, by (trace id, span id); span id 0 stands for the whole
                trace. Default: nothing.

        Returns:
            ``events``: unconfirmed ones first, then those of this request, sorted by time, what
            snapshots changed and heartbeats last; and ``updates``. The events' sizes are not
            checked.
        """
        self._mapper.correlate(correlated)
        now_ns = time.time_ns()
        events: list[tuple[int, MonitoringEvent]] = []
        updates: dict[str, MonitoringEvent] = {}
        bad: set[Key] = set()
        for one in read.spans:
            if one.seen.shape is Shape.ENDED:
                self._map(one.span, events, bad, is_end=False)
            else:
                self._map_open(one, events, updates, bad, now_ns)
        ended = [one.span for one in read.spans if one.seen.shape is Shape.ENDED]
        # At equal end times the span that started last ends first: children before their parents.
        ended.sort(key=lambda span: (span.end_time or 0, -(span.start_time or 0)))
        for span in ended:
            self._map(span, events, bad, is_end=True)
            self._snapshots.end(_key_of(span))
        events.sort(key=lambda pair: pair[0])
        if bad:
            rejected.add(Rejection.MAPPING, count=len(bad))
        heartbeats = self._snapshots.heartbeats(now_ns)
        found = [*self._unconfirmed, *(event for _, event in events), *heartbeats]
        return Received(found, updates)

    def confirm(self) -> None:
        """Everything that ``receive`` returned is in the log."""
        self._unconfirmed = []
        self._snapshots.confirm()

    def _map_open(
        self,
        one: ReadSpan,
        events: list[tuple[int, MonitoringEvent]],
        updates: dict[str, MonitoringEvent],
        bad: set[Key],
        now_ns: int,
    ) -> None:
        """Map a snapshot: the span's start, and what is new since the snapshot before."""
        span, key = one.span, _key_of(one.span)
        if one.seen.shape is Shape.OPEN and self._snapshots.is_repeat(key, one.digest):
            return
        start = self._event(span, bad, is_end=False)
        if start is None:
            # No rule knows it yet; a span below it may show it, and then its heartbeats count.
            self._snapshots.note(key, one.digest, _project_of(span))
            return
        if one.seen.beat_ms is not None:
            start = start.model_copy(update={"beat_ms": one.seen.beat_ms})
        is_given_up = one.seen.shape is Shape.GIVEN_UP
        update = event_of_snapshot(start, span, one.digest, now_ns, is_given_up=is_given_up)
        events.append((span.start_time or 0, start))
        if is_given_up:
            events.append((now_ns, update))
        else:
            updates[start.event_id] = update
        self._snapshots.note(key, one.digest, start.project_id)

    def _map(
        self,
        span: OtlpSpan,
        events: list[tuple[int, MonitoringEvent]],
        bad: set[Key],
        *,
        is_end: bool,
    ) -> None:
        event = self._event(span, bad, is_end=is_end)
        if event is not None:
            # An enqueue is known at its end and happened at its start. The event's own time is
            # in microseconds: two spans may start in one.
            is_about_end = is_end and event.event_type != MonitoringEventType.TASK_ENQUEUED
            at = span.end_time if is_about_end else span.start_time
            events.append((at or 0, event))

    def _event(self, span: OtlpSpan, bad: set[Key], *, is_end: bool) -> MonitoringEvent | None:
        try:
            fields = self._mapper.fields(span, is_end=is_end)
            self._unconfirmed += map(_event, self._mapper.take_intermediate())
            del self._unconfirmed[:-_MAX_UNCONFIRMED]
            return None if fields is None else _event(fields)
        except Exception:
            # One bad span must not cost the others; the sender gets the number of bad ones.
            logger.debug("a span could not be mapped", exc_info=True)
            bad.add(_key_of(span))
            return None

    def reserve_numbers(self, count: int) -> int:
        """
        Reserve the numbers of ``count`` events in the log, from 1 upwards, without a limit.

        Call it while holding ``lock``. Never raises.

        Args:
            count: The number of events, at least 1; not checked.

        Returns:
            The first of these consecutive numbers. No number is given out twice, also when the
            events are never sent.
        """
        first = self._next_n
        self._next_n += count
        return first


def _event(fields: dict[str, Any]) -> MonitoringEvent:
    redact_fields(fields)
    return MonitoringEvent.model_validate(fields)


def _key_of(span: OtlpSpan) -> Key:
    context = span.context
    return (0, 0) if context is None else (context.trace_id, context.span_id)


def _project_of(span: OtlpSpan) -> str | None:
    project = None if span.attributes is None else span.attributes.get(semconv.PROJECT_ID)
    return project if isinstance(project, str) else None


def read_spans(
    request: ExportTraceServiceRequest, project_id: str | None, rejected: Rejections
) -> ReadSpans:
    """
    Read the spans of a decoded request; blocks for its size, may be called from any thread.

    Never raises: a span without valid ids is counted as rejected. An attribute's lists and maps are
    read 8 levels deep; what is deeper becomes None. The caller limits the number of spans.

    Args:
        request: The decoded request.
        project_id: The project of spans that name none, neither in their attributes nor in their
            resource; None leaves them without one.
        rejected: Counts the spans without valid ids.

    Returns:
        ``spans``: by start time; and ``parents``: the ids of the parent spans by trace id, in
        hexadecimal.
    """
    now_ns = time.time_ns()
    spans: list[ReadSpan] = []
    parents: dict[str, set[str]] = {}
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        project = resource.get(semconv.PROJECT_ID, project_id)
        for scope_spans in resource_spans.scope_spans:
            for received in scope_spans.spans:
                try:
                    one = _read_span(received, resource, project, now_ns)
                except ValueError as error:
                    rejected.add(Rejection.ID, str(error))
                    continue
                spans.append(one)
                span = one.span
                if span.parent is not None:
                    of_trace = parents.setdefault(f"{span.parent.trace_id:032x}", set())
                    of_trace.add(f"{span.parent.span_id:016x}")
    # Children inherit from their parents, so parents are mapped first.
    spans.sort(key=lambda one: one.span.start_time or 0)
    return ReadSpans(spans, parents)


def _read_span(
    span: trace_pb2.Span, resource: Mapping[str, Any], project: Any, now_ns: int
) -> ReadSpan:
    """The span and what it is; ValueError without valid ids."""
    for name, value, size in (("trace_id", span.trace_id, 16), ("span_id", span.span_id, 8)):
        if len(value) != size:
            raise ValueError(f"{name} of {len(value)} bytes")
    attributes = _attributes(span.attributes)
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    seen = shape_of(start_ns, end_ns, attributes, now_ns)
    is_pending = attributes.get(LOGFIRE_PENDING[0]) == LOGFIRE_PENDING[1]
    trace_id = int.from_bytes(span.trace_id, "big")
    span_id = int.from_bytes(span.span_id, "big")
    parent_id = int.from_bytes(span.parent_span_id, "big")
    if is_pending:
        # Logfire sends it as a child of the span that has started, and names that one's parent.
        span_id = parent_id
        parent_id = int(str(attributes.get(_PENDING_PARENT) or "0"), 16)
    if not (trace_id and span_id):
        raise ValueError("an id of zeros")
    attributes.pop(OPEN_ATTRIBUTE, None)
    attributes.pop(HEARTBEAT_ATTRIBUTE, None)
    if project is not None:
        attributes.setdefault(semconv.PROJECT_ID, str(project))
    service = resource.get("service.name")
    if service is not None:
        attributes.setdefault(f"{semconv.META_PREFIX}service", str(service))
    # Senders before OTLP 1.2 do not say it: then it is not known.
    is_parent_remote = bool(span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
    found = OtlpSpan(
        name=span.name,
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        context=SpanContext(trace_id, span_id, is_remote=True),
        parent=SpanContext(trace_id, parent_id, is_remote=is_parent_remote) if parent_id else None,
        start_time=start_ns,
        end_time=max(end_ns, start_ns) if seen.shape is Shape.ENDED else None,
        status=_status(span.status),
        attributes=attributes,
        events=[_SpanEvent(event.name, _attributes(event.attributes)) for event in span.events],
    )
    if seen.shape is Shape.ENDED:
        return ReadSpan(found, seen, 0)
    return ReadSpan(found, seen, digest_of(span.SerializeToString(deterministic=True)))


def _status(status: trace_pb2.Status) -> Status:
    if status.code == trace_pb2.Status.STATUS_CODE_ERROR:
        return Status(StatusCode.ERROR, status.message or None)
    return Status(StatusCode.OK if status.code else StatusCode.UNSET)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value, 0) for pair in pairs}


def _value(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth > _MAX_VALUE_DEPTH:
        return None
    if kind == "array_value":
        return [_value(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _value(pair.value, depth + 1) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    return getattr(value, kind)
