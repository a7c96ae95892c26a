"""All attempts of a job, run by run, and what of it waits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.views.listing import GoneError, Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task.job import compute, merge
from otel_bridge_collector.wire.views.params import JobParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold, job, root

TRACE = "0" * 31 + "1"
MS = microseconds(at(0)) // 1000


def span(number: int, parent: int | None = None, **fields: Any) -> dict[str, Any]:
    ids = {"trace_id": TRACE, "span_id": f"{number:016x}", **fields}
    return ids if parent is None else {**ids, "parent_span_id": f"{parent:016x}"}


def shown(
    story: list[MonitoringEvent], seconds: float, name: str = "j", scope: Scope = None
) -> tuple[Any, list[Any]]:
    """The head and the rows of a job; times in seconds of the story."""
    state = ViewState(fold(story))
    state.refresh(microseconds(at(seconds)))
    params = JobParams(task="t", job=name)
    window = merge([compute(state, params, scope)], params)
    rows = [json.loads(row) for row in window.rows.values()]
    for row in rows:
        for field in ("queued", "start", "end"):
            row[field] = None if row[field] is None else (row[field] - MS) / 1000
    return window.head, rows


def of(rows: list[Any], *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(row[field] for field in fields) for row in rows]


STORY = [
    event(0, "worker_started", worker_id="w", meta={"host": "h", "pid": 1}),
    root("t", 0, "task_started", **span(1), meta={"title": "A study"}, project_id="p"),
    event(0, "phase_started", parent_task_id="t", phase="act", **span(2, 1)),
    job("t", 1, "task_enqueued", queue="q", **span(3, 2), task_type="chat"),
    job("t", 2, "task_started", **span(4, 3), worker_id="w", task_type="chat"),
    job("t", 3, "task_retry", **span(4, 3), worker_id="w", error="boom"),
    job("t", 5, "task_started", **span(5, 3), retry_count=1, worker_id="w", task_type="chat"),
    job("t", 6, "task_completed", **span(5, 3), retry_count=1, worker_id="w", task_type="chat"),
    job("t", 70, "task_enqueued", queue="q2", **span(6, 2), task_type="chat"),
]


def test_each_attempt_has_its_own_stack() -> None:
    """The span under which it is stored: its own, or another's with the same failure."""
    story = [
        job("t", 1, "task_started", **span(4)),
        job("t", 2, "task_retry", **span(4), error="boom", error_key="0a", stack=True),
        job("t", 3, "task_started", **span(5), retry_count=1),
        job("t", 4, "task_failed", **span(5), retry_count=1, error_key="0a", stack_of=f"{4:016x}"),
    ]
    _, rows = shown(story, 5)
    assert of(rows, "error", "stack") == [("boom", f"{4:016x}"), (None, f"{4:016x}")]


def test_a_job_has_runs_attempts_and_what_waits() -> None:
    """Each attempt says when it was put into its queue, who ran it and how it ended."""
    head, rows = shown(STORY, 71)
    assert of(rows, "k", "kind", "run", "attempt", "status", "queued", "start", "end", "error") == [
        ("0000000000000004", "job", 1, 0, "retrying", 1, 2, 3, "boom"),
        ("0000000000000005", "job", 1, 1, "completed", 1, 5, 6, None),
        ("0000000000000006", "enqueue", 2, 0, "pending", 70, None, None, None),
    ]
    assert of(rows[:2], "worker", "host", "trace", "ended_by") == [("w", "h", TRACE, "self")] * 2
    assert of(rows[2:], "worker", "host", "span") == [(None, None, "0000000000000006")]
    assert head.pop("enqueued_by")["node"] == "0000000000000002"
    assert head == {
        "job": "j",
        "type": "chat",
        "phase": "act",
        "project": "p",
        "queue": "q2",
        "status": "pending",
        "why": None,
        "runs": 2,
        "path": ("A study", "act"),
    }


def test_a_limited_reader_gets_no_host() -> None:
    """Workers are shared by projects, and a limited reader gets none of what they report."""
    _, rows = shown(STORY, 71, scope=frozenset({"p"}))
    assert of(rows, "worker", "host") == [("w", None), ("w", None), (None, None)]


def test_work_without_spans_has_attempts_too() -> None:
    """Its keys are made of its ids; its worker's loss says why it is stalled."""
    story = [
        job("t", 0, "task_enqueued", queue="q"),
        event(0, "worker_heartbeat", worker_id="w"),
        job("t", 1, "task_started", worker_id="w"),
    ]
    head, (row,) = shown(story, 100)
    assert (row["k"], row["queued"], row["start"]) == ("job:t/j#0", 0, 1)
    assert (row["status"], row["why"], row["ended_by"]) == ("stalled", head["why"], "rule")
    assert (head["status"], head["queue"], head["path"]) == ("stalled", "q", ("t",))
    assert row["trace"] is row["span"] is None


