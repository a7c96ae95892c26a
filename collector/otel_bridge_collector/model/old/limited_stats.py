"""The header's numbers for a token limited to projects: nothing shared, nothing of others."""

from __future__ import annotations

from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.snapshot import OPEN_STATUSES
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.messages import GlobalStats

__all__ = ["limited_stats"]


def limited_stats(judge: Judge, stats: RollingStats, wanted: EventFilter) -> GlobalStats:
    """The header's numbers for a reader limited to projects: sums of theirs, nothing shared."""
    state = judge.state
    names = [name for name in wanted.projects or () if wanted.may_see(name)]
    minute = [stats.totals(judge.now, 60, name) for name in names]
    five = [stats.totals(judge.now, 300, name) for name in names]
    ended, failed = sum(t.ended for t in minute), sum(t.failed for t in minute)
    ended5, failed5 = sum(t.ended for t in five), sum(t.failed for t in five)
    by_type: dict[str, int] = {}
    for job in state.processing.values():
        if wanted.may_see(job.project_id) and not job.is_mixed:
            name = job.task_type or "job"
            by_type[name] = by_type.get(name, 0) + 1
    return GlobalStats(
        in_progress=sum(by_type.values()),
        in_progress_by_type=dict(sorted(by_type.items())),
        open_tasks=sum(
            judge.task_status(task) in OPEN_STATUSES
            for task in state.tasks.values()
            if wanted.may_see(task.project_id) and not task.is_mixed
        ),
        throughput_per_sec=round(sum(t.ended_per_sec for t in minute), 3),
        events_per_sec=round(sum(stats.totals(judge.now, 10, n).events for n in names) / 10, 1),
        error_rate_1m=round(failed / ended, 4) if ended else None,
        error_rate_5m=round(failed5 / ended5, 4) if ended5 else None,
    )
