"""``EventFilter``: which events pass, and what a query may say."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter, FilterError, parse_flag


def entry(event_type: str = "task_started", **ids: Any) -> Entry:
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


LIMITED = EventFilter().limited(frozenset({"p", "q"}))


@pytest.mark.parametrize(
    ("sent", "is_passed"),
    [
        (entry(project_id="p"), True),
        (entry(project_id="q", parent_task_id="t"), True),
        (entry(project_id="r"), False),
        (entry("worker_heartbeat"), False),
        (entry("queue_depth_update"), False),
        (entry(parent_task_id="t"), False),
        (entry("stats_snapshot", project_id="p"), False),
        (entry("stats_snapshot", project_id="p", parent_task_id="t"), True),
    ],
)
def test_a_limited_token_gets_its_projects_only(sent: Entry, is_passed: bool) -> None:
    """A limited token gets its projects' events, but no worker, no queue, no shared statistics."""
    assert LIMITED.matches(sent) is is_passed
    assert ALL_EVENTS.matches(sent) is True


def test_a_filter_cannot_widen_the_limit_of_a_token() -> None:
    """A limited token that asks for a project outside of its limit gets nothing of it."""
    outside = EventFilter.parse({"project_id": "r"}).limited(frozenset({"p"}))
    inside = EventFilter.parse({"project_id": "p"}).limited(frozenset({"p", "q"}))
    seen = [(outside.may_see(name), inside.may_see(name)) for name in ("p", "q", "r", None)]
    assert seen == [(False, True), (False, False), (False, False), (False, False)]
    assert not outside.matches(entry(project_id="r"))


def test_without_limit_and_filter_every_project_is_visible() -> None:
    """Without limit data of every project and of none is visible; a filter shows its own only."""
    asked = EventFilter.parse({"project_id": "p"})
    assert [ALL_EVENTS.may_see(name) for name in ("p", None)] == [True, True]
    assert [asked.may_see(name) for name in ("p", "q", None)] == [True, False, False]
    assert asked.limited(None) == asked


def test_a_limit_keeps_the_other_conditions() -> None:
    """The token's limit is added to the filter; what the client asked for stays."""
    query = {"project_id": "p", "task_id": "t", "types": "task_failed", "stats_only": "1"}
    limited = EventFilter.parse(query).limited(frozenset({"p"}))
    assert limited == EventFilter("p", "t", frozenset({"task_failed"}), True, frozenset({"p"}))


def test_an_absent_list_of_types_is_no_condition() -> None:
    """Without ``types``, with an empty list or with commas alone, events of all types pass."""
    filters = {EventFilter.parse(query) for query in ({}, {"types": ""}, {"types": " , "})}
    assert filters == {ALL_EVENTS}


def test_the_error_lists_what_is_unknown_and_what_is_known() -> None:
    """Of unknown types the first five are named, 40 characters each, and all known types."""
    names = ["n" * 41, *"fedcba"]
    with pytest.raises(FilterError) as caught:
        EventFilter.parse({"types": ",".join(names)})
    assert str(caught.value) == (
        "types: unknown event type a, b, c, d, e; known: worker_started, worker_heartbeat,"
        " worker_stopped, task_enqueued, task_started, task_progress, task_retry, task_completed,"
        " task_failed, task_stalled, phase_started, phase_completed, queue_depth_update,"
        " stats_snapshot, span_started, span_updated, span_ended, span_beats"
    )
    with pytest.raises(FilterError, match=f"type {'n' * 40}; known"):
        EventFilter.parse({"types": names[0]})


def test_an_id_may_have_512_characters() -> None:
    """An id of 512 characters is accepted; one more is an error that names the limit."""
    assert EventFilter.parse({"task_id": "x" * 512}).task_id == "x" * 512
    with pytest.raises(FilterError) as caught:
        EventFilter.parse({"task_id": "x" * 513})
    assert str(caught.value) == "task_id: longer than 512 characters"


def test_every_spelling_of_a_flag() -> None:
    """``1 true yes on`` are true, ``0 false no off`` and nothing are false, in any case."""
    true = [parse_flag({"a": value}, "a") for value in ("1", "true", "yes", "on", "YES")]
    false = [parse_flag({"a": value}, "a") for value in ("", "0", "false", "no", "off", "Off")]
    assert (true, false) == ([True] * 5, [False] * 6)


def test_the_error_quotes_the_first_characters_of_a_flag() -> None:
    """Of a flag that is neither true nor false the error quotes 40 characters."""
    with pytest.raises(FilterError) as caught:
        parse_flag({"a": "m" * 50}, "a")
    assert str(caught.value) == f"a: '{'m' * 40}' is neither true nor false"
