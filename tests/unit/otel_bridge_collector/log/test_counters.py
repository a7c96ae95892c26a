"""The counters of the log's reader."""

from __future__ import annotations

import pytest
from otel_bridge_collector.log.counters import FeedCounters, Unreadable
from otel_bridge_collector.model.stats import RollingStats

from tests.support.faults import FakeClock


def test_all_counters_start_at_nothing() -> None:
    """Numbers start at 0 and reasons are none; two readers do not share them."""
    one, other = FeedCounters(), FeedCounters()
    one.gaps["epoch"] = 1
    assert (other.duplicates, other.external, other.restarts) == (0, 0, 0)
    assert (other.gaps, other.unreadable) == ({}, {})


def test_unreadable_events_are_counted_and_logged_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each by its reason; the next line says how many there were since the last."""
    counters, stats, clock = FeedCounters(), RollingStats(), FakeClock(0)
    unreadable = Unreadable(counters, stats, clock)
    for reason in ("not JSON", "oversized", "not JSON"):
        unreadable.count(reason)
    clock.seconds += 1
    unreadable.count("not an event")
    assert counters.unreadable == {"not JSON": 2, "oversized": 1, "not an event": 1}
    assert stats.events_unreadable == 4
    assert [record.getMessage() for record in caplog.records] == [
        "left out 1 unreadable events; the last: not JSON",
        "left out 3 unreadable events; the last: not an event",
    ]
