"""One cause of failures: its newest jobs, of what a reader may see, also once they left memory."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.views import failures
from otel_bridge_collector.views.failure import compute, merge
from otel_bridge_collector.views.listing import GoneError, Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.views.params import FailureParams, FailuresParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold

KEY = "p: no answer in * s"


def failed(seconds: float, name: str, task: str = "t", **fields: Any) -> MonitoringEvent:
    given = {"task_id": name, "parent_task_id": task, "project_id": "p", "task_type": "fetch"}
    return event(
        seconds, "task_failed", **{"error": f"no answer in {seconds:.0f} s"} | given | fields
    )


def state_of(events: list[MonitoringEvent], limits: Limits | None = None) -> ViewState:
    state = ViewState(fold(events, limits))
    state.refresh(microseconds(at(900)))
    return state


def shown(
    *states: ViewState, scope: Scope = None, **fields: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    params = FailureParams(**{"failure": KEY} | fields)
    found = merge([compute(state, params, scope) for state in states], params)
    rows = [json.loads(row) for row in found.rows.values()]
    assert [row["k"] for row in rows] == list(found.rows)
    return json.loads(json.dumps(found.head)), rows


def test_a_cause_and_its_newest_jobs() -> None:
    """The latest first, of all tasks, each with what leads to it and who ran it."""
    root = event(0, "task_started", task_id="t", parent_task_id="t", meta={"title": "Schools"})
    story = [
        root,
        failed(1, "j1", worker_id="w", reason="time_limit", span_id="0" * 15 + "1", stack=True),
        failed(2, "j2", "u"),
        failed(3, "j3", error="another"),
    ]
    head, rows = shown(state_of(story))
    assert (head["k"], head["count"], head["jobs"]) == (KEY, 2, ["j2", "j1"])
    assert [row["k"] for row in rows] == ["u job:u/j2#0", "t 0000000000000001"]
    assert rows[1] == {
        "k": "t 0000000000000001",
        "task": "t",
        "title": "Schools",
        "node": "0000000000000001",
        "job": "j1",
        "type": "fetch",
        "at": microseconds(at(1)) // 1000,
        "error": "no answer in 1 s",
        "why": "time_limit",
        "worker": "w",
        "stack": "0000000000000001",
    }
    assert (rows[0]["title"], rows[0]["worker"], rows[0]["stack"]) == ("u", None, None)


def test_the_head_is_the_row_of_the_list() -> None:
    """Whatever ``failures`` says of the cause, so that the two never differ."""
    state = state_of([failed(n, f"j{n}", f"t{n % 4}") for n in range(1, 40)])
    params = FailuresParams()
    listed = failures.merge([failures.compute(state, params, None)], params)
    head, rows = shown(state, count=5)
    assert head == json.loads(listed.rows[KEY])
    assert [row["job"] for row in rows] == [f"j{n}" for n in range(39, 34, -1)]


def test_a_research_task_that_failed_is_no_job() -> None:
    """It is listed with its row in the tree, and without a job's id."""
    root = failed(1, "t", span_id="0" * 15 + "1")
    _, rows = shown(state_of([root]))
    assert [(row["job"], row["node"]) for row in rows] == [(None, "0" * 15 + "1")]


def test_a_reader_sees_its_projects() -> None:
    """Another project's cause is unknown, as one that never was; shared tasks are left out."""
    mixed = [failed(3, "j3", "m"), failed(4, "j4", "m", project_id="q")]
    state = state_of([failed(1, "j1"), failed(2, "j2", "u", project_id="q"), *mixed])
    _, rows = shown(state, scope=frozenset({"p"}))
    assert [row["job"] for row in rows] == ["j1"]
    for scope, fields in (
        (frozenset({"q"}), {}),
        (None, {"project": "q"}),
        (None, {"failure": "no answer in * s"}),
    ):
        with pytest.raises(GoneError) as gone:
            shown(state, scope=scope, **fields)
        assert gone.value.why == "unknown"


def test_a_cause_without_a_project_has_a_key_of_its_own() -> None:
    """It is named by the error alone."""
    state = state_of([failed(1, "j1", project_id=None), failed(2, "j2", "u")])
    _, rows = shown(state, failure="no answer in * s")
    assert [row["job"] for row in rows] == ["j1"]


def test_what_left_the_memory_still_says_what_it_was() -> None:
    """At least 50 failures of a cause are listed, though the task holds a few nodes only."""
    story = [failed(n, f"j{n}", worker_id=f"w{n}") for n in range(1, 101)]
    state = state_of(story, Limits(nodes_per_task=10))
    head, rows = shown(state, count=200)
    assert head["count"] == 100
    assert len(state.model.tasks.by_id["t"].jobs) <= 10
    assert len(rows) >= 50
    expected = [(f"j{n}", f"w{n}") for n in range(100, 50, -1)]
    assert [(row["job"], row["worker"]) for row in rows[:50]] == expected
    assert head["jobs"] == [f"j{n}" for n in range(100, 90, -1)]


@given(seed=st.integers(0, 2**32), count=st.integers(1, 9))
def test_parts_of_several_processes_are_one(seed: int, count: int) -> None:
    """Tasks spread over processes give the same head and rows as all in one."""
    rng = random.Random(seed)
    tasks = [f"t{n}" for n in range(4)]
    times = rng.sample(range(1, 800), 12)
    story = [failed(n, f"j{rng.randrange(9)}-{n}", rng.choice(tasks)) for n in times]
    place = {task: rng.randrange(3) for task in tasks}
    parts = [[one for one in story if place[str(one.parent_task_id)] == n] for n in range(3)]
    states = [state_of(part) for part in parts if part]
    assert shown(*states, count=count) == shown(state_of(story), count=count)
