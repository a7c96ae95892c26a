"""Tasks with a lost worker, a stuck queue, or jobs that are far slower than others."""

from __future__ import annotations

from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.attention.trouble import NO_TROUBLE
from otel_bridge_collector.views.state import ViewState

from otel_bridge.events.model import MonitoringEvent
from tests.support.faults import FakeClock
from tests.support.folding import apply, at, event, fold, job, root


def ran(task: str, name: str, took: float) -> list[MonitoringEvent]:
    return [
        job(task, 0, "task_started", name, task_type="fetch"),
        job(task, took, "task_completed", name, task_type="fetch"),
    ]


def heartbeat(seconds: float, name: str) -> MonitoringEvent:
    meta = {"host": "h", "pid": 1, "queues": ["other"]}
    return event(seconds, "worker_heartbeat", worker_id=name, incarnation=name * 16, meta=meta)


STORY = [
    *(root(task, 0, "task_started") for task in ("lost", "waits", "slow", "fine")),
    heartbeat(0, "w"),
    heartbeat(60, "v"),
    job("lost", 1, "task_started", worker_id="w", incarnation="w" * 16),
    job("waits", 2, "task_enqueued", queue="q"),
    *(one for number in range(5) for one in ran("slow", f"o{number}", 4)),
    job("slow", 10, "task_started", "a", task_type="fetch"),
    job("slow", 20, "task_started", "b", task_type="fetch"),
    job("slow", 60, "task_started", "c", task_type="fetch"),
    *ran("fine", "x", 3),
]


def test_what_is_found() -> None:
    """Each task for its own reason, and none for what is as it should be."""
    state = ViewState(fold(STORY))
    state.refresh(microseconds(at(61)))
    lost, stuck, slow = state.trouble
    assert {task.id for task in lost} == {"lost"}
    assert {task.id for task in stuck} == {"waits"}
    ((task, jobs),) = slow.items()
    assert (task.id, jobs.number, jobs.since) == ("slow", 2, microseconds(at(10)))
    assert [state.tasks.by_id[name].trouble for name in ("lost", "waits", "slow", "fine")] == [
        "worker_lost",
        "queue_stuck",
        "jobs_slow",
        None,
    ]


def test_it_is_looked_for_once_a_second() -> None:
    """Trouble that is over is forgotten at the next second, and lists are sorted again."""
    clock = FakeClock()
    model = fold(STORY)
    state = ViewState(model, clock=clock)
    assert state.trouble == NO_TROUBLE
    state.refresh(microseconds(at(61)))
    version = state.tasks.version
    for name in ("a", "b"):
        apply(model, job("slow", 61, "task_completed", name, task_type="fetch"))
    state.refresh(microseconds(at(61.5)))
    assert [one.trouble for one in state.tasks.by_id.values()].count("jobs_slow") == 1
    clock.advance(1)
    state.refresh(microseconds(at(62)))
    assert state.tasks.by_id["slow"].trouble is None
    assert state.tasks.version > version
