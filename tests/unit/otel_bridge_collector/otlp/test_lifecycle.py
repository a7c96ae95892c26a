"""Spans are read from log records of the Python, .NET and Java processors, among other records."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData
from otel_bridge_collector.otlp import decode as decode_module
from otel_bridge_collector.otlp import lifecycle
from otel_bridge_collector.otlp.decode import decode
from otel_bridge_collector.otlp.lifecycle import read_lifecycle
from otel_bridge_collector.otlp.rejections import Rejection, Rejections
from otel_bridge_collector.otlp.shapes import Seen, Shape
from otel_bridge_collector.otlp.spans import read_spans

IDS = {"traceId": "ab" * 16, "spanId": "cd" * 8}


def record(
    event: str | None, body: Any = None, body_type: str | None = "json/v1", **names: str
) -> dict[str, Any]:
    """A log record as the partial-span processors write one."""
    names = {"partial.event": event or "", "partial.body.type": body_type or "", **names}
    return {
        "attributes": [
            {"key": key, "value": {"stringValue": value}} for key, value in names.items() if value
        ],
        "body": {"stringValue": body if isinstance(body, str) else json.dumps(body or span("s"))},
    }


def span(name: str, **fields: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{**IDS, "name": name, **fields}]}]}]}


def request_of(*records: dict[str, Any], **resource: str) -> ExportLogsServiceRequest:
    attributes = [{"key": key, "value": {"stringValue": text}} for key, text in resource.items()]
    body = {
        "resourceLogs": [
            {"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": [one]}]}
            for one in records
        ]
    }
    return decode(ExportLogsServiceRequest(), json.dumps(body), is_json=True)


def read(request: ExportLogsServiceRequest) -> tuple[dict[str, dict[str, Any]], Rejections]:
    """Attributes of the spans by name, and what was rejected."""
    rejected = Rejections()
    found = read_lifecycle(request, rejected)
    return {one.name: attributes_of(one.attributes) for one in spans_of(found)}, rejected


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        one for part in request.resource_spans for scope in part.scope_spans for one in scope.spans
    ]


def attributes_of(found: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in found}


OPEN = {"nexus.span.open": True}


def test_heartbeats_are_open_and_stops_are_ended() -> None:
    """A heartbeat carries a span that is open, with its promise; a stop one that has ended."""
    found, rejected = read(
        request_of(
            record("heartbeat", span("a")),
            record("stop", span("b")),
            record("heartbeat", span("c"), **{"partial.frequency": "5000ms"}),
        )
    )
    assert found == {"a": OPEN, "b": {}, "c": {**OPEN, "nexus.span.beat_ms": 5000}}
    assert rejected.total == 0


@pytest.mark.parametrize(
    ("frequency", "beat_ms"),
    [
        *[("5000ms", 5000), ("5000 ms", 5000), ("5000.5ms", 5000), ("86400000", 86_400_000)],
        *[("5s", 5000), ("1m30s", 90_000), ("1.5h", 5_400_000), (" 2s ", 2000), ("", None)],
        *[("5 days", None), ("ms", None), ("5s and more", None)],
        *[("0ms", None), ("-5", None), ("1e99", None), ("often", None), ("9" * 30, None)],
        ("999999999ms", None),
    ],
)
def test_a_frequency_is_a_promise_or_none(frequency: str, beat_ms: int | None) -> None:
    """What is no number of milliseconds within a day promises nothing; the span is open anyway."""
    rejected = Rejections()
    record_of = record("heartbeat", span("a"), **{"partial.frequency": frequency})
    (one,) = read_spans(read_lifecycle(request_of(record_of), rejected), None, rejected).spans
    assert (one.seen, rejected.total) == (Seen(Shape.OPEN, beat_ms), 0)


def test_a_stop_without_an_end_ends_at_its_record() -> None:
    """The record says when; the span must not stay open for ever."""
    one = {**record("stop", span("a")), "timeUnixNano": "1790000000000000000"}
    (found,) = spans_of(read_lifecycle(request_of(one), Rejections()))
    assert found.end_time_unix_nano == 1_790_000_000_000_000_000
    (found,) = spans_of(read_lifecycle(request_of(record("stop", span("a"))), Rejections()))
    assert found.end_time_unix_nano > 1_790_000_000_000_000_000


def test_many_records_of_many_spans_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body in base64 may hold a million empty spans, and a request many bodies."""
    monkeypatch.setattr(lifecycle, "MAX_ITEMS", 3)
    records = [record("heartbeat", span(name)) for name in "abcde"]
    found, rejected = read(request_of(*records))
    assert (set(found), rejected.counts) == ({"a", "b", "c"}, {Rejection.BODY: 2})
    data = TracesData()
    spans = data.resource_spans.add().scope_spans.add().spans
    for _ in range(decode_module.MAX_ITEMS):
        spans.add()
    text = base64.b64encode(data.SerializeToString()).decode()
    found, rejected = read(request_of(record("heartbeat", text, None)))
    assert (found, rejected.counts) == ({}, {Rejection.BODY: 1})
    assert "more than 100000" in str(rejected)


