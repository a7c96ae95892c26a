"""Strange texts and ids are made readable, and what stays unreadable costs its span alone."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otel_bridge_collector.otlp import repair
from otel_bridge_collector.otlp.rejections import Rejection, Rejections
from otel_bridge_collector.otlp.repair import items_of, repair_texts, restore_ids

DESCRIPTOR = ExportTraceServiceRequest.DESCRIPTOR


def request_of(*names: str) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number, name in enumerate(names, 1):
        one = spans.add(name=name, span_id=number.to_bytes(8, "big"), start_time_unix_nano=2**63)
        one.attributes.add(key="k").value.string_value = name
    return request


def test_wrong_bytes_become_a_replacement_character() -> None:
    """The span with the strange name keeps its ids and the rest of its texts."""
    data = request_of("good", "b#d").SerializeToString().replace(b"b#d", b"b\xffd")
    with pytest.raises(DecodeError):
        ExportTraceServiceRequest.FromString(data)
    found = ExportTraceServiceRequest.FromString(repair_texts(data, DESCRIPTOR))
    assert found == request_of("good", "b\ufffdd")


def test_a_valid_message_stays_as_it_is() -> None:
    """Texts of any language are left alone."""
    data = request_of("Zürich", "日本", "").SerializeToString()
    assert repair_texts(data, DESCRIPTOR) == data


def test_too_many_fields_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of empty fields cannot hold the interpreter for seconds."""
    monkeypatch.setattr(repair, "_MAX_FIELDS", 10)
    with pytest.raises(ValueError, match="too many fields"):
        repair_texts(b"\x0a\x00" * 11, DESCRIPTOR)


@given(st.binary(max_size=80))
def test_any_bytes_are_repaired_or_refused(data: bytes) -> None:
    """Nothing but ValueError is raised, and what is returned has the form of a message."""
    with contextlib.suppress(ValueError):
        repaired = repair_texts(data, DESCRIPTOR)
        assert repair_texts(repaired, DESCRIPTOR) == repaired


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
