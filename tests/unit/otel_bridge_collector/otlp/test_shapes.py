"""Open spans are read from log records, among all other records."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otel_bridge_collector.otlp.decode import decode
from otel_bridge_collector.otlp.shapes import read_lifecycle


def record(
    event: str | None, body: Any = None, body_type: str | None = "json/v1"
) -> dict[str, Any]:
    """A log record as the partial-span processors write one."""
    names = {"partial.event": event, "partial.body.type": body_type}
    return {
        "attributes": [
            {"key": key, "value": {"stringValue": value}}
            for key, value in [("other", "x"), *names.items()]
            if value is not None
        ],
        "body": {"stringValue": body if isinstance(body, str) else json.dumps(body or span("s"))},
    }


def span(name: str) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": name}]}]}]}


def request_of(*records: dict[str, Any]) -> ExportLogsServiceRequest:
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [one]}]} for one in records]}
    return decode(ExportLogsServiceRequest(), json.dumps(body), is_json=True)


def names(request: ExportTraceServiceRequest) -> list[str]:
    return [one.scope_spans[0].spans[0].name for one in request.resource_spans]


def test_heartbeats_are_open_and_stops_are_ended() -> None:
    """A heartbeat carries a span that is open, a stop one that has ended."""
    found = read_lifecycle(
        request_of(
            record("heartbeat", span("a")),
            record("stop", span("b")),
            record("heartbeat", span("c")),
        )
    )
    assert (names(found.open_spans), names(found.ended_spans), found.rejected) == (
        ["a", "c"],
        ["b"],
        0,
    )


@pytest.mark.parametrize(
    "other",
    [
        record(None),
        record("started"),
        record("heartbeat", body_type=None),
        record("heartbeat", body_type="json/v2"),
        record("heartbeat", "not JSON"),
        record("stop", ""),
        record("stop", '{"resourceSpans": 5}'),
        {"body": {"stringValue": "an ordinary log line"}},
        {"attributes": [{"key": "partial.event", "value": {"intValue": "1"}}]},
    ],
)
def test_other_records_are_counted_and_do_not_cost_the_rest(other: dict[str, Any]) -> None:
    """An ordinary log line, or a span that cannot be read, is rejected alone."""
    found = read_lifecycle(request_of(other, record("heartbeat", span("a")), other))
    assert (names(found.open_spans), names(found.ended_spans), found.rejected) == (["a"], [], 2)


def test_no_records_give_no_spans() -> None:
    """An empty request gives no spans and rejects nothing."""
    empty = ExportTraceServiceRequest()
    assert read_lifecycle(ExportLogsServiceRequest()) == (empty, empty, 0)
