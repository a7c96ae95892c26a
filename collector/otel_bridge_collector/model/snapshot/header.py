"""The numbers of the dashboard's header: of everything, of one project, of a limited reader."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.model.snapshot.cards import OPEN
from otel_bridge_collector.model.snapshot.panels import queue_depths
from otel_bridge_collector.model.stats import Totals, add_up_totals
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.messages import GlobalStats

__all__ = ["Header", "HeaderPart", "header_part", "join_headers", "projects_of"]

SPANS: Final = (10, 60, 300)
"""Seconds over which events, ended jobs and error rates are counted."""
_NO_TOTALS: Final = (Totals(0, 0, 0),) * len(SPANS)


class HeaderPart(msgspec.Struct, array_like=True, frozen=True):
    """
    The numbers of the header as one state, or several together, know them; a record.

    All states know the same of workers and queues, each counts its own tasks.

    Attributes:
        events_in: Events folded.
        online: Workers that live by their heartbeats.
        heard: Ids of workers without heartbeats that are online, by the jobs of each state.
        dropped: Events that workers dropped, according to their latest heartbeats.
        unreadable: Events that could not be read.
        queued: Depths by queue.
        open: Tasks that are not over, by project, and whether limited readers must not see them.
        running: Jobs that run, by type, likewise.
        all: Totals of all projects, over ``SPANS`` seconds.
        of_project: Those of projects: of all with an event in the last 300 s, or of those asked
            for.
        active: Projects with an event in the last minute; empty if projects were asked for.
    """

    events_in: int
    online: int
    heard: Sequence[str]
    dropped: int
    unreadable: int
    queued: dict[str, int]
    open: Sequence[tuple[str | None, bool, int]]
    running: Sequence[tuple[str | None, bool, dict[str, int]]]
    all: Sequence[Totals]
    of_project: dict[str, Sequence[Totals]]
    active: Sequence[str]


def header_part(model: Fold, projects: Iterable[str] | None = None) -> HeaderPart:
    """
    Return the numbers that one state knows; on its event loop. Raises nothing.

    Looks at all tasks, jobs that run and workers, and 20 us for each project.

    Args:
        model: The state, evaluated at the moment in question.
        projects: Count of these projects what ended; default None: of all that had an event in the
            last 300 s.
    """
    now, stats = model.liveness.now, model.stats
    opened: Counter[tuple[str | None, bool]] = Counter()
    running: defaultdict[tuple[str | None, bool], Counter[str]] = defaultdict(Counter)
    for task in model.tasks.by_id.values():
        if model.tasks.is_shown(task) and model.cards.status(task)[0] in OPEN:
            opened[task.project, is_shared(task)] += 1
    for job in model.running:
        name = (job.win and job.win.name) or "job"
        running[job.task.project, is_shared(job.task)][name] += 1
    online, heard, dropped = 0, [], 0
    for worker in model.workers.by_id.values():
        newest = worker.newest
        is_online = model.workers.status(worker, now) == "online"
        if newest is not None:
            dropped += newest.note[1]
            online += is_online
        elif is_online:
            heard.append(str(worker.id))
    names = stats.active_projects(now, max(SPANS)) if projects is None else projects
    return HeaderPart(
        stats.events_in,
        online,
        heard,
        dropped,
        stats.events_unreadable,
        {queue.queue: queue.depth for queue in queue_depths(model)},
        [(*key, count) for key, count in opened.items()],
        [(*key, dict(types)) for key, types in running.items()],
        [stats.totals(now, span) for span in SPANS],
        {name: [stats.totals(now, span, name) for span in SPANS] for name in names},
        stats.active_projects(now) if projects is None else [],
    )


def join_headers(parts: Sequence[HeaderPart]) -> HeaderPart:
    """Add up the numbers of several states, at least one, in any grouping; pure."""
    if len(parts) == 1:
        return parts[0]
    opened: Counter[tuple[str | None, bool]] = Counter()
    running: defaultdict[tuple[str | None, bool], Counter[str]] = defaultdict(Counter)
    totals: defaultdict[str, list[Sequence[Totals]]] = defaultdict(list)
    for part in parts:
        for project, is_hidden, count in part.open:
            opened[project, is_hidden] += count
        for project, is_hidden, types in part.running:
            running[project, is_hidden].update(types)
        for name, found in part.of_project.items():
            totals[name].append(found)
    return HeaderPart(
        sum(part.events_in for part in parts),
        max(part.online for part in parts),
        sorted(set().union(*(part.heard for part in parts))),
        max(part.dropped for part in parts),
        max(part.unreadable for part in parts),
        parts[0].queued,
        [(*key, count) for key, count in opened.items()],
        [(*key, dict(types)) for key, types in running.items()],
        add_up_totals(part.all for part in parts),
        {name: add_up_totals(found) for name, found in totals.items()},
        sorted(set().union(*(part.active for part in parts))),
    )


class Header:
    """
    Counts once what is open, for all projects: the leader asks for each of up to 1,000.

    A record of the moment at which it is made; it does not follow the model, except for the
    statistics of ended jobs. Raises nothing. Looks at all tasks, jobs that run and workers, on the
    collector's event loop.

    Args:
        model: The state, evaluated at the moment in question.
        part: What several states know together, in place of a model; default None.

    Attributes:
        events_in: Events folded since the start.
        open_tasks: Cards (what readers see of tasks) that are not over.
        running: Jobs that run.
        workers_online: Workers that live.
        events_dropped: Events that workers dropped, according to their latest heartbeats.
    """

    def __init__(self, model: Fold | None = None, part: HeaderPart | None = None) -> None:
        if part is None:
            assert model is not None
            part = header_part(model, ())
        self._part = part
        self._model = model
        self.events_in = part.events_in
        self.open_tasks = sum(count for _, _, count in part.open)
        self.running = sum(sum(types.values()) for _, _, types in part.running)
        self.workers_online = part.online + len(part.heard)
        self.events_dropped = part.dropped

    def active_projects(self) -> Sequence[str]:
        """Sorted names of the projects with an event in the last minute."""
        if self._model is None:
            return self._part.active
        return self._model.stats.active_projects(self._model.liveness.now)

    def _totals(self, project_id: str | None) -> Sequence[Totals]:
        """Over 10, 60 and 300 s."""
        if project_id is None:
            return self._part.all
        if self._model is None:
            return self._part.of_project.get(project_id, _NO_TOTALS)
        stats, now = self._model.stats, self._model.liveness.now
        return [stats.totals(now, span, project_id) for span in SPANS]

    def stats(self, project_id: str | None = None) -> GlobalStats:
        """
        Return the numbers of everything or of one project; workers and queues are always all.

        Rates are over the last 10 s (events) and 60 s (ended jobs), error rates over 60 and 300 s.
        They are 0 for a project without events then; an error rate without ended jobs is None.
        Never raises; on the collector's event loop.

        Args:
            project_id: Count only this project's; default None: everything.
        """
        part = self._part
        ten, minute, five = self._totals(project_id)
        by_type: Counter[str] = Counter()
        for project, _, names in part.running:
            if project_id is None or project == project_id:
                by_type.update(names)
        return GlobalStats(
            workers_online=self.workers_online,
            queue_depth=part.queued,
            in_progress=by_type.total(),
            in_progress_by_type=dict(sorted(by_type.items())),
            open_tasks=sum(
                count
                for project, _, count in part.open
                if project_id is None or project == project_id
            ),
            throughput_per_sec=minute.ended_per_sec,
            events_per_sec=round(ten.events / 10, 1),
            error_rate_1m=round(minute.failed / minute.ended, 4) if minute.ended else None,
            error_rate_5m=round(five.failed / five.ended, 4) if five.ended else None,
            events_in=part.events_in,
            events_dropped=part.dropped + part.unreadable,
        )

    def limited_stats(self, event_filter: EventFilter) -> GlobalStats:
        """
        Return the sums over the projects that a limited reader may see; no workers or queues.

        Jobs of a task of several projects are left out. Never raises; on the collector's event
        loop.

        Args:
            event_filter: Its ``projects`` are counted, or of them its ``project_id`` alone; without
                ``projects`` all numbers are 0.
        """
        names = projects_of(event_filter)
        totals = [self._totals(name) for name in names]
        ten, minute, five = ([one[span] for one in totals] for span in range(len(SPANS)))
        ended, failed = sum(t.ended for t in minute), sum(t.failed for t in minute)
        ended5, failed5 = sum(t.ended for t in five), sum(t.failed for t in five)
        by_type: Counter[str] = Counter()
        for project, is_hidden, types in self._part.running:
            if not is_hidden and project in names:
                by_type.update(types)
        return GlobalStats(
            in_progress=by_type.total(),
            in_progress_by_type=dict(sorted(by_type.items())),
            open_tasks=sum(
                count
                for project, is_hidden, count in self._part.open
                if not is_hidden and project in names
            ),
            throughput_per_sec=round(sum(t.ended_per_sec for t in minute), 3),
            events_per_sec=round(sum(t.events for t in ten) / 10, 1),
            error_rate_1m=round(failed / ended, 4) if ended else None,
            error_rate_5m=round(failed5 / ended5, 4) if ended5 else None,
        )


def projects_of(event_filter: EventFilter) -> list[str]:
    """The projects that a limited reader may see, sorted; none for a reader of all. Pure."""
    return sorted(name for name in event_filter.projects or () if event_filter.may_see(name))
