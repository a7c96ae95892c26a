"""Which stalled jobs the leader reports, and the events that it publishes about them."""

from __future__ import annotations

from typing import Any

from otel_bridge_collector.leader.stalled_events import (
    StalledJob,
    find_stalled,
    stalled_event,
    stalled_failure_event,
)
from otel_bridge_collector.model.events import microseconds

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold, judged

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
    return [found.job.id for found in find_stalled(judged(fold(events), seconds))]


def the_stalled(*more: MonitoringEvent, seconds: float = 40) -> StalledJob:
    (found,) = find_stalled(judged(fold(story(*more)), seconds))
    return found


def test_stalled_after_the_ttl() -> None:
    """A running job is stalled when its worker has been silent for longer than the TTL."""
    assert stalled_at(35, *story()) == []
    assert stalled_at(37, *story()) == ["j"]


def test_worker_that_never_beat_is_not_missed() -> None:
    """Without heartbeats only long silence of the whole task stalls a job."""
    started = event(5, "task_started", **IDS, worker_id="w")
    assert stalled_at(905, started) == []
    assert stalled_at(906, started) == ["j"]


def test_ended_jobs_are_not_stalled() -> None:
    """A job that ended before its worker fell silent is not reported."""
    ended = event(7, "task_completed", **IDS, worker_id="w")
    assert stalled_at(100, *story(ended)) == []


def test_worker_that_stopped_is_waited_for() -> None:
    """The ends of a stopped worker's jobs may come after its own; a later life does not wait."""
    stopped = event(7, "worker_stopped", worker_id="w")
    assert stalled_at(30, *story(stopped)) == []
    assert stalled_at(37, *story(stopped)) == ["j"]
    assert stalled_at(9, *story(stopped), event(8, "worker_started", worker_id="w")) == ["j"]


def test_event_is_the_same_for_every_collector() -> None:
    """Two collectors make the same id for one attempt, another one for the next."""
    later = event(50, "task_started", **{**IDS, "retry_count": 3}, worker_id="w")
    found = [the_stalled(), the_stalled(), the_stalled(later, seconds=90)]
    ids = [stalled_event(one, NOW).event_id for one in found]
    assert (ids[0], True) == (ids[1], ids[0] != ids[2])
    assert ids[0] != stalled_failure_event(found[0], NOW).event_id


def test_reported_job_stays_stalled_until_it_is_heard_of() -> None:
    """The report counts as evidence; a heartbeat after it takes the job back, a true end too."""
    report = stalled_event(the_stalled(), NOW)
    beat = event(41, "worker_heartbeat", worker_id="w")
    ended = event(42, "task_completed", **IDS, worker_id="w")
    assert stalled_at(60, *story(report)) == ["j"]
    assert stalled_at(60, *story(report, beat)) == []
    assert stalled_at(900, *story(report, ended)) == []


def test_report_of_silence_is_no_sign_of_life() -> None:
    """That nothing was heard of a job is itself no news of its task, or it would run again."""
    started = event(5, "task_started", **IDS, worker_id="w")
    (found,) = find_stalled(judged(fold([started]), 906))
    report = stalled_event(found, microseconds(at(906)))
    assert report.reason == "silent"
    assert stalled_at(907, started, report) == ["j"]


def test_report_by_a_clock_behind_still_counts() -> None:
    """The report is never older than the job's latest event, so the fold does not overrule it."""
    ahead = event(500, "task_progress", **IDS, worker_id="w", message="half")
    found = the_stalled(ahead, seconds=600)
    assert stalled_event(found, NOW).ts > ahead.ts


def test_event_says_whose_job_it_was() -> None:
    """The event carries the job's ids, phase and attempt."""
    found = stalled_event(the_stalled(), NOW)
    assert (
        found.event_type,
        found.project_id,
        found.parent_task_id,
        found.task_id,
        found.phase,
        found.worker_id,
        found.retry_count,
        found.reason,
    ) == ("task_stalled", "p", "t", "j", "a", "w", 2, "worker_lost")
