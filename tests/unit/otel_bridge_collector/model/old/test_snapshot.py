"""What a dashboard is shown: order, bounds, counts that meet, and nothing of another project."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.records import PhaseRecord, microseconds
from otel_bridge_collector.model.old.snapshot import (
    MAX_CARDS,
    MAX_SPANS,
    MAX_SPANS_PER_CARD,
    failure_groups,
    global_stats,
    phase_progress,
    phase_rate,
    queue_depths,
    task_cards,
    worker_states,
)
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.folding import at, event, fold, judge

LIMITED = EventFilter(projects=frozenset({"p"}))


def root(task: str, seconds: float, kind: str, **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, parent_task_id=task, task_id=task, **fields)


def job(task: str, seconds: float, kind: str, name: str = "j", **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, parent_task_id=task, task_id=name, **fields)


def looked_at(seconds: float, events: list[MonitoringEvent]) -> Judge:
    return judge(fold(events)[0], seconds)


# --- cards ---------------------------------------------------------------------------------------


def test_open_cards_come_first_then_the_latest() -> None:
    """What runs is above what has ended, and within both the latest event is on top."""
    story = [
        root("old open", 0, "task_started"),
        root("young open", 5, "task_started"),
        root("ended early", 1, "task_completed"),
        root("ended late", 9, "task_completed"),
    ]
    found = [card.task_id for card in task_cards(looked_at(10, story))]
    assert found == ["young open", "old open", "ended late", "ended early"]


def test_a_long_job_is_not_buried_under_short_ones() -> None:
    """A job of two hours stays in sight, however many traces without a root ended meanwhile."""
    story = [job("long", 0, "task_started", worker_id="w")]
    for number in range(MAX_CARDS + 50):
        story.append(job(f"short{number}", number + 1, "task_completed"))
    found = task_cards(looked_at(7200, story))
    assert (found[0].task_id, found[0].status, len(found)) == ("long", "processing", MAX_CARDS)


def test_bars_are_bounded_over_all_cards() -> None:
    """A card has at most 200 bars and all cards together 2,000; the first cards get theirs."""
    story = []
    for task in range(15):
        for number in range(210):
            story.append(job(f"t{task:02}", task, "task_started", f"j{number}"))
    counts = [len(card.spans) for card in task_cards(looked_at(20, story))]
    assert counts == [MAX_SPANS_PER_CARD] * (MAX_SPANS // MAX_SPANS_PER_CARD) + [0] * 5


def test_open_bars_are_kept_when_there_are_too_many() -> None:
    """Of more bars than a card holds the open ones are shown first."""
    story = [job("t", 0, "task_started", "open")]
    story += [job("t", n, "task_completed", f"j{n}", span_id=f"{n:016x}") for n in range(1, 300)]
    (card,) = task_cards(looked_at(300, story))
    assert (card.spans[0].task_id, card.spans[1].task_id) == ("open", "j299")


@pytest.mark.parametrize("duration_ms", [1e18, 1e300, 1.7e308])
def test_an_absurd_duration_hides_nothing(duration_ms: float) -> None:
    """What took longer than there has been time began in 1970; all cards are still shown."""
    absurd: dict[str, Any] = {"duration_ms": duration_ms}
    now = looked_at(
        9,
        [
            job("t1", 1, "task_completed", span_id="1" * 16, **absurd),
            event(2, "phase_completed", parent_task_id="t1", phase="p", **absurd),
            root("t1", 3, "task_completed", **absurd),
            root("t2", 4, "task_started"),
        ],
    )
    cards = task_cards(now)
    assert [card.task_id for card in cards] == ["t2", "t1"]
    assert cards[1].started_at == "1970-01-01T00:00:00.000000Z"


def test_a_queued_bar_becomes_the_jobs_waiting_time() -> None:
    """An enqueueing whose job began is no bar of its own but the job's ``queued_at``."""
    queued = {"span_id": "00000000000000aa"}
    begun = {"span_id": "00000000000000bb", "parent_span_id": "00000000000000aa"}
    story = [job("t", 1, "task_enqueued", **queued)]
    (waiting,) = task_cards(looked_at(2, story))[0].spans
    assert (waiting.kind, waiting.status) == ("enqueue", "pending")
    story.append(job("t", 5, "task_started", **begun))
    (running,) = task_cards(looked_at(6, story))[0].spans
    assert (running.kind, running.queued_at, running.started_at) == (
        "job",
        "2026-11-24T12:00:01.000000Z",
        "2026-11-24T12:00:05.000000Z",
    )


