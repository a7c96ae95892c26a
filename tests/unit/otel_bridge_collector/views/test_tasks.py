"""The list of tasks: order, filters, windows, and what a row says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.listing import Scope, Window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.tasks import compute, merge
from otel_bridge_collector.wire.views.params import TasksParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import apply, at, event, fold, job, root

PLAIN = {"first": 0, "pinned": 0, "groups": None}
"""The head of a list from its start, without groups."""


def story() -> list[MonitoringEvent]:
    """One task of each status; the later a name, the later it started."""
    return [
        root("a-silent", 0, "task_started"),
        root("b-done", 1000, "task_started", project_id="p", meta={"title": "Schools of Tbilisi"}),
        root("b-done", 1005, "task_completed", project_id="p"),
        root("c-runs", 1001, "task_started", project_id="q", task_type="crawl"),
        root("d-failed", 1002, "task_started", project_id="p"),
        root("d-failed", 1003, "task_failed", project_id="p", error="no such host"),
        root("e-runs", 1003, "task_started", project_id="p"),
    ]


def state_of(model: Fold, seconds: float = 1010) -> ViewState:
    state = ViewState(model)
    state.refresh(microseconds(at(seconds)))
    return state


def shown(scope: Scope = None, **fields: Any) -> Window:
    params = TasksParams.model_validate(fields)
    return merge([compute(state_of(fold(story())), params, scope)], params)


def names(found: Window) -> list[str]:
    return list(found.rows)


def test_what_needs_attention_comes_first() -> None:
    """Stalled, failed, running, done; of each the newest start first."""
    found = shown()
    assert names(found) == ["a-silent", "d-failed", "e-runs", "c-runs", "b-done"]
    assert found.head == {"total": 5, "total_all": 5, "attention": 2, **PLAIN}


def test_the_order_of_what_needs_attention() -> None:
    """Each reason in its place, and of equal ones the newest start, then the id, first."""
    beat = {"worker_id": "w", "incarnation": "w" * 16}
    story = [
        event(0, "worker_heartbeat", **beat, meta={"host": "h", "pid": 1}),
        event(1000, "worker_heartbeat", worker_id="v", meta={"host": "g", "queues": ["other"]}),
        root("failed", 990, "task_started"),
        root("failed", 991, "task_failed"),
        job("lost", 5, "task_started", **beat),
        job("lost", 995, "task_started", "k"),
        *(job("slow", 900, "task_started", name, task_type="x") for name in "abcdefg"),
        *(job("slow", 901, "task_completed", name, task_type="x") for name in "abcdef"),
        job("slow", 1000, "task_progress", "g"),
        job("stuck", 950, "task_enqueued", queue="q"),
        root("left", 940, "task_started"),
        job("left", 940, "task_enqueued", "k", queue="q"),
        root("left", 941, "task_completed"),
        job("failing", 990, "task_failed"),
        job("failing", 991, "task_started", "k"),
        job("runs-b", 992, "task_started"),
        job("runs-a", 992, "task_started"),
    ]
    params = TasksParams()
    found = merge([compute(state_of(fold(story), 1001), params, None)], params)
    order = [(name, json.loads(row)["why"]) for name, row in found.rows.items()]
    assert order == [
        ("lost", "worker_lost"),
        ("failing", "jobs_failed"),
        ("stuck", "queue_stuck"),
        ("left", "queue_stuck"),
        ("slow", "jobs_slow"),
        ("failed", "failed"),
        ("runs-a", None),
        ("runs-b", None),
    ]
    assert found.head["attention"] == 6


def test_what_runs_comes_before_what_only_waits() -> None:
    """An open task in which nothing runs is shown after those in which something does."""
    found = fold(
        [
            job("runs", 1000, "task_started"),
            job("waits", 1001, "task_enqueued"),
            root("is open", 999, "task_started"),
            job("is open", 1000, "task_enqueued"),
        ]
    )
    params = TasksParams()
    shown_now = merge([compute(state_of(found), params, None)], params)
    assert names(shown_now) == ["runs", "is open", "waits"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("newest", ["e-runs", "d-failed", "c-runs", "b-done", "a-silent"]),
        ("slowest", ["c-runs", "e-runs", "b-done", "d-failed", "a-silent"]),
    ],
)
def test_other_orders(sort: str, order: list[str]) -> None:
    """By start, and by duration: what runs has lasted until now, a silent one to its last event."""
    assert names(shown(sort=sort)) == order


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"status": ["failed", "stalled"]}, ["a-silent", "d-failed"]),
        ({"project": "p"}, ["d-failed", "e-runs", "b-done"]),
        ({"type": "crawl"}, ["c-runs"]),
        ({"text": "tbiLISI"}, ["b-done"]),
        ({"text": "RUNS"}, ["e-runs", "c-runs"]),
        ({"text": "nothing like it"}, []),
        ({"at": {"row": 2}, "count": 2}, ["e-runs", "c-runs"]),
        ({"at": "end", "count": 1}, ["b-done"]),
        ({"at": {"key": "c-runs", "above": 1}, "count": 2}, ["e-runs", "c-runs"]),
        ({"keys": ["b-done", "gone", "a-silent"]}, ["b-done", "a-silent"]),
    ],
)
def test_filters_and_windows(params: dict[str, Any], expected: list[str]) -> None:
    """Each by itself; a filter changes the total, never the total of all."""
    found = shown(**params)
    assert names(found) == expected
    if set(params) <= {"status", "type", "text"}:
        assert (found.head["total"], found.head["total_all"]) == (len(expected), 5)


def family(task: str, status: str, **fields: Any) -> list[MonitoringEvent]:
    """A task that runs, with a job that has ended or waits."""
    work = {"task_id": f"job-of-{task}", "parent_task_id": task}
    return [root(task, 0, "task_started", **fields), event(1, status, **work)]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"status": ["failed"]}, {"a", "g"}),
        ({"status": ["retrying"]}, {"b"}),
        ({"status": ["pending"]}, {"c"}),
        ({"status": ["stalled"]}, {"d"}),
        ({"status": ["completed"]}, set()),
        ({"status": ["processing"]}, {"a", "b", "c", "d", "e", "f"}),
        ({"status": []}, set()),
        ({"type": "crawl"}, {"e"}),
        ({"type": "fetch"}, {"f"}),
        ({"type": "fet"}, set()),
        ({"text": "CRAWL"}, {"e"}),
        ({"text": "schools"}, {"f"}),
        ({"text": "such host"}, {"g"}),
        ({"text": "JOB-OF-b"}, {"b"}),
        ({"text": "fetch"}, {"f"}),
    ],
)
def test_a_task_is_found_by_what_belongs_to_it(params: dict[str, Any], expected: set[str]) -> None:
    """By a status of its jobs, a name of its phases, and its type, domain and error."""
    events = [
        *family("a", "task_failed"),
        *family("b", "task_retry"),
        *family("c", "task_enqueued"),
        *family("d", "task_stalled"),
        *family("e", "task_completed", task_type="crawl"),
        *family("f", "task_completed", meta={"domain": "Schools"}),
        event(2, "phase_started", parent_task_id="f", phase="fetch"),
        *family("g", "task_completed"),
        root("g", 3, "task_failed", error="No such host"),
    ]
    state = state_of(fold(events), 4)
    asked = TasksParams.model_validate(params)
    listing = compute(state, asked, None)
    assert {key for _, key in listing.order} == expected
    assert all(known._card is None for known in state.tasks.by_id.values())


def test_a_kept_order_follows_the_statuses_of_jobs() -> None:
    """A task comes into the list of failed ones with its first failed job."""
    model = fold(family("t", "task_started"))
    state = state_of(model, 2)
    params = TasksParams(status=("failed",))
    assert merge([compute(state, params, None)], params).head["total"] == 0
    apply(model, event(3, "task_failed", task_id="job-of-t", parent_task_id="t"))
    state.refresh(microseconds(at(4)))
    assert merge([compute(state, params, None)], params).head["total"] == 1


def test_a_limited_reader() -> None:
    """It gets its own tasks, and totals of nothing else."""
    found = shown(frozenset({"p"}))
    assert names(found) == ["d-failed", "e-runs", "b-done"]
    assert found.head == {"total": 3, "total_all": 3, "attention": 1, **PLAIN}


def test_a_row() -> None:
    """Times in milliseconds, counts of jobs, phases; what is unknown is null."""
    jobs = [
        event(5, "phase_started", parent_task_id="t", phase="fetch", counts={"total": 4}),
        event(6, "task_started", parent_task_id="t", task_id="j1", phase="fetch", worker_id=1),
        event(7, "task_completed", parent_task_id="t", task_id="j1", phase="fetch", worker_id=1),
        event(7, "task_started", parent_task_id="t", task_id="j2", phase="fetch", worker_id=1),
        event(8, "task_failed", parent_task_id="t", task_id="j2", phase="fetch", error="boom"),
    ]
    state = state_of(fold([root("t", 4, "task_started", meta={"title": "T"}), *jobs]), 9)
    params = TasksParams()
    found = merge([compute(state, params, None)], params)
    row = json.loads(found.rows["t"])
    start = microseconds(at(4)) // 1000
    assert (row["title"], row["status"], row["why"]) == ("T", "processing", "jobs_failed")
    assert (row["start"], row["end"], row["seen"]) == (start, None, start + 4000)
    assert (row["done"], row["failed"], row["running"], row["pending"]) == (1, 1, 0, 2)
    assert row["project"] is row["trace"] is row["error"] is None
    phase = {"name": "fetch", "status": "processing", "start": start + 1000, "end": None}
    counts = {"total": 4, "done": 1, "failed": 1, "running": 0, "retrying": 0, "stalled": 0}
    assert row["phases"] == [phase | counts | {"rate": None}]


def test_an_unchanged_row_is_the_same_bytes() -> None:
    """A row is made once, for all windows that show it, until its task changes."""
    state = state_of(fold(story()))
    params = TasksParams()
    first = merge([compute(state, params, None)], params).rows
    wide = TasksParams(count=3, sort="newest")
    second = merge([compute(state, wide, None)], wide).rows
    assert first["e-runs"] is second["e-runs"]


def test_tasks_of_several_processes_are_one_list() -> None:
    """Each process has tasks of its own; the window is cut from all of them."""
    by_task: dict[str, list[MonitoringEvent]] = {}
    for one in story():
        by_task.setdefault(str(one.task_id), []).append(one)
    params = TasksParams(count=3)
    parts = [compute(state_of(fold(events)), params, None) for events in by_task.values()]
    found = merge(parts, params)
    assert names(found) == ["a-silent", "d-failed", "e-runs"]
    assert found.head == {"total": 5, "total_all": 5, "attention": 2, **PLAIN}


def test_stalled_jobs_are_among_the_pending_ones() -> None:
    """What has not ended is pending, so that done, failed and pending are all jobs of a row."""
    jobs = [
        event(1, "worker_started", worker_id="lost"),
        event(90, "worker_started", worker_id="lives"),
        event(2, "task_started", parent_task_id="t", task_id="j1", worker_id="lost"),
        event(91, "task_started", parent_task_id="t", task_id="j2", worker_id="lives"),
        event(92, "task_completed", parent_task_id="t", task_id="j3", worker_id="lives"),
    ]
    params = TasksParams()
    found = merge([compute(state_of(fold(jobs), 100), params, None)], params)
    row = json.loads(found.rows["t"])
    assert [row[name] for name in ("done", "pending", "running", "stalled")] == [1, 2, 1, 1]
