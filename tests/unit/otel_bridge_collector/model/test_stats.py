"""Rolling counts by second, in all and per project."""

from __future__ import annotations

from otel_bridge_collector.model.stats import RollingStats, Totals

from tests.support.folding import START, event, fold

SECOND = 1_000_000
T0 = int(START.timestamp()) * SECOND


def count(stats: RollingStats, seconds: float, project: str | None, end: str | None = None) -> None:
    """One event of a project; ``end``: it ended a job so."""
    seen = T0 + int(seconds * SECOND)
    stats.count_event(seen, project)
    if end is not None:
        stats.count_end(seen, project, end == "failed")


def test_counts_by_second_and_project() -> None:
    """Ended and failed jobs of the last minute are counted in all and per project."""
    stats = RollingStats()
    for n in range(10):
        count(stats, n, "pq"[n % 2], "failed" if n % 5 == 0 else "completed")
    assert Totals(10, 10, 2, 20) == stats.totals(T0 + 20 * SECOND, 60)
    assert Totals(5, 5, 1, 20) == stats.totals(T0 + 20 * SECOND, 60, "p")
    assert Totals(5, 5, 1, 60) == stats.totals(T0 + 65 * SECOND, 60)
    assert Totals(0, 0, 0) == stats.totals(T0, 60, "unknown")


def test_work_just_started_does_not_look_slow() -> None:
    """A rate is taken over the time since the first event: 10 s at least, a minute at most."""
    stats = RollingStats()
    for n in range(100):
        count(stats, n, None, "completed")
    rates = [stats.totals(T0 + n * SECOND, 60).ended_per_sec for n in (5, 20, 100)]
    assert rates == [0.5, 1.0, 1.0]
    assert stats.totals(T0 + 1000 * SECOND, 60).ended_per_sec == 0.0


def test_the_end_of_a_research_task_is_no_ended_job() -> None:
    """A research task's own end counts as an event, not as an ended job."""
    stats = fold([event(0, "task_completed", parent_task_id="t", task_id="t")]).stats
    assert Totals(1, 0, 0, 1) == stats.totals(T0 + SECOND, 60)


def test_own_stats_keep_no_project_active() -> None:
    """The leader's own statistics are not counted and keep no project active."""
    started = event(0, "task_started", project_id="p", task_id="j", parent_task_id="t")
    stats = fold([started, event(90, "stats_snapshot", project_id="p")]).stats
    assert stats.active_projects(T0 + 30 * SECOND) == ["p"]
    assert stats.active_projects(T0 + 91 * SECOND) == []
    assert stats.events_in == 1


def test_memory_is_bounded_in_time_and_projects() -> None:
    """Seconds older than five minutes, and projects beyond 1,000, are removed."""
    stats = RollingStats()
    for n in range(5000):
        count(stats, n, f"p{n}")
    assert Totals(300, 0, 0, 300) == stats.totals(T0 + 5000 * SECOND, 100_000)
    assert Totals(0, 0, 0) == stats.totals(T0 + 5000 * SECOND, 300, "p0")


def test_several_events_in_one_second_add_up() -> None:
    """Events, ends and failures of one second are summed, for all and for their project."""
    stats = RollingStats()
    for n, end in enumerate(["failed", "failed", "completed", None]):
        count(stats, n / 4, "p", end)
    expected = Totals(4, 3, 2, 1)
    assert [stats.totals(T0 + SECOND, 60), stats.totals(T0 + SECOND, 60, "p")] == [expected] * 2
    assert (stats.events_in, stats.events_unreadable) == (4, 0)


def test_a_rate_has_three_decimals() -> None:
    """One job in fifteen seconds is 0.067 jobs per second."""
    assert Totals(1, 1, 0, 15).ended_per_sec == 0.067


def test_seconds_are_forgotten_only_past_five_minutes() -> None:
    """A second counts for exactly five minutes, however many seconds had events."""
    stats = RollingStats()
    for n in range(601):
        count(stats, n, None)
    kept = stats._all.seconds
    assert (len(kept), min(kept)) == (300, T0 // SECOND + 301)
    assert Totals(300, 0, 0, 300) == stats.totals(T0 + 601 * SECOND, 300)


def test_events_come_from_work_without_a_project_too() -> None:
    """An event without a project counts for everything, and makes no project active."""
    stats = RollingStats()
    count(stats, 0, None)
    assert stats.active_projects(T0 + SECOND) == []
    assert stats.totals(T0 + SECOND, 60).events == 1


def test_the_project_that_was_quiet_longest_is_forgotten() -> None:
    """Of more than 1,000 projects the one leaves whose last event is the oldest."""
    stats = RollingStats()
    for second, n in enumerate([*range(1000), 0, 1000]):
        count(stats, second / 1000, f"p{n}")
    remembered = stats.active_projects(T0 + 2 * SECOND)
    assert (len(remembered), "p0" in remembered, "p1" in remembered) == (1000, True, False)
    assert "p1000" in remembered


def test_a_project_is_active_for_a_minute() -> None:
    """A project counts as active up to 60 seconds after its last event, in whole seconds."""
    stats = RollingStats()
    count(stats, 0.5, "p")
    assert stats.active_projects(T0 + 60 * SECOND + SECOND - 1) == ["p"]
    assert stats.active_projects(T0 + 61 * SECOND) == []


def test_a_second_may_be_counted_again_after_another() -> None:
    """When the collector's clock is set back, events add to the second that they fall into."""
    stats = RollingStats()
    for second in (0, 1, 0):
        count(stats, second, "p", "failed")
    assert Totals(3, 3, 3, 2) == stats.totals(T0 + 2 * SECOND, 60)
    assert Totals(3, 3, 3, 2) == stats.totals(T0 + 2 * SECOND, 60, "p")


def test_jobs_without_a_project_end_for_everything_alone() -> None:
    """The end of a job without a project makes no project active."""
    stats = RollingStats()
    count(stats, 0, None, "completed")
    assert stats.active_projects(T0 + SECOND) == []
    assert Totals(1, 1, 0, 1) == stats.totals(T0 + SECOND, 60)


def test_ends_are_counted_by_second() -> None:
    """The last 60 whole seconds, the oldest first; another project's ends are not in it."""
    stats = RollingStats()
    stats.count_end(100_000_000, "p", is_failed=False)
    stats.count_end(100_500_000, "q", is_failed=True)
    stats.count_end(159_000_000, "p", is_failed=False)
    assert stats.ended_by_second(160_000_000) == [2, *[0] * 58, 1]
    assert stats.ended_by_second(160_000_000, project_id="q") == [1, *[0] * 59]
    assert stats.ended_by_second(160_000_000, project_id="none") == [0] * 60
