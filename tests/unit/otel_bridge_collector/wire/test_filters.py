"""``EventFilter``: which events pass, and what a query may say."""

from __future__ import annotations

import pytest
from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter, FilterError, parse_flag


def entry(event_type: str = "task_started", **ids: str) -> Entry:
    return Entry("e:1", b"{}", event_type, **ids)


def test_no_parameter_lets_everything_through() -> None:
    """An empty query is the filter that passes all events."""
    assert EventFilter.parse({}) == ALL_EVENTS
    assert ALL_EVENTS.matches(entry())


def test_a_project_filter_passes_its_events_and_shared_ones() -> None:
    """A project filter passes its project's events and those of shared workers and queues."""
    event_filter = EventFilter.parse({"project_id": "p"})
    assert event_filter.matches(entry(project_id="p"))
    assert not event_filter.matches(entry(project_id="q"))
    assert event_filter.matches(entry("worker_heartbeat"))
    assert not event_filter.matches(entry(parent_task_id="t"))


def test_a_task_filter_passes_that_task_only() -> None:
    """A task filter passes the task's events, by either id, and no worker's."""
    event_filter = EventFilter.parse({"task_id": "t"})
    assert event_filter.matches(entry(parent_task_id="t", task_id="j"))
    assert event_filter.matches(entry(task_id="t"))
    assert not event_filter.matches(entry(parent_task_id="u"))
    assert not event_filter.matches(entry("worker_heartbeat"))


def test_types_and_stats_only() -> None:
    """``types`` is a comma-separated list; ``stats_only`` passes aggregates only."""
    event_filter = EventFilter.parse({"types": "task_failed, task_retry,"})
    assert event_filter.matches(entry("task_retry"))
    assert not event_filter.matches(entry("task_started"))
    stats = EventFilter.parse({"stats_only": "true"})
    assert stats.matches(entry("queue_depth_update"))
    assert not stats.matches(entry("task_retry"))


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"types": "task_started,nonsense"}, "nonsense"),
        ({"stats_only": "maybe"}, "stats_only"),
        ({"project_id": "x" * 600}, "project_id"),
    ],
)
def test_an_invalid_parameter_is_named(query: dict[str, str], word: str) -> None:
    """An invalid parameter raises ``FilterError`` with a text that names it."""
    with pytest.raises(FilterError, match=word):
        EventFilter.parse(query)


def test_equal_filters_have_one_hash() -> None:
    """The order of the types does not matter: equal filters share one group of sessions."""
    one = EventFilter.parse({"types": "task_failed,task_retry"})
    other = EventFilter.parse({"types": "task_retry,task_failed"})
    assert {one} == {other}


def test_flag_spellings() -> None:
    """The usual spellings of true and false are read; an absent flag is false."""
    assert [
        parse_flag({"a": "1"}, "a"),
        parse_flag({"a": "True"}, "a"),
        parse_flag({"a": "0"}, "a"),
        parse_flag({}, "a"),
    ] == [True, True, False, False]
