"""
OTLP traces -> events: what any OpenTelemetry exporter or Collector sends us, by the same mapping.

A span that arrives has ended, so it gives a start and an end; Logfire's pending spans arrive when
their span begins and give the start alone. Spans sent twice, or live over the bus as well, make the
same events (ids derived from trace, span, start and side), which every fold knows already.

Source: OTLP 1.7, ``opentelemetry/proto/collector/trace/v1``; JSON has ids in hexadecimal.
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
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.redaction import MetaAllowlist, redact_fields
from otel_bridge.mapping.inheritance import InheritedContext, Key
from otel_bridge.mapping.mapper import SpanMapper

__all__ = ["OtlpReceiver", "ReadSpans", "Received", "read_spans"]

logger = logging.getLogger(__name__)

_MAX_VALUE_DEPTH: Final = 8
_NOTHING: Final[Mapping[Key, InheritedContext]] = {}
_PENDING: Final = ("logfire.span_type", "pending_span")
_PENDING_PARENT: Final = "logfire.pending_parent_id"
_KINDS: Final = {
    trace_pb2.Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    trace_pb2.Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    trace_pb2.Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}


class ReadSpans(NamedTuple):
    """A request's spans, parents before their children, and how many cannot be read."""

    found: list[tuple[OtlpSpan, bool]]
    """With each, whether it is pending."""
    rejected: int
    wanted: dict[str, set[str]]
    """Ids of the traces, and of the spans that the spans are in, all hexadecimal."""


class Received(NamedTuple):
    """What became of a request's spans."""

    events: list[MonitoringEvent]
    rejected: int
    """Spans that cannot be read; OTLP's ``partial_success`` tells the sender."""


class _Event(NamedTuple):
    name: str
    attributes: Mapping[str, Any] | None


class OtlpSpan(NamedTuple):
    """A received span, as the mapping reads one."""

    name: str
    kind: SpanKind
    context: SpanContext | None
    parent: SpanContext | None
    start_time: int | None
    end_time: int | None
    status: Status
    attributes: Mapping[str, Any] | None
    events: Sequence[_Event]


class OtlpReceiver:
    """
    Maps the requests of one sender: what a token sends says nothing about another's spans.

    Attributes:
        producer_id: Name of this receiver to the log.
        lock: Held while one request is mapped and appended; events are numbered.

    Args:
        meta_attributes: Which span attributes may be shown, see ``MONITORING_META_ATTRIBUTES``.
        with_prompts: Whether prompts and answers of language models may pass when named.
    """

    def __init__(self, meta_attributes: Iterable[str] = (), *, with_prompts: bool = False) -> None:
        self._mapper = SpanMapper(MetaAllowlist(meta_attributes, with_prompts=with_prompts))
        self.producer_id = uuid.uuid4().hex
        self.lock = asyncio.Lock()
        self._next_n = 1

    def receive(
        self,
        spans: ReadSpans,
        *,
        are_open: bool = False,
        lent: Mapping[Key, InheritedContext] = _NOTHING,
    ) -> Received:
        """
        The events of a request, in the order in which things happened.

        Args:
            spans: From ``read_spans``.
            are_open: The spans have not ended yet.
            lent: What they may inherit from spans that others tell of, see ``lending``.
        """
        self._mapper.correlate(lent)
        found = spans.found
        events: list[tuple[int, MonitoringEvent]] = []
        bad: set[int] = set()
        for span_view, _ in found:
            self._map(span_view, events, bad, is_end=False)
        ended = [span_view for span_view, is_pending in found if not (is_pending or are_open)]
        # Children end before their parents, also where the clock cannot tell.
        ended.sort(key=lambda each: (each.end_time or 0, -(each.start_time or 0)))
        for span_view in ended:
            self._map(span_view, events, bad, is_end=True)
        events.sort(key=lambda pair: pair[0])
        return Received([event for _, event in events], spans.rejected + len(bad))

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
            if fields is not None:
                redact_fields(fields)
                at = span.end_time if is_end else span.start_time
                events.append((at or 0, MonitoringEvent.model_validate(fields)))
        except Exception:
            # One strange span must not cost the others; the sender is told how many.
            logger.debug("a span could not be mapped", exc_info=True)
            bad.add(id(span))

    def numbers(self, count: int) -> int:
        """The number of the first of ``count`` events; never given twice, sent or not."""
        first = self._next_n
        self._next_n += count
        return first


def read_spans(request: ExportTraceServiceRequest, project_id: str | None) -> ReadSpans:
    """
    Read a decoded request; in any thread.

    Args:
        request: Decoded.
        project_id: Of spans whose resource or attributes name none.
    """
    rejected = 0
    found: list[tuple[OtlpSpan, bool]] = []
    wanted: dict[str, set[str]] = {}
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        project = resource.get(semconv.PROJECT_ID, project_id)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                try:
                    view, is_pending = _view(span, resource, project)
                except ValueError:
                    rejected += 1
                    continue
                found.append((view, is_pending))
                if view.parent is not None:
                    parents = wanted.setdefault(f"{view.parent.trace_id:032x}", set())
                    parents.add(f"{view.parent.span_id:016x}")
    # Parents before their children: these inherit from them.
    found.sort(key=lambda pair: pair[0].start_time or 0)
    return ReadSpans(found, rejected, wanted)


def _view(span: trace_pb2.Span, resource: Mapping[str, Any], project: Any) -> tuple[OtlpSpan, bool]:
    if len(span.trace_id) != 16 or len(span.span_id) != 8:
        raise ValueError("a span without ids")
    attributes = _attributes(span.attributes)
    is_pending = attributes.get(_PENDING[0]) == _PENDING[1]
    trace_id = int.from_bytes(span.trace_id, "big")
    span_id = int.from_bytes(span.span_id, "big")
    parent_id = int.from_bytes(span.parent_span_id, "big")
    if is_pending:
        # The pending span is a child that stands in for its parent.
        span_id = parent_id
        parent_id = int(str(attributes.get(_PENDING_PARENT) or "0"), 16)
    if not (trace_id and span_id):
        raise ValueError("a span whose id is all zeros")
    if project is not None:
        attributes.setdefault(semconv.PROJECT_ID, str(project))
    service = resource.get("service.name")
    if service is not None:
        attributes.setdefault(f"{semconv.META_PREFIX}service", str(service))
    view = OtlpSpan(
        name=span.name,
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        context=SpanContext(trace_id, span_id, is_remote=True),
        parent=SpanContext(trace_id, parent_id, is_remote=True) if parent_id else None,
        start_time=span.start_time_unix_nano,
        end_time=max(span.end_time_unix_nano, span.start_time_unix_nano),
        status=_status(span.status),
        attributes=attributes,
        events=[_Event(event.name, _attributes(event.attributes)) for event in span.events],
    )
    return view, is_pending


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
