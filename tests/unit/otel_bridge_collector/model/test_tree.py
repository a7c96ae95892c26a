"""``otel_bridge_collector.model.tree``: nesting, late parents, circles, and depth."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import (
    MAX_DEPTH,
    Node,
)
from otel_bridge_collector.model.shape.containers import (
    depth_of,
    is_in_phase,
)

from tests.support.histories import (
    digest,
    event,
    fold,
    fold_every_way,
    moment,
    recount_differences,
    span,
)


def node(seconds: float, event_type: str, number: int, parent: int | None, **fields: Any) -> Event:
    """An event of one span of the story's task."""
    return event(
        seconds,
        event_type,
        parent_task_id="t",
        span_id=span(number),
        parent_span_id=None if parent is None else span(parent),
        **fields,
    )


def parent_of(model: Fold, number: int) -> object:
    """The parent at this moment; a type checker would take an earlier one for it."""
    return model.tree.nodes[number].parent


def test_agents_nested_eight_deep() -> None:
    """Each of eight nested agents counts the tools below it, and one of them is a top phase."""
    story = [node(0, "task_started", 1, None, task_id="t", task_type="research")]
    above = 1
    for depth in range(8):
        agent, tool = 10 + 2 * depth, 11 + 2 * depth
        end = 30 - depth
        story += [
            node(depth, "phase_started", agent, above, phase=f"agent{depth}"),
            node(end, "phase_completed", agent, above, phase=f"agent{depth}", duration_ms=1e3),
            node(depth + 0.5, "task_started", tool, agent, task_id=f"tool{depth}"),
            node(end - 0.1, "task_completed", tool, agent, task_id=f"tool{depth}"),
        ]
        above = tool
    model = fold_every_way(story, 99, ways=30)
    assert depth_of(model.tree.nodes[25]) == 17
    task = model.tasks.by_id["t"]
    assert len([top for top in task.tops if not is_in_phase(top.up)]) == 1
    counts = [model.tree.nodes[10 + 2 * depth].agg for depth in range(8)]
    assert [agg and agg[3] for agg in counts] == [8 - depth for depth in range(8)]


def test_phase_of_jobs_that_no_span_is() -> None:
    """A job that names a phase counts in its phase span, or without one in a virtual phase."""
    story = [
        node(0, "phase_started", 1, None, phase="act"),
        node(1, "task_started", 2, 1, task_id="inside", phase="act"),
        node(1, "task_started", 3, None, task_id="outside", phase="act"),
    ]
    model = fold_every_way(story, 9)
    task = model.tasks.by_id["t"]
    assert task.jobs["inside"].at is model.tree.nodes[1]
    assert task.jobs["outside"].at is task.virtual["act"]


def test_enqueue_is_transparent() -> None:
    """An attempt below its enqueue counts where the enqueue does."""
    story = [
        node(0, "phase_started", 1, None, phase="act"),
        node(1, "task_enqueued", 2, 1, task_id="j"),
        node(2, "task_started", 3, 2, task_id="j"),
    ]
    model = fold_every_way(story, 9)
    assert model.tree.nodes[3].up is model.tree.nodes[1]


def test_local_root_until_its_parent_comes() -> None:
    """A node whose parent is not known is a root here, and its child once that is."""
    model = fold([node(1, "task_started", 2, 1, task_id="j")])
    assert parent_of(model, 2) == 1
    assert model.tree.nodes[2].up is model.tasks.by_id["t"]
    model.apply(node(0, "phase_started", 1, None, phase="act"), moment(2))
    assert parent_of(model, 2) is model.tree.nodes[1]
    assert model.tree.waiting == {}


def test_smaller_of_two_parents() -> None:
    """Of two parents that events of one span name, the smaller id is its parent."""
    story = [
        node(0, "phase_started", 1, None, phase="a"),
        node(0, "phase_started", 2, None, phase="b"),
        node(1, "task_started", 3, 2, task_id="j"),
        node(2, "task_completed", 3, 1, task_id="j"),
    ]
    model = fold_every_way(story, 9)
    assert model.tree.nodes[3].parent is model.tree.nodes[1]


