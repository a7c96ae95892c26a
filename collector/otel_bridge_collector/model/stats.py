"""
``RollingStats``: events, ended jobs and failed jobs by second, in all and per project.

They are kept apart from the state because they cover the last five minutes only. An event counts in
the second in which the collector saw it (see ``Fold.apply``), so that a worker's wrong clock
does not change the throughput.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from otel_bridge_collector.model.nodes import Task

__all__ = ["RollingStats", "Totals", "add_up_totals"]

_KEEP_SEC: Final = 300
_MAX_PROJECTS: Final = 1000
_MIN_RATED_SEC: Final = 10
"""A rate is computed over at least this long, because fewer seconds give no useful rate."""


class Totals(NamedTuple):
    """Sums over the last seconds."""

    events: int
    ended: int
    """Ended jobs, failed ones included."""
    failed: int
    active_sec: int = 0
    """Seconds since the first event among them."""

    @property
    def ended_per_sec(self) -> float:
        """Jobs ended per second since the first event, so that new work does not look slow."""
        return round(self.ended / max(_MIN_RATED_SEC, self.active_sec), 3)


def add_up_totals(parts: Iterable[Sequence[Totals]]) -> list[Totals]:
    """
    Add up what several states counted, each of its own events; pure.

    Args:
        parts: Of each the totals of the same windows in the same order.

    Raises:
        ValueError: They differ in length.
    """
    return [
        Totals(
            sum(one.events for one in every),
            sum(one.ended for one in every),
            sum(one.failed for one in every),
            max(one.active_sec for one in every),
        )
        for every in zip(*parts, strict=True)
    ]


class _Window:
    __slots__ = ("counts", "second", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[int, list[int]] = {}
        self.second = -1
        """Of the latest event; ``counts`` are that second's events, ends and failures."""
        self.counts = [0, 0, 0]

    def at(self, second: int) -> list[int]:
        """Events, ends and failures of one second."""
        if second == self.second:
            return self.counts
        counts = self.seconds.get(second)
        if counts is None:
            counts = self.seconds[second] = [0, 0, 0]
            if len(self.seconds) > 2 * _KEEP_SEC:
                newest = max(self.seconds)
                for old in [s for s in self.seconds if s <= newest - _KEEP_SEC]:
                    del self.seconds[old]
        self.second, self.counts = second, counts
        return counts

    def totals(self, now_sec: int, span_sec: int) -> Totals:
        found = [0, 0, 0]
        first = now_sec
        # Without the current second, which is not over and would lower a rate.
        for second in range(now_sec - span_sec, now_sec):
            counts = self.seconds.get(second)
            if counts is not None:
                first = min(first, second)
                for index, value in enumerate(counts):
                    found[index] += value
        events, ended, failed = found
        return Totals(events, ended, failed, now_sec - first)

    def ended_by_second(self, now_sec: int, span_sec: int) -> list[int]:
        seconds = self.seconds
        return [
            counts[1] if (counts := seconds.get(second)) is not None else 0
            for second in range(now_sec - span_sec, now_sec)
        ]


