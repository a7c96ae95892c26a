"""
Maps OTLP spans to events, by the same rules as the live spans of this package.

A span that arrives has ended, so it gives two events, a start and an end. Logfire's pending spans
arrive when their span starts and give the start alone. A span that is sent twice, or also arrives
live over the bus, gives events with the same ids (derived from trace, span, start and side), so the
fold knows them already.

Source: OTLP 1.7, ``opentelemetry/proto/collector/trace/v1``.
"""

from __future__ import annotations

import asyncio
import base64
import logging
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

__all__ = ["OtlpReceiver", "ReadSpans", "Received", "read_spans"]

logger = logging.getLogger(__name__)

_MAX_VALUE_DEPTH: Final = 8
_MAX_UNCONFIRMED: Final = 10_000
"""While the log cannot be reached, senders send again and again; then the oldest are dropped."""
_NO_CORRELATION: Final[Mapping[Key, InheritedContext]] = {}
_PENDING_TYPE: Final = ("logfire.span_type", "pending_span")
_PENDING_PARENT: Final = "logfire.pending_parent_id"
_KINDS: Final = {
    trace_pb2.Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    trace_pb2.Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    trace_pb2.Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}


class ReadSpans(NamedTuple):
    """The spans of a request."""

    spans: list[tuple[OtlpSpan, bool]]
    """By start time, so parents come before their children; with each, whether it is pending."""
    rejected: int
    """Spans without valid ids."""
    parents: dict[str, set[str]]
    """Ids of the parent spans by trace id, all in hexadecimal."""


class Received(NamedTuple):
    """What the spans of a request were mapped to."""

    events: list[MonitoringEvent]
    rejected: int
    """Spans that cannot be read or mapped; the sender sees the number in ``partial_success``."""


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
        self._unconfirmed: list[MonitoringEvent] = []
        """Of intermediate spans: each is made once, also if the sender sends its request again."""
        self.producer_id = uuid.uuid4().hex
        self.lock = asyncio.Lock()
        self._next_n = 1

    def receive(
        self,
        read: ReadSpans,
        *,
        are_open: bool = False,
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
            are_open: True: the spans have not ended yet, so they give their start alone. Default
                False: a start and an end each.
            correlated: The task, project and phase that they inherit from spans that reached the
                collector on another path, by (trace id, span id); span id 0 stands for the whole
                trace. Default: nothing.

        Returns:
            ``events``: unconfirmed ones first, then those of this request, sorted by time; and
            ``rejected``, the number of rejected spans. The events' sizes are not checked.
        """
        self._mapper.correlate(correlated)
        events: list[tuple[int, MonitoringEvent]] = []
        bad: set[int] = set()
        for span, _ in read.spans:
            self._map(span, events, bad, is_end=False)
        ended = [span for span, is_pending in read.spans if not (is_pending or are_open)]
        # At equal end times the span that started last ends first: children before their parents.
        ended.sort(key=lambda span: (span.end_time or 0, -(span.start_time or 0)))
        for span in ended:
            self._map(span, events, bad, is_end=True)
        events.sort(key=lambda pair: pair[0])
        found = [*self._unconfirmed, *(event for _, event in events)]
        return Received(found, read.rejected + len(bad))

    def confirm(self) -> None:
        """Everything that ``receive`` returned is in the log."""
        self._unconfirmed = []

    def _map(
        self,
        span: OtlpSpan,
        events: list[tuple[int, MonitoringEvent]],
        bad: set[int],
        *,
        is_end: bool,
    ) -> None:
        try:
            fields = self._mapper.fields(span, is_end=is_end)
            self._unconfirmed += map(_event, self._mapper.take_intermediate())
            del self._unconfirmed[:-_MAX_UNCONFIRMED]
            if fields is not None:
                # An enqueue is known at its end and happened at its start. The event's own time is
                # in microseconds: two spans may start in one.
                is_about_end = is_end and fields["event_type"] != MonitoringEventType.TASK_ENQUEUED
                at = span.end_time if is_about_end else span.start_time
                events.append((at or 0, _event(fields)))
        except Exception:
            # One bad span must not cost the others; the sender gets the number of bad ones.
            logger.debug("a span could not be mapped", exc_info=True)
            bad.add(id(span))

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


def read_spans(request: ExportTraceServiceRequest, project_id: str | None) -> ReadSpans:
    """
    Read the spans of a decoded request; blocks for its size, may be called from any thread.

    Never raises: a span without valid ids is counted as rejected. An attribute's lists and maps are
    read 8 levels deep; what is deeper becomes None. The caller limits the number of spans.

    Args:
        request: The decoded request.
        project_id: The project of spans that name none, neither in their attributes nor in their
            resource; None leaves them without one.

    Returns:
        ``spans``: pairs of a span and whether it is pending (has only started), by start time;
        ``rejected``: the number of rejected ones; and ``parents``: the ids of the parent spans by
        trace id, in hexadecimal.
    """
    rejected = 0
    spans: list[tuple[OtlpSpan, bool]] = []
    parents: dict[str, set[str]] = {}
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        project = resource.get(semconv.PROJECT_ID, project_id)
        for scope_spans in resource_spans.scope_spans:
            for received in scope_spans.spans:
                try:
                    span, is_pending = _read_span(received, resource, project)
                except ValueError:
                    rejected += 1
                    continue
                spans.append((span, is_pending))
                if span.parent is not None:
                    of_trace = parents.setdefault(f"{span.parent.trace_id:032x}", set())
                    of_trace.add(f"{span.parent.span_id:016x}")
    # Children inherit from their parents, so parents are mapped first.
    spans.sort(key=lambda pair: pair[0].start_time or 0)
    return ReadSpans(spans, rejected, parents)


def _read_span(
    span: trace_pb2.Span, resource: Mapping[str, Any], project: Any
) -> tuple[OtlpSpan, bool]:
    """The span, and whether it is pending; ValueError without valid ids."""
    if len(span.trace_id) != 16 or len(span.span_id) != 8:
        raise ValueError("a trace id has 16 bytes and a span id 8")
    attributes = _attributes(span.attributes)
    is_pending = attributes.get(_PENDING_TYPE[0]) == _PENDING_TYPE[1]
    trace_id = int.from_bytes(span.trace_id, "big")
    span_id = int.from_bytes(span.span_id, "big")
    parent_id = int.from_bytes(span.parent_span_id, "big")
    if is_pending:
        # Logfire sends it as a child of the span that has started, and names that one's parent.
        span_id = parent_id
        parent_id = int(str(attributes.get(_PENDING_PARENT) or "0"), 16)
    if not (trace_id and span_id):
        raise ValueError("an id is all zeros")
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
        start_time=span.start_time_unix_nano,
        end_time=max(span.end_time_unix_nano, span.start_time_unix_nano),
        status=_status(span.status),
        attributes=attributes,
        events=[_SpanEvent(event.name, _attributes(event.attributes)) for event in span.events],
    )
    return found, is_pending


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