def test_top_of_a_circle_is_its_smallest() -> None:
    """In a circle of parents the smallest span id is the top, whatever came first."""
    story = [
        node(0, "phase_started", 5, 7, phase="a"),
        node(0, "phase_started", 7, 6, phase="b"),
        node(0, "phase_started", 6, 5, phase="c"),
        node(0, "task_started", 9, 6, task_id="j"),
        node(0, "span_started", 8, 8),
    ]
    nodes = fold_every_way(story, 9).tree.nodes
    assert nodes[5].parent == 7
    assert nodes[7].parent is nodes[6]
    assert nodes[6].parent is nodes[5]
    assert nodes[5].agg is not None
    assert nodes[5].agg[1] == 1


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_graph_of_parents(seed: int) -> None:
    """Random parents, circles and contradictions included, give one tree in any order."""
    rng = random.Random(seed)
    kinds = ("phase_started", "task_started", "span_started", "task_enqueued")
    story = []
    for number in range(1, 13):
        kind = rng.choice(kinds)
        for _ in range(rng.choice((1, 1, 2))):
            fields = {"phase": "p"} if kind == "phase_started" else {"task_id": f"j{number}"}
            story.append(node(rng.random(), kind, number, rng.randrange(1, 14), **fields))
    expected = digest(fold(story, 9))
    for _ in range(3):
        rng.shuffle(story)
        model = fold(story, 9)
        assert digest(model) == expected
        assert recount_differences(model) == []


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_thousand_nested_jobs(is_reversed: bool) -> None:
    """A chain of 1,000 jobs is counted at depth 64 at most, also when children come first."""
    story = [
        node(number, "task_started", number, number - 1 or None, task_id=f"j{number}")
        for number in range(1, 1001)
    ]
    model = fold(story[::-1] if is_reversed else story)
    assert max(depth_of(one) for one in model.tree.nodes.values()) == MAX_DEPTH + 1
    assert model.tree.nodes[1].agg is not None
    assert model.tree.nodes[1].agg[1] == 999
    assert recount_differences(model) == []
    deepest = model.tree.nodes[1000].up
    assert type(deepest) is Node
    assert deepest.key == MAX_DEPTH


def test_deep_chain_moves_as_one() -> None:
    """A chain deeper than 64 that gets a parent late is counted as if it had come in order."""
    story = [
        node(number, "task_started", number, number - 1 or None, task_id=f"j{number}")
        for number in range(1, 90)
    ]
    assert digest(fold([story[0], *story[2:], story[1]], 99)) == digest(fold(story, 99))


def test_role_known_at_the_end() -> None:
    """A span that turns out to be a phase at its end is one, with what is below it."""
    story = [
        node(0, "span_started", 1, None, name="ChatAgent"),
        node(1, "task_started", 2, 1, task_id="j", phase="agent"),
        node(5, "phase_completed", 1, None, phase="agent"),
    ]
    model = fold_every_way(story, 9)
    task = model.tasks.by_id["t"]
    assert task.jobs["j"].at is model.tree.nodes[1]
    assert list(task.spans) == []


def test_smaller_of_two_job_ids() -> None:
    """Of two job ids that events of one span name, the smaller is its job."""
    story = [
        node(0, "task_started", 1, None, task_id="b"),
        node(1, "task_completed", 1, None, task_id="a"),
    ]
    assert list(fold_every_way(story, 9).tasks.by_id["t"].jobs) == ["a"]


def test_virtual_phases_are_bounded() -> None:
    """Jobs of more than a hundred phase names count in the task alone."""
    model = Fold()
    for number in range(105):
        one = event(0, "task_started", parent_task_id="t", task_id=f"j{number}", phase=f"p{number}")
        model.apply(one, moment(0))
    task = model.tasks.by_id["t"]
    assert len(task.virtual) == 100
    assert task.agg[1] == 105
