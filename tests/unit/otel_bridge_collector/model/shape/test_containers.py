"""``otel_bridge_collector.model.shape.containers``: counts along the containers."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.model.events import (
    COMPLETED,
    ENQUEUE,
    FAILED,
    JOB,
    PHASE,
    PROCESSING,
    SPAN,
)
from otel_bridge_collector.model.nodes import (
    GONE,
    KIDS,
    Node,
    Task,
    children,
)
from otel_bridge_collector.model.shape.containers import (
    add_counts,
    count_kid,
    depth_of,
    is_in_phase,
    reaches_below,
    shift,
)


def chain(*kinds: int) -> list[Node]:
    """Nodes, each the container of the next, in a task."""
    task = Task("t")
    found: list[Node] = []
    for number, kind in enumerate(kinds):
        found.append(Node(number + 1, kind, task, task, up=found[-1] if found else task))
    return found


def counts(at: Node | Task) -> list[int]:
    """Jobs below by status."""
    return [0] * 6 if at.agg is None else at.agg[:6]


def test_a_status_counts_in_all_containers_above() -> None:
    """A job's status is added in its container, all those above and the task, and not below."""
    top, middle, low = chain(PHASE, JOB, PHASE)
    shift(middle, PROCESSING, 1)
    shift(low, COMPLETED, 2)
    shift(middle, PROCESSING, -1)
    shift(middle, FAILED, 1)
    task = top.own.task
    assert [counts(at) for at in (task, top, middle, low)] == [
        [0, 0, 0, 2, 1, 0],
        [0, 0, 0, 2, 1, 0],
        [0, 0, 0, 2, 1, 0],
        [0, 0, 0, 2, 0, 0],
    ]


def test_a_subtree_counts_below_a_common_container() -> None:
    """A moved subtree's jobs leave the old containers; ``until`` and what is above keep theirs."""
    top, middle, low = chain(PHASE, JOB, PHASE)
    shift(low, COMPLETED, 2)
    count_kid(low, KIDS, 5)
    assert low.agg is not None
    add_counts(low, low.agg[:], -1, top)
    assert [counts(at) for at in (top.own.task, top, middle, low)] == [
        [0, 0, 0, 2, 0, 0],
        [0, 0, 0, 2, 0, 0],
        [0] * 6,
        [0] * 6,
    ]
    assert low.agg[KIDS] == 5


def test_counts_of_children() -> None:
    """Linked and let go children are counted apart from jobs; those of an enqueue are not."""
    phase, enqueue = chain(PHASE, ENQUEUE)
    for index, by in ((KIDS, 1), (KIDS, 1), (GONE, 1), (KIDS, -1)):
        count_kid(phase, index, by)
        count_kid(enqueue, index, by)
    assert phase.agg is not None
    assert (phase.agg[KIDS], phase.agg[GONE], counts(phase)) == (1, 1, [0] * 6)
    assert enqueue.agg is None


def test_depth_and_phase_of_a_container() -> None:
    """A task is at depth 0; a container is in a phase if it is one or one is above it."""
    job, phase, tool = chain(JOB, PHASE, JOB)
    task = job.own.task
    assert [depth_of(at) for at in (task, job, phase, tool)] == [0, 1, 2, 3]
    assert [is_in_phase(at) for at in (None, task, job, phase, tool)] == [
        False,
        False,
        False,
        True,
        True,
    ]


@given(seed=st.integers(0, 2**32), levels=st.integers(-1, 6))
def test_how_far_a_subtree_reaches(seed: int, levels: int) -> None:
    """Whether something is more than so many levels below is what walking every branch finds."""
    rng = random.Random(seed)
    task = Task("t")
    nodes = [Node(0, SPAN, task, task)]
    depths = {0: 0}
    for key in range(1, rng.randrange(1, 9)):
        parent = rng.choice(nodes)
        node = Node(key, SPAN, task, task, parent=parent, sib=parent.kids)
        parent.kids = node
        depths[key] = depths[parent.key or 0] + 1
        nodes.append(node)
    assert reaches_below(nodes[0], levels) == (max(depths.values()) > max(levels, 0))
    linked = {(kid.key, node.key) for node in nodes for kid in children(node)}
    assert linked == {(n.key, n.parent.key) for n in nodes if isinstance(n.parent, Node)}
