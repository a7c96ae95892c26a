"""
Reads spans that are still open from log records.

OpenTelemetry has no standard for open spans yet: semantic-conventions issue 2133 is open. This
reads the heartbeats of the partial-span processors for Go, Java, .NET and Python. Their records
carry the attribute ``partial.event``, which is ``heartbeat`` while the span is open and ``stop``
when it has ended; the body is the span as OTLP JSON (``partial.body.type`` is ``json/v1``, in early
versions ``json``). Once a convention is agreed, this is the only file to change.

Source: opentelemetry-python-contrib issue 3564 and the processors that it links (read).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_bridge_collector.otlp.decode import OtlpError, decode

__all__ = ["Lifecycle", "read_lifecycle"]

_EVENT: Final = "partial.event"
_BODY_TYPE: Final = "partial.body.type"
_BODY_TYPES: Final = ("json/v1", "json")
_IS_OPEN_BY_EVENT: Final = {"heartbeat": True, "stop": False}


class Lifecycle(NamedTuple):
    """The spans in a request of log records, sorted by whether they have ended."""

    open_spans: ExportTraceServiceRequest
    ended_spans: ExportTraceServiceRequest
    rejected: int
    """Records that are ordinary logs, or whose span cannot be read."""


def read_lifecycle(request: ExportLogsServiceRequest) -> Lifecycle:
    """Read the spans of a request; records without a readable span are counted as rejected."""
    found = Lifecycle(ExportTraceServiceRequest(), ExportTraceServiceRequest(), 0)
    rejected = 0
    for record in _records(request):
        event = _attribute(record, _EVENT)
        if event not in _IS_OPEN_BY_EVENT or _attribute(record, _BODY_TYPE) not in _BODY_TYPES:
            rejected += 1
            continue
        try:
            body = record.body.string_value
            spans = decode(ExportTraceServiceRequest(), body, is_json=True)
        except OtlpError:
            rejected += 1
            continue
        (found.open_spans if _IS_OPEN_BY_EVENT[event] else found.ended_spans).MergeFrom(spans)
    return found._replace(rejected=rejected)


def _records(request: ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            yield from scope_logs.log_records


def _attribute(record: LogRecord, name: str) -> str:
    """An attribute as text; empty if it is missing or no text."""
    for pair in record.attributes:
        if pair.key == name:
            return str(pair.value.string_value)
    return ""
