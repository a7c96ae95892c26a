"""Ids in JSON are read as hexadecimal or base64, and a wrong one costs its span alone."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from otel_bridge_collector.otlp.json_ids import items_of, restore_ids
from otel_bridge_collector.otlp.rejections import Rejection, Rejections

TRACE, SPAN = bytes(range(16)), bytes(range(8))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def restored(*spans: Any) -> tuple[list[Any], Rejections]:
    rejected = Rejections()
    fields = {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}
    restore_ids(fields, "spans", rejected)
    return next(iter(items_of(fields, "spans"))), rejected


@pytest.mark.parametrize("text", [TRACE.hex(), TRACE.hex().upper(), b64(TRACE), b64(TRACE)[:22]])
@pytest.mark.parametrize("names", [("traceId", "spanId"), ("trace_id", "span_id")])
def test_an_id_in_either_form_and_spelling(text: str, names: tuple[str, str]) -> None:
    """By its length: 32 hex digits or 22 to 24 of base64 are the same trace id."""
    (found,), rejected = restored({names[0]: text, names[1]: SPAN.hex()})
    assert (found[names[0]], found[names[1]], rejected.total) == (b64(TRACE), b64(SPAN), 0)


@pytest.mark.parametrize(
    ("span", "example"),
    [
        ({"traceId": "xyz"}, "traceId 'xyz'"),
        ({"traceId": "zz" * 16}, "traceId 'zz"),
        ({"traceId": TRACE.hex(), "spanId": 5}, "spanId '5'"),
        ({"traceId": TRACE.hex(), "spanId": SPAN.hex(), "parentSpanId": "?"}, "parentSpanId '?'"),
    ],
)
def test_a_wrong_id_costs_its_span(span: dict[str, Any], example: str) -> None:
    """The others stay, and the sender reads which field was wrong."""
    good = {"traceId": TRACE.hex(), "spanId": SPAN.hex()}
    found, rejected = restored(span, good)
    assert (len(found), rejected.counts) == (1, {Rejection.ID: 1})
    assert example in str(rejected)


def test_names_of_ids_elsewhere_are_no_ids() -> None:
    """A key ``traceId`` in a field that OTLP does not know is left alone."""
    strange = {"traceId": TRACE.hex(), "spanId": SPAN.hex(), "future": {"traceId": "xyz"}}
    (found,), rejected = restored(strange)
    assert (found["future"], rejected.total) == ({"traceId": "xyz"}, 0)


def test_what_is_no_object_is_passed_over() -> None:
    """Lists and objects in wrong places raise nothing here."""
    for fields in ({"resourceSpans": 5}, {"resourceSpans": [5, {"scopeSpans": {}}]}, {}):
        restore_ids(fields, "spans", Rejections())
    assert restored(None, 5, [])[0] == [None, 5, []]


def test_ids_of_log_records_are_dropped_if_wrong() -> None:
    """Nothing uses them, so a record with a wrong one is still read."""
    record = {"traceId": "xyz", "spanId": SPAN.hex(), "body": {}}
    restore_ids({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}, "logs", Rejections())
    assert record == {"spanId": b64(SPAN), "body": {}}
