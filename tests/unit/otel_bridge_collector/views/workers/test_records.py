"""``records``: what several states know of one worker, each of its own jobs, adds up."""

from __future__ import annotations

from typing import Any

import msgspec
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.workers import worker, workers
from otel_bridge_collector.views.workers.records import (
    WorkerRecord,
    join_records,
    known_by_key,
    record_of,
    row_of,
)
from otel_bridge_collector.wire.views.params import ListParams, WorkerParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold, job


def state(*events: MonitoringEvent, seconds: float = 9) -> ViewState:
    found = ViewState(fold(events))
    found.refresh(microseconds(at(seconds)))
    return found


def row(*states: ViewState, project: str | None = None) -> dict[str, Any]:
    """The only worker, of records that were sent."""
    records = [record_of(one) for each in states for one in known_by_key(each).values()]
    sent = [
        msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=WorkerRecord) for one in records
    ]
    joined = join_records([join_records(sent[:1]), join_records(sent[1:])] if sent[1:] else sent)
    return row_of("k", joined, project)


BEAT = event(8, "worker_heartbeat", worker_id="w", incarnation="i")
RUNS = {"worker_id": "w", "incarnation": "i"}


def test_counts_add_up_and_the_latest_job_is_shown() -> None:
    """Heartbeats are known to all states, jobs to one each."""
    done = [
        job("t", 1, "task_completed", "a", **RUNS),
        job("t", 3, "task_started", "late", project_id="p", **RUNS),
    ]
    others = [
        job("u", 1, "task_completed", "b", **RUNS),
        job("u", 1, "task_failed", "c", **RUNS),
        job("u", 2, "task_started", "early", project_id="q", **RUNS),
    ]
    mine, other = state(BEAT, *done), state(BEAT, *others)
    found = row(mine, other)
    assert (found["done"], found["failed"], found["job"], found["job_task"]) == (2, 1, "late", "t")
    assert found == row(state(BEAT, *done, *others)) == row(other, mine)
    hidden = row(mine, other, project="q")
    assert (hidden["job"], hidden["job_start"]) == (None, found["job_start"])


def test_a_worker_without_heartbeats_is_where_its_jobs_are() -> None:
    """It is online if one state heard of it lately, and was seen when any did."""
    old = job("t", 0, "task_completed", "a", worker_id="w")
    new = job("u", 95, "task_completed", "b", worker_id="w")
    alone, other = state(old, seconds=100), state(new, seconds=100)
    assert row(alone)["status"] == "unknown"
    found = row(alone, other)
    assert (found["status"], found["done"]) == ("online", 2)
    assert found["seen"] == row(other)["seen"]


def test_a_number_is_a_worker_that_another_event_names_by_a_text() -> None:
    """One row, sorted among the numbers; what is known of it in both states adds up."""
    text = state(
        BEAT.model_copy(update={"worker_id": "7"}), job("t", 1, "task_failed", "a", worker_id="7")
    )
    number = state(
        BEAT.model_copy(update={"worker_id": "7"}),
        BEAT.model_copy(update={"worker_id": "z", "event_id": "z"}),
        job("u", 1, "task_failed", "b", worker_id=7),
    )
    parts = [workers.compute(one, ListParams(), None) for one in (text, number)]
    found = workers.merge(parts, ListParams())
    assert (found.head["total"], list(found.rows)) == (2, ["7@i", "z@i"])


def test_what_was_forgotten_here_another_state_has_heard_of() -> None:
    """A worker is listed if one state heard of it in the last hour; then all it did is counted."""
    old = state(job("t", 0, "task_completed", "a", worker_id="w"), seconds=4000)
    new = state(job("u", 3990, "task_completed", "b", worker_id="w"), seconds=4000)
    assert list(workers.merge([workers.compute(old, ListParams(), None)], ListParams()).rows) == []
    found = workers.merge(
        [workers.compute(one, ListParams(), None) for one in (old, new)], ListParams()
    )
    assert b'"done":2' in found.rows["w@"]
    params = WorkerParams(worker="w@")
    one = worker.merge([worker.compute(each, params, None) for each in (old, new)], params)
    assert one.head["done"] == 2
