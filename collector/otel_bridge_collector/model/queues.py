"""
Queues: their depths as reported, and the jobs that wait in them.

A purged or deleted queue leaves its jobs pending for ever, and no framework reports it. So a queue
that its broker has reported empty twice, with nothing of it running and none of its workers busy (a
prefetching worker holds jobs that the broker no longer counts), has lost what was in it.

The job that has waited for longest is found without a look at all that wait: jobs that come are
noted, and only a reader puts them into a heap, from whose top those that wait no more are removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush, heapreplace
from itertools import pairwise
from typing import Any, Final

from otel_bridge_collector.model.events import ENQUEUE, PROCESSING, Event, read_meta, short_name
from otel_bridge_collector.model.nodes import Host, Job

__all__ = ["Queue", "Queues"]

_MAX_PRIORITIES: Final = 32
"""Of one queue; those after the first ones by name are left out."""
_SLACK: Final = 64
_POINT_US: Final = 10_000_000
"""Between two points of the trend of a depth: workers report depths every 5 to 15 s."""
_MAX_POINTS: Final = 60
"""Ten minutes. At 200 queues the points take some 2 MB."""


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
        priorities: Depths by priority of that report, sorted by name; empty: it has none.
        filled: ``ts`` of the latest report of jobs in it.
        empty: ``ts`` of the two latest reports that it is empty, the later first.
        pending: Its jobs that wait.
        lost: Those that waited when it was emptied; they are stalled.
        running: Its jobs that run.
        hosts: Workers that have run jobs of it, or say that they take jobs from it.
        is_changed: Whether its jobs are to be evaluated in the next sweep (once a second) in any
            case.
        was_emptied_at: At the latest sweep, the first of two reports that it is empty; 0: it was
            not empty, or in use.
        is_used_elsewhere: Whether jobs that another state holds may be of it, or keep one of its
            workers busy; False: they do not, or there is no other state.
    """

    __slots__ = (
        "_arrived",
        "_heap",
        "_number",
        "_points",
        "depth",
        "empty",
        "filled",
        "hosts",
        "is_changed",
        "is_used_elsewhere",
        "lost",
        "name",
        "pending",
        "priorities",
        "running",
        "was_emptied_at",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.depth: tuple[int, int] | None = None
        self.priorities: tuple[tuple[str, int], ...] = ()
        self.filled = 0
        self.empty = (0, 0)
        self.pending: set[Job] = set()
        self.lost: set[Job] = set()
        self.running: set[Job] = set()
        self.hosts: set[Host] = set()
        self.is_changed = False
        self.is_used_elsewhere = False
        self.was_emptied_at = 0
        self._arrived: list[Job] = []
        self._heap: list[tuple[int, int, Job]] = []
        """(since when it waits, number, job); an entry may be out of date, but never too late."""
        self._number = 0
        self._points: dict[int, tuple[int, int]] = {}
        """The latest report of each 10 s, as ``depth``; the newest 60."""

    def report(self, ts: int, depth: int, priorities: tuple[tuple[str, int], ...] = ()) -> None:
        """
        Merge one report of its depth, in any order; a repeated one changes nothing.

        On the collector's event loop; never raises. Keeps the latest report, the latest of jobs in
        it, the two latest that it is empty, and the latest of each 10 s for the trend.

        Args:
            ts: Of the report, microseconds.
            depth: Jobs in the queue, 0 or more; the caller checks that.
            priorities: The same by priority, sorted; default: the broker has none.
        """
        if self.depth is None or (ts, depth, priorities) > (*self.depth, self.priorities):
            self.depth = (ts, depth)
            self.priorities = priorities
        if depth > 0:
            self.filled = max(self.filled, ts)
        elif ts not in self.empty:
            later, earlier, _ = sorted((*self.empty, ts), reverse=True)
            self.empty = (later, earlier)
        points = self._points
        at = ts // _POINT_US
        points[at] = max(points.get(at, (ts, depth)), (ts, depth))
        if len(points) > _MAX_POINTS:
            del points[min(points)]

    def trend(self, since: int) -> list[tuple[int, int]]:
        """
        Return how its depth went, as (ts, depth), the oldest first; at most 60 points, 10 s each.

        On the collector's event loop; never raises.

        Args:
            since: Leave out what was reported before, microseconds.
        """
        return sorted(point for point in self._points.values() if point[0] >= since)

    def filled_since(self) -> int | None:
        """Since when each report says that jobs are in it, as far as is held; None: none does."""
        if self.depth is None or not self.depth[1]:
            return None
        return min((ts for ts, _ in self._points.values() if ts > self.empty[0]), default=None)

    def fell_at(self) -> int:
        """When its depth was last reported lower than before: something was taken; 0: never."""
        points = self.trend(0)
        falls = (b[0] for a, b in pairwise(points) if b[1] < a[1])
        return max(falls, default=0)

    def emptied_at(self) -> int:
        """
        Return ``ts`` of the first of two reports that it is empty; 0 while it is not, or is in use.

        In use: a job of it runs, or a worker that ran its jobs is busy with any job. On the
        collector's event loop; never raises.
        """
        earlier = self.empty[1]
        return 0 if earlier <= self.filled or self.is_in_use() else earlier

    def is_in_use(self) -> bool:
        """Whether a job of it runs, or a worker that takes from it is busy with any job."""
        if self.running or self.is_used_elsewhere:
            return True
        return any(job.st == PROCESSING for host in self.hosts for job in host.open)

    def unsure(self) -> Iterator[Job]:
        """Yield the jobs whose verdict may have changed since the last call; evaluate each."""
        if not self.pending and not self.lost:
            self._arrived.clear()
            self._heap.clear()
            return
        emptied_at = self.emptied_at()
        if self.is_changed or emptied_at != self.was_emptied_at:
            self.was_emptied_at = emptied_at
            yield from list(self.pending if emptied_at else self.lost)
            self.is_changed = False
        if len(self._arrived) + len(self._heap) > 2 * len(self.pending) + _SLACK:
            self._arrived = list(self.pending)
            self._heap.clear()

    # --- what has waited for longest -------------------------------------------------------------

    def arrived(self, job: Job) -> None:
        """A job waits in the queue, or a fact of one that does has changed."""
        self._arrived.append(job)

    def oldest(self, now: int) -> int | None:
        """
        Return since when the job waits that has waited for longest, in microseconds.

        A job with a delay waits from its end on; if that is not known, it is left out. None: none
        waits. Takes time for those that have come since the last call, and those that have left. On
        the collector's event loop; never raises.

        Args:
            now: Microseconds.
        """
        heap = self._heap
        for job in self._arrived:
            since = _waits_since(job) if job in self.pending else None
            if since is not None:
                self._number += 1
                heappush(heap, (since, self._number, job))
        self._arrived = []
        while heap:
            known, number, job = heap[0]
            since = _waits_since(job) if job in self.pending else None
            if since is None:
                heappop(heap)
            elif since > known:
                heapreplace(heap, (since, number, job))
            else:
                return known if known <= now else None
        return None


def _waits_since(job: Job) -> int | None:
    node = job.win
    if node is None or node.kind != ENQUEUE or node.start is None:
        return None
    more = node.more
    if more is None or not more.is_delayed:
        return node.start
    return max(node.start, more.due) if more.due else None


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

    def note_worker(self, worker: Host, names: Sequence[str]) -> None:
        """Note that a worker takes jobs from these queues: while it is busy, it may hold some."""
        for name in names:
            queue = self.queue(name)
            if queue is not None:
                queue.hosts.add(worker)

    def apply(self, event: Event, ts: int) -> None:
        """
        Merge a ``queue_depth_update``: depths by queue in ``counts``, ``queue`` or ``meta``.

        The first of the three that has any counts. On the collector's event loop. Never raises: a
        depth that is no whole number of 0 or more, and a queue past the limit (200 by default), is
        ignored. Depths by priority stand in ``meta`` under ``priorities``, by queue.

        Args:
            event: The event; ``meta`` has the depths under ``queue_depth``.
            ts: Of the event, microseconds.
        """
        depths = _depths(event)
        priorities = read_meta(event).priorities
        if not isinstance(priorities, dict):
            priorities = {}
        for name, depth in depths.items():
            if type(depth) is not int or depth < 0:
                continue
            queue = self.queue(name)
            if queue is not None:
                queue.report(ts, depth, _by_priority(priorities.get(name)))
                queue.is_changed = True


def _by_priority(depths: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(depths, dict):
        return ()
    known = ((str(name), depth) for name, depth in depths.items() if type(depth) is int)
    found = sorted((short_name(name), depth) for name, depth in known if depth >= 0)
    return tuple(found[:_MAX_PRIORITIES])


def _depths(event: Event) -> dict[str, Any]:
    if event.counts:
        return event.counts
    if isinstance(event.queue, dict):
        return event.queue
    depths = read_meta(event).queue_depth
    return depths if isinstance(depths, dict) else {}
