"""One worker: what it runs, what it held when it was lost, and whom that is shown to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.listing import GoneError, Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.workers import workers
from otel_bridge_collector.views.workers.worker import compute, merge
from otel_bridge_collector.wire.views.params import ListParams, WorkerParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold

A, B = "a" * 16, "b" * 16


def state_of(events: list[MonitoringEvent], seconds: float) -> ViewState:
    state = ViewState(fold(events))
    state.refresh(microseconds(at(seconds)))
    return state


def key_of(state: ViewState, index: int = 0) -> str:
    params = ListParams()
    return list(workers.merge([workers.compute(state, params, None)], params).rows)[index]


def shown(
    state: ViewState, worker: str, project: str | None = None, scope: Scope = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    params = WorkerParams(worker=worker, project=project)
    found = merge([compute(state, params, scope)], params)
    return dict(found.head), [json.loads(row) for row in found.rows.values()]


def alive(seconds: float, incarnation: str = A, pid: int = 1) -> MonitoringEvent:
    meta = {"host": "h", "pid": pid}
    return event(
        seconds,
        "worker_heartbeat",
        worker_id="w",
        incarnation=incarnation,
        meta=meta,
        beat_ms=10_000,
    )


def starts(seconds: float, job: str, project: str = "p", incarnation: str = A) -> MonitoringEvent:
    return event(
        seconds,
        "task_started",
        task_id=job,
        parent_task_id=f"task-of-{project}",
        project_id=project,
        task_type="fetch",
        worker_id="w",
        incarnation=incarnation,
    )


def ends(seconds: float, job: str) -> MonitoringEvent:
    return event(
        seconds,
        "task_completed",
        task_id=job,
        parent_task_id="task-of-p",
        project_id="p",
        worker_id="w",
    )


def test_a_living_worker_and_what_it_runs() -> None:
    """Open jobs, the one that started last first; what has ended is only counted."""
    state = state_of([alive(0), starts(1, "a"), starts(2, "b"), starts(3, "c"), ends(4, "a")], 5)
    head, rows = shown(state, key_of(state))
    assert (head["status"], head["host"], head["open"], head["done"]) == ("online", "h", 2, 1)
    assert [(row["job"], row["status"], row["why"]) for row in rows] == [
        ("c", "processing", None),
        ("b", "processing", None),
    ]
    assert rows[0]["start"] == microseconds(at(3)) // 1000
    assert (rows[0]["task"], rows[0]["type"], rows[0]["end"]) == ("task-of-p", "fetch", None)


def test_a_lost_worker_says_what_it_held() -> None:
    """After its heartbeats have ended its open jobs are still listed, stalled, with the reason."""
    state = state_of([alive(0), starts(1, "a")], 100)
    head, (row,) = shown(state, key_of(state))
    assert (head["status"], head["open"]) == ("offline", 1)
    assert (row["job"], row["status"], row["why"]) == ("a", "stalled", "worker_lost")
    assert row["end"] is not None


def test_two_lives_under_one_id_run_their_own_jobs() -> None:
    """Of two nodes of one name each lists only what runs in it."""
    events = [alive(0), alive(0, B, 2), starts(1, "a"), starts(2, "b", incarnation=B)]
    state = state_of(events, 3)
    jobs = [[row["job"] for row in shown(state, key_of(state, index))[1]] for index in (0, 1)]
    assert sorted(jobs) == [["a"], ["b"]]


def test_a_link_to_a_former_life_shows_the_present_one() -> None:
    """Its process was replaced: the worker under the same id is shown, not nothing."""
    state = state_of([alive(0, B, 2)], 1)
    assert shown(state, f"w@{A}")[0]["k"] == key_of(state)


def test_jobs_of_another_project_are_counted_and_not_named() -> None:
    """As in the list of workers."""
    state = state_of([alive(0), starts(1, "a"), starts(2, "b", "other")], 3)
    head, rows = shown(state, key_of(state), project="p")
    assert (head["open"], [row["job"] for row in rows]) == (2, ["a"])


@pytest.mark.parametrize(("worker", "scope"), [("w@", frozenset({"p"})), ("x@", None)])
def test_what_may_not_be_seen_and_what_is_not_there_look_alike(worker: str, scope: Scope) -> None:
    """A reader limited to projects learns nothing of shared workers."""
    state = state_of([alive(0), starts(1, "a")], 2)
    with pytest.raises(GoneError) as gone:
        shown(state, worker, scope=scope)
    assert gone.value.why == "unknown"
