"""The rules for endings that never come, told as stories and looked at from many moments."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.records import microseconds

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold

TASK: dict[str, Any] = {"project_id": "p", "parent_task_id": "t"}


def root(seconds: float, kind: str, **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, **TASK, task_id="t", **fields)


def job(seconds: float, kind: str, name: str = "j", **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, **TASK, task_id=name, **fields)


def beat(seconds: float, kind: str = "worker_heartbeat", name: str = "w") -> MonitoringEvent:
    return event(seconds, kind, worker_id=name)


def looked_at(seconds: float, events: list[MonitoringEvent]) -> Judge:
    return Judge(fold(events)[0], microseconds(at(seconds)), 30)


def statuses(events: list[MonitoringEvent], *moments: float) -> list[str]:
    """What the research task is shown as, at each of the moments."""
    found = [looked_at(seconds, events) for seconds in moments]
    return [judge.task_status(judge.state.tasks["t"]) for judge in found]


def worker_statuses(events: list[MonitoringEvent], *moments: float) -> list[str]:
    found = [looked_at(seconds, events) for seconds in moments]
    return [judge.worker_status(judge.state.fleet.workers["w"]) for judge in found]


def test_a_worker_is_online_for_the_whole_ttl() -> None:
    """A worker is offline only when it has been silent for longer than the TTL."""
    assert worker_statuses([beat(0)], 0, 30, 30.000001) == ["online", "online", "offline"]


def test_a_worker_that_stopped_is_stopped_for_good() -> None:
    """A stop is no silence: it shows at once and still an hour later."""
    story = [beat(0, "worker_started"), beat(5, "worker_stopped")]
    assert worker_statuses(story, 5, 3600) == ["stopped", "stopped"]


def test_a_stop_and_a_beat_of_the_same_microsecond_are_a_stop() -> None:
    """A worker that beats once more as it stops has stopped."""
    story = [beat(5, "worker_stopped"), beat(5)]
    assert worker_statuses(story, 6) == ["stopped"]


def test_a_worker_that_never_beats_is_online_while_it_runs_something() -> None:
    """Where the framework does not beat, a job that runs is the sign of life."""
    started = job(0, "task_started", worker_id="w")
    ended = job(100, "task_completed", worker_id="w")
    assert worker_statuses([started], 10, 7000) == ["online", "online"]
    assert worker_statuses([started, ended], 101, 131) == ["online", "offline"]


def test_only_a_worker_that_used_to_beat_can_be_gone() -> None:
    """Nobody, a stranger and a worker without heartbeats are never gone; a silent one is."""
    events = [job(0, "task_started", worker_id="quiet"), beat(0)]
    judge = looked_at(100, events)
    found = [judge.is_worker_gone(worker_id) for worker_id in (None, "stranger", "quiet", "w")]
    assert found == [False, False, False, True]


def test_a_worker_is_found_by_number_and_by_text() -> None:
    """A job whose worker is told as a number belongs to the worker that beats as a text."""
    judge = looked_at(100, [beat(0, name="3")])
    assert judge.is_worker_gone(3)


def test_a_job_on_a_live_worker_holds_its_ended_task_open() -> None:
    """A root that ended first is shown running for as long as a job runs on a beating worker."""
    story = [
        beat(0),
        job(1, "task_started", worker_id="w"),
        root(2, "task_completed"),
        *(beat(seconds) for seconds in range(20, 1000, 20)),
    ]
    assert statuses(story, 3, 900) == ["processing", "processing"]
    assert statuses(story, 980 + 31) == ["completed"]


def test_where_nobody_beats_a_job_holds_its_ended_task_for_five_minutes() -> None:
    """A job whose worker does not beat is lost five minutes after its ended task's last event."""
    story = [job(1, "task_started"), root(2, "task_failed")]
    assert statuses(story, 302, 302.1) == ["processing", "failed"]


def test_a_task_that_goes_on_waits_for_its_quiet_jobs() -> None:
    """While the root has not ended, a job without heartbeats is never given up."""
    story = [root(0, "task_started"), job(1, "task_started")]
    assert statuses(story, 10_000) == ["processing"]


def test_a_task_with_nothing_left_ends_with_its_root() -> None:
    """With no job running or queued, a card ends in the moment its root does."""
    story = [root(0, "task_started"), job(1, "task_completed"), root(2, "task_failed")]
    assert statuses(story, 2) == ["failed"]


def test_queued_jobs_hold_an_ended_task_for_one_minute() -> None:
    """Jobs that nobody will run do not freeze a card: one minute after its last event it ends."""
    story = [job(1, "task_enqueued"), root(2, "task_completed")]
    assert statuses(story, 62, 62.1) == ["processing", "completed"]


def test_a_silent_task_stalls_after_a_quarter_of_an_hour_and_comes_back() -> None:
    """15 minutes without an event and without a live job are a stall, and one event ends it."""
    story = [root(0, "task_started")]
    assert statuses(story, 900, 900.1) == ["processing", "stalled"]
    assert statuses([*story, root(901, "task_retry")], 901) == ["retrying"]


@pytest.mark.parametrize(("end", "status"), [("task_completed", "completed"), ("", "stalled")])
def test_a_task_that_ended_does_not_stall(end: str, status: str) -> None:
    """Silence after an end is no stall."""
    story = [root(0, "task_started"), *([root(1, end)] if end else [])]
    assert statuses(story, 5000) == [status]


def test_a_task_without_a_root_is_open_for_a_minute_longer_than_its_jobs() -> None:
    """Where no root was ever seen, the task is over when its jobs are and it is quiet."""
    story = [job(0, "task_started"), job(10, "task_completed")]
    assert statuses(story, 9, 70, 70.1) == ["processing", "processing", "completed"]


def test_a_task_without_a_root_waits_for_an_open_phase() -> None:
    """An open phase holds a task without a root open, for a quarter of an hour of silence."""
    story = [event(0, "phase_started", **TASK, phase="a")]
    assert statuses(story, 899, 901) == ["processing", "completed"]


def test_a_task_without_a_root_failed_when_all_of_it_failed() -> None:
    """One job that completed makes a success of a task whose root was never seen."""
    failed = job(0, "task_failed", "a", phase="x")
    assert statuses([failed], 61) == ["failed"]
    assert statuses([failed, job(0, "task_completed", "b")], 61) == ["completed"]


def test_a_trace_that_is_its_own_task_is_over_with_its_job() -> None:
    """A job whose span is the trace's root keeps no card open for a minute."""
    ids = {"parent_task_id": "t", "task_id": "j", "trace_id": "t"}
    trace = "a" * 32
    ids = {**ids, "parent_task_id": trace, "trace_id": trace}
    started, ended = event(0, "task_started", **ids), event(1, "task_failed", **ids)
    for events, status in (([started], "processing"), ([started, ended], "failed")):
        judge = looked_at(2, events)
        assert judge.task_status(judge.state.tasks[trace]) == status


def test_a_silent_worker_lets_go_of_its_jobs() -> None:
    """Jobs that run are counted as live, except those on a worker that is gone."""
    story = [
        beat(0),
        root(0, "task_started"),
        job(1, "task_started", "a", worker_id="w"),
        job(1, "task_started", "b", worker_id="other"),
        job(1, "task_started", "c"),
    ]
    found = [looked_at(seconds, story) for seconds in (2, 40)]
    assert [judge.live_jobs(judge.state.tasks["t"]) for judge in found] == [3, 2]