def test_no_bar_is_open_in_a_card_that_is_over() -> None:
    """When the research task has ended every bar of it has an end, and nothing is queued."""
    story = [
        root("t", 0, "task_started"),
        job("t", 1, "task_enqueued", "queued"),
        job("t", 2, "task_started", "lost"),
        root("t", 3, "task_completed"),
    ]
    (card,) = task_cards(looked_at(400, story))
    assert card.status == "completed"
    assert sorted((bar.kind, bar.status) for bar in card.spans) == [
        ("job", "stalled"),
        ("research_task", "completed"),
    ]
    assert None not in [bar.ended_at for bar in card.spans]


def test_an_open_card_has_no_end_and_no_duration() -> None:
    """A card reopened by a running job shows neither the end nor the duration of its root."""
    ended = root("t", 5, "task_completed", duration_ms=5000)
    (card,) = task_cards(looked_at(6, [ended, job("t", 1, "task_started")]))
    assert (card.status, card.ended_at, card.duration_ms) == ("processing", None, None)
    (card,) = task_cards(looked_at(6, [ended]))
    assert (card.ended_at, card.duration_ms) == ("2026-11-24T12:00:05.000000Z", 5000)


def test_a_filter_by_task_gives_that_card() -> None:
    """A client that asked for one research task gets no other's card."""
    story = [root("a", 0, "task_started"), root("b", 0, "task_started")]
    found = task_cards(looked_at(1, story), EventFilter(task_id="b"))
    assert [card.task_id for card in found] == ["b"]


# --- counts --------------------------------------------------------------------------------------


def phase_of(told: dict[str, int], seen: dict[str, int], forgotten: int = 0) -> PhaseRecord:
    phase = PhaseRecord("a")
    phase.counts = {name: (1, "id", value) for name, value in told.items()}
    phase.seen = dict(seen)
    phase.forgotten = forgotten
    return phase


COUNTS = st.fixed_dictionaries(
    {},
    optional={name: st.integers(0, 20) for name in ("total", "completed", "failed", "pending")},
)
SEEN = st.dictionaries(
    st.sampled_from(["pending", "processing", "completed", "failed", "retrying", "stalled"]),
    st.integers(0, 20),
)


@given(COUNTS, SEEN, st.integers(0, 3))
@settings(max_examples=200)
def test_told_and_seen_counts_meet(told: dict[str, int], seen: dict[str, int], gone: int) -> None:
    """No count is negative, none is under what was seen completed, and failures fit the total."""
    found = phase_progress(phase_of(told, seen, gone), "processing", None)
    total = found.total or 0
    assert total >= sum(seen.values())
    assert found.completed >= max(seen.get("completed", 0), told.get("completed", 0))
    assert found.failed <= max(0, total - found.completed)
    assert found.pending == max(0, total - found.completed - found.failed)
    assert min(found.completed, found.failed, found.pending, found.retrying) >= 0


def test_failures_that_were_retried_are_not_counted_twice() -> None:
    """With every expected job seen, the jobs' own number of failures stands against a told one."""
    told = {"total": 3, "failed": 2}
    assert phase_progress(phase_of(told, {"completed": 3}), "processing", None).failed == 0
    assert phase_progress(phase_of(told, {"completed": 1}), "processing", None).failed == 2


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        ({"pending": 2}, "pending"),
        ({"pending": 1, "processing": 1}, "processing"),
        ({"retrying": 1, "completed": 4}, "processing"),
        ({"pending": 1, "completed": 4}, "pending"),
        ({"failed": 1, "completed": 4}, "completed"),
    ],
)
def test_a_phase_without_events_of_its_own_is_what_its_jobs_are(
    seen: dict[str, int], status: str
) -> None:
    """Where nobody opens a phase, its jobs say whether it waits, runs or is over."""
    assert phase_progress(phase_of({}, seen), "processing", None).status == status


