"""Ids of span events: the same in every release, in the form of a UUID, unique to a span's side."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext

from otel_bridge.events.event_ids import digest_of, event_id_of

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID = 0xB7AD6B7169203331
START_NS = 1_790_000_000_123_456_789


def id_of(trace_id: int, span_id: int, start_ns: int, is_end: bool) -> str:
    context = SpanContext(trace_id, span_id, is_remote=False)
    return event_id_of(context, start_ns, is_end=is_end)


@pytest.mark.parametrize(
    ("trace_id", "span_id", "start_ns", "is_end", "expected"),
    [
        (TRACE_ID, SPAN_ID, START_NS, False, "baece820-fc02-49c8-afcf-c5e99a59dff4"),
        (TRACE_ID, SPAN_ID, START_NS, True, "baece820-fc02-49c8-afcf-c5ec44b53999"),
        (TRACE_ID, SPAN_ID, START_NS + 1, False, "18b46e6a-7cd4-45d6-bc22-864a3947a723"),
        (TRACE_ID, SPAN_ID, 0, False, "bd5a0e68-7fed-40ec-b3e5-805075a002ad"),
        (TRACE_ID, SPAN_ID, 0, True, "bd5a0e68-7fed-40ec-b3e5-8055ab4ce4c0"),
        (1, 1, 1, False, "9e3779b9-7f4a-4c14-b39c-c0605cedc835"),
        (1, 1, 1, True, "9e3779b9-7f4a-4c14-b39c-c06582012e58"),
        (2**128 - 1, 2**64 - 1, 2**63 - 1, False, "5b96e676-af2c-4804-8c63-3f9fa31237cb"),
        (2**128 - 1, 2**64 - 1, 2**63 - 1, True, "5b96e676-af2c-4804-8c63-3f9a7dfed1a6"),
    ],
)
def test_every_release_gives_the_same_id(
    trace_id: int, span_id: int, start_ns: int, is_end: bool, expected: str
) -> None:
    """Releases must agree on these ids: workers and collectors of two releases share one log."""
    assert id_of(trace_id, span_id, start_ns, is_end) == expected


@pytest.mark.parametrize("is_remote", [True, False])
def test_the_path_of_a_span_does_not_matter(is_remote: bool) -> None:
    """A context that came over OTLP gives the id that the live span gives."""
    context = SpanContext(TRACE_ID, SPAN_ID, is_remote=is_remote)
    assert event_id_of(context, START_NS, is_end=False) == "baece820-fc02-49c8-afcf-c5e99a59dff4"


sides = st.tuples(
    st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 2**63), st.booleans()
)


@given(sides, sides)
def test_two_sides_of_spans_in_one_trace_have_two_ids(
    one: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    """An id is a UUID of version 4; spans, start times and sides of one trace differ in it."""
    other = (one[0], *other[1:])
    first, second = id_of(*one), id_of(*other)
    assert str(uuid.UUID(first)) == first
    assert uuid.UUID(first).version == 4
    assert uuid.UUID(first).variant == uuid.RFC_4122
    assert (first == second) == (one == other)


def test_a_digest_is_64_bits() -> None:
    """Other bytes have another one."""
    assert 0 <= digest_of(b"a") < 2**64
    assert digest_of(b"a") != digest_of(b"b")
