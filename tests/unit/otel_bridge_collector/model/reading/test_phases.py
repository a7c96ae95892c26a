"""``otel_bridge_collector.model.reading.phases``: sources that meet, runs that add up, rates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import STATUS_NAMES, Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.phases import PhaseRow, phases, sample, top_phases

from tests.support.histories import event, fold, fold_every_way, moment, span


def run(seconds: float, event_type: str, number: int = 1, **fields: Any) -> Event:
    """An event of a run of phase ``a``, which is a span."""
    fields = {"phase": "a", "parent_task_id": "t", "span_id": span(number), **fields}
    return event(seconds, event_type, **fields)


def spanless(seconds: float, event_type: str = "phase_started", **fields: Any) -> Event:
    """What a publisher without spans reports of phase ``a``."""
    fields = {"phase": "a", "parent_task_id": "t", **fields}
    return event(seconds, event_type, **fields)


def job(seconds: float, event_type: str, number: int, parent: int | None = None) -> Event:
    """An event of a job of phase ``a``: below a run of it, or by name alone."""
    below = {} if parent is None else {"parent_span_id": span(parent)}
    fields = {"task_id": f"j{number}", "span_id": span(1000 + number), **below}
    return event(seconds, event_type, parent_task_id="t", phase="a", **fields)


def opened(seconds: float = 0) -> Event:
    """The start of the research task."""
    return event(seconds, "task_started", parent_task_id="t", task_id="t", span_id=span(999))


def ended(seconds: float, event_type: str = "task_completed") -> Event:
    """Its end."""
    return event(seconds, event_type, parent_task_id="t", task_id="t", span_id=span(999))


def rows(model: Fold) -> list[PhaseRow]:
    """The phases of the story's task."""
    task = model.tasks.by_id["t"]
    standing = model.cards.standing(task)
    return phases(task, standing.status, standing.ended, model.liveness.now)


def row(story: list[Event], seconds: float = 99) -> PhaseRow:
    """The only phase of a story, in any order of its events."""
    (found,) = rows(fold_every_way(story, seconds, ways=6))
    return found


def counts(story: list[Event]) -> tuple[int | None, int, int, int]:
    """(total, completed, failed, pending) of the only phase of a story."""
    found = row(story)
    return found.total, found.completed, found.failed, found.pending


# --- counts ---------------------------------------------------------------------------------------


def test_jobs_that_are_seen_are_counted() -> None:
    """Without a report the jobs of a phase are its numbers, below its runs or by its name."""
    story = [
        run(0, "phase_started"),
        job(1, "task_completed", 1, 1),
        job(1, "task_failed", 2, 1),
        job(1, "task_completed", 3),
        job(1, "task_started", 4),
        job(1, "task_retry", 5),
    ]
    assert counts(story) == (5, 2, 1, 2)
    found = row(story)
    assert (found.running, found.retrying, found.stalled, found.runs) == (1, 1, 0, 1)


def test_a_phase_of_which_nothing_says_how_many_has_no_total() -> None:
    """No job and no report is an unknown total, not a total of zero."""
    assert counts([run(0, "phase_started")]) == (None, 0, 0, 0)


def test_a_run_is_what_it_reports_or_what_is_seen_of_it() -> None:
    """Of a run's report and its jobs the greater counts, for totals and for completed ones."""
    jobs = [job(1, "task_completed", number, 1) for number in (1, 2, 3)]
    assert counts([run(0, "phase_started", counts={"total": 5, "completed": 1}), *jobs])[:2] == (
        5,
        3,
    )
    assert counts([run(0, "phase_started", counts={"total": 2, "completed": 2}), *jobs])[:2] == (
        3,
        3,
    )
    assert counts([run(0, "phase_started", counts={"total": 5, "completed": 4}), *jobs])[:2] == (
        5,
        4,
    )