def test_a_phase_of_a_stalled_task_is_stalled() -> None:
    """An open phase shares its research task's fate, and its end."""
    phase = phase_of({}, {"processing": 1})
    found = phase_progress(phase, "stalled", microseconds(at(9)))
    assert (found.status, found.ended_at) == ("stalled", "2026-11-24T12:00:09.000000Z")


def test_a_rate_is_of_the_last_minute_only() -> None:
    """What ended more than a minute ago makes no rate, nor does a burst of under five seconds."""
    now = microseconds(at(0))
    second = now // 1_000_000
    phase = PhaseRecord("a")
    phase.ends_by_second = {second - 61: 600, second - 4: 3}
    assert phase_rate(phase, now) is None
    phase.ends_by_second = {second - 60: 30, second: 30}
    assert phase_rate(phase, now) == 1.0


def test_told_progress_makes_a_rate_too() -> None:
    """Where jobs send no events, the counts told over time give the rate."""
    now = microseconds(at(0))
    second = now // 1_000_000
    phase = PhaseRecord("a")
    phase.samples = {second - 20: 100, second - 10: 120, second: 140}
    assert phase_rate(phase, now) == 2.0


# --- workers, queues, failures -------------------------------------------------------------------


def worker(seconds: float, worker_id: int | str, kind: str = "worker_heartbeat") -> MonitoringEvent:
    return event(seconds, kind, worker_id=worker_id, meta={"host": "secret-host", "pid": 1})


def test_workers_are_sorted_by_number_then_by_name() -> None:
    """Worker 10 comes after worker 9, and names after numbers."""
    judged = looked_at(1, [worker(0, name) for name in ("b", 10, "a", 9)])
    assert [state.worker_id for state in worker_states(judged)] == [9, 10, "a", "b"]


def test_a_worker_gone_for_an_hour_is_no_longer_shown() -> None:
    """A dead worker is shown for an hour."""
    story = [worker(0, "w"), worker(0, "s", "worker_started"), worker(1, "s", "worker_stopped")]
    assert [state.status for state in worker_states(looked_at(3600, story))] == [
        "stopped",
        "offline",
    ]
    assert worker_states(looked_at(3601, story)) == []


def test_a_workers_newest_job_is_its_current_one() -> None:
    """Of several jobs of a worker the one begun last is shown; a worker that is gone runs none."""
    story = [
        worker(0, "w"),
        job("t", 2, "task_started", "late", worker_id="w", task_type="x"),
        job("t", 1, "task_started", "early", worker_id="w"),
    ]
    (online,) = worker_states(looked_at(3, story))
    assert (online.current_task_id, online.current_parent_task_id) == ("late", "t")
    (offline,) = worker_states(looked_at(100, story))
    assert (offline.status, offline.current_task_id) == ("offline", None)


def test_another_projects_job_is_shown_without_its_ids() -> None:
    """Who filters by project sees that a worker is busy with another's, and not with what."""
    story = [
        worker(0, "w"),
        job("t", 1, "task_started", worker_id="w", task_type="x", project_id="q"),
    ]
    (found,) = worker_states(looked_at(2, story), EventFilter(project_id="p"))
    assert (found.current_task_type, found.current_task_id, found.current_parent_task_id) == (
        "x",
        None,
        None,
    )


