"""
Reads the spans that log records carry, open ones and ended ones: the partial-span processors.

Their records have the attribute ``partial.event``: ``heartbeat`` while the span is open, ``stop``
when it has ended. The body is the span: in Python and .NET as OTLP JSON (``partial.body.type`` is
``json/v1``, in early versions ``json``; .NET writes it in snake_case, and its resource is only that
of the record), in Java as TracesData in base64 (no type, or ``proto``). ``partial.frequency`` such
as ``5000ms`` says how often. A heartbeat becomes a span with the attributes that ``shapes.py``
reads, so that one table decides what is open.

Source: the processors 0.0.9 for Python, 0.0.4 for .NET and that for Java, with their reference
reader (read).
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Iterator
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge_collector.otlp.decode import MAX_ITEMS, OtlpError, decode
from otel_bridge_collector.otlp.rejections import Rejection, Rejections
from otel_bridge_collector.otlp.shapes import HEARTBEAT_ATTRIBUTE, OPEN_ATTRIBUTE

__all__ = ["read_lifecycle"]

_EVENT: Final = "partial.event"
_BODY_TYPE: Final = "partial.body.type"
_FREQUENCY: Final = "partial.frequency"
_JSON_TYPES: Final = ("json/v1", "json")
_PROTO_TYPES: Final = ("", "proto")
_IS_OPEN_BY_EVENT: Final = {"heartbeat": True, "stop": False}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|$)")
_UNITS_MS: Final = {"": 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def read_lifecycle(
    request: ExportLogsServiceRequest, rejected: Rejections
) -> ExportTraceServiceRequest:
    """
    Read the spans of a request of log records; blocks for its size, any thread, never raises.

    A resource attribute that the body lacks is taken from the record's own resource, which says
    whose span it is.

    Args:
        request: The decoded request.
        rejected: Counts the records whose ``partial.event`` is another one, or whose span cannot be
            read, or that come after 100,000 spans. Records without it are left to
            ``lines.records``.

    Returns:
        The spans, those of heartbeats with ``nexus.span.open`` and, if they promise one,
        ``nexus.span.beat_ms``. A stop without an end ends at the time of its record.
    """
    found = ExportTraceServiceRequest()
    count = 0
    for resource, record in _records(request):
        event = _event_of(record)
        if event is None:
            continue
        is_open = _IS_OPEN_BY_EVENT.get(event)
        if is_open is None:
            rejected.add(Rejection.LIFECYCLE, f"{_EVENT}={event!r}")
            continue
        try:
            if count >= MAX_ITEMS:
                raise OtlpError(f"more than {MAX_ITEMS} spans in one request")
            spans = _body(record, rejected)
        except OtlpError as error:
            rejected.add(Rejection.BODY, str(error))
            continue
        for resource_spans in spans.resource_spans:
            _complete(resource_spans.resource, resource)
        promised = _milliseconds(_attribute(record, _FREQUENCY))
        for span in _spans(spans):
            count += 1
            if is_open:
                _mark_open(span, promised)
            elif span.end_time_unix_nano == 0:
                at = record.time_unix_nano or record.observed_time_unix_nano
                span.end_time_unix_nano = at or time.time_ns()
        found.MergeFrom(spans)
    return found


def _records(request: ExportLogsServiceRequest) -> Iterator[tuple[Resource, LogRecord]]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield resource_logs.resource, record


def _event_of(record: LogRecord) -> str | None:
    """What the record says of its span; None: it carries none."""
    return next(
        (str(one.value.string_value) for one in record.attributes if one.key == _EVENT), None
    )


def _attribute(record: LogRecord, name: str) -> str:
    """An attribute as text; empty if it is missing or no text."""
    for pair in record.attributes:
        if pair.key == name:
            return str(pair.value.string_value)
    return ""


def _body(record: LogRecord, rejected: Rejections) -> ExportTraceServiceRequest:
    body_type, text = _attribute(record, _BODY_TYPE), record.body.string_value
    spans = ExportTraceServiceRequest()
    if body_type in _JSON_TYPES:
        return decode(spans, text, is_json=True, rejected=rejected)
    if body_type not in _PROTO_TYPES:
        raise OtlpError(f"{_BODY_TYPE}={body_type[:40]!r}")
    try:
        data = base64.b64decode(text, validate=True) if text else record.body.bytes_value
    except (binascii.Error, ValueError) as error:
        raise OtlpError(f"no TracesData in base64: {error}") from None
    # TracesData has the same one field as a request.
    decode(spans, data, is_json=False)
    if not spans.resource_spans:
        raise OtlpError("no span in it")
    return spans


def _complete(resource: Resource, around: Resource) -> None:
    """Add what only the record's own resource says: project and service of the .NET processor."""
    known = {pair.key for pair in resource.attributes}
    resource.attributes.extend(pair for pair in around.attributes if pair.key not in known)


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


def _milliseconds(frequency: str) -> int | None:
    """``5000ms``, or another duration as Go writes it (``1m30s``), which the reference reads."""
    text = frequency[:64].strip()
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        return None
    return int(sum(float(number) * _UNITS_MS[unit] for number, unit in parts))


def _mark_open(span: Span, promised: int | None) -> None:
    flag = span.attributes.add(key=OPEN_ATTRIBUTE)
    flag.value.bool_value = True
    if promised is not None:
        promise = span.attributes.add(key=HEARTBEAT_ATTRIBUTE)
        promise.value.int_value = promised