def test_another_process_s_report_is_the_attempts_own() -> None:
    """A worker that was killed says nothing: its parent's word ends the attempt, with its error."""
    story = [
        root("t", 0, "task_started"),
        job("t", 1, "task_enqueued", **span(1)),
        job("t", 2, "task_started", **span(2)),
        job("t", 3, "task_failed", error="killed", ended_by="other"),
    ]
    head, (row,) = shown(story, 4)
    assert (row["status"], row["end"], row["ended_by"]) == ("failed", 3, "other")
    assert (row["error"], row["queued"], head["runs"]) == ("killed", 1, 1)


def test_only_the_last_attempts_of_very_many_are_listed() -> None:
    """200 of them, the number of runs being that of all."""
    story = [root("t", 0, "task_started")]
    for n in range(1, 251):
        story.append(job("t", n * 100, "task_enqueued", **span(2 * n)))
        story.append(job("t", n * 100 + 1, "task_completed", **span(2 * n + 1, 2 * n)))
    head, rows = shown(story, 26_000)
    assert head["runs"] == 250
    assert [row["run"] for row in rows] == list(range(51, 251))


def test_a_job_that_is_not_there_is_gone() -> None:
    """Unknown and another project's look the same; where jobs were evicted it may be one."""
    for name, scope in (("nope", None), ("j", frozenset({"q"}))):
        with pytest.raises(GoneError) as gone:
            shown(STORY, 71, name, scope)
        assert gone.value.why == "unknown"
    story = [root("t", 0, "task_started", **span(999))]
    story += [job("t", n, "task_completed", f"j{n}", **span(n)) for n in range(1, 30)]
    state = ViewState(fold(story, Limits(nodes_per_task=10)))
    state.refresh(microseconds(at(50)))
    with pytest.raises(GoneError) as gone:
        compute(state, JobParams(task="t", job="j1"), None)
    assert gone.value.why == "evicted"


def test_a_job_that_was_delivered_again() -> None:
    """Its attempts are numbered in their order, each with its progress and why it ended."""
    ids = {"run_id": "r", "task_type": "chat"}
    story = [
        job("t", 1, "task_enqueued", queue="q", **span(3), **ids),
        job("t", 2, "task_started", **span(4, 3), **ids),
        job("t", 3, "task_progress", **span(4, 3), **ids, progress={"done": 3, "total": 10}),
        job("t", 9, "task_failed", ended_by="other", reason="time_limit", error="E", run_id="r"),
        job("t", 10, "task_started", **span(5, 3), **ids),
        job("t", 12, "task_completed", **span(5, 3), **ids, progress={"done": 9, "total": 10}),
    ]
    for order in (story, story[::-1]):
        head, rows = shown(order, 20)
        assert (head["status"], head["why"], head["runs"]) == ("completed", None, 1)
        fields = ("run", "attempt", "status", "why", "error", "end", "progress")
        assert of(rows, *fields) == [
            (1, 0, "failed", "time_limit", "E", 9.0, {"done": 3, "total": 10}),
            (1, 1, "completed", None, None, 12.0, None),
        ]


def test_a_second_run_that_fails_after_a_success() -> None:
    """A job that puts itself into its queue again: both runs are shown, the newest decides."""
    story = [
        job("t", 1, "task_started", **span(4), run_id="r"),
        job("t", 2, "task_enqueued", **span(6, 4), run_id="s"),
        job("t", 3, "task_completed", **span(4), run_id="r"),
        job("t", 5, "task_started", **span(7, 6), run_id="s"),
        job("t", 6, "task_failed", **span(7, 6), run_id="s", error="E"),
    ]
    head, rows = shown(story, 20)
    assert (head["status"], head["runs"]) == ("failed", 2)
    assert of(rows, "run", "attempt", "status") == [(1, 0, "completed"), (2, 0, "failed")]


def test_what_put_a_job_into_its_queue_is_named() -> None:
    """The span around the enqueue of its latest run, with its row; nothing if none is known."""
    head, _ = shown(STORY, 80)
    act = {"task": "t", "title": "A study", "node": f"{2:016x}", "name": "act", "job": None}
    assert head["enqueued_by"] == act
    head, _ = shown([job("t", 1, "task_enqueued", **span(3, 2))], 80)
    assert head["enqueued_by"] is None


def test_a_job_of_another_task_may_have_enqueued_it() -> None:
    """Then that job is named, but not to a reader who may not see its project."""
    other = {"parent_task_id": "u", "task_id": "parent", "project_id": "q"}
    story = [
        event(0, "task_started", **other, **span(9)),
        job("t", 1, "task_enqueued", **span(3, 9), project_id="p"),
        job("t", 2, "task_started", **span(4, 3), project_id="p"),
    ]
    expected = {"task": "u", "title": "u", "node": f"{9:016x}", "name": "parent", "job": "parent"}
    assert shown(story, 5)[0]["enqueued_by"] == expected
    assert shown(story, 5, scope=frozenset({"p", "q"}))[0]["enqueued_by"] == expected
    assert shown(story, 5, scope=frozenset({"p"}))[0]["enqueued_by"] is None