def test_a_limited_reader_sees_its_own_projects_only() -> None:
    """A token of project p gets no worker, no other's card or failure, and nothing mixed."""
    story = [
        worker(0, "w"),
        root("own", 0, "task_started", project_id="p"),
        root("foreign", 0, "task_started", project_id="q"),
        root("nobody's", 0, "task_started"),
        root("mixed", 0, "task_started", project_id="p"),
        job("mixed", 1, "task_failed", project_id="q", error="q's secret"),
        job("own", 1, "task_failed", project_id="p", error="own"),
        job("nobody's", 1, "task_failed", error="nobody's"),
    ]
    judged = looked_at(2, story)
    assert worker_states(judged, LIMITED) == []
    assert [card.task_id for card in task_cards(judged, LIMITED)] == ["own"]
    assert [group.error for group in failure_groups(judged.state, LIMITED)] == ["own"]
    assert len(task_cards(judged, ALL_EVENTS)) == 4


def test_the_coordinators_queues_come_first_by_priority() -> None:
    """The three priorities are in claiming order, other queues follow by name."""
    names = ["zeta", DEFAULT_KEYS.queue("low"), "alpha", DEFAULT_KEYS.queue("high"), DEFAULT_KEYS.queue("normal")]
    state, _ = fold([event(0, "queue_depth_update", counts=dict.fromkeys(names, 1))])
    assert [queue.queue for queue in queue_depths(state)] == [*DEFAULT_KEYS.queues, "alpha", "zeta"]


def test_the_latest_failure_is_first_and_its_newest_job_too() -> None:
    """Failures are sorted by their last time, and the jobs of each by theirs."""
    story = [
        job("t", 1, "task_failed", "a", error="old"),
        job("t", 2, "task_failed", "b", error="new"),
        job("u", 3, "task_failed", "c", error="new"),
    ]
    state, _ = fold(story)
    found = failure_groups(state)
    assert [(group.error, group.task_ids) for group in found] == [
        ("new", ["c", "b"]),
        ("old", ["a"]),
    ]
    wanted = failure_groups(state, EventFilter(task_id="u"))
    assert [group.error for group in wanted] == ["new"]


# --- the header's numbers ------------------------------------------------------------------------


def test_the_headers_numbers_are_of_the_last_minute() -> None:
    """Throughput and error rates count jobs that ended, not research tasks, and not what is old."""
    story = [
        job("t", 0, "task_failed", "a", project_id="p"),
        job("t", 100, "task_completed", "b", project_id="p"),
        job("t", 100, "task_completed", "c", project_id="q"),
        job("t", 100, "task_failed", "d", project_id="p"),
        root("t", 100, "task_failed", project_id="p"),
    ]
    state, stats = fold(story)
    found = global_stats(judge(state, 101), stats)
    assert (found.throughput_per_sec, found.error_rate_1m, found.error_rate_5m) == (
        0.3,
        0.3333,
        0.5,
    )
    assert global_stats(judge(state, 101), stats, "p").error_rate_1m == 0.5


def test_no_ended_job_is_no_error_rate() -> None:
    """An error rate of nothing is None, not zero."""
    found = global_stats(looked_at(0, []), RollingStats())
    assert (found.error_rate_1m, found.error_rate_5m) == (None, None)


def test_lost_jobs_are_not_in_progress() -> None:
    """A job on a worker that is gone is not counted as running; the others are, by their type."""
    story = [
        worker(0, "w"),
        job("t", 1, "task_started", "lost", worker_id="w", task_type="x"),
        job("t", 1, "task_started", "runs", worker_id="v", task_type="y", project_id="p"),
        job("t", 1, "task_started", "untyped", project_id="q"),
    ]
    state, stats = fold(story)
    assert global_stats(judge(state, 2), stats).in_progress_by_type == {"job": 1, "x": 1, "y": 1}
    assert global_stats(judge(state, 60), stats).in_progress == 2
    assert global_stats(judge(state, 60), stats, "p").in_progress_by_type == {"y": 1}


def test_drops_of_workers_and_unreadable_events_are_one_number() -> None:
    """What was lost before and after the log is told together."""
    beats = [
        event(0, "worker_heartbeat", worker_id=name, counts={"dropped": count})
        for name, count in (("a", 3), ("b", 4))
    ]
    state, stats = fold(beats)
    stats.events_unreadable = 5
    found = global_stats(judge(state, 1), stats)
    assert (found.events_dropped, found.events_in, found.workers_online) == (12, 2, 2)
