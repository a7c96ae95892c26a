"""``otel_bridge_collector.model.work.job_ids``: one id for both sides of a queue."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.histories import TRACE, event, fold_every_way, span

ENQUEUE, ATTEMPT, RETRY = span(1), span(2), span(3)


def about(span_id: str, job_id: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    ids = {"trace_id": TRACE, "parent_task_id": TRACE}
    return {**ids, "span_id": span_id, "parent_span_id": parent, "task_id": job_id, **more}


def jobs(*story: Any) -> dict[str, list[int]]:
    """Keys of the nodes of each job, in whatever order the events come."""
    model = fold_every_way(story, 9, ways=30)
    found = model.tasks.by_id[TRACE].jobs
    return {job.id: sorted(node.key or 0 for node in job.nodes()) for job in found.values()}


@pytest.mark.parametrize(
    ("enqueued", "ran", "expected"),
    [
        (ENQUEUE, "message", {"message": [1, 2, 3]}),
        ("message", ENQUEUE, {"message": [1, 2, 3]}),
        (ENQUEUE, ENQUEUE, {ENQUEUE: [1, 2, 3]}),
        ("message", "other", {"message": [1], "other": [2, 3]}),
    ],
)
def test_both_sides_of_a_queue_are_one_job(
    enqueued: str, ran: str, expected: dict[str, list[int]]
) -> None:
    """The side that knows only the span of the enqueue takes the id of the side that knows more."""
    first = about(ATTEMPT, ran, ENQUEUE)
    second = about(RETRY, ran, ENQUEUE, retry_count=1)
    story = [
        event(0, "task_enqueued", **about(ENQUEUE, enqueued, span_kind="PRODUCER", name="put")),
        event(1, "task_started", **first),
        event(2, "task_retry", **first),
        event(3, "task_started", **second),
        event(4, "task_completed", **second),
    ]
    assert jobs(*story) == expected


def test_of_several_ids_the_smallest_counts() -> None:
    """An enqueue that led to jobs of two ids waits for neither: it belongs to one of them."""
    story = [
        event(0, "task_enqueued", **about(ENQUEUE, ENQUEUE, name="put")),
        event(1, "task_started", **about(ATTEMPT, "b", ENQUEUE)),
        event(1, "task_started", **about(RETRY, "a", ENQUEUE)),
    ]
    assert jobs(*story) == {"a": [1, 3], "b": [2]}


def test_an_attempt_below_another_parent_has_its_own_id() -> None:
    """An attempt that turns out to be below another span goes by the id that its events gave."""
    story = [
        event(0, "task_enqueued", **about(ENQUEUE, "message")),
        event(1, "task_started", **about(ATTEMPT, ENQUEUE, ENQUEUE)),
        event(2, "task_completed", **about(ATTEMPT, ENQUEUE, span(0))),
    ]
    assert jobs(*story) == {"message": [1], ENQUEUE: [2]}
