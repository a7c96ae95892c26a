"""
Which nodes of a task are rows of its tree, and the keys of these rows.

The views ``tree``, ``job`` and ``search`` use these two functions, so that a key that one of them
gives names a row of the others. The row above a node is its container, ``node.up``; where that is
the task, it is the task's own row.
"""

from __future__ import annotations

from otel_bridge_collector.model.events import ENQUEUE, JOB, PHASE
from otel_bridge_collector.model.nodes import Job, Node, children
from otel_bridge_collector.model.reading.phases import is_phase_shown
from otel_bridge_collector.model.runs import is_shadowed, runs_of

__all__ = ["is_row", "node_key"]


def node_key(node: Node) -> str:
    """
    Return the key of a node's row: the same for the same node, and no other row of its task has it.

    Its span id, 16 hex digits. Without a span, in a task ``t``: ``job:t/j#0`` for attempt 0 of the
    job ``j``, ``enqueue:t/j#0`` for its enqueue, ``phase:t/p`` for the phase ``p``, ``task:t`` for
    the task. Never raises; from any thread.
    """
    key, own = node.key, node.own
    if key is not None:
        return f"{key:016x}"
    if type(own) is Job:
        kind = "enqueue" if node.kind == ENQUEUE else "job"
        return f"{kind}:{own.task.id}/{own.id}#{node.attempt}"
    return f"phase:{own.task.id}/{node.name}" if node.kind == PHASE else f"task:{own.task.id}"


def is_row(node: Node) -> bool:
    """
    Return whether people see a row for a node; never raises. On the model's event loop.

    True for a task, an attempt of a job and any span. An enqueue has a row until an attempt of its
    run starts: after that it is the attempt's waiting time. A phase that only its jobs name has one
    while it has jobs or facts of its own. False for what only repeats an attempt that is known as a
    span.

    Args:
        node: One of the model's.
    """
    own = node.own
    if type(own) is not Job:
        return node.kind != PHASE or is_phase_shown(node)
    if node.kind == JOB:
        return node.key is not None or not is_shadowed(node, own)
    return not _is_started(node, own)


def _is_started(enqueue: Node, job: Job) -> bool:
    """Whether an attempt of its run is known that it, or a later enqueue of the run, led to."""
    first = job.first
    if first is None or first.next is None:
        return False  # most that wait: nothing but the enqueue
    if any(kid.kind == JOB for kid in children(enqueue)):
        return True
    for run in runs_of(job):
        if enqueue in run.enqueues:
            return any(node.attempt >= enqueue.attempt for node in run.attempts)
    return False
