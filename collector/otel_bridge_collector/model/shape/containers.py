"""
Counts along the containers: an aggregate counts the jobs below a node, by status.

A container is the node or task above a node, at most 64 deep; a change walks up: O(depth) an event.
"""

from __future__ import annotations

from otel_bridge_collector.model.events import ENQUEUE, PHASE, STALLED
from otel_bridge_collector.model.nodes import COUNTS, Node, Task

__all__ = [
    "add_counts",
    "count_kid",
    "depth_of",
    "is_in_phase",
    "move_counts",
    "reaches_below",
    "shift",
    "top_of_circle",
]


def shift(at: Node | Task | None, status: int, by: int) -> None:
    """Add ``by`` jobs of a status to a container and all those above it."""
    while at is not None:
        agg = at.agg
        if agg is None:
            agg = at.agg = [0] * COUNTS
        agg[status] += by
        at = at.up


def add_counts(
    at: Node | Task | None, counts: list[int], sign: int, until: Node | Task | None = None
) -> None:
    """Add or subtract a subtree's jobs in a container and those above it, below ``until``."""
    while at is not until and at is not None:
        agg = at.agg
        if agg is None:
            agg = at.agg = [0] * COUNTS
        for status in range(STALLED + 1):
            agg[status] += sign * counts[status]
        at = at.up


def move_counts(node: Node, container: Node | Task) -> None:
    """Count the jobs below a node in another container than before."""
    up = node.up
    if node.agg is None or up is container or up is None:
        return
    if up.up is container:
        add_counts(up, node.agg, -1, container)
    else:
        add_counts(up, node.agg, -1)
        add_counts(container, node.agg, 1)


def count_kid(parent: Node, index: int, by: int) -> None:
    """Count a child that was linked or let go; an enqueue's few are counted when asked."""
    if parent.kind == ENQUEUE:
        return
    agg = parent.agg
    if agg is None:
        agg = parent.agg = [0] * COUNTS
    agg[index] += by


def depth_of(at: Node | Task) -> int:
    """How many containers are above."""
    depth = 0
    up = at.up
    while up is not None:
        depth += 1
        up = up.up
    return depth


def is_in_phase(at: Node | Task | None) -> bool:
    """Whether the container is a phase or inside one."""
    while type(at) is Node:
        if at.kind == PHASE:
            return True
        at = at.up
    return False


def reaches_below(node: Node, levels: int) -> bool:
    """Whether a descendant is more than so many levels below; walks the subtree, 60 ns a node."""
    if levels < 0:
        return node.kids is not None
    todo = [(node, 0)]
    while todo:
        above, level = todo.pop()
        kid = above.kids
        if kid is not None and level + 1 > levels:
            return True
        while kid is not None:
            if kid.kids is not None:
                todo.append((kid, level + 1))
            kid = kid.sib
    return False


def top_of_circle(node: Node, parent: Node) -> Node | None:
    """The smallest key's node in the circle that this link would close; None for no circle."""
    lowest = node
    at: Node | int | None = parent
    while type(at) is Node:
        if at is node:
            return lowest
        assert at.key is not None
        assert lowest.key is not None
        if at.key < lowest.key:
            lowest = at
        at = at.parent
    return None
