"""The nodes of a task as rows: order, keys read back, what is there instead of one that was."""

from __future__ import annotations

import pytest
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node, Task
from otel_bridge_collector.model.reading.keys import is_row, node_key
from otel_bridge_collector.views.tree.listed import (
    all_nodes,
    has_failed,
    is_final,
    is_held,
    is_virtual,
    is_virtual_row,
    node_of,
    order_of,
    successor,
)

from tests.support.histories import event, fold, span

IDS = {"parent_task_id": "t/1", "trace_id": "ab" * 16}


def story() -> Fold:
    return fold(
        [
            event(0, "task_started", **IDS, task_id="t/1", span_id=span(1)),
            event(1, "task_enqueued", **IDS, task_id="j", span_id=span(2), parent_span_id=span(1)),
            event(2, "task_started", **IDS, task_id="j", span_id=span(3), parent_span_id=span(2)),
            event(3, "task_failed", **IDS, task_id="j", span_id=span(3), error="E"),
            event(1, "task_enqueued", **IDS, task_id="a/b#c", phase="p"),
            event(2, "task_started", **IDS, task_id="a/b#c", phase="p", retry_count=1),
            event(4, "phase_completed", **IDS, phase="q", status="failed"),
        ],
        10,
    )


def parts(model: Fold) -> tuple[Task, dict[str, Node]]:
    task = model.tasks.by_id["t/1"]
    nodes = [*all_nodes(task), *task.virtual.values()]
    return task, {node_key(node): node for node in nodes}


def test_a_key_finds_its_node() -> None:
    """Each key that a node has, in a task and of a job whose ids have separators in them."""
    model = story()
    task, nodes = parts(model)
    assert set(nodes) == {
        span(1),
        span(2),
        span(3),
        "enqueue:t/1/a/b#c#0",
        "job:t/1/a/b#c#1",
        "phase:t/1/p",
        "phase:t/1/q",
    }
    for key, node in nodes.items():
        assert node_of(model, task, key) is node


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x" * 16,
        span(99),
        "job:t/1/a/b#c#0",
        "job:t/2/a/b#c#1",
        "job:t/1/",
        "phase:t/1/r",
        "?:t/1/j#0",
    ],
)
def test_an_unknown_key_finds_nothing(key: str) -> None:
    """Also what looks like a key, of another task or of something that is not there."""
    model = story()
    assert node_of(model, model.tasks.by_id["t/1"], key) is None


def test_a_key_of_another_task_finds_nothing() -> None:
    """Though the model has its span."""
    model = fold([event(0, "span_started", trace_id="cd" * 16, span_id=span(7))])
    task = model.tasks.get_or_make("t")
    assert node_of(model, task, span(7)) is None


def test_rows_are_sorted_by_start_then_key() -> None:
    """A phase without a span by its first job; spans before what has none at the same time."""
    _, nodes = parts(story())
    order = sorted(nodes.values(), key=order_of)
    assert [node_key(node) for node in order] == [
        span(1),
        "enqueue:t/1/a/b#c#0",
        "phase:t/1/p",
        span(2),
        "job:t/1/a/b#c#1",
        span(3),
        "phase:t/1/q",
    ]


def test_what_replaces_a_row() -> None:
    """Its attempt replaces an enqueue, a span the same attempt without one."""
    model = story()
    task, nodes = parts(model)
    assert successor(nodes[span(2)]) is nodes[span(3)]
    assert successor(nodes["enqueue:t/1/a/b#c#0"]) is nodes["job:t/1/a/b#c#1"]
    assert successor(nodes[span(1)]) is None
    spanless = nodes["job:t/1/a/b#c#1"]
    assert successor(spanless) is None
    again = event(2, "task_started", **IDS, task_id="a/b#c", span_id=span(4), retry_count=1)
    model.apply(again, 1)
    assert not is_row(spanless)
    assert successor(spanless) is model.tree.nodes[4]
    assert is_held(spanless, task)
    assert not is_held(spanless, Task("other"))


def test_what_failed_and_what_is_final() -> None:
    """Ends of spans are final; a phase without a span may run again."""
    _, nodes = parts(story())
    assert [key for key, node in nodes.items() if has_failed(node)] == [span(3), "phase:t/1/q"]
    assert [key for key, node in nodes.items() if is_final(node)] == [span(3)]


def test_a_phase_without_a_span_is_a_row_by_its_jobs_or_reports() -> None:
    """One that a span is as well is no second row, unless jobs are counted in it."""
    task, nodes = parts(story())
    with_jobs, reported = nodes["phase:t/1/p"], nodes["phase:t/1/q"]
    assert is_virtual(with_jobs)
    assert is_virtual_row(task, with_jobs, {"p", "q"})
    assert is_virtual_row(task, reported, set())
    assert not is_virtual_row(task, reported, {"q"})
    assert not is_virtual_row(Task("other"), reported, set())
