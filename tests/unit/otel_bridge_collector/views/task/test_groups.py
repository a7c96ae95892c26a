"""Groups of the list of tasks: their order, their counts, and the pinned tasks before them."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.listing import Window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task.groups import MAX_GROUPS
from otel_bridge_collector.views.tasks import compute, merge
from otel_bridge_collector.wire.views.params import TasksParams

from tests.support.folding import at, fold, root


def parts_of(params: TasksParams, *models: Fold) -> Window:
    parts = []
    for model in models:
        state = ViewState(model)
        state.refresh(microseconds(at(1010)))
        parts.append(compute(state, params, None))
    return merge(parts, params)


EVENTS = [
    root("a-silent", 0, "task_started"),
    root("b-done", 1000, "task_started", project_id="p"),
    root("b-done", 1005, "task_completed", project_id="p"),
    root("c-runs", 1001, "task_started", project_id="q"),
    root("d-failed", 1002, "task_started", project_id="p"),
    root("d-failed", 1003, "task_failed", project_id="p", error="no such host"),
]
OTHERS = [root("e-runs", 1003, "task_started", project_id="p")]


def shown(**fields: Any) -> tuple[list[str], dict[str | None, int] | None, int]:
    found = parts_of(TasksParams.model_validate(fields), fold(EVENTS), fold(OTHERS))
    groups = found.head["groups"]
    counts = None if groups is None else {group["name"]: group["count"] for group in groups}
    return list(found.rows), counts, found.head["pinned"]


def test_projects_follow_by_name_and_what_has_none_comes_last() -> None:
    """In a group the order is that of the list; counts are over the parts of all processes."""
    rows, groups, pinned = shown(group="project")
    assert rows == ["d-failed", "e-runs", "b-done", "c-runs", "a-silent"]
    assert groups == {"p": 3, "q": 1, None: 1}
    assert list(groups) == ["p", "q", None]
    assert pinned == 0


def test_statuses_follow_by_what_needs_attention() -> None:
    """Stalled before failed before running before completed."""
    rows, groups, _ = shown(group="status")
    assert rows == ["a-silent", "d-failed", "e-runs", "c-runs", "b-done"]
    assert groups == {"stalled": 1, "failed": 1, "processing": 2, "completed": 1}


@pytest.mark.parametrize(
    ("fields", "rows", "groups"),
    [
        ({}, ["c-runs", "b-done", "a-silent", "d-failed", "e-runs"], None),
        (
            {"group": "project"},
            ["c-runs", "b-done", "d-failed", "e-runs", "a-silent"],
            {"p": 2, None: 1},
        ),
        ({"status": ["stalled", "completed"]}, ["b-done", "a-silent"], None),
    ],
)
def test_pinned_tasks_come_first(
    fields: dict[str, Any], rows: list[str], groups: dict[str | None, int] | None
) -> None:
    """In the order of the pins, in no group; one that is unknown or filtered out is left out."""
    pins = ["c-runs", "gone", "b-done"]
    pinned = len({"c-runs", "b-done"} & set(rows))
    assert shown(pins=pins, **fields) == (rows, groups, pinned)


def test_head_names_so_many_groups() -> None:
    """Of more projects than that the first by name; all rows are listed."""
    count = MAX_GROUPS + 5
    names = [f"p-{number:03d}" for number in range(count)]
    model = fold([root(f"of {name}", 1000, "task_started", project_id=name) for name in names])
    found = parts_of(TasksParams(group="project"), model)
    assert [group["name"] for group in found.head["groups"]] == names[:MAX_GROUPS]
    assert found.head["total"] == count
