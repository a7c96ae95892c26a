"""The list of failures: by cause, of what a reader may see, the latest first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.failures import compute, merge
from otel_bridge_collector.views.listing import Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.views.params import FailuresParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold


def failed(
    seconds: float, name: str, error: str, project: str = "p", **more: Any
) -> MonitoringEvent:
    fields = {"task_id": name, "parent_task_id": f"t-{project}", "project_id": project}
    given = {"task_type": "fetch", "phase": "get", **fields, **more}
    return event(seconds, "task_failed", error=error, **given)


STORY = [
    failed(1, "j1", "no answer in 30 s"),
    failed(2, "j2", "no answer in 45 s"),
    failed(3, "j3", "not found"),
    failed(4, "j4", "no answer in 5 s", "q"),
]


def state_of(events: list[MonitoringEvent]) -> ViewState:
    state = ViewState(fold(events))
    state.refresh(microseconds(at(9)))
    return state


def rows(scope: Scope = None, **fields: Any) -> list[dict[str, Any]]:
    params = FailuresParams(**fields)
    found = merge([compute(state_of(STORY), params, scope)], params)
    return [json.loads(row) for row in found.rows.values()]


def test_failures_with_one_cause_are_one_row() -> None:
    """Numbers aside, in each project; with the newest error and the newest jobs."""
    found = rows()
    assert [(row["project"], row["count"]) for row in found] == [("q", 1), ("p", 1), ("p", 2)]
    last = found[2]
    assert (last["error"], last["jobs"], last["tasks"]) == (
        "no answer in 45 s",
        ["j2", "j1"],
        ["t-p"],
    )
    times = last["first"], last["last"]
    assert times == (microseconds(at(1)) // 1000, microseconds(at(2)) // 1000)
    assert (last["type"], last["phase"]) == ("fetch", "get")


def test_a_cause_leads_to_its_stack() -> None:
    """Failures of one key are one row, whatever their texts, and it names a span with the stack."""
    span_ids = [f"{number:016x}" for number in (1, 2, 3)]
    key = "00ff00ff00ff00ff"
    events = [
        failed(1, "j1", "no page of a shop", span_id=span_ids[0], error_key=key, stack=True),
        failed(2, "j2", "closed", span_id=span_ids[1], error_key=key, stack_of=span_ids[0]),
        failed(3, "j3", "no stack", task_type="parse", span_id=span_ids[2], error_key=key),
        failed(4, "j4", "another"),
    ]
    params = FailuresParams()
    found = merge([compute(state_of(events), params, None)], params)
    other, row = (json.loads(row) for row in found.rows.values())
    assert (row["k"], row["count"], row["jobs"]) == (f"p: {key}", 3, ["j3", "j2", "j1"])
    assert (row["types"], row["type"]) == (["parse", "fetch"], "parse")
    assert (row["stack"], other["stack"]) == (span_ids[0], None)


def test_a_reader_sees_its_projects() -> None:
    """By its limits, and by the project that it asks for."""
    assert {row["project"] for row in rows(frozenset({"p"}))} == {"p"}
    assert {row["project"] for row in rows(project="q")} == {"q"}
    assert rows(frozenset({"p"}), project="q") == []


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"task": "t-q"}, ["j4"]),
        ({"task": "t-p", "text": "45"}, ["j2"]),
        ({"task": "unknown"}, []),
        ({"type": "fetch"}, ["j4", "j3", "j2"]),
        ({"type": "get"}, ["j4", "j3", "j2"]),
        ({"type": "fet"}, []),
        ({"text": "NOT found"}, ["j3"]),
        ({"text": "J1"}, ["j2"]),
        ({"text": "t-Q"}, ["j4"]),
        ({"text": "nothing like it"}, []),
        ({"text": ""}, ["j4", "j3", "j2"]),
        ({"text": "in 5", "project": "p"}, []),
    ],
)
def test_filters(params: dict[str, Any], expected: list[str]) -> None:
    """By task, by job type or phase, and by what a row shows; the newest job of each cause."""
    assert [row["jobs"][0] for row in rows(**params)] == expected


def test_the_numbers_are_of_the_task_that_was_asked_for() -> None:
    """A cause that two tasks of a project share is counted in each by itself."""
    other = {"task_id": "j9", "parent_task_id": "t-9", "project_id": "p"}
    state = state_of([*STORY, event(5, "task_failed", error="not found", **other)])
    found = {}
    for task in ("t-p", "t-9", None):
        params = FailuresParams(task=task, text="not found")
        shown = merge([compute(state, params, None)], params)
        found[task] = [json.loads(row)["count"] for row in shown.rows.values()]
    assert found == {"t-p": [1], "t-9": [1], None: [2]}


def test_failures_of_several_processes_are_one_list() -> None:
    """Each process has tasks of its own; a project's causes are not in two of them here."""
    params = FailuresParams(count=2)
    parts = [
        compute(state_of([e for e in STORY if e.project_id == project]), params, None)
        for project in ("p", "q")
    ]
    found = merge(parts, params)
    assert found.head == {"first": 0, "total": 3, "count": 4}
    assert [json.loads(row)["count"] for row in found.rows.values()] == [1, 1]


def test_a_group_says_why_its_newest_failed() -> None:
    """A reason that was not the job's own error, as the one who ended it reports it."""
    lost = {"task_id": "j9", "parent_task_id": "t-p", "project_id": "p"}
    state = state_of(
        [
            *STORY,
            event(5, "task_failed", error="gone 1", reason="killed", ended_by="other", **lost),
        ]
    )
    found = merge([compute(state, FailuresParams(), None)], FailuresParams())
    reasons = [json.loads(row)["why"] for row in found.rows.values()]
    assert reasons == ["killed", None, None, None]
    named = merge([compute(state, FailuresParams(text="KILL"), None)], FailuresParams())
    assert named.head["total"] == 1
