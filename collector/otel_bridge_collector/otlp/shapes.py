"""
Log records that tell of a span while it runs -> the span.

There is no standard for them yet: semantic-conventions issue 2133 is open. What is read here are
the heartbeats of the partial-span processors for Go, Java, .NET and Python: attribute
``partial.event`` is ``heartbeat`` while the span is open and ``stop`` when it has ended, and the
body is the span as OTLP JSON (``partial.body.type`` = ``json/v1``, in early ones ``json``). When
the conventions are settled, this is the one file to change.

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
_OPEN: Final = {"heartbeat": True, "stop": False}


class Lifecycle(NamedTuple):
    """The spans that a request of log records tells of, each as one request."""

    open_spans: ExportTraceServiceRequest
    ended_spans: ExportTraceServiceRequest
    rejected: int
    """Records that are other logs, or whose span cannot be read."""


def read_lifecycle(request: ExportLogsServiceRequest) -> Lifecycle:
    """Sort a request's records; those that tell of no span are counted as rejected."""
    found = Lifecycle(ExportTraceServiceRequest(), ExportTraceServiceRequest(), 0)
    rejected = 0
    for record in _records(request):
        told = _attribute(record, _EVENT)
        if told not in _OPEN or _attribute(record, _BODY_TYPE) not in _BODY_TYPES:
            rejected += 1
            continue
        try:
            body = record.body.string_value
            span = decode(ExportTraceServiceRequest(), body, is_json=True)
        except OtlpError:
            rejected += 1
            continue
        (found.open_spans if _OPEN[told] else found.ended_spans).MergeFrom(span)
    return found._replace(rejected=rejected)


def _records(request: ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            yield from scope_logs.log_records


def _attribute(record: LogRecord, name: str) -> str:
    for pair in record.attributes:
        if pair.key == name:
            return str(pair.value.string_value)
    return ""
