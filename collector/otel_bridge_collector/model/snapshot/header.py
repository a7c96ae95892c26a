"""The numbers of the dashboard's header: of everything, of one project, of a limited reader."""

from __future__ import annotations

from collections import Counter, defaultdict

from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.model.snapshot.cards import OPEN
from otel_bridge_collector.model.snapshot.panels import queue_depths
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.messages import GlobalStats

__all__ = ["Header"]


class Header:
    """
    Counts once what is open, for all projects: the leader asks for each of up to 1,000.

    A record of the moment at which it is made; it does not follow the model, except for the
    statistics of ended jobs. Raises nothing. Looks at all tasks, jobs that run and workers, on the
    collector's event loop.

    Args:
        model: The state, evaluated at the moment in question.

    Attributes:
        open_tasks: Cards (what readers see of tasks) that are not over.
        running: Jobs that run.
        workers_online: Workers that live.
        events_dropped: Events that workers dropped, according to their latest heartbeats.
    """

    def __init__(self, model: Fold) -> None:
        self._model = model
        self._now = model.liveness.now
        self._open: Counter[tuple[str | None, bool]] = Counter()
        self._running: defaultdict[tuple[str | None, bool], Counter[str]] = defaultdict(Counter)
        for task in model.tasks.by_id.values():
            if model.tasks.is_shown(task) and model.cards.status(task)[0] in OPEN:
                self._open[task.project, is_shared(task)] += 1
        for job in model.running:
            name = (job.win and job.win.name) or "job"
            self._running[job.task.project, is_shared(job.task)][name] += 1
        self.open_tasks = self._open.total()
        self.running = len(model.running)
        workers = list(model.workers.by_id.values())
        self.workers_online = sum(
            model.workers.status(worker, self._now) == "online" for worker in workers
        )
        newest = [worker.newest for worker in workers]
        self.events_dropped = sum(one.note[1] for one in newest if one is not None)

    def stats(self, project_id: str | None = None) -> GlobalStats:
        """
        Return the numbers of everything or of one project; workers and queues are always all.

        Rates are over the last 10 s (events) and 60 s (ended jobs), error rates over 60 and 300 s.
        They are 0 for a project without events then; an error rate without ended jobs is None.
        Never raises; on the collector's event loop.

        Args:
            project_id: Count only this project's; default None: everything.
        """
        model, stats = self._model, self._model.stats
        minute = stats.totals(self._now, 60, project_id)
        five = stats.totals(self._now, 300, project_id)
        by_type: Counter[str] = Counter()
        for (project, _), names in self._running.items():
            if project_id is None or project == project_id:
                by_type.update(names)
        return GlobalStats(
            workers_online=self.workers_online,
            queue_depth={queue.queue: queue.depth for queue in queue_depths(model)},
            in_progress=by_type.total(),
            in_progress_by_type=dict(sorted(by_type.items())),
            open_tasks=sum(
                count
                for (project, _), count in self._open.items()
                if project_id is None or project == project_id
            ),
            throughput_per_sec=minute.ended_per_sec,
            events_per_sec=round(stats.totals(self._now, 10, project_id).events / 10, 1),
            error_rate_1m=round(minute.failed / minute.ended, 4) if minute.ended else None,
            error_rate_5m=round(five.failed / five.ended, 4) if five.ended else None,
            events_in=stats.events_in,
            events_dropped=self.events_dropped + stats.events_unreadable,
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
        stats = self._model.stats
        names = [name for name in event_filter.projects or () if event_filter.may_see(name)]
        minute = [stats.totals(self._now, 60, name) for name in names]
        five = [stats.totals(self._now, 300, name) for name in names]
        ended, failed = sum(t.ended for t in minute), sum(t.failed for t in minute)
        ended5, failed5 = sum(t.ended for t in five), sum(t.failed for t in five)
        by_type: Counter[str] = Counter()
        for name in names:
            by_type.update(self._running.get((name, False), {}))
        events = sum(stats.totals(self._now, 10, name).events for name in names)
        return GlobalStats(
            in_progress=by_type.total(),
            in_progress_by_type=dict(sorted(by_type.items())),
            open_tasks=sum(self._open[name, False] for name in names),
            throughput_per_sec=round(sum(t.ended_per_sec for t in minute), 3),
            events_per_sec=round(events / 10, 1),
            error_rate_1m=round(failed / ended, 4) if ended else None,
            error_rate_5m=round(failed5 / ended5, 4) if ended5 else None,
        )
