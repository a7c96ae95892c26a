"""The records' merges: order and repetition must not show, whatever the facts say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.model.old.records import (
    JOB_FACTS,
    PhaseRecord,
    Rank,
    SpanRecord,
    apply_span,
    attempt_of,
    cut,
    earliest,
    microseconds,
    settle,
    settle_worker,
)

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import START, at, event

NAMES = st.none() | st.text(max_size=3)
TIMES = st.none() | st.integers(-5, 5)
WORKERS = st.none() | st.integers(0, 12) | st.integers(0, 12).map(str) | st.sampled_from("abc")
BEGUN = microseconds(START)


def merged(merge: Any, facts: list[Any]) -> Any:
    found = None
    for fact in facts:
        found = merge(found, fact)
    return found


@pytest.mark.parametrize(
    ("merge", "facts"), [(settle, NAMES), (earliest, TIMES), (settle_worker, WORKERS)]
)
@given(data=st.data())
def test_merges_forget_order_and_repetition(
    merge: Any, facts: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """A value merged from facts in any order, any of them repeated, is one value."""
    told = data.draw(st.lists(facts, min_size=1, max_size=6))
    shuffled = [*data.draw(st.permutations(told)), *told[:2]]
    one, other = merged(merge, told), merged(merge, shuffled)
    assert (one, type(one)) == (other, type(other))
    assert one in told


def test_a_known_value_is_kept() -> None:
    """What is known is not lost to an event that leaves it out, be it zero or empty."""
    assert (settle("a", None), settle(None, ""), settle("", None)) == ("a", "", "")
    assert (earliest(0, None), earliest(None, 0), earliest(-1, 0)) == (0, 0, -1)
    assert (settle_worker(0, None), settle_worker(None, 0)) == (0, 0)


def test_a_workers_number_wins_over_its_text() -> None:
    """3 and "3" are one worker, shown as a number."""
    assert settle_worker("3", 3) == 3
    assert type(settle_worker("3", 3)) is int


@given(st.text(max_size=30), st.integers(1, 20))
def test_cut_texts_are_at_most_so_long(text: str, max_chars: int) -> None:
    """A text keeps its beginning, never grows past the limit, and shows that it was cut."""
    found = cut(text, max_chars)
    assert found is not None
    assert len(found) <= max_chars
    assert found == text if len(text) <= max_chars else found == text[: max_chars - 1] + "…"
    assert cut(None, max_chars) is None


def test_microseconds_are_exact() -> None:
    """A time's last microsecond survives, which a float would round away in the year 2026."""
    event_at = MonitoringEvent.model_validate(
        {"event_type": "task_started", "ts": "2026-11-24T12:00:00.123457+02:00"}
    )
    assert microseconds(event_at.ts) % 1_000_000 == 123_457
    assert microseconds(datetime.fromtimestamp(1, UTC)) == 1_000_000
    assert microseconds(START) - microseconds(event_at.ts) == 2 * 3600 * 1_000_000 - 123_457


def test_absurd_attempts_are_cut() -> None:
    """A stranger's retry count cannot grow the state's numbers without end."""
    told = event(0, "task_started", retry_count=10**30)
    assert attempt_of(told) == 1_000_000
    assert attempt_of(event(0, "task_started")) == 0


def rank_of(kind: str, ts: int, attempt: int = 0) -> Rank:
    stage, order, _ = JOB_FACTS[kind]
    return Rank(attempt, stage, ts, order, "id")


@pytest.mark.parametrize(
    ("loser", "winner"),
    [
        (rank_of("task_completed", 9), rank_of("task_enqueued", 1, attempt=1)),
        (rank_of("task_enqueued", 9), rank_of("task_started", 1)),
        (rank_of("task_failed", 9), rank_of("task_completed", 1)),
        (rank_of("task_failed", 1), rank_of("task_started", 2)),
        (rank_of("task_started", 1), rank_of("task_failed", 1)),
        (rank_of("task_started", 1), rank_of("task_stalled", 1)),
        (rank_of("task_stalled", 1), rank_of("task_failed", 1)),
        (rank_of("task_retry", 1), rank_of("task_failed", 1)),
    ],
    ids=[
        "a later attempt beats all of the one before",
        "running beats queued, whatever the clocks say",
        "completed beats failed, whatever the clocks say",
        "a job requeued under the same number lives again",
        "an end beats the start of the same microsecond",
        "stalled beats the start of the same microsecond",
        "an end beats stalled in the same microsecond",
        "failed for good beats a retry in the same microsecond",
    ],
)
def test_which_fact_wins(loser: Rank, winner: Rank) -> None:
    """Of two facts about a job the one with the greater rank stands."""
    assert max(loser, winner) == winner


