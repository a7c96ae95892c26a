"""OTLP bodies: both encodings mean the same, and no bytes raise anything but ``OtlpError``."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otel_bridge_collector.otlp.decode import MAX_ITEMS, OtlpError, decode
from otel_bridge_collector.otlp.rejections import Rejection, Rejections

SPAN = {
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b174",
    "parentSpanId": "EEE19B7EC3C1B173",
    "name": "I'm a server span",
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": 1544712661000000000,
    "kind": 2,
    "attributes": [{"key": "my.int", "value": {"intValue": "10"}}],
}


def request_of(*spans: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def read(body: bytes | str, *, is_json: bool = True) -> ExportTraceServiceRequest:
    return decode(ExportTraceServiceRequest(), body, is_json=is_json)


def test_json_ids_are_hexadecimal() -> None:
    """Ids are hexadecimal in OTLP's JSON, in either letter case, and numbers may be text."""
    (span,) = read(json.dumps(request_of(SPAN))).resource_spans[0].scope_spans[0].spans
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (
        "5b8efff798038103d269b633813fc60c",
        "eee19b7ec3c1b174",
        "eee19b7ec3c1b173",
    )
    assert (span.start_time_unix_nano, span.attributes[0].value.int_value) == (
        1_544_712_660_000_000_000,
        10,
    )


def test_both_encodings_mean_the_same() -> None:
    """A request read from JSON and one read from its protobuf bytes are equal."""
    request = read(json.dumps(request_of(SPAN)))
    assert read(request.SerializeToString(), is_json=False) == request


def test_links_have_ids_too() -> None:
    """Ids are restored wherever they are, also in a span's links."""
    span = {**SPAN, "links": [{"traceId": "ab" * 16, "spanId": "cd" * 8}]}
    (found,) = read(json.dumps(request_of(span))).resource_spans[0].scope_spans[0].spans
    assert (found.links[0].trace_id.hex(), found.links[0].span_id.hex()) == ("ab" * 16, "cd" * 8)


def test_fields_of_a_later_version_are_ignored() -> None:
    """A field that this version does not know does no harm."""
    assert read(json.dumps({**request_of(SPAN), "fromTheFuture": {"a": [1]}})).resource_spans


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[]", "not a JSON object"),
        ("", "not OTLP JSON"),
        ("{", "not OTLP JSON"),
        (b"\xff", "not OTLP JSON"),
        ('{"resourceSpans": 5}', "not OTLP JSON"),
        ('{"resourceSpans": {"scopeSpans": []}}', "not OTLP JSON"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_a_bad_body_says_why(body: bytes | str, reason: str) -> None:
    """A body that is not OTLP JSON is one error with the reason, of bounded length."""
    with pytest.raises(OtlpError, match=reason) as raised:
        read(body)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("strange", "cause", "example"),
    [
        ({"traceId": "xyz"}, Rejection.ID, "traceId 'xyz'"),
        ({"name": 5}, Rejection.VALUE, "name"),
        ({"startTimeUnixNano": -1}, Rejection.VALUE, "startTimeUnixNano"),
        ({"startTimeUnixNano": "9" * 5000}, Rejection.VALUE, ""),
        ({"endTimeUnixNano": 1e400}, Rejection.VALUE, ""),
        ({"attributes": {"a": 1}}, Rejection.VALUE, "attributes"),
    ],
)
def test_a_strange_span_costs_itself_alone(
    strange: dict[str, Any], cause: Rejection, example: str
) -> None:
    """The other spans of its request are read, and the sender reads which field was wrong."""
    rejected = Rejections()
    body = json.dumps(request_of(SPAN, {**SPAN, **strange}, SPAN))
    request = decode(ExportTraceServiceRequest(), body, is_json=True, rejected=rejected)
    assert len(request.resource_spans[0].scope_spans[0].spans) == 2
    assert rejected.counts == {cause: 1}
    assert example in str(rejected)


DEEP: dict[str, Any] = {"intValue": 1}
for _ in range(200):
    DEEP = {"arrayValue": {"values": [DEEP]}}


@pytest.mark.parametrize(
    "strange",
    [
        {"attributes": [{"key": "a", "value": {"intValue": "many"}}]},
        {"attributes": [{"key": "a", "value": {"intValue": "99999999999999999999"}}]},
        {"attributes": [{"key": "a", "value": DEEP}]},
        {"attributes": [5, None, {"key": 5}]},
        {"events": [{"timeUnixNano": "yesterday"}]},
        {"links": [{"traceId": "xyz"}, 5]},
    ],
)
def test_a_strange_part_of_a_span_costs_itself_alone(strange: dict[str, Any]) -> None:
    """Of attributes, events and links those that can be read stay; the span is taken."""
    good = {"attributes": [{"key": "b", "value": {"intValue": "1"}}], "events": [{"name": "e"}]}
    given = {**SPAN, **good, **{key: value + good.get(key, []) for key, value in strange.items()}}
    rejected = Rejections()
    body = json.dumps(request_of(given, SPAN))
    request = decode(ExportTraceServiceRequest(), body, is_json=True, rejected=rejected)
    found, _ = request.resource_spans[0].scope_spans[0].spans
    assert [pair.key for pair in found.attributes] == ["b"]
    assert [event.name for event in found.events] == ["e"]
    assert (len(found.links), rejected.total) == (0, 0)


