"""Every known shape of an open span on the wire is read as open, and a true end as an end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.otlp.shapes import Seen, Shape, shape_of

SECOND = 1_000_000_000
NOW = 1_790_000_000 * SECOND
START = NOW - 60 * SECOND
GO_ZERO_TIME = 11_651_379_494_838_206_464
"""``time.Time{}`` as otel-go 1.24 sends it: the year 2339."""


@pytest.mark.parametrize(
    ("end", "attributes", "shape"),
    [
        (START + SECOND, {}, Shape.ENDED),
        (START, {}, Shape.ENDED),
        (START - SECOND, {}, Shape.ENDED),
        (NOW + 3600 * SECOND, {}, Shape.ENDED),
        (0, {}, Shape.OPEN),
        (GO_ZERO_TIME, {}, Shape.OPEN),
        (1, {}, Shape.OPEN),
        (NOW + 3 * 86_400 * SECOND, {}, Shape.OPEN),
        (START, {"nexus.span.open": True}, Shape.OPEN),
        (START, {"nexus.span.open": False}, Shape.ENDED),
        (START + SECOND, {"agentops.in-flight": True}, Shape.OPEN),
        (START + SECOND, {"agentops.in_flight": "true"}, Shape.OPEN),
        (START + SECOND, {"prefect.in-flight": True}, Shape.OPEN),
        (START + SECOND, {"_dd.partial_version": 1_730_000_000}, Shape.OPEN),
        (START + SECOND, {"_dd.partial_version": -1}, Shape.ENDED),
        (START, {"logfire.span_type": "pending_span"}, Shape.OPEN),
        (START + SECOND, {"logfire.span_type": "span"}, Shape.ENDED),
        (START + SECOND, {"partial.gc": True}, Shape.GIVEN_UP),
        (0, {"partial.gc": True, "nexus.span.open": True}, Shape.GIVEN_UP),
    ],
)
def test_a_shape_on_the_wire(end: int, attributes: dict[str, Any], shape: Shape) -> None:
    """No end, an absurd end or a flag means open; a clock that stepped back does not."""
    assert shape_of(START, end, attributes, NOW).shape is shape


@pytest.mark.parametrize(
    ("promise", "beat_ms"),
    [
        *[(10_000, 10_000), ("5000", 5000), (10, 1000), (0, None), (-5, None), (10**9, None)],
        *[(86_400_000, 86_400_000), ("0", None), ("-5", None), ("1e99", None), (1e99, None)],
        *[("often", None), (None, None), (float("nan"), None), (float("inf"), None), ([1], None)],
    ],
)
def test_a_promised_heartbeat(promise: Any, beat_ms: int | None) -> None:
    """At least a second, at most a day; anything else promises nothing."""
    seen = shape_of(START, 0, {"nexus.span.beat_ms": promise}, NOW)
    assert seen == Seen(Shape.OPEN, beat_ms)


@pytest.mark.parametrize("days", [-3, 3, 400])
def test_a_senders_clock_may_be_days_off(days: int) -> None:
    """Its open span is open, its end is one, and Go's zero time is none."""
    start = START + days * 86_400 * SECOND
    for end, shape in (
        (0, Shape.OPEN),
        (start, Shape.ENDED),
        (start + 3600 * SECOND, Shape.ENDED),
        (GO_ZERO_TIME, Shape.OPEN),
    ):
        assert shape_of(start, end, {}, NOW).shape is shape


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.dictionaries(
        st.sampled_from(["nexus.span.open", "nexus.span.beat_ms", "partial.gc"]),
        st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.lists(st.none()),
    ),
)
def test_any_values_have_a_shape(start: int, end: int, attributes: dict[str, Any]) -> None:
    """Whatever a span says, nothing is raised."""
    assert isinstance(shape_of(start, end, attributes, NOW), Seen)