def test_an_unknown_count_is_not_zero() -> None:
    """A count that nobody told is None, so that a bar is indeterminate and not empty."""
    phase = PhaseRecord("a")
    assert phase.absolute("total") is None
    phase.counts["total"] = (1, "id", 0)
    assert phase.absolute("total") == 0


def spans_of(events: list[MonitoringEvent], kind: str = "job") -> dict[str, SpanRecord]:
    spans: dict[str, SpanRecord] = {}
    for one in events:
        apply_span(spans, one, kind, 100)
    return spans


def shown(span: SpanRecord) -> dict[str, Any]:
    return {name: getattr(span, name) for name in SpanRecord.__slots__}


STORY = [
    event(0, "task_enqueued", task_id="j", span_id="00000000000000aa", trace_id="f" * 32),
    event(1, "task_started", task_id="j", span_id="00000000000000aa", worker_id="3"),
    event(2, "task_stalled", task_id="j", span_id="00000000000000aa", worker_id=3),
    event(2, "task_retry", task_id="j", span_id="00000000000000aa", error="E", duration_ms=1500),
    event(3, "task_completed", task_id="j", span_id="00000000000000aa", duration_ms=2000),
]


@given(st.permutations(STORY), st.lists(st.sampled_from(STORY), max_size=4))
def test_a_bar_is_the_same_in_any_order(
    events: list[MonitoringEvent], again: list[MonitoringEvent]
) -> None:
    """A span's events in any order, any of them repeated, give one bar."""
    one = spans_of(STORY)["00000000000000aa"]
    other = spans_of([*events, *again])["00000000000000aa"]
    assert shown(one) == shown(other)


def test_an_end_gives_a_lost_start() -> None:
    """A bar whose start was lost begins its duration before its end."""
    ended = event(10, "task_completed", task_id="j", span_id="00000000000000aa", duration_ms=4000)
    assert spans_of([ended])["00000000000000aa"].started == BEGUN + 6_000_000


def test_a_stalled_job_that_ends_was_not_stalled() -> None:
    """A real end stands, also when the leader's clock is ahead of the worker's."""
    told = [
        event(90, "task_stalled", task_id="j", span_id="00000000000000aa"),
        event(5, "task_failed", task_id="j", span_id="00000000000000aa", error="E"),
    ]
    found = spans_of(told)["00000000000000aa"]
    assert (found.status, found.error) == ("failed", "E")


def test_a_phase_that_failed_is_a_failed_bar() -> None:
    """A phase's end says by its status whether it failed."""
    span_id = "00000000000000ab"
    ends = [
        event(1, "phase_completed", phase="a", status="failed", span_id=span_id),
        event(1, "phase_completed", phase="b", status="completed"),
    ]
    found = spans_of(ends, "phase")
    assert {span.phase: span.status for span in found.values()} == {"a": "failed", "b": "completed"}


def test_publishers_without_spans_have_bars() -> None:
    """Attempts of a job that names no span are bars of their own, one for both of its ends."""
    told = [
        event(0, "task_started", task_id="j"),
        event(1, "task_retry", task_id="j"),
        event(2, "task_started", task_id="j", retry_count=1),
    ]
    found = spans_of(told)
    assert [(span.retry_count, span.status) for span in found.values()] == [
        (0, "retrying"),
        (1, "processing"),
    ]


def test_open_bars_are_forgotten_last() -> None:
    """Past the limit what ended longest ago leaves, then enqueueings, then the oldest open bar."""
    spans: dict[str, SpanRecord] = {}
    for number in range(6):
        apply_span(spans, event(number, "task_started", task_id=f"open{number}"), "job", 8)
    apply_span(spans, event(100, "task_enqueued", task_id="queued"), "enqueue", 8)
    for number in range(2):
        apply_span(spans, event(50 + number, "task_completed", task_id=f"e{number}"), "job", 8)
    assert sorted(span.task_id or "" for span in spans.values()) == [
        *(f"open{number}" for number in range(6))
    ]


@given(st.integers(1, 30), st.integers(1, 80))
def test_bars_are_bounded(limit: int, count: int) -> None:
    """However many spans come, a task's bars stay at their limit and the newest is among them."""
    spans: dict[str, SpanRecord] = {}
    for number in range(count):
        apply_span(spans, event(number, "task_started", task_id=f"j{number}"), "job", limit)
        assert len(spans) <= limit
    if limit > 1:
        assert f"j{count - 1}" in [span.task_id for span in spans.values()]


def test_strangers_texts_are_cut() -> None:
    """A bar keeps 300 characters of an error and 100 of a type, of the 8 KiB an event may hold."""
    told = event(1, "task_failed", task_id="j", error="e" * 5000, task_type="t" * 5000)
    (found,) = spans_of([told]).values()
    assert (len(found.error or ""), len(found.task_type or "")) == (300, 100)
    assert found.end == (True, microseconds(at(1)), told.event_id)
