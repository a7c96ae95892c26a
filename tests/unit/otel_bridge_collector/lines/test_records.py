"""What is read of a log record: its span, time, level and text, and an exception's stack."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otel_bridge_collector.lines.records import Record, read_records

NOW = 1_790_000_000_000
IDS = {"traceId": "AAAAAAAAAAAAAAAAAAAAAQ==", "spanId": "AAAAAAAAAAI="}


def request_of(*records: dict[str, Any], scope: str = "app") -> ExportLogsServiceRequest:
    scoped = {"scope": {"name": scope}, "logRecords": list(records)}
    made = ExportLogsServiceRequest()
    ParseDict({"resourceLogs": [{"scopeLogs": [scoped]}]}, made)
    return made


def read(scope: str = "app", **fields: Any) -> Record:
    (found,) = read_records(request_of({**IDS, **fields}, scope=scope), NOW).found
    return found


def test_a_record_is_read() -> None:
    """Ids, time in milliseconds, level, logger and text."""
    found = read(
        timeUnixNano=str(NOW * 1_000_000 - 5_000_000),
        severityNumber=17,
        body={"stringValue": "hello"},
        attributes=[{"key": "user", "value": {"stringValue": "is dropped"}}],
    )
    assert found == Record(1, 2, NOW - 5, 40, "app", "hello", None)


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        *[
            ({"severityNumber": number}, level)
            for number, level in (
                (1, 5),
                (4, 5),
                (5, 10),
                (8, 10),
                (9, 20),
                (12, 20),
                (13, 30),
                (17, 40),
                (21, 50),
                (24, 50),
            )
        ],
        ({}, 20),
        ({"severityNumber": 99}, 20),
        ({"severityText": "Warning"}, 30),
        ({"severityText": "FATAL"}, 50),
        ({"severityText": "odd"}, 20),
    ],
)
def test_severities_are_levels(severity: dict[str, Any], level: int) -> None:
    """As in Python's ``logging``; trace is 5, an unknown one info."""
    assert read(**severity).level == level


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"intValue": "5"}, "5"),
        ({"boolValue": True}, "true"),
        ({"doubleValue": 0.5}, "0.5"),
        ({"bytesValue": "AAE="}, "AAE="),
        ({"arrayValue": {"values": [{"stringValue": "é"}, {}]}}, '["é", null]'),
        (
            {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "1"}}]}},
            '{"a": 1}',
        ),
        ({"stringValue": "x" * 5000}, "x" * 4000),
        ({}, ""),
    ],
)
def test_any_body_is_a_text(body: dict[str, Any], text: str) -> None:
    """Of at most 4,000 characters, before it is masked."""
    assert read(body=body).text == text


def test_an_exception_is_part_of_the_text_and_its_stack_is_beside() -> None:
    """What the body says already is not said twice."""
    pairs = {"type": "ValueError", "message": "no", "stacktrace": "Traceback ..."}
    attributes = [
        {"key": f"exception.{key}", "value": {"stringValue": value}} for key, value in pairs.items()
    ]
    found = read(body={"stringValue": "failed"}, attributes=attributes)
    assert (found.text, found.stack) == ("failed\nValueError: no", "Traceback ...")
    assert read(attributes=attributes).text == "ValueError: no"
    said = read(body={"stringValue": "it is ValueError: no"}, attributes=attributes)
    assert said.text == "it is ValueError: no"


@pytest.mark.parametrize(
    ("times", "at"),
    [
        ({}, NOW),
        ({"observedTimeUnixNano": "1000000"}, 1),
        ({"timeUnixNano": "2000000", "observedTimeUnixNano": "1000000"}, 2),
        ({"timeUnixNano": str(2**64 - 1)}, NOW),
    ],
)
def test_a_time_that_cannot_be_is_now(times: dict[str, str], at: int) -> None:
    """A record without one, or over a day ahead."""
    assert read(**times).at == at


def test_records_of_no_span_are_counted_and_those_with_a_span_left_out() -> None:
    """Ids of another length, or of zeros, name none."""
    lifecycle = {**IDS, "attributes": [{"key": "partial.event", "value": {"stringValue": "stop"}}]}
    bad = [
        {},
        {"traceId": IDS["traceId"]},
        {**IDS, "spanId": "AAAAAAAAAAA="},
        {**IDS, "spanId": "AAE="},
    ]
    found = read_records(request_of(lifecycle, *bad, IDS, scope="s" * 100), NOW)
    assert (len(found.found), found.untraced) == (1, 4)
    assert found.found[0].logger == "s" * 64
