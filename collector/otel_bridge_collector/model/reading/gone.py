"""
What stays of nodes that are no longer held: 8 bytes each, so that a repeat does not count again.

``Task.gone`` has them, sorted: keys of spans, hashes of job ids, and a mark for each span whose
retry is counted.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from otel_bridge_collector.model.nodes import RETRIED, Job, Node, Task

__all__ = ["hash_of", "is_gone", "remember", "remember_nodes", "retry_of"]

_MASK: Final = (1 << 64) - 1
_ODD: Final = 0x9E3779B97F4A7C15


def hash_of(job_id: str) -> int:
    """What stays of a job that is no longer held."""
    return hash(job_id) & _MASK


def retry_of(key: int) -> int:
    """What stays of a node that is no longer held, and whose retry is counted."""
    return key * _ODD & _MASK


def is_gone(task: Task, value: int) -> bool:
    """Whether a span's key or a job's hash belongs to what the task no longer holds."""
    gone = task.gone
    if gone is None:
        return False
    at = bisect_left(gone, value)
    return at < len(gone) and gone[at] == value


def remember(task: Task, value: int) -> None:
    """Keep one thing more of a task from which nodes have left."""
    gone = task.gone
    assert gone is not None
    gone.insert(bisect_left(gone, value), value)


def remember_nodes(task: Task, nodes: Sequence[Node]) -> None:
    """
    Keep what stays of nodes that are about to leave a task that goes on.

    Args:
        task: The task; ``gone`` of it is replaced.
        nodes: Still linked to their jobs.
    """
    values = {node.key for node in nodes if node.key is not None}
    values.update(hash_of(node.own.id) for node in nodes if type(node.own) is Job)
    values.update(
        retry_of(node.key) for node in nodes if node.key is not None and node.marks & RETRIED
    )
    task.gone = array("Q", sorted(values.union(task.gone or ())))
