"""The list of workers: who lives, what they run, and what a reader may know of it."""

from __future__ import annotations

import json
from typing import Any

from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.listing import Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.workers.workers import compute, merge
from otel_bridge_collector.wire.views.params import ListParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold


def rows(
    events: list[MonitoringEvent], seconds: float = 2, scope: Scope = None, **fields: Any
) -> list[dict[str, Any]]:
    state = ViewState(fold(events))
    state.refresh(microseconds(at(seconds)))
    params = ListParams(**fields)
    found = merge([compute(state, params, scope)], params)
    assert found.head["total"] >= len(found.rows)
    return [json.loads(row) for row in found.rows.values()]


def heartbeat(
    seconds: float, name: int | str, pid: int = 1, host: str = "h", **fields: Any
) -> MonitoringEvent:
    meta = {"host": host, "pid": pid, **fields.pop("meta", {})}
    return event(seconds, "worker_heartbeat", worker_id=name, meta=meta, **fields)


BUSY = [
    heartbeat(0, "w"),
    event(
        1,
        "task_started",
        task_id="j",
        parent_task_id="t",
        project_id="p",
        task_type="fetch",
        worker_id="w",
    ),
]


def test_numbers_come_before_names() -> None:
    """Worker 10 comes after worker 9, and names after numbers."""
    found = rows([heartbeat(0, name) for name in ("b", 10, "a", 9)])
    assert [row["id"] for row in found] == [9, 10, "a", "b"]


def test_a_worker_and_its_job() -> None:
    """Its process, its last sign of life, and the job that it runs."""
    (row,) = rows(BUSY)
    begun = microseconds(at(1)) // 1000
    assert (row["status"], row["host"], row["pid"], row["seen"]) == ("online", "h", 1, begun)
    job = (row["job"], row["job_type"], row["job_task"], row["job_start"])
    assert job == ("j", "fetch", "t", begun)


def test_a_job_of_another_project_shows_no_ids() -> None:
    """The worker is shown as busy; whose work it does stays hidden."""
    (row,) = rows(BUSY, project="q")
    assert (row["job"], row["job_task"], row["job_type"]) == (None, None, "fetch")


def test_a_limited_reader_gets_no_workers() -> None:
    """Hosts and counts of shared workers reveal the work of others."""
    assert rows(BUSY, scope=frozenset({"p"})) == []


def test_a_second_life_is_a_row_of_its_own() -> None:
    """The key names the process, because ids are used again."""
    (first,) = rows([heartbeat(0, "w", pid=1)])
    (second,) = rows([heartbeat(0, "w", pid=1), heartbeat(40, "w", pid=2)], 41)
    assert first["k"] != second["k"]
    assert first["k"].startswith("w@")


def test_two_nodes_of_one_name_are_two_workers() -> None:
    """Each has its host, its job and its counts, as long as both are heard."""
    ids = {"parent_task_id": "t", "worker_id": "w", "incarnation": "two"}
    events = [
        heartbeat(0, "w", host="a", incarnation="one"),
        heartbeat(0, "w", host="b", incarnation="two"),
        event(1, "task_started", task_id="j", **ids),
        event(2, "task_completed", task_id="j", **ids),
        event(3, "task_started", task_id="k", **ids),
    ]
    one, two = rows(events, 4)
    assert (one["host"], one["job"], one["done"], one["status"]) == ("a", None, 0, "online")
    assert (two["host"], two["job"], two["done"], two["status"]) == ("b", "k", 1, "online")
    assert one["k"] != two["k"]
    (left,) = rows([*events, heartbeat(40, "w", host="b", incarnation="two")], 50)
    assert (left["host"], left["job"], left["done"]) == ("b", "k", 1)


def test_raw_heartbeats_beside_ours_are_no_second_worker() -> None:
    """A coordinator that publishes events of its own without incarnation is the same worker."""
    events = [
        heartbeat(0, 1, incarnation="one"),
        event(0, "worker_heartbeat", worker_id=1),
        event(1, "worker_heartbeat", worker_id=1, meta={"host": "h", "pid": 1}),
    ]
    for order in (events, events[::-1]):
        (row,) = rows(order)
        assert (row["k"], row["host"]) == ("1@one", "h")
    (row,) = rows(events[1:])
    assert row["host"] == "h"


def test_the_queues_of_a_worker() -> None:
    """As its latest event that names any says; None if none does."""
    named = heartbeat(0, "w", incarnation="i", meta={"queues": ["mail", "slow", 3, "mail"]})
    (row,) = rows([heartbeat(1, "w", incarnation="i"), named])
    assert row["queues"] == ["mail", "slow"]
    (row,) = rows([heartbeat(1, "w", incarnation="i")])
    assert row["queues"] is None
    (row,) = rows([heartbeat(1, "w", incarnation="i", meta={"queues": "mail"})])
    assert row["queues"] is None


def test_all_processes_know_all_workers() -> None:
    """Parts of several processes have the same workers, so one of them is shown."""
    state = ViewState(fold(BUSY))
    state.refresh(microseconds(at(2)))
    params = ListParams()
    part = compute(state, params, None)
    assert merge([part, part], params).rows == merge([part], params).rows
