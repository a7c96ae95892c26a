"""What is said of a failure, and the order of failures."""

from __future__ import annotations

from typing import Any

from otel_bridge_collector.model.nodes import Node
from otel_bridge_collector.model.reading.failed import FailedJob, failed_job, order_of

from tests.support.folding import at, event, job, looked_at


def only_node(**fields: Any) -> Node:
    """The only node of a job that failed."""
    model = looked_at(9, [job("t", 1, "task_failed", **fields)])
    found = model.tasks.by_id["t"].jobs["j"].first
    assert found is not None
    return found


def test_all_that_is_known_of_a_failure() -> None:
    """Job, type, phase, error, reason, worker and stack, and the key of its row."""
    node = only_node(
        span_id="0" * 15 + "a",
        task_type="fetch",
        phase="get",
        error="boom",
        reason="killed",
        worker_id=3,
        stack_of="0" * 15 + "b",
    )
    assert failed_job(node) == FailedJob(
        order=(int(at(1).timestamp() * 1e6), "j", 10, 0, ""),
        task="t",
        node="000000000000000a",
        job="j",
        name="fetch",
        phase="get",
        error="boom",
        reason="killed",
        worker=3,
        stack="000000000000000b",
    )


def test_what_is_not_known_is_none() -> None:
    """A failure that says nothing of itself has its ids alone."""
    found = failed_job(only_node())
    assert (found.node, found.job) == ("job:t/j#0", "j")
    unknown = found.name, found.phase, found.error, found.reason, found.worker, found.stack
    assert set(unknown) == {None}


def test_failures_are_in_the_order_of_their_ends() -> None:
    """The later one is the greater; a research task counts by its own id."""
    root = event(2, "task_failed", task_id="t", parent_task_id="t")
    model = looked_at(9, [job("t", 1, "task_failed", "z"), root])
    task = model.tasks.by_id["t"]
    first = task.jobs["z"].first
    assert first is not None
    (root_node,) = task.roots
    assert order_of(first) < order_of(root_node)
    assert failed_job(root_node).job is None
