"""The stalled rule."""

from __future__ import annotations

from typing import Any

from otel_bridge_collector.model.old.records import microseconds
from otel_bridge_collector.model.old.stalled import (
    find_stalled,
    stalled_event,
    stalled_failure_event,
)

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold, judge

NOW = microseconds(at(40))
IDS: dict[str, Any] = {"project_id": "p", "parent_task_id": "t", "task_id": "j", "retry_count": 2}


def story(*more: MonitoringEvent) -> list[MonitoringEvent]:
    return [
        event(0, "worker_started", worker_id="w"),
        event(5, "task_started", **IDS, worker_id="w", phase="a", task_type="x"),
        event(6, "worker_heartbeat", worker_id="w"),
        *more,
    ]


def stalled_at(seconds: float, *events: MonitoringEvent) -> list[str]:
    state, _ = fold(events)
    return [job.task_id for job in find_stalled(judge(state, seconds), 30)]


def test_stalled_after_the_ttl() -> None:
    """A running job is stalled when its worker has been silent for longer than the TTL."""
    assert stalled_at(35, *story()) == []
    assert stalled_at(37, *story()) == ["j"]


def test_worker_that_never_beat_is_not_missed() -> None:
    """Without a heartbeat nobody can say that the worker is gone."""
    started = event(5, "task_started", **IDS, worker_id="w")
    assert stalled_at(5000, started) == []


def test_ended_and_told_jobs_are_not_stalled() -> None:
    """A job that ended, or was told stalled, is not told again."""
    state, _ = fold(story())
    told = stalled_event(state.jobs["t", "j"], NOW)
    ended = event(7, "task_completed", **IDS, worker_id="w")
    assert stalled_at(100, *story(told)) == []
    assert stalled_at(100, *story(ended)) == []


def test_event_is_the_same_for_every_collector() -> None:
    """Two collectors make the same id for one attempt, another one for the next."""
    one, _ = fold(story())
    two, _ = fold(story())
    later, _ = fold(story(event(50, "task_started", **{**IDS, "retry_count": 3}, worker_id="w")))
    ids = [stalled_event(state.jobs["t", "j"], NOW).event_id for state in (one, two, later)]
    assert (ids[0], True) == (ids[1], ids[0] != ids[2])
    assert ids[0] != stalled_failure_event(one.jobs["t", "j"], NOW).event_id


def test_told_by_a_clock_behind_it_still_counts() -> None:
    """A worker whose clock is ahead does not make the stalled event history before it happened."""
    state, _ = fold(story())
    told = stalled_event(state.jobs["t", "j"], microseconds(at(-90)))
    assert stalled_at(100, *story(told)) == []


def test_event_says_whose_job_it_was() -> None:
    """The event carries the job's ids, phase and attempt."""
    state, _ = fold(story())
    found = stalled_event(state.jobs["t", "j"], NOW)
    assert (
        found.event_type,
        found.project_id,
        found.parent_task_id,
        found.task_id,
        found.phase,
        found.worker_id,
        found.retry_count,
    ) == ("task_stalled", "p", "t", "j", "a", "w", 2)
