"""Which queues are stuck, and which only look so."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.attention.stuck import (
    QueueFacts,
    Stuck,
    Takers,
    add_up,
    share_takers,
    stuck,
    takers,
    takers_of,
)
from otel_bridge_collector.views.state import ViewState

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold


def us(seconds: float) -> int:
    return microseconds(at(seconds))


def depth(seconds: float, number: int) -> MonitoringEvent:
    return event(seconds, "queue_depth_update", counts={"q": number})


def worker(seconds: float, *queues: str, name: str = "w", says: bool = True) -> MonitoringEvent:
    meta: dict[str, Any] = {"host": "h", "pid": 1}
    if says:
        meta["queues"] = list(queues)
    return event(seconds, "worker_heartbeat", worker_id=name, incarnation=name * 16, meta=meta)


def job(seconds: float, kind: str, name: str = "j", **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, parent_task_id="t", task_id=name, queue="q", **fields)


def verdict(seconds: float, *events: MonitoringEvent) -> Stuck | None:
    state = ViewState(fold(events))
    state.refresh(us(seconds))
    return state.stuck("q")


QUEUED = job(0, "task_enqueued")


def test_no_worker_takes_from_it() -> None:
    """Ten seconds after a job came, if workers say what they take from and none names it."""
    elsewhere = worker(0, "other")
    assert verdict(9, QUEUED, elsewhere) is None
    assert verdict(10, QUEUED, elsewhere) == Stuck("no_workers", us(0))
    # Its own worker is silent for longer than 30 s: it is offline.
    lost = worker(0, "q", name="v")
    assert verdict(20, QUEUED, elsewhere, lost) is None
    assert verdict(40, QUEUED, worker(39, "other"), lost) == Stuck("no_workers", us(0))


def test_nothing_is_taken_from_it() -> None:
    """For 60 s a job waits, and its workers do nothing."""
    there = worker(55, "q")
    assert verdict(59, QUEUED, there) is None
    assert verdict(60, QUEUED, there) == Stuck("not_taken", us(0))
    assert verdict(60, QUEUED, depth(59, 1)) == Stuck("not_taken", us(0))


def test_nothing_is_known_to_take_from_it() -> None:
    """Without a depth and a worker, once the tasks of its jobs are silent for 60 s too."""
    assert verdict(59, QUEUED) is None
    assert verdict(60, QUEUED) == Stuck("not_taken", us(0))
    goes_on = job(30, "task_completed", "other")
    assert verdict(89, QUEUED, goes_on) is None
    assert verdict(90, QUEUED, goes_on) == Stuck("not_taken", us(0))


def test_a_long_queue_is_not_stuck() -> None:
    """While a job of it runs, a worker of it is busy elsewhere, or one has just ended a job."""
    there = worker(85, "q")
    running = job(10, "task_started", "r", worker_id="w", incarnation="w" * 16)
    assert verdict(90, QUEUED, there, running) is None
    ended = job(50, "task_completed", "r", worker_id="w", incarnation="w" * 16)
    assert verdict(90, QUEUED, there, running, ended) is None
    assert verdict(111, QUEUED, worker(105, "q"), running, ended) == Stuck("not_taken", us(0))
    busy = event(
        10, "task_started", parent_task_id="t", task_id="b", worker_id="w", incarnation="w" * 16
    )
    assert verdict(90, QUEUED, there, busy) is None
    assert verdict(90, QUEUED, there, depth(40, 9), depth(50, 8)) is None


def test_what_is_not_known_is_not_called_stuck() -> None:
    """Its broker says it is empty; a delay is not over; a worker does not say what it takes."""
    assert verdict(90, QUEUED, worker(85, "q"), depth(80, 0)) is None
    later = job(0, "task_enqueued", meta={"countdown": 500})
    assert verdict(90, later, worker(85, "q"), depth(80, 1)) is None
    # A worker that ran jobs of it lives, and never says what it takes from.
    ran = [
        job(1, kind, "r", worker_id="s", incarnation="s" * 16)
        for kind in ("task_started", "task_completed")
    ]
    silent = worker(20, name="s", says=False)
    assert verdict(30, QUEUED, worker(20, "other"), silent, *ran) is None


def test_jobs_of_programs_that_are_not_watched() -> None:
    """A depth that stays above zero, with workers that would be seen to take from it."""
    reports = [depth(seconds, 3) for seconds in range(0, 70, 10)]
    assert verdict(59, *reports, worker(55, "q")) is None
    assert verdict(60, *reports, worker(55, "q")) == Stuck("not_taken", us(0))
    assert verdict(60, *reports) is None


def test_the_parts_of_several_processes() -> None:
    """Waiting and running jobs add up; one that runs elsewhere keeps a queue from being stuck."""
    mine = QueueFacts((us(0), 1), (), 1, us(0), 0, us(0), 0, True, False)
    other = QueueFacts((us(0), 1), (), 2, None, 1, us(0), us(90), False, False)
    found = add_up([{"q": mine}, {"q": other, "p": other}])
    assert found["q"] == QueueFacts((us(0), 1), (), 3, us(0), 1, us(0), us(90), True, False)
    assert found["p"] == other
    assert stuck(mine, None, us(90)) == Stuck("not_taken", us(0))
    assert stuck(found["q"], None, us(90)) is None


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_events_does_not_matter(order: int) -> None:
    """The same events, in either order."""
    story = [QUEUED, worker(55, "q"), depth(40, 1), depth(50, 1)][::order]
    assert verdict(60, *story) == Stuck("not_taken", us(0))


def test_another_state_knows_who_takes_from_which_queue() -> None:
    """What one state found of workers with heartbeats is true in each that folds their events."""
    beats = [worker(0, "q"), worker(0, name="silent", says=False)]
    raw = event(0, "task_started", parent_task_id="t", task_id="j", worker_id="raw")
    states = [ViewState(fold(events)) for events in (beats, [*beats, raw])]
    for state in states:
        state.refresh(us(1))
    one, other = states
    expected = takers(other.processes())
    found = takers_of(share_takers(one.takers()), other.model.workers, us(1))
    assert found == Takers(expected.names, expected.silent)
    assert {str(each.id) for each in found.silent} == {"silent", "raw"}
    other.shared_takers = share_takers(one.takers())
    other.refresh(us(1))
    assert other.takers() == found
