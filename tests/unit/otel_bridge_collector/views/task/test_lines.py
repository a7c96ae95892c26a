"""The log lines of one node: which are shown, what the head says, and who may see them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.listing import GoneError, Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task.lines import compute, merge
from otel_bridge_collector.wire.views.lines import LineRow
from otel_bridge_collector.wire.views.params import LinesParams

from otel_bridge.lines.line import encode_line
from tests.support.folding import at, fold, job

SPAN, OTHER, NOT_HELD = "a" * 16, "b" * 16, "c" * 16


def make_state(is_over: bool = False) -> ViewState:
    fields = {"span_id": SPAN, "trace_id": "1" * 32, "project_id": "p"}
    events = [
        job("t", 1, "task_started", **fields),
        job("u", 1, "task_started", span_id=OTHER, trace_id="2" * 32, project_id="q"),
    ]
    if is_over:
        events.append(job("t", 2, "task_failed", **fields))
    state = ViewState(fold(events))
    state.refresh(microseconds(at(3)))
    return state


def shown(
    state: ViewState, scope: Scope = None, **params: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    query = LinesParams.model_validate({"task": "t", "node": SPAN, **params})
    found = merge([compute(state, query, scope)], query)
    rows = [json.loads(row) for row in found.rows.values()]
    assert list(found.rows) == [row["k"] for row in rows]
    for row in rows:
        LineRow.model_validate(row)
    return dict(found.head), rows


def fill(state: ViewState, *numbers: int) -> None:
    lines = [encode_line(1000 + n, 20, "app", f"Line {n}", n) for n in numbers]
    state.lines.fill(state.lines.watch(SPAN), lines)


def test_the_first_window_says_that_the_store_was_not_read_yet() -> None:
    """Unknown numbers are None; asking is what makes the node watched."""
    state = make_state()
    head, rows = shown(state)
    assert (head["state"], head["total"], head["dropped"], rows) == ("reading", None, None, [])
    assert [span_id for span_id, _ in state.lines.watched()] == [SPAN]


def test_lines_with_a_gap_count_what_was_dropped() -> None:
    """The newest number is the total: dropped lines have numbers too."""
    state = make_state()
    fill(state, 3, 4, 8)
    head, rows = shown(state)
    assert [row["n"] for row in rows] == [3, 4, 8]
    assert head == {
        "first": 0,
        "matches": 3,
        "total": 8,
        "dropped": 5,
        "ended": False,
        "last": 8,
        "state": "held",
    }


def test_the_last_lines_with_a_text() -> None:
    """In any case; ``first`` says how many matching ones are above."""
    state = make_state(is_over=True)
    fill(state, *range(1, 31))
    head, rows = shown(state, text="LINE 1", count=4)
    assert [row["n"] for row in rows] == [16, 17, 18, 19]
    assert (head["first"], head["matches"], head["ended"]) == (7, 11, True)


@pytest.mark.parametrize(
    ("params", "scope"),
    [
        ({"task": "unknown"}, None),
        ({"node": OTHER}, None),
        ({}, frozenset({"q"})),
        ({"node": OTHER}, frozenset({"p"})),
        ({"node": NOT_HELD}, frozenset({"p"})),
    ],
    ids=["no task", "of another task", "not allowed", "of another project", "not held"],
)
def test_who_may_not_see_a_node_may_not_watch_it(params: dict[str, Any], scope: Scope) -> None:
    """Nor name the node of one task with the id of another one."""
    state = make_state()
    with pytest.raises(GoneError):
        shown(state, scope, **params)
    assert state.lines.watched() == []


def test_a_node_that_left_the_memory_may_still_have_lines() -> None:
    """Readers of all projects see them: they are stored for longer than nodes are held."""
    state = make_state()
    head, _ = shown(state, node=NOT_HELD)
    assert (head["state"], head["ended"]) == ("reading", True)


def test_a_node_without_a_span_has_no_lines() -> None:
    """Its key in the tree is no span id, so that nothing is stored under it."""
    state = make_state()
    head, rows = shown(state, node="job:t/j#0")
    assert (head["state"], head["ended"], rows) == ("none", True, [])
    assert state.lines.watched() == []
