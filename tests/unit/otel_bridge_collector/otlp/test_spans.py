"""Of a request's spans each is read once: what it is, and whether it says anything new."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.otlp.shapes import Seen, Shape
from otel_bridge_collector.otlp.spans import IsRepeat, ReadSpans, read_spans

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND


def span(number: int = 2, end: int = 0, **fields: Any) -> Span:
    given: dict[str, Any] = {
        "trace_id": b"t" * 16,
        "span_id": number.to_bytes(8, "big"),
        "start_time_unix_nano": START,
        "end_time_unix_nano": end,
        **fields,
    }
    return Span(**given)


def flag(name: str, value: bool = True) -> KeyValue:
    found = KeyValue(key=name)
    found.value.bool_value = value
    return found


def text(name: str, value: str) -> KeyValue:
    found = KeyValue(key=name)
    found.value.string_value = value
    return found


def read(
    *spans: Span, service: str = "shop", is_repeat: IsRepeat | None = None
) -> tuple[ReadSpans, Rejections]:
    resource = Resource(attributes=[text("service.name", service)])
    one = ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])
    rejected = Rejections()
    request = ExportTraceServiceRequest(resource_spans=[one])
    return read_spans(request, "alpha", rejected, is_repeat), rejected


def digest(*spans: Span, service: str = "shop") -> int:
    (one,) = read(*spans, service=service)[0].spans
    return one.digest


def test_a_made_up_end_is_not_what_a_snapshot_says() -> None:
    """AgentOps and Datadog send another one each time, which must stay a heartbeat."""
    flagged = [flag("agentops.in_flight")]
    digests = {digest(span(end=START + n * SECOND, attributes=flagged)) for n in (1, 2, 3)}
    assert len(digests) == 1


def test_what_becomes_known_of_the_sender_is_new() -> None:
    """A resource may be complete only after the first snapshots."""
    assert digest(span(), service="unknown_service") != digest(span(), service="shop")
    assert digest(span(name="a")) != digest(span(name="b"))


@pytest.mark.parametrize(
    "spans",
    [
        (span(name="old"), span(name="new")),
        (span(name="new", end=START + SECOND), span(name="old")),
        (span(name="old"), span(name="new", end=START + SECOND)),
    ],
)
def test_of_one_span_in_a_request_the_last_word_counts(spans: tuple[Span, ...]) -> None:
    """The end, wherever it is, and else the last snapshot."""
    (one,) = read(*spans)[0].spans
    assert one.span.name == "new"


def test_a_repeat_is_not_read() -> None:
    """It is passed to ``is_repeat`` and is the last word, also after one that says otherwise."""
    known = digest(span())
    heard = []

    def is_repeat(key: tuple[int, int], found: int) -> bool:
        if found == known:
            heard.append(key[1])
        return found == known

    found, _ = read(span(), span(3, name="other"), is_repeat=is_repeat)
    assert ([one.span.name for one in found.spans], heard) == (["other"], [2])
    assert read(span(name="other"), span(), is_repeat=is_repeat)[0].spans == []
    (last,) = read(span(), span(name="other"), is_repeat=is_repeat)[0].spans
    assert last.span.name == "other"


def test_a_flagged_repeat_is_recognised() -> None:
    """A snapshot with a made-up end is compared after it was read."""
    one = span(end=START, attributes=[flag("nexus.span.open")])
    found, _ = read(one, is_repeat=lambda key, digest: key[1] == 2)
    assert found.spans == []


def test_a_snapshot_as_dotnets_exporter_encodes_it_is_open() -> None:
    """It writes start + duration for the end, and an open Activity has none; the end has no tag."""
    number = KeyValue(key="nexus.span.beat_ms")
    number.value.int_value = 10_000
    fields: dict[str, Any] = {
        "start_time_unix_nano": START,
        "flags": 0x101,
        "kind": Span.SPAN_KIND_INTERNAL,
        "name": "import",
    }
    tagged = span(end=START, attributes=[flag("nexus.span.open"), number], **fields)
    (one,) = read(tagged)[0].spans
    assert (one.seen, one.span.end_time) == (Seen(Shape.OPEN, 10_000), None)
    assert set(one.span.attributes or ()) == {"nexus.project.id", "nexus.meta.service"}
    (ended,) = read(span(end=START, **fields))[0].spans
    assert (ended.seen.shape, ended.span.end_time) == (Shape.ENDED, START)


def test_a_parent_of_another_length_is_named() -> None:
    """Its span is rejected alone."""
    found, rejected = read(span(parent_span_id=b"12345678abc"), span(3, parent_span_id=b"12345678"))
    assert [one.span.context.span_id for one in found.spans if one.span.context] == [3]
    assert "parent_span_id of 11 bytes" in str(rejected)
    assert found.parents == {(b"t" * 16).hex(): {b"12345678".hex()}}


@pytest.mark.parametrize("parent", ["f" * 17, "no hex", "-1"])
def test_a_pending_span_names_a_parent_or_is_rejected(parent: str) -> None:
    """Logfire's own is 16 hex digits."""
    pending = [text("logfire.span_type", "pending_span"), text("logfire.pending_parent_id", parent)]
    found, rejected = read(span(parent_span_id=b"12345678", attributes=pending))
    assert (found.spans, rejected.total) == ([], 1)
    assert "logfire.pending_parent_id" in str(rejected) or "invalid literal" in str(rejected)
    found, rejected = read(span(attributes=pending[:1]))
    assert (found.spans, rejected.total) == ([], 1)
