"""The header's numbers: of the last minute, and for limited readers of their projects only."""

from __future__ import annotations

from otel_bridge_collector.model.snapshot.header import Header
from otel_bridge_collector.wire.filters import EventFilter

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import event, fold, job, judged, looked_at, root


def test_the_headers_numbers_are_of_the_last_minute() -> None:
    """Throughput and error rates count jobs that ended, not research tasks, and not what is old."""
    story = [
        job("t", 0, "task_failed", "a", project_id="p"),
        job("t", 100, "task_completed", "b", project_id="p"),
        job("u", 100, "task_completed", "c", project_id="q"),
        job("t", 100, "task_failed", "d", project_id="p"),
        root("t", 100, "task_failed", project_id="p"),
    ]
    model = fold(story)
    found = Header(judged(model, 101)).stats()
    assert (found.throughput_per_sec, found.error_rate_1m, found.error_rate_5m) == (
        0.3,
        0.3333,
        0.5,
    )
    assert Header(judged(model, 101)).stats("p").error_rate_1m == 0.5


def test_no_ended_job_is_no_error_rate() -> None:
    """An error rate of nothing is None, not zero."""
    found = Header(looked_at(0, [])).stats()
    assert (found.error_rate_1m, found.error_rate_5m) == (None, None)


def test_lost_jobs_are_not_in_progress() -> None:
    """A job on a worker that is gone is not counted as running; the others are, by their type."""
    story = [
        event(0, "worker_heartbeat", worker_id="w"),
        job("t", 1, "task_started", "lost", worker_id="w", task_type="x"),
        job("t", 1, "task_started", "runs", worker_id="v", task_type="y", project_id="p"),
        job("u", 1, "task_started", "untyped", project_id="q"),
    ]
    model = fold(story)
    assert Header(judged(model, 2)).stats().in_progress_by_type == {"job": 1, "x": 1, "y": 1}
    assert Header(judged(model, 60)).stats().in_progress == 2
    assert Header(judged(model, 60)).stats("p").in_progress_by_type == {"y": 1}


def test_drops_of_workers_and_unreadable_events_are_one_number() -> None:
    """What was lost before and after the log is told together."""
    beats = [
        event(0, "worker_heartbeat", worker_id=name, counts={"dropped": count})
        for name, count in (("a", 3), ("b", 4))
    ]
    model = fold(beats)
    model.stats.events_unreadable = 5
    found = Header(judged(model, 1)).stats()
    assert (found.events_dropped, found.events_in, found.workers_online) == (12, 2, 2)


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


def header(events: list[MonitoringEvent]) -> Header:
    return Header(judged(fold(events), 10))


def test_other_projects_are_not_counted() -> None:
    """With the work of two projects, a reader of one sees what that one alone would show."""
    mine, all_work = work_of("a", "search"), work_of("a", "search") + work_of("b", "mail")
    limited = EventFilter(projects=frozenset({"a"}))
    seen = header(all_work).limited_stats(limited)
    assert seen == header(mine).limited_stats(limited)
    assert (seen.in_progress_by_type, seen.open_tasks) == ({"search": 1}, 1)
    assert seen.error_rate_1m == 0.5


def test_numbers_are_summed_over_the_projects() -> None:
    """A reader of both projects sees the sum, and one of a third project nothing."""
    found = header(work_of("a", "search") + work_of("b", "mail"))
    both = found.limited_stats(EventFilter(projects=frozenset({"a", "b"})))
    assert both.in_progress_by_type == {"mail": 1, "search": 1}
    none = found.limited_stats(EventFilter(projects=frozenset({"c"})))
    assert (none.in_progress, none.open_tasks, none.error_rate_1m) == (0, 0, None)


def test_jobs_of_no_task_count_for_no_limited_reader() -> None:
    """Jobs that name neither task nor trace share one record; a limited reader counts none."""
    story = [
        event(0, "task_started", task_id="own", project_id="p"),
        event(0, "task_started", task_id="other"),
    ]
    found = header(story)
    assert found.limited_stats(EventFilter(projects=frozenset({"p"}))).in_progress == 0
    assert found.stats().in_progress == 2
    own = found.stats("p")
    assert (own.in_progress, own.events_per_sec) == (0, 0.1)
