"""A text that is not UTF-8 does not cost the message it is in."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otel_bridge_collector.otlp import repair
from otel_bridge_collector.otlp.repair import repair_texts

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
