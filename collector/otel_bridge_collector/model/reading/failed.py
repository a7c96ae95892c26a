"""``FailedJob``: what is said of one failure, also once its node is no longer held."""

from __future__ import annotations

import msgspec

from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.reading.keys import node_key, phase_of, worker_id_of

__all__ = ["FailedJob", "Order", "failed_job", "order_of"]

Order = tuple[int, str, int, int, str]
"""What failures are sorted by: end, job (of what is no job its task), span, attempt and run."""


class FailedJob(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """
    One failed node: an attempt of a job, an enqueue or a research task. An immutable record.

    Made of a node that is held, and kept once that is evicted: 456 bytes with its ids (tracemalloc,
    CPython 3.11); other texts are shared with other nodes. Checks nothing.

    Attributes:
        order: What failures are sorted by; its first is the end, microseconds.
        task: The id of its research task, or the trace id of work without one.
        node: The key of its row in the view ``tree``.
        job: The job's id; None for what is no job, as for the next five if they are not known.
        name: The job's type.
        phase: Its phase.
        error: Why it failed, at most 500 characters.
        reason: Why it failed, if that was not its own error, such as ``time_limit``.
        worker: Who ran it.
        stack: The span, 16 hex digits, whose stack is that of this failure.
    """

    order: Order
    task: str
    node: str
    job: str | None
    name: str | None
    phase: str | None
    error: str | None
    reason: str | None
    worker: int | str | None
    stack: str | None


def order_of(node: Node) -> Order:
    """What a failed node is sorted by, the latest end last; no two of a task compare equal."""
    own = node.own
    job_id = own.id if type(own) is Job else own.task.id
    return node.end, job_id, node.key or 0, node.attempt, node.run or ""


def failed_job(node: Node) -> FailedJob:
    """Return what is said of a failed node that is held; on the model's event loop."""
    own, more = node.own, node.more
    return FailedJob(
        order=order_of(node),
        task=own.task.id,
        node=node_key(node),
        job=own.id if type(own) is Job else None,
        name=node.name,
        phase=phase_of(node),
        error=node.error,
        reason=None if more is None else more.reason,
        worker=worker_id_of(node),
        stack=None if more is None else more.stack,
    )
