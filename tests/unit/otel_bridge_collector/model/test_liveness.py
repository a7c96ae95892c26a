"""The table of liveness, row by row: what is stalled, since when, why, and what takes it back."""

from __future__ import annotations

import gc
from typing import Any

from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.liveness import Verdict
from otel_bridge_collector.model.nodes import Task

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import apply, at, event, fold, judged

SPAN = "00000000000000aa"


def job(seconds: float, kind: str = "task_started", **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, **{"parent_task_id": "t", "task_id": "j", **fields})


def verdict(seconds: float, *events: MonitoringEvent) -> Verdict | None:
    """On the job ``j`` of the task ``t``."""
    model = judged(fold(events), seconds)
    return model.liveness.job_verdict(model.tasks.by_id["t"].jobs["j"])


def stalled(reason: str, seconds: float) -> Verdict:
    """A verdict with the moment of the last evidence."""
    return Verdict(reason, int(at(seconds).timestamp()) * 1_000_000)


def test_a_worker_silent_for_longer_than_the_ttl_is_lost() -> None:
    """Its job ends at its last heartbeat, not when the rule fired; the next one takes it back."""
    story = [event(0, "worker_started", worker_id="w"), job(1, worker_id="w")]
    story.append(event(10, "worker_heartbeat", worker_id="w"))
    assert verdict(40, *story) is None
    assert verdict(41, *story) == stalled("worker_lost", 10)
    assert verdict(60, *story, event(50, "worker_heartbeat", worker_id="w")) is None


def test_a_later_incarnation_of_one_process_ends_the_former_at_once() -> None:
    """The same host and pid start again; another pid under the id proves nothing."""

    def started(seconds: float, pid: int, incarnation: str) -> MonitoringEvent:
        meta = {"host": "box", "pid": pid}
        return event(
            seconds, "worker_started", worker_id="w", meta=meta, incarnation=incarnation * 16
        )

    story = [started(0, 1, "a"), job(1, worker_id="w", incarnation="a" * 16)]
    assert verdict(5, *story, started(4, 2, "b")) is None
    found = verdict(5, *story, started(4, 1, "b"))
    assert found is not None
    assert found.reason == "worker_lost"


def test_promised_heartbeats_of_a_span_are_missed_after_three() -> None:
    """A span that promised one every 10 s is silent for 30 s; at least 15 s are allowed."""
    story = [job(0, span_id=SPAN, beat_ms=10_000), event(20, "span_beats", spans=[SPAN])]
    assert verdict(50, *story) is None
    assert verdict(51, *story) == stalled("heartbeat_lost", 20)
    often = job(0, span_id=SPAN, beat_ms=1000)
    assert verdict(15, often) is None
    assert verdict(16, often) == stalled("heartbeat_lost", 0)


def test_a_job_whose_task_is_silent_is_stalled() -> None:
    """Without heartbeats the task's events count: 900 s, or 300 s once its root has ended."""
    assert verdict(900, job(0)) is None
    assert verdict(901, job(0)) == stalled("silent", 0)
    root = event(2, "task_completed", parent_task_id="t", task_id="t", span_id=SPAN)
    assert verdict(302, job(0), root) is None
    assert verdict(303, job(0), root) == stalled("silent", 2)


def test_a_true_end_replaces_a_verdict() -> None:
    """A job that was silent for an hour and then ended has not stalled."""
    assert verdict(3700, job(0), job(3600, "task_completed")) is None


def empty(seconds: float, depth: int = 0) -> MonitoringEvent:
    return event(seconds, "queue_depth_update", counts={"q": depth})


def test_jobs_of_an_emptied_queue_are_stalled() -> None:
    """After two reports that it is empty and 60 s of waiting, a pending job will not run."""
    waiting = job(0, "task_enqueued", queue="q", span_id=SPAN)
    assert verdict(61, waiting, empty(10)) is None
    assert verdict(60, waiting, empty(10), empty(20)) is None
    assert verdict(61, waiting, empty(10), empty(20)) == stalled("queue_emptied", 10)
    assert verdict(61, waiting, empty(10), empty(20), empty(30, 4)) is None


def test_a_delayed_job_outlives_its_empty_queue() -> None:
    """A job with a delay or an ETA is not in the queue that its broker counts."""
    for meta in ({"eta": "2027-01-01T00:00:00Z"}, {"countdown": 600}):
        waiting = job(0, "task_enqueued", queue="q", span_id=SPAN, meta=meta)
        assert verdict(100, waiting, empty(10), empty(20)) is None


def test_an_evicted_task_is_not_held_until_its_deadline() -> None:
    """A task that is evicted leaves memory at once, though its next look was 60 s away."""
    model = Fold(Limits(tasks=10))
    for number in range(100):
        ids = {"parent_task_id": f"evicted {number}", "task_id": f"evicted {number}"}
        apply(model, event(number, "task_started", **ids), event(number, "task_completed", **ids))
        judged(model, number).dirty.clear()
    gc.collect()
    tasks = [one for one in gc.get_objects() if type(one) is Task]
    assert sum(one.id.startswith("evicted ") for one in tasks) == len(model.tasks.by_id) <= 12
