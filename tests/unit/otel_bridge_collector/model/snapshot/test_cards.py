"""Cards of a snapshot: order, bounds, counts that meet."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.snapshot.cards import (
    MAX_CARDS,
    task_cards,
)
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.messages import PhaseProgress

from otel_bridge.events.model import MonitoringEvent
from tests.support import histories
from tests.support.folding import apply, event, fold, job, judged, looked_at, root


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
    story.append(event(7190, "worker_heartbeat", worker_id="w"))
    found = task_cards(looked_at(7200, story))
    assert (found[0].task_id, found[0].status, len(found)) == ("long", "processing", MAX_CARDS)


@pytest.mark.parametrize("is_request_known", [True, False])
def test_an_agent_in_a_request_ends_its_card(is_request_known: bool) -> None:
    """The card of a request is the agent inside it: it ends with the agent, not a minute later."""
    trace = "a" * 32
    ids: dict[str, Any] = {"trace_id": trace, "parent_task_id": trace}
    request = {**ids, "span_id": "1" * 16, "span_kind": "SERVER", "name": "POST /ask"}
    agent = {**ids, "span_id": "2" * 16, "parent_span_id": "1" * 16, "phase": "planner"}
    story = [event(1, "phase_started", **agent), event(5, "phase_completed", **agent)]
    if is_request_known:
        story += [event(0, "span_started", **request)]
    (running,) = task_cards(looked_at(3, story[:1] + story[2:]))
    (card,) = task_cards(looked_at(6, story))
    assert (running.status, card.status, card.task_type) == ("processing", "completed", "planner")


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


def phase_of(task: str, seconds: float, events: list[MonitoringEvent]) -> PhaseProgress:
    (card,) = task_cards(looked_at(seconds, events))
    assert card.task_id == task
    (found,) = card.phases
    return found


def reported(seconds: float, **counts: int) -> MonitoringEvent:
    return event(seconds, "stats_snapshot", parent_task_id="t", phase="a", counts=counts)


def in_phase(seconds: float, kind: str, name: str) -> MonitoringEvent:
    return job("t", seconds, kind, name, phase="a")


def test_failures_that_were_retried_are_not_counted_twice() -> None:
    """With every expected job seen, the jobs' own number of failures outranks a reported one."""
    story = [reported(1, total=3, failed=2)]
    story += [in_phase(2, "task_completed", f"j{number}") for number in range(3)]
    assert phase_of("t", 3, story).failed == 0
    assert phase_of("t", 3, story[:2]).failed == 2


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        (["task_enqueued"] * 2, "pending"),
        (["task_enqueued", "task_started"], "processing"),
        (["task_retry", "task_completed"], "processing"),
        (["task_enqueued", "task_completed"], "pending"),
        (["task_failed", "task_completed"], "completed"),
    ],
)
def test_a_phase_without_events_of_its_own_is_what_its_jobs_are(
    kinds: list[str], status: str
) -> None:
    """Where no event opens a phase, its jobs say whether it waits, runs or is over."""
    story = [root("t", 0, "task_started")]
    story += [in_phase(1, kind, f"j{number}") for number, kind in enumerate(kinds)]
    assert phase_of("t", 2, story).status == status


def test_a_phase_of_a_stalled_task_is_stalled() -> None:
    """An open phase is stalled with its research task, and ends with it."""
    story = [root("t", 0, "task_started"), event(9, "phase_started", parent_task_id="t", phase="a")]
    found = phase_of("t", 1000, story)
    assert (found.status, found.ended_at) == ("stalled", "2026-11-24T12:00:09.000000Z")


def test_reported_progress_makes_a_rate() -> None:
    """Where jobs send no events, the counts reported over time give the rate and the time left."""
    model = fold([event(0, "phase_started", parent_task_id="t", phase="a")])
    for second, completed in ((1, 100), (11, 120), (21, 140)):
        apply(model, reported(second, total=1000, completed=completed))
        judged(model, second)
    (card,) = task_cards(model)
    assert [phase.rate_per_sec for phase in card.phases] == [2.0]
    assert card.eta_sec == 430.0  # of 860 jobs


