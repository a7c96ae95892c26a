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
    One queue: its depths as reported, and its jobs; a record for the collector's event loop.

    Times are microseconds by the publisher's clock; 0 for none. Raises nothing. No limit of its
    own.

    Args:
        name: Its full name.

    Attributes:
        depth: (ts, depth): the latest report, of two at one time the greater depth; None: none
            came.
        filled: ``ts`` of the latest report of jobs in it.
        empty: ``ts`` of the two latest reports that it is empty, the later first.
        pending: Its jobs that wait.
        lost: Those that waited when it was emptied; they are stalled.
        running: Its jobs that run.
        hosts: Workers that have run jobs of it.
        is_changed: Whether its jobs are to be evaluated in the next sweep (once a second) in any
            case.
        was_emptied_at: At the latest sweep, the first of two reports that it is empty; 0: it was
            not empty, or in use.
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
        """
        Merge one report of its depth, in any order; a repeated one changes nothing.

        On the collector's event loop; never raises. Keeps the latest report, the latest of jobs in
        it, and the two latest that it is empty.

        Args:
            ts: Of the report, microseconds.
            depth: Jobs in the queue, 0 or more; the caller checks that.
        """
        if self.depth is None or (ts, depth) > self.depth:
            self.depth = (ts, depth)
        if depth > 0:
            self.filled = max(self.filled, ts)
        elif ts not in self.empty:
            later, earlier, _ = sorted((*self.empty, ts), reverse=True)
            self.empty = (later, earlier)

    def emptied_at(self) -> int:
        """
        Return ``ts`` of the first of two reports that it is empty; 0 while it is not, or is in use.

        In use: a job of it runs, or a worker that ran its jobs is busy with any job. On the
        collector's event loop; never raises.
        """
        earlier = self.empty[1]
        if earlier <= self.filled or self.running:
            return 0
        is_busy = any(job.st == PROCESSING for host in self.hosts for job in host.open)
        return 0 if is_busy else earlier


class Queues:
    """
    All queues, by full name; for the collector's event loop, without a lock. Raises nothing.

    Args:
        max_queues: Reports of further ones are ignored, which is not logged; the service sets 200.
            Queues are never removed.

    Attributes:
        by_name: The queues held, by full name; empty at first.
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
        """
        Merge a ``queue_depth_update``: depths by queue in ``counts``, ``queue`` or ``meta``.

        The first of the three that has any counts. On the collector's event loop. Never raises: a
        depth that is no whole number of 0 or more, and a queue past the limit (200 by default), is
        ignored.

        Args:
            event: The event; ``meta`` has the depths under ``queue_depth``.
            ts: Of the event, microseconds.
        """
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
