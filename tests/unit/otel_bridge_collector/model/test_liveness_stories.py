"""Liveness by story, each in many orders: when a job is stalled, why, and what overrules it."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import PROCESSING, STALLED, Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.liveness import Verdict
from otel_bridge_collector.model.nodes import Job, Task

from tests.support.histories import event, fold, fold_every_way, moment, span


def job(seconds: float, event_type: str, **fields: Any) -> Event:
    """An event of job ``j``."""
    fields = {"task_id": "j", "span_id": span(1), **fields}
    return event(seconds, event_type, parent_task_id="t", **fields)


def root(seconds: float, event_type: str) -> Event:
    """An event of the research task itself."""
    return event(seconds, event_type, parent_task_id="t", task_id="t", span_id=span(99))


def heartbeat(seconds: float) -> Event:
    """A heartbeat of worker ``w``."""
    return event(seconds, "worker_heartbeat", worker_id="w", meta={"host": "h", "pid": 1})


def verdict(model: Fold, job_id: str = "j") -> Verdict | None:
    """Why a job of the story is stalled."""
    return model.liveness.job_verdict(model.tasks.by_id["t"].jobs[job_id])


def test_worker_lost() -> None:
    """A job is stalled when its worker is silent for longer than the TTL."""
    story = [heartbeat(0), job(1, "task_started", worker_id="w"), heartbeat(10)]
    assert verdict(fold_every_way(story, 40)) is None
    assert verdict(fold_every_way(story, 40.5)) == Verdict("worker_lost", moment(10))
    assert verdict(fold_every_way([*story, heartbeat(50)], 51)) is None


def test_stopped_worker_runs_nothing() -> None:
    """A job on a worker that stopped is stalled at once."""
    stop = event(12, "worker_stopped", worker_id="w", meta={"host": "h", "pid": 1})
    story = [heartbeat(0), job(1, "task_started", worker_id="w"), heartbeat(10), stop]
    assert verdict(fold_every_way(story, 13)) == Verdict("worker_lost", moment(12))


def test_heartbeat_lost() -> None:
    """A span that promised heartbeats is stalled after three missed ones, 15 s at least."""
    story = [job(0, "task_started", beat_ms=10_000), job(20, "span_updated")]
    assert verdict(fold_every_way(story, 50)) is None
    assert verdict(fold_every_way(story, 51)) == Verdict("heartbeat_lost", moment(20))
    assert verdict(fold_every_way([*story, job(60, "span_updated")], 61)) is None
    quick = [job(0, "task_started", beat_ms=100)]
    assert verdict(fold_every_way(quick, 15)) is None
    assert verdict(fold_every_way(quick, 16)) == Verdict("heartbeat_lost", moment(0))


@pytest.mark.parametrize(("ended", "alive", "lost"), [(False, 900, 901), (True, 300, 301)])
def test_silent(ended: bool, alive: float, lost: float) -> None:
    """Without heartbeats a job is stalled by the silence of its task, sooner if that has ended."""
    story = [root(0, "task_started"), job(0, "task_started")]
    if ended:
        story.append(root(0, "task_completed"))
    assert verdict(fold_every_way(story, alive)) is None
    assert verdict(fold_every_way(story, lost)) == Verdict("silent", moment(0))
    word = event(lost + 1, "phase_started", parent_task_id="t", phase="a")
    assert verdict(fold_every_way([*story, word], lost + 2)) is None


def test_an_open_job_below_keeps_alive() -> None:
    """A job without heartbeats lives while a job below it runs on a worker with heartbeats."""
    story = [
        job(0, "task_started"),
        job(1, "task_started", task_id="k", span_id=span(2), parent_span_id=span(1), worker_id="w"),
        *(heartbeat(seconds) for seconds in range(0, 1000, 20)),
    ]
    model = fold_every_way(story, 1000, ways=20)
    assert verdict(model) is None
    assert verdict(fold_every_way(story, 1100, ways=20)) == Verdict("silent", moment(1))


def test_reported_stalled_is_evidence_only() -> None:
    """A reported task_stalled counts until a later word of the node or its incarnation."""
    report = job(60, "task_stalled", worker_id="w", reason="worker_lost")
    story = [job(1, "task_started", worker_id="w"), report]
    found = verdict(fold_every_way(story, 61))
    assert found == Verdict("worker_lost", moment(60))
    assert verdict(fold_every_way([*story, job(70, "span_updated")], 71)) is None
    assert verdict(fold_every_way([*story, heartbeat(70)], 71)) is None
    done = job(5, "task_completed", worker_id="w")
    model = fold_every_way([*story, job(900, "task_stalled"), done], 999)
    assert model.tasks.by_id["t"].agg[:6] == [0, 0, 0, 1, 0, 0]


def test_verdicts_that_each_collector_finds_are_ignored() -> None:
    """A reported stall by silence or an emptied queue changes nothing: the log says the same."""
    story = [job(1, "task_started"), job(60, "task_stalled", reason="silent")]
    assert verdict(fold_every_way(story, 61)) is None


def test_made_up_end_ends_nothing() -> None:
    """The end in a snapshot of an open span is a sign of life; the true end counts."""
    story = [job(0, "task_started"), job(2, "task_completed", ended_by="snapshot")]
    assert fold_every_way(story, 20).tree.nodes[1].ended == 0
    model = fold_every_way([*story, job(9, "task_failed", error="boom")], 20)
    assert model.tree.nodes[1].error == "boom"


def test_sweep_looks_at_what_is_due() -> None:
    """A sweep at rest evaluates no job again, however many are open."""
    story: list[Event] = [heartbeat(0)]
    for number in range(50):
        story.append(
            job(0, "task_started", task_id=f"j{number}", span_id=span(number + 1), worker_id="w")
        )
    model = fold(story, 1)
    evaluated: list[Job] = []
    evaluate = model.liveness._evaluate

    def note(job: Job) -> None:
        evaluated.append(job)
        evaluate(job)

    model.liveness._evaluate = note
    model.sweep(moment(20))
    assert evaluated == []
    model.sweep(moment(31))
    assert len(evaluated) == 50


def test_time_alone_makes_a_card_due() -> None:
    """Cards whose status depends on quiet are due again after 60, 300 and 900 s."""
    model = fold([root(0, "task_started"), job(0, "task_enqueued")], 1)
    task = model.tasks.by_id["t"]
    model.dirty.clear()
    seen: list[tuple[float, set[Task]]] = []
    for seconds in (59, 61, 200, 301, 800, 901, 5000):
        model.sweep(moment(seconds))
        seen.append((seconds, set(model.dirty)))
        model.dirty.clear()
    assert [seconds for seconds, tasks in seen if tasks == {task}] == [61, 301, 901]
    assert model.cards.status(task) == (STALLED, "silent")


def test_nothing_is_stalled_before_the_first_sweep() -> None:
    """Before the first sweep nothing is stalled: no time is known."""
    model = fold([heartbeat(0), job(1, "task_started", worker_id="w")])
    assert model.tasks.by_id["t"].agg[PROCESSING] == 1
