"""Which events a client gets."""

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


def test_project_passes_its_own_and_what_belongs_to_nobody() -> None:
    """A project's reader gets its events and those of shared workers and queues."""
    wanted = EventFilter.parse({"project_id": "p"})
    assert wanted.matches(entry(project_id="p"))
    assert not wanted.matches(entry(project_id="q"))
    assert wanted.matches(entry("worker_heartbeat"))
    assert not wanted.matches(entry(parent_task_id="t"))


def test_task_passes_its_own_only() -> None:
    """A research task's reader gets its events, by either id, and no worker's."""
    wanted = EventFilter.parse({"task_id": "t"})
    assert wanted.matches(entry(parent_task_id="t", task_id="j"))
    assert wanted.matches(entry(task_id="t"))
    assert not wanted.matches(entry(parent_task_id="u"))
    assert not wanted.matches(entry("worker_heartbeat"))


def test_types_and_stats_only() -> None:
    """Types are a comma-separated list; stats_only lets aggregates through."""
    wanted = EventFilter.parse({"types": "task_failed, task_retry,"})
    assert wanted.matches(entry("task_retry"))
    assert not wanted.matches(entry("task_started"))
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
def test_nonsense_is_refused_by_name(query: dict[str, str], word: str) -> None:
    """What makes no sense raises a sentence that names it."""
    with pytest.raises(FilterError, match=word):
        EventFilter.parse(query)


def test_equal_wishes_are_one_key() -> None:
    """The order of types makes no difference to the group."""
    one = EventFilter.parse({"types": "task_failed,task_retry"})
    other = EventFilter.parse({"types": "task_retry,task_failed"})
    assert {one} == {other}


def test_flag_spellings() -> None:
    """The usual spellings of true and false are read, absence is false."""
    assert [
        parse_flag({"a": "1"}, "a"),
        parse_flag({"a": "True"}, "a"),
        parse_flag({"a": "0"}, "a"),
        parse_flag({}, "a"),
    ] == [True, True, False, False]