@pytest.mark.parametrize(
    "part",
    [
        {"resource": 5},
        {"resource": {"attributes": [{"key": "k", "value": {"intValue": "x"}}]}},
        {"schemaUrl": 5},
        {"scopeSpans": [{"scope": 5, "spans": [SPAN]}]},
        {"scopeSpans": [{"scope": {"name": 5}, "schemaUrl": [], "spans": [SPAN]}]},
    ],
)
def test_a_strange_resource_or_scope_costs_no_span(part: dict[str, Any]) -> None:
    """What says whose spans they are is read as far as it can be."""
    given = request_of(SPAN)
    given["resourceSpans"][0].update(part)
    request = read(json.dumps(given))
    assert len(request.resource_spans[0].scope_spans[0].spans) == 1


@pytest.mark.parametrize(
    "strange",
    [
        {"resourceSpans": [5, None]},
        {"resourceSpans": [{"scopeSpans": 5}, {"scopeSpans": ["x"]}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": {}}, {"spans": [5]}]}]},
    ],
)
def test_what_is_no_object_is_counted(strange: dict[str, Any]) -> None:
    """Beside it the spans of the request are read."""
    rejected = Rejections()
    strange["resourceSpans"] += request_of(SPAN)["resourceSpans"]
    found = decode(
        ExportTraceServiceRequest(), json.dumps(strange), is_json=True, rejected=rejected
    )
    assert sum(len(s.spans) for part in found.resource_spans for s in part.scope_spans) == 1
    assert rejected.counts == {Rejection.VALUE: 2}


@pytest.mark.parametrize("span", ["5", "{}", '{"name":5}'])
def test_too_many_spans_are_refused_before_they_are_read(span: str) -> None:
    """To look at 200,000 that cannot be read took 4 s of the processor."""
    many = ",".join([span] * (MAX_ITEMS + 1))
    with pytest.raises(OtlpError, match=f"more than {MAX_ITEMS} resources"):
        read(f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{many}]}}]}}]}}')


def test_half_a_character_costs_nothing() -> None:
    """JavaScript cuts a text in the middle of a character that takes two of its units."""
    text = "b\ud83d"
    attributes = [{"key": "k", "value": {"stringValue": text}}]
    request = read(json.dumps(request_of({**SPAN, "name": text, "attributes": attributes})))
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert (span.name, span.attributes[0].value.string_value) == ("b\ufffd", "b\ufffd")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_in_json_is_read(number: float) -> None:
    """Python writes them without quotes, which protobuf's JSON needs."""
    attributes = [{"key": "k", "value": {"doubleValue": number}}]
    request = read(json.dumps(request_of({**SPAN, "attributes": attributes})))
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert repr(span.attributes[0].value.double_value) == repr(number)


def test_a_text_that_is_not_utf8_costs_nothing() -> None:
    """Go and C++ send such texts; the wrong bytes are replaced."""
    data = read(json.dumps(request_of({**SPAN, "name": "b#d"}))).SerializeToString()
    (span,) = (
        read(data.replace(b"b#d", b"b\xffd"), is_json=False).resource_spans[0].scope_spans[0].spans
    )
    assert span.name == "b\ufffdd"


def test_json_that_is_not_utf8_costs_nothing() -> None:
    """The wrong bytes are replaced, as in protobuf."""
    body = json.dumps(request_of({**SPAN, "name": "b#d"})).encode().replace(b"b#d", b"b\xffd")
    (span,) = read(body).resource_spans[0].scope_spans[0].spans
    assert span.name == "b\ufffdd"


def test_a_deep_value_in_protobuf_costs_itself_alone() -> None:
    """Protobuf refuses the message for it; without what is deepest it is read."""
    request = read(json.dumps(request_of(SPAN, SPAN)))
    value = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="deep").value
    for _ in range(200):
        value = value.array_value.values.add()
    found = read(request.SerializeToString(), is_json=False)
    assert len(found.resource_spans[0].scope_spans[0].spans) == 2


def test_bad_protobuf_is_an_error() -> None:
    """Bytes that are not a protobuf message are one error."""
    with pytest.raises(OtlpError, match="not an OTLP protobuf message"):
        read(b"\xff\xff", is_json=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["resourceSpans", "scopeSpans", "spans", "traceId", "attributes", "key", "value"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """Whatever JSON comes, nothing but OtlpError is raised."""
    with contextlib.suppress(OtlpError):
        read(json.dumps(value))
    with contextlib.suppress(OtlpError):
        read(json.dumps(request_of(value)))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever bytes come, in either encoding, nothing but OtlpError is raised."""
    for is_json in (True, False):
        with contextlib.suppress(OtlpError):
            read(data, is_json=is_json)
