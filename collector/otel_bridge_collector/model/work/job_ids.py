"""
One id for a job of which the two sides of a queue know different ones.

A third-party enqueue names its job by its own span, and a third-party consumer by that span too, as
it is all that both know. One of our adapters on one side names the job by its message. Then the
enqueue and the attempts below it would be two jobs, of which one waits for ever: so what was named
by the span takes the id that the other side gave. A function of the links and ids of one enqueue
and its attempts, whatever the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable

from otel_bridge_collector.model.events import ENQUEUE, JOB
from otel_bridge_collector.model.nodes import RENAMED, Job, Node, children
from otel_bridge_collector.model.tree import Tree
from otel_bridge_collector.model.work.merging import more_of

__all__ = ["JobIds"]


class JobIds:
    """
    Makes an enqueue and its attempts one job; for the collector's event loop, without a lock.

    Raises nothing for nodes of the model.

    Args:
        tree: Gives the nodes to look at, and moves them.
        evaluate: Called with a job that a node has entered.
    """

    def __init__(self, tree: Tree, evaluate: Callable[[Job], None]) -> None:
        self._tree = tree
        self._evaluate = evaluate

    def agree(self) -> None:
        """Look at all nodes whose links or ids changed since the last call."""
        unsure = self._tree.unsure
        while unsure:
            node = unsure.pop()
            parent = node.parent
            if node.kind == JOB and type(parent) is Node and parent.kind == ENQUEUE:
                self._agree(parent)
            elif node.kind == ENQUEUE and node.key is not None and node.marks & RENAMED:
                self._agree(node)
            elif node.marks & RENAMED:
                self._rename(node, own_id(node))

    def _agree(self, enqueue: Node) -> None:
        attempts = [kid for kid in children(enqueue) if kid.kind == JOB]
        span_id = f"{enqueue.key:016x}"
        target = own_id(enqueue)
        if target == span_id:
            others = {own_id(attempt) for attempt in attempts} - {span_id}
            target = min(others, default=span_id)
        for node in (enqueue, *attempts):
            if own_id(node) == span_id:
                self._rename(node, target)

    def _rename(self, node: Node, job_id: str) -> None:
        own, up, known = node.own, node.up, own_id(node)
        if type(own) is not Job or own.id == job_id or up is None:
            return
        self._tree.leave(node)
        self._tree.enter(node, own.task, up, job_id)
        more = more_of(node)
        more.job, node.marks = None, node.marks & ~RENAMED
        if job_id != known:
            more.job, node.marks = known, node.marks | RENAMED
        if type(node.own) is Job:
            self._evaluate(node.own)


def own_id(node: Node) -> str:
    """The id that the node's events give its job, also while it goes by another one."""
    own, more = node.own, node.more
    if node.marks & RENAMED and more is not None and more.job is not None:
        return more.job
    return own.id
