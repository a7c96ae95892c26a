"""What stays of nodes that are no longer held is found again."""

from __future__ import annotations

from otel_bridge_collector.model.events import JOB
from otel_bridge_collector.model.nodes import RETRIED, Job, Node, Task
from otel_bridge_collector.model.reading.gone import (
    hash_of,
    is_gone,
    remember,
    remember_nodes,
    retry_of,
)

_BIG = 0xFFFF_FFFF_FFFF_FFFF


def test_a_task_from_which_nothing_left() -> None:
    """It has no list, and nothing of it is gone."""
    assert not is_gone(Task("t"), 1)


def test_keys_and_jobs_and_counted_retries_stay() -> None:
    """A span by its key, a job by its hash, a retry by its mark; a node without a span has none."""
    task = Task("t")
    left, other = Job(task, "left"), Job(task, "other")
    remember_nodes(task, [Node(_BIG, JOB, task, left, marks=RETRIED), Node(None, JOB, task, other)])
    for value in (_BIG, retry_of(_BIG), hash_of("left"), hash_of("other")):
        assert is_gone(task, value)
    assert task.gone is not None
    assert len(task.gone) == 4
    assert not is_gone(task, hash_of("held"))
    assert not is_gone(task, retry_of(1))


def test_what_left_before_stays_too() -> None:
    """Nodes that leave later, and single things, are added; each is once in the list, sorted."""
    task = Task("t")
    remember_nodes(task, [Node(5, JOB, task, task)])
    remember_nodes(task, [Node(3, JOB, task, task), Node(5, JOB, task, task)])
    remember(task, 4)
    assert task.gone is not None
    assert list(task.gone) == [3, 4, 5]
