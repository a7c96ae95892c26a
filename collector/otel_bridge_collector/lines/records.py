"""``read_records``: the log records of an OTLP request as the lines that they may become."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_bridge.lines.line import MAX_LOGGER_CHARS
from otel_bridge_collector.wire.otlp_values import plain_value

__all__ = ["Record", "Records", "read_records"]

LIFECYCLE_ATTRIBUTE: Final = "partial.event"
"""What a record has that carries a span; ``otlp.lifecycle`` reads those."""
_TYPE: Final = "exception.type"
_MESSAGE: Final = "exception.message"
_STACK: Final = "exception.stacktrace"
_MAX_TEXT_CHARS: Final = 4000
"""Of a body, before secrets are masked and the line is truncated to 1,000. Longer ones are not
looked at: what is masked must not depend on where the line ends."""
_MAX_STACK_CHARS: Final = 65_536
_DAY_MS: Final = 86_400_000
_DEFAULT_LEVEL: Final = 20
_LEVELS: Final = (5, 10, 20, 30, 40, 50)
"""Of the severity numbers 1-4 (trace), 5-8 (debug), 9-12 (info), 13-16, 17-20 and 21-24 (fatal)."""
_LEVEL_BY_TEXT: Final = {
    "trace": 5,
    "debug": 10,
    "info": 20,
    "information": 20,
    "notice": 20,
    "warn": 30,
    "warning": 30,
    "error": 40,
    "err": 40,
    "fatal": 50,
    "critical": 50,
}


class Record(NamedTuple):
    """One log record that names a span; its texts are not masked yet."""

    trace_id: int
    span_id: int
    at: int
    """When, milliseconds since the Unix epoch."""
    level: int
    """As in ``logging``."""
    logger: str
    """Name of the instrumentation scope, at most 64 characters."""
    text: str
    """The body as text, at most 4,000 characters, with the exception that it is about."""
    stack: str | None
    """``exception.stacktrace``, at most 65,536 characters."""

    @property
    def size(self) -> int:
        """Characters that it takes in memory, about."""
        return len(self.text) + len(self.stack or "") + 200


class Records(NamedTuple):
    """The ordinary log records of a request."""

    found: list[Record]
    """Those that name a span, in their order."""
    untraced: int
    """How many name none: they belong to no node."""


def read_records(request: ExportLogsServiceRequest, now_ms: int) -> Records:
    """
    Read the ordinary log records of a request; those that carry a span are left out.

    Of the attributes only ``exception.*`` are read. Blocks for the size of the request; any thread;
    never raises.

    Args:
        request: The decoded request; the caller limits its size.
        now_ms: The time of records without a time, or with one over a day ahead; milliseconds since
            the Unix epoch.
    """
    found: list[Record] = []
    untraced = 0
    for logger, record in _records(request):
        if any(pair.key == LIFECYCLE_ATTRIBUTE for pair in record.attributes):
            continue
        trace_id = int.from_bytes(record.trace_id, "big") if len(record.trace_id) == 16 else 0
        span_id = int.from_bytes(record.span_id, "big") if len(record.span_id) == 8 else 0
        if not trace_id or not span_id:
            untraced += 1
            continue
        text, stack = _texts(record)
        at, level = _time(record, now_ms), _level(record)
        found.append(Record(trace_id, span_id, at, level, logger, text, stack))
    return Records(found, untraced)


def _records(request: ExportLogsServiceRequest) -> Iterator[tuple[str, LogRecord]]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            logger = scope_logs.scope.name[:MAX_LOGGER_CHARS]
            for record in scope_logs.log_records:
                yield logger, record


def _time(record: LogRecord, now_ms: int) -> int:
    at = (record.time_unix_nano or record.observed_time_unix_nano) // 1_000_000
    return at if 0 < at <= now_ms + _DAY_MS else now_ms


def _level(record: LogRecord) -> int:
    number = record.severity_number
    if 1 <= number <= 24:
        return _LEVELS[(number - 1) // 4]
    return _LEVEL_BY_TEXT.get(record.severity_text[:16].lower(), _DEFAULT_LEVEL)


def _texts(record: LogRecord) -> tuple[str, str | None]:
    """The text of the line, and the stack beside it."""
    about = {
        pair.key: pair.value.string_value
        for pair in record.attributes
        if pair.key in (_TYPE, _MESSAGE, _STACK)
    }
    body = _text(record.body)[:_MAX_TEXT_CHARS]
    parts = (about.get(_TYPE, "")[:300], about.get(_MESSAGE, "")[:_MAX_TEXT_CHARS])
    error = ": ".join(part for part in parts if part)
    if error and error not in body:
        body = f"{body}\n{error}" if body else error
    body = body or str(getattr(record, "event_name", ""))
    return body[:_MAX_TEXT_CHARS], about.get(_STACK, "")[:_MAX_STACK_CHARS] or None


def _text(body: AnyValue) -> str:
    kind = body.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "string_value":
        return str(body.string_value)
    value = plain_value(body, _MAX_TEXT_CHARS)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
