"""The strip counts attempts by when they ended, in bars that stay while the task grows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.views.listing import GoneError
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task.strip import compute, merge
from otel_bridge_collector.wire.views.params import StripParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.faults import FakeClock
from tests.support.folding import apply, at, event, fold, job, root


def state_of(story: list[MonitoringEvent], seconds: float) -> ViewState:
    state = ViewState(fold(story), clock=FakeClock())
    state.refresh(microseconds(at(seconds)))
    return state


def strip(state: ViewState, buckets: int = 120, task: str = "t") -> tuple[Any, dict[int, Any]]:
    """The head, and (ended, failed) by the number of the bar."""
    params = StripParams(task=task, buckets=buckets)
    window = merge([compute(state, params, None)], params)
    rows = [json.loads(row) for row in window.rows.values()]
    return window.head, {int(row["k"]): (row["ended"], row["failed"]) for row in rows}


def test_attempts_are_counted_where_they_ended() -> None:
    """Completed, failed and to be tried again, each attempt once, in bars of one length."""
    story = [root("t", 0, "task_started")]
    story += [job("t", 1, "task_started", "a"), job("t", 10, "task_retry", "a")]
    story += [job("t", 20, "task_failed", "a", retry_count=1)]
    story += [job("t", n, "task_completed", f"j{n}") for n in (30, 31, 60)]
    story += [job("t", 40, "task_started", "runs")]
    head, bars = strip(state_of(story, 64), 10)
    start, step = head["start"], head["step"]
    assert (step, head["ended"], head["failed"]) == (8192, 5, 1)
    assert start % step == 0
    assert 0 <= microseconds(at(0)) // 1000 - start < step
    ends = [microseconds(at(n)) // 1000 for n in (10, 20, 30, 31, 60)]
    assert list(bars) == sorted({(end - start) // step for end in ends})
    assert bars[(ends[1] - start) // step] == (1, 1)


@pytest.mark.parametrize("reporter", ["the broker", "its span"])
def test_the_work_of_a_lost_worker_ended_when_that_was_last_heard(reporter: str) -> None:
    """Not 30 s later, when its silence was long enough for a report."""
    by = {"worker_id": "w", "incarnation": "a" * 16, "span_id": "0" * 15 + "1"}
    heard = [event(n, "worker_heartbeat", worker_id="w", incarnation="a" * 16) for n in (0, 3)]
    lost = {"ended_by": "other", "reason": "worker_lost", "worker_id": "w"}
    given = {"span_id": by["span_id"]} if reporter == "its span" else {}
    story = [root("t", 0, "task_started"), job("t", 1, "task_started", **by), *heard]
    head, bars = strip(state_of([*story, job("t", 34, "task_failed", **lost, **given)], 64))
    (bar,) = bars
    assert 0 <= microseconds(at(3)) // 1000 - head["start"] - bar * head["step"] < head["step"]


@given(
    seconds=st.floats(0.01, 100_000),
    buckets=st.integers(1, 240),
    ends=st.lists(st.floats(-10, 100_010), max_size=10),
)
@hypothesis_settings(max_examples=60)
def test_there_are_never_too_many_bars(seconds: float, buckets: int, ends: list[float]) -> None:
    """As long as they must be, and no longer; ends by wrong clocks are in the first or the last."""
    story = [root("t", 0, "task_started")]
    story += [job("t", end, "task_failed", f"j{number}") for number, end in enumerate(ends)]
    head, bars = strip(state_of(story, seconds), buckets)
    step = head["step"]
    assert step & (step - 1) == 0
    assert all(0 <= number < buckets for number in bars)
    assert head["ended"] == head["failed"] == len(ends) == sum(all_ for all_, _ in bars.values())
    last = microseconds(at(seconds)) // 1000
    half = step // 2
    assert not half or last // half - microseconds(at(0)) // 1000 // half >= buckets


def test_bars_stay_while_the_task_grows() -> None:
    """Until there would be too many: then each is twice as long."""
    state = state_of([root("t", 0, "task_started"), job("t", 5, "task_completed")], 100)
    before, bars = strip(state)
    state.refresh(microseconds(at(120)))
    assert strip(state) == (before, bars)
    state.refresh(microseconds(at(170)))
    assert strip(state)[0]["step"] == 2 * before["step"]


def test_one_end_counts_once() -> None:
    """An end that a span and another process report is one; one that was taken back is none."""
    span = {"span_id": "00000000000000aa"}
    story = [
        root("t", 0, "task_started"),
        job("t", 1, "task_started", **span),
        job("t", 2, "task_failed", error="killed", ended_by="other"),
        job("t", 1, "task_started", "silent", span_id="00000000000000bb", worker_id="w"),
        job("t", 3, "task_stalled", "silent", span_id="00000000000000bb", reason="worker_lost"),
    ]
    head, _ = strip(state_of(story, 9))
    assert (head["ended"], head["failed"]) == (1, 1)
    story.append(job("t", 4, "task_completed", **span))
    head, _ = strip(state_of(story, 9))
    assert (head["ended"], head["failed"]) == (1, 0)


def test_counts_are_kept_until_the_task_changes() -> None:
    """Nothing is counted again for a task that stands still, nor at once for one that changes."""
    clock = FakeClock()
    model = fold([root("t", 0, "task_started"), job("t", 1, "task_completed")])
    state = ViewState(model, clock=clock)
    state.refresh(microseconds(at(64)))
    assert strip(state)[0]["ended"] == 1
    clock.advance(5)
    assert strip(state)[0]["ended"] == 1
    assert state.budget.rebuilds == 0
    apply(model, job("t", 65, "task_completed", "k"))
    state.refresh(microseconds(at(66)))
    assert strip(state)[0]["ended"] == 2
    assert state.budget.rebuilds == 1
    apply(model, job("t", 66, "task_completed", "l"))
    state.refresh(microseconds(at(66.1)))
    assert strip(state)[0]["ended"] == 2
    clock.advance(0.2)
    assert strip(state)[0]["ended"] == 3


def test_what_has_left_the_memory_is_still_counted() -> None:
    """A task that lets ended jobs go shows the same bars as one that holds them all."""
    story = [root("t", 0, "task_started")]
    story += [job("t", 3 * n, "task_failed", f"j{n}") for n in range(1, 100)]
    few = ViewState(fold(story, Limits(nodes_per_task=20)))
    few.refresh(microseconds(at(300)))
    assert few.model.tasks.by_id["t"].not_held
    assert strip(few) == strip(state_of(story, 300))


def test_a_task_that_is_not_there_is_gone() -> None:
    """An unknown one, and one of another project for a limited reader, look the same."""
    state = state_of([root("t", 0, "task_started", project_id="p")], 9)
    params = StripParams(task="t")
    assert compute(state, params, frozenset({"p"})).sums["ended"] == 0
    for task, scope in (("t", frozenset({"q"})), ("u", None)):
        with pytest.raises(GoneError) as gone:
            compute(state, StripParams(task=task), scope)
        assert gone.value.why == "unknown"
