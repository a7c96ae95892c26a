"""The nodes of a task as rows of its tree: their order, and the node that a key names."""

from __future__ import annotations

from collections.abc import Iterator

from otel_bridge_collector.model.events import ENQUEUE, FAILED, JOB, PHASE, RULE, SPAN
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job, Node, Task, children
from otel_bridge_collector.model.reading.keys import node_key
from otel_bridge_collector.model.reading.phases import job_times
from otel_bridge_collector.model.reading.rows import WORKER_LOST
from otel_bridge_collector.model.runs import has_ended, is_open, report_of
from otel_bridge_collector.views.tree.blocks import Order

__all__ = [
    "all_nodes",
    "has_failed",
    "is_final",
    "is_held",
    "is_virtual",
    "is_virtual_row",
    "node_of",
    "order_of",
    "successor",
]

_SPAN_ID_CHARS = 16


def is_virtual(node: Node) -> bool:
    """Whether it stands for a phase that jobs name and no span is."""
    return node.key is None and node.kind == PHASE


def is_held(node: Node, task: Task) -> bool:
    """Whether a node that was of a task still is: it was neither evicted nor moved."""
    return node.up is not None and node.own.task is task


def is_virtual_row(task: Task, node: Node, phases: set[str | None]) -> bool:
    """
    Return whether a virtual phase is a row though no row is below it.

    The same as ``is_row``, without looking at all phases for each; never raises.

    Args:
        task: Its task.
        node: The phase.
        phases: Names of the task's phases with a span: of one of these a publisher without spans
            reports the same again.
    """
    if task.virtual.get(node.name or "") is not node:
        return False
    if node.agg is not None and any(node.agg):
        return True
    is_reported = node.start is not None or bool(node.ended)
    return is_reported and node.name not in phases


def all_nodes(task: Task) -> Iterator[Node]:
    """Iterate all nodes of a task that is held, in no order; virtual phases are left out."""
    for job in task.jobs.values():
        yield from job.nodes()
    yield from task.roots
    yield from task.spans
    for node in task.tops:
        if node.key is not None:
            yield node


def order_of(node: Node) -> Order:
    """By what a row is sorted among its siblings: when it started or was queued, then its key."""
    if node.key is not None:
        return node.first, node.key, ""
    if node.kind == PHASE:
        first = node.first or job_times(node.own.task, node)[0] or 0
        return first, 0, node.name or ""
    return node.first, 0, node_key(node)


def node_of(model: Fold, task: Task, key: str) -> Node | None:
    """
    Return the node of a task that a key names, whether it is a row or not; never raises.

    Args:
        model: The state.
        task: The task; a node of another one is not found.
        key: As ``node_key`` makes it; any other text gives None.
    """
    if len(key) == _SPAN_ID_CHARS:
        try:
            node = model.tree.nodes.get(int(key, 16))
        except ValueError:
            node = None
        if node is not None:
            return node if node.own.task is task else None
    kind, _, rest = key.partition(":")
    if not rest.startswith(f"{task.id}/"):
        return None
    rest = rest[len(task.id) + 1 :]
    if kind == "phase":
        return task.virtual.get(rest)
    job_id = rest.rpartition("#")[0]
    job = task.jobs.get(job_id)
    code = {"job": JOB, "enqueue": ENQUEUE}.get(kind)
    if job is None or code is None:
        return None
    found = (node for node in job.nodes() if node.key is None and node.kind == code)
    return next((node for node in found if node_key(node) == key), None)


def successor(node: Node) -> Node | None:
    """
    Return the node whose row is there instead of one that was; None if there is none.

    Of an enqueue it is an attempt; of an attempt that was reported without a span, the same one as
    a span. Never raises.
    """
    own = node.own
    if type(own) is not Job:
        return None
    if node.kind != ENQUEUE:
        same = (one for one in own.nodes() if one.key is not None and one.kind == JOB)
        return next((one for one in same if one.attempt == node.attempt), None)
    for kid in children(node):
        if kid.kind == JOB:
            return kid
    return own.win if own.win is not node else None


def is_final(node: Node) -> bool:
    """Whether only an event can change the status of a node's row, and not the time."""
    ended, more = node.ended, node.more
    if ended >> 3 <= RULE or node.key is None:
        return False
    # A lost worker's row ends when it was last heard, and its last heartbeats may come late.
    return more is None or (more.reason != WORKER_LOST and not is_open(node))


def has_failed(node: Node) -> bool:
    """Whether the status of its row is ``failed``; not for the task's own row."""
    if node.ended & 7 == FAILED:
        if node.ended >> 3 != RULE:
            if not is_open(node):
                return True
        elif node.kind in (PHASE, SPAN) and has_ended(node):
            return True
    own = node.own
    if type(own) is not Job:
        return False
    if own.win is node:
        return own.st == FAILED
    report = None if node.kind != JOB else report_of(own, node)
    return report is not None and report.ended & 7 == FAILED and report.ended >> 3 != RULE
