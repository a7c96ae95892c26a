"""The numbers of a reader who is limited to projects count only the work of those projects."""

from __future__ import annotations

from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.limited_stats import limited_stats
from otel_bridge_collector.model.old.records import microseconds
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.wire.filters import EventFilter

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import event, fold, judge


def work_of(project: str, task_type: str) -> list[MonitoringEvent]:
    """One task with a running job, a completed and a failed one."""
    return [
        event(
            second,
            kind,
            project_id=project,
            parent_task_id=f"task of {project}",
            task_id=f"{project} {number}",
            task_type=task_type,
        )
        for second, kind, number in (
            (0, "task_started", 1),
            (1, "task_started", 2),
            (2, "task_completed", 2),
            (2, "task_started", 3),
            (3, "task_failed", 3),
        )
    ]


def folded(events: list[MonitoringEvent]) -> tuple[Judge, RollingStats]:
    stats = RollingStats()
    for one in events:
        stats.observe(one, microseconds(one.ts))
    return judge(fold(events)[0], 10), stats


def test_other_projects_are_not_counted() -> None:
    """With the work of two projects, a reader of one sees what that one alone would show."""
    mine, all_work = work_of("a", "search"), work_of("a", "search") + work_of("b", "mail")
    limited = EventFilter(projects=frozenset({"a"}))
    seen = limited_stats(*folded(all_work), limited)
    assert seen == limited_stats(*folded(mine), limited)
    assert (seen.in_progress_by_type, seen.open_tasks) == ({"search": 1}, 1)
    assert seen.error_rate_1m == 0.5


def test_numbers_are_summed_over_the_projects() -> None:
    """A reader of both projects sees the sum, and one of a third project nothing."""
    found = folded(work_of("a", "search") + work_of("b", "mail"))
    both = limited_stats(*found, EventFilter(projects=frozenset({"a", "b"})))
    assert both.in_progress_by_type == {"mail": 1, "search": 1}
    none = limited_stats(*found, EventFilter(projects=frozenset({"c"})))
    assert (none.in_progress, none.open_tasks, none.error_rate_1m) == (0, 0, None)