def test_a_text_that_is_not_utf8_in_base64_costs_nothing() -> None:
    """Java's body is repaired as any protobuf is."""
    data = TracesData()
    data.resource_spans.add().scope_spans.add().spans.add(name="b#d", span_id=b"12345678")
    text = base64.b64encode(data.SerializeToString().replace(b"b#d", b"b\xffd")).decode()
    assert read(request_of(record("heartbeat", text, None)))[0] == {"b\ufffdd": OPEN}


def test_javas_record_has_traces_data_in_base64() -> None:
    """Without a body type the body is protobuf in base64."""
    data = TracesData()
    data.resource_spans.add().scope_spans.add().spans.add(name="java", span_id=b"12345678")
    text = base64.b64encode(data.SerializeToString()).decode()
    for body_type in (None, "proto"):
        found, _ = read(request_of(record("heartbeat", text, body_type)))
        assert found == {"java": OPEN}


def test_dotnets_record_is_in_snake_case_with_its_resource_outside() -> None:
    """Project and service of the record are the span's; what the body says comes first."""
    attributes = [{"key": "service.name", "value": {"string_value": "own"}}]
    body = {
        "resource_spans": [
            {
                "resource": {"attributes": attributes},
                "scope_spans": [
                    {"spans": [{"trace_id": "ab" * 16, "span_id": "cd" * 8, "name": "net"}]}
                ],
            }
        ]
    }
    rejected = Rejections()
    around = {"service.name": "outer", "nexus.project.id": "alpha"}
    found = read_lifecycle(request_of(record("heartbeat", body), **around), rejected)
    (one,) = found.resource_spans
    assert attributes_of(one.resource.attributes) == {
        "service.name": "own",
        "nexus.project.id": "alpha",
    }
    assert spans_of(found)[0].trace_id.hex() == "ab" * 16


def test_a_link_with_ids_in_base64_is_read() -> None:
    """The Python processor writes them so; a link that cannot be read costs only itself."""
    good = {
        "traceId": base64.b64encode(b"t" * 16).decode(),
        "spanId": base64.b64encode(b"s" * 8).decode(),
    }
    body = span("py", links=[good, {"traceId": "?", "spanId": "x"}])
    found = read_lifecycle(request_of(record("heartbeat", body)), Rejections())
    assert [link.span_id for link in spans_of(found)[0].links] == [b"s" * 8]


@pytest.mark.parametrize(
    ("other", "cause"),
    [
        (record("started"), Rejection.LIFECYCLE),
        (
            {"attributes": [{"key": "partial.event", "value": {"intValue": "1"}}]},
            Rejection.LIFECYCLE,
        ),
        (record("heartbeat", body_type=None), Rejection.BODY),
        (record("heartbeat", body_type="json/v2"), Rejection.BODY),
        (record("heartbeat", "not JSON"), Rejection.BODY),
        (record("heartbeat", "", body_type=None), Rejection.BODY),
        (record("stop", ""), Rejection.BODY),
        (record("stop", '{"resourceSpans": 5}'), Rejection.BODY),
    ],
)
def test_other_records_are_counted_by_cause(other: dict[str, Any], cause: Rejection) -> None:
    """Another word than heartbeat and stop, or a span that cannot be read, is rejected alone."""
    found, rejected = read(request_of(other, record("heartbeat", span("a")), other))
    assert (found, rejected.counts) == ({"a": OPEN}, {cause: 2})


def test_ordinary_log_lines_are_left_to_others() -> None:
    """They carry no span, and are not rejected here."""
    ordinary = {"body": {"stringValue": "an ordinary log line"}}
    found, rejected = read(request_of(ordinary, record("heartbeat", span("a")), record(None)))
    assert (found, rejected.total) == ({"a": OPEN}, 0)
