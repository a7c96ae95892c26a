"""Rolling counts."""

from __future__ import annotations

from otel_bridge_collector.model.stats import RollingStats, Totals

from tests.support.folding import START, event

SECOND = 1_000_000
T0 = int(START.timestamp()) * SECOND


def test_counts_by_second_and_project() -> None:
    """Ends and failures of the last minute are counted, for all and per project."""
    stats = RollingStats()
    for n in range(10):
        kind = "task_failed" if n % 5 == 0 else "task_completed"
        ended = event(n, kind, project_id="pq"[n % 2], parent_task_id="t", task_id=f"j{n}")
        stats.observe(ended, T0 + n * SECOND)
    assert Totals(10, 10, 2, 20) == stats.totals(T0 + 20 * SECOND, 60)
    assert Totals(5, 5, 1, 20) == stats.totals(T0 + 20 * SECOND, 60, "p")
    assert Totals(5, 5, 1, 60) == stats.totals(T0 + 65 * SECOND, 60)
    assert Totals(0, 0, 0) == stats.totals(T0, 60, "nobody")


def test_work_that_began_just_now_is_not_slow() -> None:
    """A rate is per second since there are events, of ten at least and a minute at most."""
    stats = RollingStats()
    for n in range(100):
        ended = event(n, "task_completed", parent_task_id="t", task_id=f"j{n}")
        stats.observe(ended, T0 + n * SECOND)
    rates = [stats.totals(T0 + n * SECOND, 60).ended_per_sec for n in (5, 20, 100)]
    assert rates == [0.5, 1.0, 1.0]
    assert stats.totals(T0 + 1000 * SECOND, 60).ended_per_sec == 0.0


def test_root_end_is_no_job_end() -> None:
    """A research task's own end counts as an event, not as an ended job."""
    stats = RollingStats()
    stats.observe(event(0, "task_completed", parent_task_id="t", task_id="t"), T0)
    assert Totals(1, 0, 0, 1) == stats.totals(T0 + SECOND, 60)


def test_own_stats_keep_no_project_active() -> None:
    """The collector's own stats neither count nor make a project active."""
    stats = RollingStats()
    stats.observe(event(0, "task_started", project_id="p", task_id="j"), T0)
    stats.observe(event(90, "stats_snapshot", project_id="p"), T0 + 90 * SECOND)
    assert stats.active_projects(T0 + 30 * SECOND) == ["p"]
    assert stats.active_projects(T0 + 91 * SECOND) == []
    assert stats.events_in == 1


def test_memory_is_bounded_in_time_and_projects() -> None:
    """Seconds past five minutes and the longest silent projects are forgotten."""
    stats = RollingStats()
    for n in range(5000):
        stats.observe(event(0, "task_started", project_id=f"p{n}"), T0 + n * SECOND)
    assert Totals(300, 0, 0, 300) == stats.totals(T0 + 5000 * SECOND, 100_000)
    assert Totals(0, 0, 0) == stats.totals(T0 + 5000 * SECOND, 300, "p0")