def test_counts_outlive_the_bars_that_are_no_longer_held() -> None:
    """Of 100 ended jobs all count, though 50 are held; card and phase say how many are missing."""
    ids: dict[str, Any] = {"parent_task_id": "t", "trace_id": "0" * 31 + "1"}
    story = [
        event(0, "task_started", task_id="t", span_id=f"{1:016x}", **ids),
        event(
            0, "phase_started", phase="a", span_id=f"{2:016x}", parent_span_id=f"{1:016x}", **ids
        ),
    ]
    for number in range(3, 103):
        span: dict[str, Any] = {"span_id": f"{number:016x}", "parent_span_id": f"{2:016x}"}
        story.append(event(1, "task_completed", task_id=f"j{number}", **span, **ids))
    model = judged(fold(story, Limits(nodes_per_task=50)), 2)
    (card,) = task_cards(model)
    (phase,) = card.phases
    assert (card.completed, phase.completed, phase.total) == (100, 100, 100)
    assert card.not_held == phase.not_held
    assert card.not_held == 102 - model.tasks.by_id["t"].size
    assert card.not_held >= 50
    (whole,) = task_cards(judged(fold(story), 2))
    assert (whole.completed, whole.not_held, whole.phases[0].not_held) == (100, 0, 0)


def test_what_is_not_held_of_a_phase_without_a_span_is_unknown() -> None:
    """Where only jobs name a phase, its card alone says how much is missing."""
    story = [in_phase(1, "task_completed", f"j{number}") for number in range(100)]
    (card,) = task_cards(judged(fold(story, Limits(nodes_per_task=50)), 2))
    assert card.completed == 100
    assert card.not_held is not None
    assert card.not_held >= 50
    assert [(phase.completed, phase.runs, phase.not_held) for phase in card.phases] == [
        (100, 0, None)
    ]


def test_a_phase_counts_its_runs_and_its_stalled_jobs() -> None:
    """A phase that ran twice is one row of two runs; jobs on a lost worker are stalled in it."""
    story = [event(0, "worker_heartbeat", worker_id="w")]
    for number in (1, 2):
        ids: dict[str, Any] = {"parent_task_id": "t", "phase": "a", "span_id": f"{number:016x}"}
        story.append(event(number, "phase_started", **ids))
    lost: dict[str, Any] = {"worker_id": "w", "parent_span_id": f"{2:016x}"}
    story += [
        job("t", 3, "task_started", "lost", span_id=f"{3:016x}", **lost),
        job("t", 60, "task_completed", "done", span_id=f"{4:016x}", parent_span_id=f"{1:016x}"),
    ]
    (card,) = task_cards(looked_at(61, story))
    (phase,) = card.phases
    assert (phase.runs, phase.stalled, phase.completed) == (2, 1, 1)
    assert (card.stalled, card.pending, card.reason) == (1, 1, None)


def test_a_stalled_card_says_why() -> None:
    """A card of which nothing was heard for 900 s is stalled because it is silent."""
    (card,) = task_cards(looked_at(1000, [root("t", 0, "task_started")]))
    assert (card.status, card.reason) == ("stalled", "silent")


def test_a_phase_that_runs_three_times_is_summed_over_its_runs() -> None:
    """Three runs of three jobs each are nine jobs, the failed run's too, in whatever order told."""
    ids: dict[str, Any] = {"parent_task_id": "t", "trace_id": "0" * 31 + "1", "phase": "a"}
    story = []
    for run in range(3):
        second, key = run * 10, f"{run + 1:016x}"
        story.append(
            histories.event(second, "phase_started", span_id=key, counts={"total": 3}, **ids)
        )
        for number in range(3):
            ended = {"task_id": f"j{run}{number}", "parent_span_id": key}
            kind = "task_completed" if run else "task_failed"
            own = f"{run * 3 + number + 10:016x}"
            story.append(histories.event(second + 5, kind, span_id=own, **ended, **ids))
        story.append(histories.event(second + 9, "phase_completed", span_id=key, **ids))
    model = histories.fold_every_way(story, 40, ways=20)
    (card,) = task_cards(model)
    (phase,) = card.phases
    assert (phase.runs, phase.total, phase.completed, phase.failed) == (3, 9, 6, 3)
    counted = [list(model.tree.nodes[run + 1].agg or ())[3:5] for run in range(3)]
    assert counted == [[0, 3], [3, 0], [3, 0]]
    assert (card.completed, card.failed, card.pending) == (6, 3, 0)


def test_the_name_that_the_end_carries_is_shown() -> None:
    """A name is not decided by the alphabet or by what came first: the end knows it best."""
    ids: dict[str, Any] = {"parent_task_id": "t", "trace_id": "0" * 31 + "1", "task_id": "j"}
    for first, last in (("a", "b"), ("b", "a")):
        story = [
            histories.event(1, "task_completed", task_type=last, span_id=f"{1:016x}", **ids),
            histories.event(0, "task_started", task_type=first, span_id=f"{1:016x}", **ids),
        ]
        (card,) = task_cards(histories.fold_every_way(story, 2, ways=10))
        assert [bar.name for bar in card.spans] == [last]