def test_reports_of_runs_add_up() -> None:
    """A phase that runs twice has the sum of what its runs report."""
    story = [
        run(0, "phase_started", 1, counts={"total": 4, "completed": 4}),
        run(5, "phase_started", 2, counts={"total": 6, "completed": 1, "failed": 2}),
    ]
    assert counts(story) == (10, 5, 2, 3)


def test_a_publisher_without_spans_is_another_source() -> None:
    """Numbers reported for all runs are not added to those of the runs: the greater counts."""
    story = [
        run(0, "phase_started", 1, counts={"total": 4, "completed": 4}),
        run(5, "phase_started", 2, counts={"total": 6, "completed": 1}),
    ]
    few = spanless(9, counts={"total": 10, "completed": 5})
    assert counts([*story, few]) == (10, 5, 0, 5)
    many = spanless(9, counts={"total": 12, "completed": 9, "failed": 1})
    assert counts([*story, many]) == (12, 9, 1, 2)


def test_a_report_without_a_total() -> None:
    """Where no total is reported it is the sum of completed, failed and pending jobs."""
    story = [spanless(0, counts={"completed": 3, "failed": 1, "pending": 2})]
    assert counts(story) == (6, 3, 1, 2)


def test_failed_is_no_more_than_is_left() -> None:
    """With as many jobs completed as there are, none failed: those that did were retried."""
    story = [spanless(0, counts={"total": 5, "completed": 4, "failed": 3})]
    assert counts(story) == (5, 4, 1, 0)


def test_reported_failures_count_while_jobs_are_missing() -> None:
    """The reported number of failures counts only where more jobs are reported than seen."""
    seen = [job(1, "task_completed", 1, 1), job(1, "task_failed", 2, 1)]
    report = {"total": 4, "completed": 1, "failed": 2}
    assert counts([run(0, "phase_started", counts=report), *seen]) == (4, 1, 2, 1)
    report = {"total": 2, "completed": 0, "failed": 2}
    assert counts([run(0, "phase_started", counts=report), *seen]) == (2, 1, 1, 0)
    running = [job(1, "task_completed", 1, 1), job(1, "task_started", 2, 1)]
    assert counts([run(0, "phase_started", counts=report), *running]) == (2, 1, 0, 1)


numbers = st.integers(0, 6)


@settings(max_examples=80, deadline=None)
@given(
    reports=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=3),
    named=numbers,
    spanless_total=numbers,
)
def test_the_total_is_the_greatest_over_sources_of_the_sum_over_runs(
    reports: list[tuple[int, int, int]], named: int, spanless_total: int
) -> None:
    """Totals and completed ones: sums over runs, then the greatest over the sources."""
    story = [spanless(9, "stats_snapshot", counts={"total": spanless_total})]
    known = 0
    for number, (total, completed, seen) in enumerate(reports, 1):
        fields = {"total": total, "completed": completed}
        story.append(run(number, "phase_started", number, counts=fields))
        for _ in range(seen):
            known += 1
            story.append(job(20, "task_completed", known, number))
    for _ in range(named):
        known += 1
        story.append(job(20, "task_completed", known))
    totals = [max(total or completed, seen) for total, completed, seen in reports]
    done = [max(completed, seen) for _, completed, seen in reports]
    (found,) = rows(fold(story, 99))
    assert found.total == (max(sum(totals), known, spanless_total) or None)
    assert found.completed == max(sum(done), known)


# --- which phases ---------------------------------------------------------------------------------


def test_a_phase_inside_another_is_no_row() -> None:
    """A phase below another, directly or below a job of it, is part of that; it counts there."""
    story = [
        run(0, "phase_started", 1, phase="outer"),
        job(1, "task_started", 1, 1),
        run(2, "phase_started", 3, phase="inner", parent_span_id=span(1001)),
        job(3, "task_completed", 2, 3),
    ]
    model = fold_every_way(story, 9, ways=6)
    assert [node.key for node in top_phases(model.tasks.by_id["t"])] == [1]
    (found,) = rows(model)
    assert (found.name, found.total, found.completed, found.running) == ("outer", 2, 1, 1)


