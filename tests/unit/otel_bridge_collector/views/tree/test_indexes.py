"""One index for each task that is looked at, dropped when it is not."""

from __future__ import annotations

from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.views.tree.indexes import TreeIndexes

from tests.support.histories import event, moment


def model_with(*tasks: str) -> Fold:
    model = Fold()
    for task in tasks:
        model.apply(event(0, "task_started", parent_task_id=task, task_id=task), moment(0))
    model.sweep(moment(1))
    return model


def is_reporting(task: Task) -> bool:
    return task.changes is not None


def test_an_index_is_kept_while_it_is_asked_for() -> None:
    """And the task reports changes to it only so long: 60 s after the last view it is dropped."""
    model = model_with("t", "u")
    task = model.tasks.by_id["t"]
    indexes = TreeIndexes(model)
    assert not is_reporting(task)
    index = indexes.of(task)
    assert is_reporting(task)
    assert not is_reporting(model.tasks.by_id["u"])
    for seconds in (30, 90):
        model.sweep(moment(seconds))
        indexes.refresh()
        assert indexes.of(task) is index
    model.sweep(moment(151))
    indexes.refresh()
    assert len(indexes) == 0
    assert not is_reporting(task)
    assert indexes.of(task) is not index


def test_an_index_takes_changes_once_a_refresh() -> None:
    """What comes between two refreshes is not seen by one view and missed by another."""
    model = model_with("t")
    task = model.tasks.by_id["t"]
    indexes = TreeIndexes(model)
    assert indexes.of(task).root.size == 1
    job = event(2, "task_started", parent_task_id="t", task_id="j")
    model.apply(job, moment(2))
    assert indexes.of(task).root.size == 1
    indexes.refresh()
    assert indexes.of(task).root.size == 2


def test_the_index_of_an_evicted_task_is_dropped() -> None:
    """Also if a task with the same id has come since."""
    model = model_with("t")
    task = model.tasks.by_id["t"]
    indexes = TreeIndexes(model)
    indexes.of(task)
    model._eviction.evict(task)
    model.apply(event(5, "task_started", parent_task_id="t", task_id="t"), moment(5))
    indexes.refresh()
    assert len(indexes) == 0
    assert not is_reporting(task)
    assert indexes.of(model.tasks.by_id["t"]).task is not task
