"""
Which nodes stand for a card: roots, else the work at the top, else the request around it.

A request (SERVER or CLIENT span) is no task. What its card shows is an agent inside it, else a job
that came through a queue; only work that the request does itself is shown by the request's name,
since nothing else says when it is done. An INTERNAL span whose parent is not known here is the
local root of what a gateway, a mesh or a browser called: it is shown like a root.

Functions of the tree alone, not of the clocks: a child on a machine whose clock is behind is not
the card.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from otel_bridge_collector.model.events import COMPLETED, ENQUEUE, FAILED, JOB, PHASE, RULE, SPAN
from otel_bridge_collector.model.nodes import AWAITS_PARENT, LINKED, PART, Job, Node, Task
from otel_bridge_collector.model.runs import is_open

__all__ = [
    "Face",
    "face_of_node",
    "find_face",
    "has_true_end",
    "is_direct_job",
    "is_local_root",
    "is_parent_awaited",
    "is_request",
    "local_roots",
    "own_root",
    "roots_that_count",
    "status_of_ended",
    "topmost_phases",
]

_NEVER: Final = 1 << 62
_SKEW_US: Final = 1_000_000
"""By how much a start may be before the end that it comes after, on two machines."""
_FIRST, _SECOND, _LAST, _BELOW = range(4)
"""
Agents and local roots; jobs, and requests that do the work themselves; other requests; what is
below work that is no longer held.
"""


class Face(NamedTuple):
    """
    A node that can stand for a card, and its rank: of several the smallest is shown.

    A record; checks nothing. The rank is (what it is, start, span id, attempt, job id, run id).
    """

    rank: tuple[int, int, int, int, str, str]
    node: Node


# --- roots ----------------------------------------------------------------------------------------


def own_root(task: Task) -> Node | None:
    """
    Return the node of a research task itself; None if no root of it is known. Never raises.

    Of several runs of one of our tasks it is the latest, one with a span before one without. Of a
    trace, whose roots are parts of one card, it is the earliest.
    """
    roots = task.roots
    if len(roots) < 2:
        return next(iter(roots), None)
    own = [root for root in roots if not root.marks & PART]
    return max(own, key=_by_run) if own else min(roots, key=_by_part)


def roots_that_count(task: Task) -> list[Node]:
    """
    Return the roots by whose ends a card ends; in no order, empty for none. Never raises.

    The latest run of one of our tasks, and third-party roots (of the trace, or of traces that
    continue it), but for those above our task, which go on after it.
    """
    roots = task.roots
    if len(roots) < 2:
        return list(roots)
    own = [root for root in roots if not root.marks & PART]
    if not own:
        return list(roots)
    latest = max(own, key=_by_run)
    above = set(_ancestors(latest))
    return [latest, *(root for root in roots if root.marks & PART and root not in above)]


def has_true_end(node: Node) -> bool:
    """Whether an end of a root or span was reported that no rule made up."""
    return not is_open(node) and node.ended >> 3 != RULE


def status_of_ended(nodes: list[Node]) -> int:
    """
    Return the status code of a card of which these nodes, at least one, have all ended.

    Failed if one of them has and nothing started after it: a trace that goes on after a failure, or
    another try of an agent of the same name, overcomes it. Else the status of the last to end.
    """
    for node in nodes:
        if node.ended & 7 == FAILED and not any(_overcomes(one, node) for one in nodes):
            return FAILED
    goes_on = [node for node in nodes if node.ended & 7 != FAILED]
    return max(goes_on, key=_by_end).ended & 7 if goes_on else COMPLETED


def _overcomes(later: Node, failed: Node) -> bool:
    if later.first + _SKEW_US < failed.end or later.first <= failed.first:
        return False
    is_retry = later.kind == failed.kind == PHASE and later.name == failed.name
    return is_retry or bool(later.marks & LINKED)


def _by_run(node: Node) -> tuple[bool, int, int]:
    return node.key is not None, node.first, node.key or 0


def _by_part(node: Node) -> tuple[bool, int, int]:
    return bool(node.marks & LINKED), node.first, node.key or 0


def _by_end(node: Node) -> tuple[int, int]:
    return node.end, node.key or 0


def _ancestors(node: Node) -> Iterator[Node]:
    up = node.up
    while type(up) is Node:
        yield up
        up = up.up


# --- without a root -------------------------------------------------------------------------------


def is_request(node: Node) -> bool:
    """Whether it is a request or another link between processes, and no wrapper inside one."""
    return node.kind == SPAN and node.more is not None and node.more.span_kind is not None


def is_local_root(node: Node) -> bool:
    """Whether it is an INTERNAL span at the top of its card: its parent is not known here."""
    if node.kind != SPAN or type(node.up) is not Task or is_request(node):
        return False
    return not _may_be_below(node)


def local_roots(task: Task) -> list[Node]:
    """Return the local roots of a card, as ``is_local_root``; looks at all spans of the task."""
    return [node for node in task.spans if is_local_root(node)]


def _may_be_below(node: Node) -> bool:
    """Whether its parent may be work that was evicted: known, though it is not held."""
    return type(node.parent) is int and node.own.task.gone is not None and not is_request(node)


def is_parent_awaited(node: Node) -> bool:
    """
    Return whether what is above a node will still come: its process sends parents at their end.

    Never raises. True for a third-party span below one of its own process that is not known yet;
    False where the parent is in another process, which may send its spans elsewhere.
    """
    top = node
    for above in _ancestors(node):
        if above.key is not None:
            top = above
    return type(top.parent) is int and bool(top.marks & AWAITS_PARENT)


def face_of_node(node: Node) -> Face | None:
    """
    Return what can stand for a card because of this node; None if the node is below other work.

    The node itself, the local root around it, or the request that does its work directly. A mere
    enqueue and a phase that no span is stand for nothing. Walks up at most 64 nodes; never raises.
    """
    kind = node.kind
    if kind == ENQUEUE or (kind == PHASE and node.key is None):
        return None
    top = _top_without_work(node)
    if top is None:
        return None
    if _may_be_below(top):
        return _face(_BELOW, node)
    if top is node:
        if kind == SPAN:
            return _face(_LAST if is_request(node) else _FIRST, node)
        return _face(_FIRST if kind == PHASE else _SECOND, node)
    if is_local_root(top):
        return _face(_FIRST, top)
    if kind == SPAN:
        return _face(_LAST, top)
    if kind == PHASE:
        return _face(_FIRST, node)
    return _face(_SECOND, top if is_direct_job(node) else node)


def _face(tier: int, node: Node) -> Face:
    own = node.own
    job_id = own.id if type(own) is Job else ""
    rank = tier, node.first or _NEVER, node.key or 0, node.attempt, job_id, node.run or ""
    return Face(rank, node)


def find_face(task: Task) -> Face | None:
    """Return what stands for a card without a root, of all nodes of the task; None for nothing."""
    attempts = (node for job in task.jobs.values() for node in job.nodes())
    found: Face | None = None
    for node in (*attempts, *task.tops, *task.spans):
        face = face_of_node(node)
        if face is not None and (found is None or face.rank < found.rank):
            found = face
    return found


def topmost_phases(task: Task) -> list[Node]:
    """Return the agents with no work above them, only requests, wrappers or nothing."""
    return [node for node in task.tops if node.key is not None and not _has_work_above(node)]


def _has_work_above(node: Node) -> bool:
    top = _top_without_work(node)
    return top is None or _may_be_below(top)


def _top_without_work(node: Node) -> Node | None:
    """The topmost span around a node, itself if there is none; None if it is inside other work."""
    top = node
    for above in _ancestors(node):
        if above.key is not None:
            if above.kind != SPAN:
                return None
            top = above
    return top


def is_direct_job(node: Node) -> bool:
    """Whether the span above does the job itself, without a queue between them."""
    return node.kind == JOB and type(node.parent) is Node and node.parent.kind == SPAN
