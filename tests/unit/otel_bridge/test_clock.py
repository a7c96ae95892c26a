"""The clock, and the one time format of events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.clock import SYSTEM_CLOCK, iso_utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(-(2**60), 2**63 - 1))
def test_any_time_is_formatted_exactly(time_ns: int) -> None:
    """Formatted nanoseconds parse to the same microsecond, also before the year 1970."""
    expected = EPOCH + timedelta(microseconds=time_ns // 1000)
    assert datetime.fromisoformat(iso_utc(time_ns)) == expected


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_790_000_000_000_000_000, "2026-09-21T14:13:20.000000Z"),
    ],
)
def test_six_decimals_and_z(time_ns: int, expected: str) -> None:
    """Always six decimals and Z, truncated and not rounded."""
    assert iso_utc(time_ns) == expected


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_texts_sort_as_times(one: int, other: int) -> None:
    """Of two times the earlier one has the lesser text, or the same."""
    first, second = sorted([one, other])
    assert iso_utc(first) <= iso_utc(second)


def test_the_system_clock_gives_both_times() -> None:
    """Wall time is UTC nanoseconds; monotonic time never goes back."""
    before = SYSTEM_CLOCK.monotonic()
    assert abs(SYSTEM_CLOCK.time_ns() / 1e9 - datetime.now(UTC).timestamp()) < 5
    assert SYSTEM_CLOCK.monotonic() >= before
