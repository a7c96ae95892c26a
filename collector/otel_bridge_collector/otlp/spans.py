"""
Reads the spans of a decoded OTLP request: ids, attributes, and what each is (``shapes.py``).

Source: OTLP 1.7, ``opentelemetry/proto/collector/trace/v1``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from otel_bridge.events import semconv
from otel_bridge.events.event_ids import digest_of
from otel_bridge_collector.otlp.rejections import Rejection, Rejections
from otel_bridge_collector.otlp.shapes import (
    HEARTBEAT_ATTRIBUTE,
    LOGFIRE_PENDING,
    OPEN_ATTRIBUTE,
    Seen,
    Shape,
    shape_of,
)
from otel_bridge_collector.otlp.snapshots import Key
from otel_bridge_collector.wire.otlp_values import plain_value

__all__ = ["OtlpSpan", "ReadSpan", "ReadSpans", "read_spans"]

_MAX_ID: Final = 1 << 64
_PENDING_PARENT: Final = "logfire.pending_parent_id"
_KINDS: Final = {
    trace_pb2.Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    trace_pb2.Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    trace_pb2.Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}

IsRepeat = Callable[[Key, int], bool]
"""Whether a span's last snapshot had this digest; it is then noted as a heartbeat."""


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
    instrumentation_scope: InstrumentationScope
    links: Sequence[Link]

    @property
    def key(self) -> Key:
        """Trace id and span id; zeros without a context, which ``read_spans`` always gives."""
        context = self.context
        return (0, 0) if context is None else (context.trace_id, context.span_id)


