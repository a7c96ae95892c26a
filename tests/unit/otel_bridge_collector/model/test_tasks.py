"""``otel_bridge_collector.model.tasks``: which task an event and a node belong to."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.tasks import is_link, is_trace_id, names_task

from tests.support.histories import TRACE, event, fold, fold_every_way, span

OTHER = "f" * 32

NAMES: dict[str, tuple[dict[str, Any], tuple[bool, bool]]] = {
    "nothing": ({}, (False, False)),
    "its trace": ({"trace_id": TRACE, "parent_task_id": TRACE}, (False, False)),
    "a task": ({"trace_id": TRACE, "parent_task_id": "t"}, (True, False)),
    "a task, of a third-party span": (
        {"trace_id": TRACE, "parent_task_id": "t", "name": "n"},
        (True, False),
    ),
    "a task with an id like a trace": ({"trace_id": TRACE, "parent_task_id": OTHER}, (True, False)),
    "another trace": ({"trace_id": TRACE, "parent_task_id": OTHER, "name": "n"}, (False, True)),
    "a task without a trace": ({"parent_task_id": "t"}, (True, False)),
    "a trace without a trace": ({"parent_task_id": TRACE, "name": "n"}, (False, False)),
}


@pytest.mark.parametrize("case", NAMES)
def test_what_an_event_names(case: str) -> None:
    """An event names a task, or another trace that its own continues, or neither."""
    fields, expected = NAMES[case]
    one = event(0, "span_started", **fields)
    assert (names_task(one), is_link(one)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(TRACE, True), (TRACE.upper(), False), (TRACE[1:], False), ("g" * 32, False)],
)
def test_what_looks_like_a_trace_id(text: str, expected: bool) -> None:
    """32 lower-case hexadecimal digits."""
    assert is_trace_id(text) is expected


def test_a_request_is_no_card_and_a_wrapper_is() -> None:
    """A request alone says nothing of work; a wrapper may be an agent that says so at its end."""
    ids = {"trace_id": TRACE, "parent_task_id": TRACE, "name": "n"}
    request = event(0, "span_started", **ids, span_id=span(1), span_kind="SERVER")
    wrapper = event(1, "span_started", **ids, span_id=span(2), parent_span_id=span(1))
    named = {"trace_id": TRACE, "parent_task_id": "t", "task_id": "t", "span_id": span(3)}
    task = event(2, "task_started", **named, parent_span_id=span(9))
    for story, expected in (
        ([request], False),
        ([request, wrapper], True),
        ([request, wrapper, task], False),
    ):
        model = fold(story, 3)
        assert model.tasks.is_shown(model.tasks.by_id[TRACE]) is expected


def test_a_span_of_another_project_without_trace_joins_no_task() -> None:
    """A span that names neither task nor trace stays outside the task that its parent is in."""
    story = [
        event(0, "task_started", parent_task_id="t", task_id="j", span_id=span(1), project_id="p"),
        event(1, "task_started", task_id="k", span_id=span(2), parent_span_id=span(1)),
        event(1, "task_completed", task_id="k", span_id=span(2), project_id="q"),
    ]
    model = fold_every_way(story, 9)
    assert {name: list(task.jobs) for name, task in model.tasks.by_id.items()} == {
        "t": ["j"],
        "": ["k"],
    }