def test_phases_by_their_starts() -> None:
    """Phases come by their starts and, at one time, by their names."""
    story = [
        run(5, "phase_started", 1, phase="late"),
        run(2, "phase_started", 2, phase="b"),
        run(2, "phase_started", 3, phase="a"),
        run(9, "phase_started", 4, phase="b"),
    ]
    found = rows(fold_every_way(story, 20, ways=6))
    assert [(one.name, one.runs) for one in found] == [("a", 1), ("b", 2), ("late", 1)]


def test_a_name_that_only_a_nested_job_carries_is_no_phase() -> None:
    """A phase of which no event was, and in which no job is counted, has no row."""
    outside = event(0, "task_started", parent_task_id="t", task_id="x", span_id=span(7), phase="b")
    moved = event(
        1,
        "task_completed",
        parent_task_id="t",
        task_id="x",
        span_id=span(7),
        parent_span_id=span(1),
        phase="b",
    )
    found = rows(fold_every_way([run(0, "phase_started"), outside, moved], 9, ways=6))
    assert [(one.name, one.completed) for one in found] == [("a", 1)]


# --- status and times -----------------------------------------------------------------------------


def test_a_phase_runs_while_one_of_its_runs_does() -> None:
    """An open run is a running phase, also when a later run has ended."""
    story = [
        opened(),
        run(1, "phase_started", 1),
        run(2, "phase_started", 2),
        run(3, "phase_completed", 2),
    ]
    found = row(story)
    assert (STATUS_NAMES[found.status], found.started, found.ended) == (
        "processing",
        moment(1),
        None,
    )


@pytest.mark.parametrize(("first", "second"), [("failed", "completed"), ("completed", "failed")])
def test_a_phase_is_what_its_last_run_came_to(first: str, second: str) -> None:
    """Of several runs the one that started last has the status, and the last end is the end."""
    story = [
        opened(),
        run(1, "phase_started", 1),
        run(2, "phase_started", 2),
        run(3, "phase_completed", 2, status=second),
        run(8, "phase_completed", 1, status=first),
    ]
    found = row(story)
    assert (STATUS_NAMES[found.status], found.ended) == (second, moment(8))


@pytest.mark.parametrize("kind", ["task_completed", "task_failed"])
def test_no_phase_is_open_in_a_card_that_is_over(kind: str) -> None:
    """When the card is over an open phase has its status and end; one that ended keeps its own."""
    story = [opened(), run(1, "phase_started"), ended(9, kind)]
    found = row(story)
    assert (STATUS_NAMES[found.status], found.ended) == (kind.removeprefix("task_"), moment(9))
    found = row([*story, run(4, "phase_completed")])
    assert (STATUS_NAMES[found.status], found.ended) == ("completed", moment(4))


QUEUED = [opened(), run(1, "phase_started"), *(job(2, "task_enqueued", n, 1) for n in (1, 2))]
LEFT = run(3, "phase_completed")


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([], "pending"),
        ([job(4, "task_started", 1, 1)], "processing"),
        ([job(5, "task_completed", 1, 1)], "processing"),
        ([job(5, "task_completed", 1, 1), job(5, "task_failed", 2, 1)], "completed"),
        ([job(5, "task_failed", 1, 1), job(5, "task_failed", 2, 1)], "failed"),
    ],
)
def test_a_phase_that_only_enqueues_is_not_done_before_its_jobs(
    ends: list[Event], status: str
) -> None:
    """Its own part has ended at once; it is never done at 0 of 2, nor at 2 of 2 that failed."""
    found = row([*QUEUED, LEFT, *ends], 6)
    assert STATUS_NAMES[found.status] == status
    assert (found.ended is None) == (status in ("pending", "processing"))


def test_a_phase_that_nothing_was_taken_from() -> None:
    """Its task has completed, and its jobs wait on: it is not shown as done at 0 of 2."""
    story = [*QUEUED, LEFT, ended(4)]
    assert STATUS_NAMES[row(story, 99).status] == "pending"
    begun = [*story, job(5, "task_completed", 1, 1)]
    assert STATUS_NAMES[row(begun, 99).status] == "completed"