def read_spans(
    request: ExportTraceServiceRequest,
    project_id: str | None,
    rejected: Rejections,
    is_repeat: IsRepeat | None = None,
) -> ReadSpans:
    """
    Read the spans of a decoded request; blocks for its size, may be called from any thread.

    Never raises: a span without valid ids is counted as rejected. An attribute's lists and maps are
    read 8 levels deep; what is deeper becomes None. The caller limits the number of spans.

    Args:
        request: The decoded request; the ends of its open spans are removed.
        project_id: The project of spans that name none, neither in their attributes nor in their
            resource; None leaves them without one.
        rejected: Counts the spans without valid ids.
        is_repeat: Called with the ids and the digest of each snapshot; those for which it returns
            True are left out. Default: none is.

    Returns:
        ``spans``: by start time, of several snapshots of one span the last, and none beside its
        end; and ``parents``: the ids of the parent spans by trace id, in hexadecimal.
    """
    found = _Reader(project_id, rejected, is_repeat)
    for resource_spans in request.resource_spans:
        found.begin(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            found.scope = InstrumentationScope(scope_spans.scope.name)
            for received in scope_spans.spans:
                try:
                    found.add(received)
                except ValueError as error:
                    rejected.add(Rejection.ID, str(error))
    return found.result()


class _Reader:
    """Reads one request."""

    def __init__(
        self, project_id: str | None, rejected: Rejections, is_repeat: IsRepeat | None
    ) -> None:
        self._now_ns = time.time_ns()
        self._default_project = project_id
        self._rejected = rejected
        self._is_repeat = is_repeat
        self._spans: list[ReadSpan] = []
        self._open: dict[Key, ReadSpan | None] = {}
        """The last snapshot of each span; None: it says what the one before said."""
        self.scope = InstrumentationScope("")
        """Of the spans that follow."""
        self._parents: dict[str, set[str]] = {}

    def begin(self, resource: Resource) -> None:
        """What follows is of this resource."""
        self._resource = resource
        attributes = _attributes(resource.attributes)
        self._project = attributes.get(semconv.PROJECT_ID, self._default_project)
        self._service = attributes.get("service.name")
        self._resource_digest: int | None = None

    def result(self) -> ReadSpans:
        """Everything that was added."""
        spans = self._spans
        if self._open:
            ended = {one.span.key for one in spans}
            spans += [one for key, one in self._open.items() if one and key not in ended]
        for span, _, _ in spans:
            if span.parent is not None:
                of_trace = self._parents.setdefault(f"{span.parent.trace_id:032x}", set())
                of_trace.add(f"{span.parent.span_id:016x}")
        # Children inherit from their parents, so parents are mapped first.
        spans.sort(key=lambda one: one.span.start_time or 0)
        return ReadSpans(spans, self._parents)

    def add(self, received: trace_pb2.Span) -> None:
        """Read one span; ValueError without valid ids."""
        key = _ids_of(received)
        if received.end_time_unix_nano == 0 and self._is_heartbeat(key, self._digest(received)):
            # Known before its attributes are read, which takes ten times as long.
            self._open[key] = None
            return
        one = self._read(received, key)
        if one.seen.shape is Shape.ENDED:
            self._spans.append(one)
            return
        key = one.span.key
        is_repeat = one.seen.shape is Shape.OPEN and self._is_heartbeat(key, one.digest)
        self._open[key] = None if is_repeat else one

    def _is_heartbeat(self, key: Key, digest: int) -> bool:
        return self._is_repeat is not None and self._is_repeat(key, digest)

    def _digest(self, span: trace_pb2.Span) -> int:
        """Of all that a snapshot says; the resource may become complete later than the span."""
        if self._resource_digest is None:
            self._resource_digest = digest_of(self._resource.SerializeToString(deterministic=True))
        return digest_of(span.SerializeToString(deterministic=True)) ^ self._resource_digest

    def _read(self, span: trace_pb2.Span, key: Key) -> ReadSpan:
        attributes = _attributes(span.attributes)
        start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
        seen = shape_of(start_ns, end_ns, attributes, self._now_ns)
        trace_id, span_id = key
        parent_id = int.from_bytes(span.parent_span_id, "big")
        if attributes.get(LOGFIRE_PENDING[0]) == LOGFIRE_PENDING[1]:
            # Logfire sends it as a child of the span that has started, and names that one's parent.
            span_id, parent_id = parent_id, _pending_parent(attributes)
            if not span_id:
                raise ValueError("a pending span without parent_span_id")
        attributes.pop(OPEN_ATTRIBUTE, None)
        attributes.pop(HEARTBEAT_ATTRIBUTE, None)
        if self._project is not None:
            attributes.setdefault(semconv.PROJECT_ID, str(self._project))
        if self._service is not None:
            attributes.setdefault(f"{semconv.META_PREFIX}service", str(self._service))
        # Senders before OTLP 1.2 do not say it: then it is not known.
        is_parent_remote = bool(span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
        has_ended = seen.shape is Shape.ENDED
        found = OtlpSpan(
            name=span.name,
            kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
            context=SpanContext(trace_id, span_id, is_remote=True),
            parent=SpanContext(trace_id, parent_id, is_remote=is_parent_remote)
            if parent_id
            else None,
            start_time=start_ns,
            end_time=max(end_ns, start_ns) if has_ended else None,
            status=_status(span.status),
            attributes=attributes,
            events=[_SpanEvent(event.name, _attributes(event.attributes)) for event in span.events],
            instrumentation_scope=self.scope,
            links=[_link(link) for link in span.links] if span.links else (),
        )
        if has_ended:
            return ReadSpan(found, seen, 0)
        # A made-up end is another one in each snapshot.
        span.ClearField("end_time_unix_nano")
        return ReadSpan(found, seen, self._digest(span))


def _ids_of(span: trace_pb2.Span) -> Key:
    """Trace id and span id; ValueError without valid ids."""
    for name, value, size in (("trace_id", span.trace_id, 16), ("span_id", span.span_id, 8)):
        if len(value) != size:
            raise ValueError(f"{name} of {len(value)} bytes")
    if len(span.parent_span_id) not in (0, 8):
        raise ValueError(f"parent_span_id of {len(span.parent_span_id)} bytes")
    trace_id = int.from_bytes(span.trace_id, "big")
    span_id = int.from_bytes(span.span_id, "big")
    if not (trace_id and span_id):
        raise ValueError("an id of zeros")
    return trace_id, span_id


def _pending_parent(attributes: Mapping[str, Any]) -> int:
    """The parent that Logfire's pending span names; ValueError for what is no span id."""
    text = str(attributes.get(_PENDING_PARENT) or "0")
    found = int(text, 16) if len(text) <= 16 else -1
    if not 0 <= found < _MAX_ID:
        raise ValueError(f"{_PENDING_PARENT} {text[:60]!r}")
    return found


def _link(link: trace_pb2.Span.Link) -> Link:
    ids = (int.from_bytes(link.trace_id, "big"), int.from_bytes(link.span_id, "big"))
    return Link(SpanContext(*ids, is_remote=True), _attributes(link.attributes))


def _status(status: trace_pb2.Status) -> Status:
    if status.code == trace_pb2.Status.STATUS_CODE_ERROR:
        return Status(StatusCode.ERROR, status.message or None)
    return Status(StatusCode.OK if status.code else StatusCode.UNSET)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: plain_value(pair.value) for pair in pairs}
