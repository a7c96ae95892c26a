"""Which nodes have a row in the tree, and that no two rows of a task have the same key."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node, Task
from otel_bridge_collector.model.reading.keys import (
    is_row,
    node_key,
    row_name,
    row_path,
    task_name,
)

from tests.support import histories
from tests.support.folding import event, job, looked_at, root


def nodes_of(task: Task) -> list[Node]:
    jobs = (node for one in task.jobs.values() for node in one.nodes())
    return [*task.roots, *task.tops, *task.spans, *jobs]


def rows(model: Fold, task: str = "t") -> set[str]:
    """Keys of the rows of a task, without the zeros of span ids."""
    nodes = nodes_of(model.tasks.by_id[task])
    return {node_key(node).lstrip("0") for node in nodes if is_row(node)}


def span(number: int, parent: int | None = None, **fields: Any) -> dict[str, Any]:
    ids = {"trace_id": "0" * 31 + "1", "span_id": f"{number:016x}", **fields}
    return ids if parent is None else {**ids, "parent_span_id": f"{parent:016x}"}


def test_work_without_spans_is_named_by_its_ids() -> None:
    """Attempts, enqueues, phases and the task itself have keys that no two of them share."""
    story = [
        root("t", 0, "task_started"),
        job("t", 1, "task_started", phase="p"),
        job("t", 2, "task_retry", phase="p"),
        job("t", 3, "task_started", phase="p", retry_count=1),
        job("t", 4, "task_enqueued", "waits"),
        event(5, "phase_started", parent_task_id="t", phase="q"),
    ]
    found = rows(looked_at(9, story))
    jobs = {"job:t/j#0", "job:t/j#1", "enqueue:t/waits#0"}
    assert found == {"task:t", "phase:t/p", "phase:t/q", *jobs}


def test_an_enqueue_has_a_row_until_its_job_starts() -> None:
    """By its span or its ids; a second run that waits has a row beside the first one's attempt."""
    story = [job("t", 1, "task_enqueued", **span(1)), job("t", 1, "task_enqueued", "k")]
    assert rows(looked_at(2, story)) == {"1", "enqueue:t/k#0"}
    story += [job("t", 2, "task_started", **span(2, 1)), job("t", 2, "task_started", "k")]
    assert rows(looked_at(3, story)) == {"2", "job:t/k#0"}
    story += [job("t", 3, "task_completed", **span(2, 1)), job("t", 70, "task_enqueued", **span(3))]
    assert rows(looked_at(71, story)) == {"2", "3", "job:t/k#0"}


def test_an_enqueue_whose_attempt_names_no_parent_is_none() -> None:
    """A worker that lost the link ran the job all the same; a retry that waits is a row."""
    story = [job("t", 1, "task_enqueued", **span(1)), job("t", 2, "task_started", **span(2))]
    assert rows(looked_at(3, story)) == {"2"}
    story += [job("t", 3, "task_retry", **span(2))]
    story += [job("t", 4, "task_enqueued", **span(3), retry_count=1)]
    assert rows(looked_at(5, story)) == {"2", "3"}


def test_what_repeats_a_span_is_no_row() -> None:
    """The word of another process, or of one without spans, on an attempt, a phase or a task."""
    story = [
        root("t", 0, "task_started", **span(1)),
        root("t", 0, "task_started"),
        event(0, "phase_started", parent_task_id="t", phase="p", **span(2, 1)),
        event(0, "phase_started", parent_task_id="t", phase="p"),
        job("t", 1, "task_started", **span(3, 2)),
        job("t", 3, "task_failed", error="killed", ended_by="other"),
        event(4, "stats_snapshot", parent_task_id="t", phase="q", counts={"total": 3}),
    ]
    assert rows(looked_at(4, story)) == {"1", "2", "3"}


def test_a_row_is_named_with_the_rows_above_it() -> None:
    """By title, phase, job and span; an enqueue is not above what it led to."""
    story = [
        root("t", 0, "task_started", **span(1), meta={"title": "A study"}),
        event(0, "phase_started", parent_task_id="t", phase="act", **span(2, 1)),
        job("t", 1, "task_enqueued", **span(3, 2)),
        job("t", 2, "task_started", **span(4, 3)),
        event(3, "span_started", parent_task_id="t", name="GET", **span(5, 4)),
        job("t", 4, "task_started", "k", phase="p"),
        event(5, "phase_started", parent_task_id="u", phase="q"),
    ]
    model = looked_at(9, story)
    tasks = model.tasks
    found = {
        row_name(node): row_path(tasks, node)
        for task in tasks.by_id.values()
        for node in nodes_of(task)
        if is_row(node)
    }
    assert found == {
        "A study": (),
        "act": ("A study",),
        "j": ("A study", "act"),
        "GET": ("A study", "act", "j"),
        "p": ("A study",),
        "k": ("A study", "p"),
        "q": ("u",),
    }
    assert [task_name(tasks, tasks.by_id[task]) for task in "tu"] == ["A study", "u"]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_keys_are_unique(seed: int) -> None:
    """No two nodes of a random task have the same key, rows or not."""
    for task in histories.fold(histories.history(seed), 100).tasks.by_id.values():
        nodes = nodes_of(task)
        assert len({node_key(node) for node in nodes}) == len(nodes)