class RollingStats:
    """
    Counts events, ended jobs and failed jobs by second, over the last 300 s, in all and by project.

    At most 1,000 projects are kept; beyond that, the one without events for the longest time is
    removed. Seconds are by the collector's clock, so that a worker's wrong clock changes nothing.
    For the collector's event loop, without a lock. Raises nothing.

    Attributes:
        events_in: Events observed since the start.
        events_unreadable: Events since the start that could not be decoded or merged into the
            state.
        events_not_held: Events since the start about nodes that are not in memory: they left, or
            nothing could leave for them.
        waiting: Tasks with events of the current second that are counted when it is over: ten steps
            for each task of a second instead of 40 for each event.
        second_from, second_to: Start and end of the current second, microseconds since the Unix
            epoch.
    """

    def __init__(self) -> None:
        self._all = _Window()
        self._projects: OrderedDict[str, _Window] = OrderedDict()
        self.events_in = 0
        self.events_unreadable = 0
        self.events_not_held = 0
        self.waiting: list[Task] = []
        self.second_from = self.second_to = 0

    def begin_second(self, seen: int) -> None:
        """Another second begins: what ``waiting`` holds belongs to the one before."""
        self._count_waiting()
        self.second_from = seen // 1_000_000 * 1_000_000
        self.second_to = self.second_from + 1_000_000

    def _count_waiting(self) -> None:
        for task in self.waiting:
            for counts in self._at(self.second_from, task.project):
                counts[0] += task.events
                counts[1] += task.ends
                counts[2] += task.failures
            task.events = task.ends = task.failures = 0
        self.waiting.clear()

    def count_event(self, seen: int, project_id: str | None) -> None:
        """
        Count one event of a project, or of none; the caller leaves out the leader's own statistics.

        On the collector's event loop; raises nothing.

        Args:
            seen: When the collector saw it, in microseconds since the Unix epoch.
            project_id: Of the event, or of its task; None: it counts in the totals only.
        """
        self.events_in += 1
        for counts in self._at(seen, project_id):
            counts[0] += 1

    def count_end(self, seen: int, project_id: str | None, is_failed: bool) -> None:
        """
        Count a job that ended; the caller counts one that was reported twice only once.

        On the collector's event loop; raises nothing.

        Args:
            seen: When the collector saw it, in microseconds since the Unix epoch.
            project_id: None: it counts in the totals only.
            is_failed: Count it as failed too.
        """
        for counts in self._at(seen, project_id):
            counts[1] += 1
            counts[2] += is_failed

    def _at(self, seen: int, project_id: str | None) -> list[list[int]]:
        """The counts of a second, of all and of the project."""
        second = seen // 1_000_000
        found = [self._all.at(second)]
        if project_id is not None:
            found.append(self._window(project_id, second).at(second))
        return found

    def _window(self, project_id: str, second: int) -> _Window:
        window = self._projects.get(project_id)
        if window is None:
            window = self._projects[project_id] = _Window()
            if len(self._projects) > _MAX_PROJECTS:
                self._projects.popitem(last=False)
        elif window.second != second:
            self._projects.move_to_end(project_id)
        return window

    def totals(self, now: int, span_sec: int, project_id: str | None = None) -> Totals:
        """
        Return the sums over the last whole seconds before ``now``; the current second is left out.

        They are ``events``, ``ended`` (jobs, also failed ones), ``failed`` (jobs) and
        ``active_sec``, the seconds since the first event among them. Raises nothing; zeros for a
        project that is not known (any more). On the collector's event loop.

        Args:
            now: Microseconds since the Unix epoch.
            span_sec: The number of seconds; more than 300 counts as 300.
            project_id: Count only events of this project; None, by default: all events.
        """
        self._count_waiting()
        window = self._all if project_id is None else self._projects.get(project_id)
        if window is None:
            return Totals(0, 0, 0)
        return window.totals(now // 1_000_000, min(span_sec, _KEEP_SEC))

    def ended_by_second(
        self, now: int, span_sec: int = 60, project_id: str | None = None
    ) -> list[int]:
        """
        Return how many jobs ended in each of the last whole seconds before ``now``, oldest first.

        Raises nothing; zeros for a project that is not known (any more). On the collector's event
        loop.

        Args:
            now: Microseconds since the Unix epoch.
            span_sec: The number of seconds, at most 300, which is not checked; default 60.
            project_id: Count only jobs of this project; None, by default: all.
        """
        self._count_waiting()
        window = self._all if project_id is None else self._projects.get(project_id)
        if window is None:
            return [0] * span_sec
        return window.ended_by_second(now // 1_000_000, span_sec)

    def active_projects(self, now: int, span_sec: int = 60) -> list[str]:
        """Sorted names of the projects with an event in the last ``span_sec`` seconds."""
        self._count_waiting()
        return sorted(
            name
            for name, window in self._projects.items()
            if max(window.seconds, default=0) >= now // 1_000_000 - span_sec
        )
