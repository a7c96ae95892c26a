"""Whose an event is: the project of the task that the fold found for it, live and read back."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.projects import (
    is_shared,
    project_of,
    project_of_past,
)

from tests.support.folding import apply, event

TRACE = "a" * 32
OTHER = "b" * 32
UNKNOWN = "c" * 32


def span(number: int) -> str:
    return f"{number:016x}"


def folded() -> Fold:
    """A task of a trace, one of two projects, a trace of two tasks, a trace's card, a loose job."""
    model = Fold()
    ids: dict[str, Any] = {"trace_id": TRACE, "parent_task_id": TRACE}
    two: dict[str, Any] = {"trace_id": OTHER, "span_id": span(9)}
    apply(
        model,
        event(0, "span_started", span_id=span(1), **ids),
        event(1, "task_started", trace_id=TRACE, parent_task_id="t", task_id="t", project_id="p"),
        event(2, "task_started", parent_task_id="mixed", task_id="j", project_id="p"),
        event(2, "task_started", parent_task_id="mixed", task_id="k", project_id="q"),
        event(3, "task_started", parent_task_id="u", task_id="j", project_id="u", **two),
        event(3, "task_started", parent_task_id="v", task_id="j", trace_id=OTHER, project_id="v"),
        event(4, "task_started", task_id="loose", project_id="p"),
        event(5, "task_started", parent_task_id="none", task_id="j"),
    )
    return model


@pytest.mark.parametrize(
    ("task_id", "project"),
    [("t", "p"), ("mixed", None), ("u", "u"), ("none", None), ("", None)],
)
def test_the_project_of_a_task(task_id: str, project: str | None) -> None:
    """A task has the one project that its events name; of two, or of no task, there is none."""
    task = folded().tasks.by_id[task_id]
    assert project_of(task) == project
    assert is_shared(task) == (task_id in ("mixed", ""))


def test_what_is_about_no_task_has_no_project() -> None:
    """An event about a worker or a queue belongs to no project."""
    assert project_of(None) is None


@pytest.mark.parametrize(
    ("task_id", "trace_id", "span_id", "project"),
    [
        ("t", None, None, "p"),
        ("t", TRACE, span(77), "p"),
        (TRACE, TRACE, span(1), "p"),
        (TRACE, TRACE, span(77), "p"),
        (None, TRACE, None, "p"),
        (OTHER, OTHER, span(77), None),
        (OTHER, OTHER, span(9), "u"),
        ("v", OTHER, None, "v"),
        ("new", TRACE, None, None),
        ("mixed", None, None, None),
        ("none", TRACE, None, None),
        (UNKNOWN, UNKNOWN, None, None),
        (None, None, None, None),
    ],
)
def test_the_project_of_an_event_that_is_read_back(
    task_id: str | None, trace_id: str | None, span_id: str | None, project: str | None
) -> None:
    """By its span where that is held, else by the task it names, else by its trace's only task."""
    model = folded()
    found = project_of_past(model.tasks, model.tree.nodes, task_id, trace_id, span_id)
    assert found == project
