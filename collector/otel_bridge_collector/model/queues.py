"""
Queues: their depths as reported, and the jobs that wait in them.

A purged or deleted queue leaves its jobs pending for ever, and no framework reports it. So a queue
that its broker has reported empty twice, with nothing of it running and none of its workers busy (a
prefetching worker holds jobs that the broker no longer counts), has lost what was in it.
"""

from __future__ import annotations

from typing import Any

from otel_bridge_collector.model.events import PROCESSING, Event, read_meta
from otel_bridge_collector.model.nodes import Host, Job

__all__ = ["Queue", "Queues"]


class Queue:
    """
    One queue.

    Attributes:
        depth: (ts, depth): the latest report, of two at one time the greater depth.
        filled: ``ts`` of the latest report of jobs in it.
        empty: ``ts`` of the two latest reports that it is empty, the later first.
        pending: Its jobs that wait; ``lost``: those that waited when it was emptied.
        running: Its jobs that run.
        hosts: Workers that have run jobs of it.
        is_changed: Whether its jobs are to be evaluated in the next sweep, in any case.
        was_emptied_at: What ``emptied_at`` said at the latest sweep.
    """

    __slots__ = (
        "depth",
        "empty",
        "filled",
        "hosts",
        "is_changed",
        "lost",
        "name",
        "pending",
        "running",
        "was_emptied_at",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.depth: tuple[int, int] | None = None
        self.filled = 0
        self.empty = (0, 0)
        self.pending: set[Job] = set()
        self.lost: set[Job] = set()
        self.running: set[Job] = set()
        self.hosts: set[Host] = set()
        self.is_changed = False
        self.was_emptied_at = 0

    def report(self, ts: int, depth: int) -> None:
        """Merge one report of its depth."""
        if self.depth is None or (ts, depth) > self.depth:
            self.depth = (ts, depth)
        if depth > 0:
            self.filled = max(self.filled, ts)
        elif ts not in self.empty:
            later, earlier, _ = sorted((*self.empty, ts), reverse=True)
            self.empty = (later, earlier)

    def emptied_at(self) -> int:
        """``ts`` of the first of two reports that it is empty; 0 while it is not, or is in use."""
        earlier = self.empty[1]
        if earlier <= self.filled or self.running:
            return 0
        is_busy = any(job.st == PROCESSING for host in self.hosts for job in host.open)
        return 0 if is_busy else earlier


class Queues:
    """
    All queues, by full name.

    Args:
        max_queues: Reports of further ones are passed by.
    """

    def __init__(self, max_queues: int) -> None:
        self.by_name: dict[str, Queue] = {}
        self._max_queues = max_queues

    def queue(self, name: str) -> Queue | None:
        """The queue with this name; None past the limit."""
        queue = self.by_name.get(name)
        if queue is None and len(self.by_name) < self._max_queues:
            queue = self.by_name[name] = Queue(name)
        return queue

    def apply(self, event: Event, ts: int) -> None:
        """Fold a ``queue_depth_update``; depths stand in ``counts``, ``queue`` or ``meta``."""
        depths = _depths(event)
        for name, depth in depths.items():
            if type(depth) is not int or depth < 0:
                continue
            queue = self.queue(name)
            if queue is not None:
                queue.report(ts, depth)
                queue.is_changed = True


def _depths(event: Event) -> dict[str, Any]:
    if event.counts:
        return event.counts
    if isinstance(event.queue, dict):
        return event.queue
    depths = read_meta(event).queue_depth
    return depths if isinstance(depths, dict) else {}
