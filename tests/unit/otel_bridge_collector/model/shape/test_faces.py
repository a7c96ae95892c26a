"""``otel_bridge_collector.model.shape.faces``: which nodes stand for a card."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node, Task
from otel_bridge_collector.model.shape.faces import (
    find_face,
    is_direct_job,
    is_local_root,
    is_parent_awaited,
    is_request,
    local_roots,
    own_root,
    roots_that_count,
    topmost_phases,
)

from tests.support.histories import TRACE, event, fold, fold_every_way, span

ELSEWHERE = span(99)


def about(number: int, parent: str | None = None, **more: Any) -> dict[str, Any]:
    ids = {"trace_id": TRACE, "parent_task_id": TRACE, "name": f"span {number}"}
    return {**ids, "span_id": span(number), "parent_span_id": parent, **more}


def request(number: int, parent: str | None = None, seconds: float = 0) -> Event:
    return event(seconds, "span_started", **about(number, parent, span_kind="SERVER"))


def wrapper(number: int, parent: str | None, seconds: float = 1, **more: Any) -> Event:
    return event(seconds, "span_started", **about(number, parent, **more))


def agent(number: int, parent: str | None, seconds: float = 2) -> Event:
    return event(seconds, "phase_started", **about(number, parent, phase="planner"))


def enqueue(number: int, parent: str | None) -> Event:
    return event(1, "task_enqueued", **about(number, parent, task_id=span(number)))


def job(number: int, parent: str | None, seconds: float = 2, job_id: str = "j") -> Event:
    return event(seconds, "task_started", **about(number, parent, task_id=job_id))


def shown(*story: Event) -> int | None:
    """The span that stands for the card, in whatever order the events come."""
    task = fold_every_way(story, 3, ways=20).tasks.by_id[TRACE]
    found = find_face(task)
    return None if found is None else found.node.key


STORIES: dict[str, tuple[list[Event], int | None]] = {
    "an agent in a request": ([request(1), agent(2, span(1))], 2),
    "an agent in a wrapper in a request": (
        [request(1), wrapper(2, span(1)), agent(3, span(2))],
        3,
    ),
    "an agent, though a job of the request came before": (
        [request(1), job(2, span(1), 1), agent(3, span(1), 2)],
        3,
    ),
    "the topmost agent, though its clock is ahead": (
        [request(1), agent(2, span(1), 9), agent(3, span(2), 2)],
        2,
    ),
    "the earlier of two agents": ([request(1), agent(2, span(1), 4), agent(3, span(1), 2)], 3),
    "the request that does the work itself": ([request(1), job(2, span(1))], 1),
    "the request with a wrapper around the work": (
        [request(1), wrapper(2, span(1)), job(3, span(2))],
        1,
    ),
    "a job that came through a queue": (
        [request(1), enqueue(2, span(1)), job(3, span(2), job_id=span(2))],
        3,
    ),
    "a local root": ([wrapper(1, ELSEWHERE, remote_parent=True), job(2, span(1))], 1),
    "a local root with an agent": ([wrapper(1, ELSEWHERE), agent(2, span(1))], 1),
    "a job without anything above": ([job(1, ELSEWHERE)], 1),
    "a mere request": ([request(1)], 1),
    "nothing, for what only waits": ([enqueue(2, ELSEWHERE)], None),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_stands_for_a_card(name: str) -> None:
    """Of a trace without a root, its card shows what its users call the work."""
    story, expected = STORIES[name]
    assert shown(*story) == expected


def nodes(*story: Event) -> tuple[Fold, Task, dict[int, Node]]:
    model = fold(story)
    return model, model.tasks.by_id[TRACE], {key: node for key, node in model.tree.nodes.items()}


def test_kinds_of_spans() -> None:
    """Requests have a kind, local roots have none and nothing above, direct jobs no queue."""
    _, task, held = nodes(
        request(1), wrapper(2, span(1)), wrapper(3, ELSEWHERE), job(4, span(2)), agent(5, span(3))
    )
    assert [is_request(held[number]) for number in (1, 2, 3)] == [True, False, False]
    assert [is_local_root(held[number]) for number in (1, 2, 3)] == [False, False, True]
    assert local_roots(task) == [held[3]]
    assert is_direct_job(held[4])
    assert topmost_phases(task) == [held[5]]


def test_a_parent_in_another_process_is_not_awaited() -> None:
    """What is above a span comes only if its own process sends it."""
    _, _, held = nodes(
        wrapper(1, ELSEWHERE, remote_parent=True),
        wrapper(2, span(98)),
        job(3, span(2)),
        event(2, "task_started", **about(4, span(97), task_id="k", span_kind="CONSUMER")),
    )
    assert [is_parent_awaited(held[number]) for number in (1, 2, 3, 4)] == [
        False,
        True,
        True,
        False,
    ]


def root(number: int, seconds: float, parent: str | None = None, **more: Any) -> Event:
    return event(seconds, "task_started", **about(number, parent, **{"task_id": TRACE, **more}))


def test_roots_of_a_trace_are_parts_of_one_card() -> None:
    """The earliest names the card, and all count; of our own task only its latest run does."""
    _, task, held = nodes(root(1, 5), root(2, 3))
    assert own_root(task) is held[2]
    assert set(roots_that_count(task)) == {held[1], held[2]}
    _, task, held = nodes(root(1, 5, name=None), root(2, 3, name=None))
    assert own_root(task) is held[1]
    assert roots_that_count(task) == [held[1]]


def test_a_root_above_our_task_does_not_hold_its_card() -> None:
    """A script whose root goes on after a research task in it says nothing of that task."""
    own = {"parent_task_id": "t", "task_id": "t", "trace_id": TRACE, "span_id": span(2)}
    model = fold([root(1, 0), event(1, "task_started", **own, parent_span_id=span(1))])
    task = model.tasks.by_id["t"]
    assert len(task.roots) == 2
    assert [node.key for node in roots_that_count(task)] == [2]
