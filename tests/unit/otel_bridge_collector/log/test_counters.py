"""The counters of the log's reader."""

from __future__ import annotations

from otel_bridge_collector.log.counters import FeedCounters


def test_all_counters_start_at_nothing() -> None:
    """Numbers start at 0 and reasons are none; two readers do not share them."""
    one, other = FeedCounters(), FeedCounters()
    one.gaps["epoch"] = 1
    assert (other.duplicates, other.external, other.restarts) == (0, 0, 0)
    assert (other.gaps, other.unreadable) == ({}, {})