def test_times_of_a_phase_that_only_jobs_name() -> None:
    """Such a phase starts with its first job, and ends with the last one once all have ended."""
    story = [
        opened(),
        job(3, "task_started", 1),
        job(8, "task_completed", 1),
        job(2, "task_enqueued", 2),
    ]
    found = row(story)
    assert (STATUS_NAMES[found.status], found.started, found.ended) == ("pending", moment(2), None)
    found = row([*story, job(6, "task_failed", 2)])
    assert (STATUS_NAMES[found.status], found.started, found.ended) == (
        "completed",
        moment(2),
        moment(8),
    )


def test_times_follow_a_job_that_leaves() -> None:
    """When a job turns out to be elsewhere, a phase that only jobs name has the others' times."""
    story = [opened(), job(1, "task_started", 1), job(5, "task_completed", 2)]
    model = fold(story, 9)
    (found,) = rows(model)
    assert found.started == moment(1)
    for one in (
        run(0, "phase_started", 50, phase="other"),
        job(2, "task_completed", 1, 50),
    ):
        model.apply(one, moment(9))
    late = {one.name: one.started for one in rows(model)}
    assert late == {"other": moment(0), "a": moment(5)}


def test_the_latest_message_of_a_phase() -> None:
    """Of the messages of its runs and of a publisher without spans, the latest is shown."""
    story = [
        run(1, "phase_started", 1, message="first"),
        run(5, "phase_started", 2, message="second"),
        spanless(3, message="between"),
    ]
    assert row(story).message == "second"
    assert row([story[0], story[2]]).message == "between"


# --- rates ----------------------------------------------------------------------------------------


def rate(ends: list[int], now: int) -> float | None:
    """Jobs ended per second of a running phase, in which a job ends at each of these seconds."""
    model = fold([opened(), run(0, "phase_started")])
    task = model.tasks.by_id["t"]
    sample(task, moment(0))
    for second in range(1, now + 1):
        for number in (number for number, end in enumerate(ends) if end == second):
            model.apply(job(second, "task_completed", number, 1), moment(second))
            sample(task, moment(second))
    model.sweep(moment(now))
    (found,) = rows(model)
    return found.rate


@pytest.mark.parametrize(
    ("ends", "now", "expected"),
    [
        ([2, 4, 6], 6, 0.5),
        ([2, 4], 6, None),
        ([2, 3, 4], 4, None),
        ([2, 3, 4], 5, 0.6),
        ([2, 3, 4], 60, 0.05),
        ([1, 70, 80, 90, 100], 100, 0.1),
        ([], 60, None),
    ],
)
def test_rate(ends: list[int], now: int, expected: float | None) -> None:
    """A rate is over the last minute, and needs three ended jobs in five seconds or more."""
    assert rate(ends, now) == expected


def test_a_reported_number_says_nothing_of_before() -> None:
    """A phase that was at 500 when it was first seen has no rate until it goes on."""
    model = fold([opened()])
    task = model.tasks.by_id["t"]
    for second, completed, expected in ((1, 500, None), (11, 500, None), (21, 520, 1.0)):
        report = {"total": 1000, "completed": completed}
        model.apply(spanless(second, counts=report), moment(second))
        sample(task, moment(second))
        model.sweep(moment(second))
        (found,) = rows(model)
        assert found.rate == expected


def test_only_a_running_phase_has_a_rate() -> None:
    """A phase that has ended shows no rate, however fast it was."""
    model = fold([opened(), run(0, "phase_started")])
    task = model.tasks.by_id["t"]
    sample(task, moment(0))
    for number in range(10):
        model.apply(job(number + 1, "task_completed", number, 1), moment(number + 1))
    sample(task, moment(10))
    model.sweep(moment(10))
    assert [one.rate for one in rows(model)] == [1.0]
    model.apply(run(10, "phase_completed"), moment(10))
    assert [one.rate for one in rows(model)] == [None]
