"""
Phases of a card: runs of one name merged, counts of several sources met, and the rate.

Summed over runs, the greatest over sources: jobs that are seen, numbers that a run reports, and
numbers that a publisher without spans reports for all. Summing a source without span ids beside the
runs doubled two of the five recorded logs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from otel_bridge_collector.model.events import (
    COMPLETED,
    FAILED,
    PENDING,
    PROCESSING,
    RETRYING,
    STALLED,
)
from otel_bridge_collector.model.nodes import (
    GONE,
    UNKNOWN,
    Job,
    Node,
    Task,
)
from otel_bridge_collector.model.reading.rows import end_of
from otel_bridge_collector.model.runs import has_ended, winner
from otel_bridge_collector.model.shape.containers import is_in_phase
from otel_bridge_collector.model.tasks import has_own_facts

__all__ = [
    "PhaseRow",
    "is_phase_shown",
    "job_times",
    "phases",
    "sample",
    "top_phases",
    "virtual_standing",
]

_SECOND: Final = 1_000_000
_RATE_SPAN_SEC: Final = 60
_MIN_RATED_JOBS: Final = 3
_MIN_RATED_SEC: Final = 5
_ENDED: Final = (COMPLETED, FAILED)
_OVER: Final = (COMPLETED, FAILED, STALLED)


class PhaseRow(msgspec.Struct, frozen=True, gc=False):
    """
    One phase (named part) of a task as readers see it: all runs of it with no phase above them.

    A record; checks nothing. Times are microseconds since the Unix epoch, None while unknown or
    open.

    Attributes:
        name: As the publisher named it, at most 100 characters.
        status: 0 pending, 1 processing, 2 retrying, 3 completed, 4 failed, 5 stalled; of a task
            that is over, none is open, but if all jobs of it wait still and the task has completed.
            Completed only once no job seen in it waits or runs, and if one has completed, or it
            has none.
        started, ended: Its first start and, once no run is open, its last end.
        total: Jobs expected; None while nothing says how many.
        completed, failed, pending: Jobs; the greater of those seen and those that the phase
            reports.
        running, retrying, stalled: Jobs seen.
        rate: Jobs ended per second over the last 60 s; None until 3 have ended in at least 5 s, and
            while the phase does not run.
        message: The latest line for people, at most 300 characters.
        runs: Nodes (spans) of this name; 0 where only jobs name the phase.
        not_held: Direct children of its runs that were counted and are no longer in memory; None
            where only jobs name the phase, because their parents are others.
    """

    name: str
    status: int
    started: int | None
    ended: int | None
    total: int | None
    completed: int
    failed: int
    pending: int
    running: int
    retrying: int
    stalled: int
    rate: float | None
    message: str | None
    runs: int
    not_held: int | None


class _Totals:
    """Sums over the runs of one phase."""

    __slots__ = ("jobs", "runs", "virtual")

    def __init__(self) -> None:
        self.runs: list[Node] = []
        self.virtual: Node | None = None
        self.jobs = [0] * (STALLED + 1)

    def add(self, node: Node) -> None:
        if node.key is None:
            self.virtual = node
        else:
            self.runs.append(node)
        agg = node.agg
        if agg is not None:
            self.jobs = [known + more for known, more in zip(self.jobs, agg, strict=False)]

    @property
    def facts(self) -> list[Node]:
        """The runs, and what a publisher without spans reported of the phase."""
        virtual = self.virtual
        if virtual is not None and (virtual.start is not None or virtual.ended):
            return [*self.runs, virtual]
        return self.runs


def _reported(node: Node, name: str) -> int:
    more = node.more
    found = None if more is None or more.counts is None else more.counts.get(name)
    return 0 if found is None else found[1]


def _reported_total(node: Node) -> int:
    if node.more is None or node.more.counts is None:
        return 0
    total = _reported(node, "total")
    return total or sum(_reported(node, name) for name in ("completed", "failed", "pending"))


def _counts(phase: _Totals) -> tuple[int, int, int]:
    """(total, completed, failed) of a phase."""
    jobs = phase.jobs
    seen = sum(jobs)
    nodes = phase.runs if phase.virtual is None else [*phase.runs, phase.virtual]
    for node in nodes:
        if node.more is not None and node.more.counts is not None:
            break
    else:
        return seen, jobs[COMPLETED], jobs[FAILED]  # nothing is reported, jobs are seen
    total, completed, failed = seen, jobs[COMPLETED], jobs[FAILED]
    reported = reported_completed = reported_failed = 0
    for node in phase.runs:
        agg = node.agg or (0,) * (STALLED + 1)
        reported += max(_reported_total(node), sum(agg[: STALLED + 1]))
        reported_completed += max(_reported(node, "completed"), agg[COMPLETED])
        reported_failed += max(_reported(node, "failed"), agg[FAILED])
    if phase.virtual is not None:
        reported = max(reported, _reported_total(phase.virtual))
        reported_completed = max(reported_completed, _reported(phase.virtual, "completed"))
        reported_failed = max(reported_failed, _reported(phase.virtual, "failed"))
    total = max(total, reported)
    completed = max(completed, reported_completed)
    if seen < reported:
        failed = max(failed, reported_failed)
    return total, completed, min(failed, max(0, total - completed))


def top_phases(task: Task) -> Iterator[Node]:
    """A task's phase nodes with no phase above them, virtual ones included."""
    return (node for node in task.tops if not is_in_phase(node.up))


def is_phase_shown(node: Node) -> bool:
    """Whether a phase has a span, jobs or facts; else it only stood for jobs that have left it."""
    if node.key is not None or (node.agg is not None and any(node.agg)):
        return True
    if not has_own_facts(node):
        return False
    # Of a phase that is known as a span inside another one, raw events beside spans say no more.
    is_span = False
    for one in node.own.task.tops:
        if one.key is not None and one.name == node.name:
            if not is_in_phase(one.up):
                return True
            is_span = True
    return not is_span


def _merged(task: Task) -> dict[str, _Totals]:
    found: dict[str, _Totals] = {}
    for node in top_phases(task):
        if is_phase_shown(node):
            found.setdefault(node.name or "", _Totals()).add(node)
    return found


def job_times(task: Task, virtual: Node | None) -> tuple[int | None, int | None]:
    """When the first job of a phase that no span is began, and the last one that ended did."""
    more = None if virtual is None else virtual.more
    if more is None:
        return None, None
    if more.first == UNKNOWN:
        jobs = [job for job in task.jobs.values() if job.at is virtual]
        ends = [_end_of(job) for job in jobs if job.win is not None and job.st in _ENDED]
        starts = (node.first for job in jobs for node in job.nodes() if node.first)
        more.first = min(starts, default=0)
        more.last = max(ends, default=0)
    return more.first or None, more.last or None


def _end_of(job: Job) -> int:
    """When a job that is over ended, also if only another process reported it."""
    node, report = winner(job)
    return end_of(node, report or node)


def phases(task: Task, card_status: int, card_ended: int | None, now: int) -> list[PhaseRow]:
    """
    Return the phases (named parts) of a task, by their starts; none is open when its card is over.

    A card is what readers see of a task. Changes no counts and raises nothing; on the collector's
    event loop. At most 100 are of phases without a span; no other limit.

    Args:
        task: Whose card it is.
        card_status: Its status code.
        card_ended: When the card ended, microseconds; None while it is open.
        now: For the rates, microseconds since the Unix epoch.
    """
    rows = [
        _row(task, name, phase, card_status, card_ended, now)
        for name, phase in _merged(task).items()
    ]
    if len(rows) > 1:
        rows.sort(key=lambda row: (row.started or 0, row.name))
    return rows


def _standing(
    facts: list[Node], jobs: list[int], is_over: bool, last_end: int | None
) -> tuple[int, int | None]:
    """Status and end of a phase by itself; ``last_end`` is that of its jobs."""
    if facts:
        for node in facts:
            if not has_ended(node):
                return PROCESSING, None
        last = max(facts, key=lambda node: (node.first, node.key or 0))
        return last.ended & 7, max(node.end for node in facts)
    if jobs[PROCESSING] or jobs[RETRYING]:
        return PROCESSING, None
    if not is_over:
        return PENDING, None
    return COMPLETED, last_end


def _by_jobs(
    jobs: list[int], completed: int, failed: int, ended: int | None
) -> tuple[int, int | None]:
    """
    Status and end of a phase whose own part has ended well, by the jobs that it put into queues.

    Such a phase was shown as done at 0 of 300 jobs while its queue was stuck, and at 150 of 150
    that failed.
    """
    waiting = jobs[PENDING] + jobs[RETRYING]
    if jobs[PROCESSING] or (waiting and completed + failed):
        return PROCESSING, None
    if waiting:
        return PENDING, None
    if jobs[STALLED]:
        return STALLED, ended
    return FAILED if failed and not completed else COMPLETED, ended


def virtual_standing(task: Task, virtual: Node) -> tuple[int, int | None, int | None]:
    """
    Return status code, start and end of a phase that no span is, by what it reports and its jobs.

    Times are microseconds, None while unknown or open. Raises nothing; on the collector's event
    loop.

    Args:
        task: The phase's task.
        virtual: One of its virtual phases.
    """
    phase = _Totals()
    phase.add(virtual)
    _, completed, failed = _counts(phase)
    started, last_end = job_times(task, virtual)
    facts, jobs = phase.facts, phase.jobs
    status, ended = _standing(facts, jobs, completed + failed >= sum(jobs), last_end)
    return status, virtual.first if facts else started, ended


def _row(
    task: Task,
    name: str,
    phase: _Totals,
    card_status: int,
    card_ended: int | None,
    now: int,
) -> PhaseRow:
    total, completed, failed = _counts(phase)
    jobs, virtual = phase.jobs, phase.virtual
    first_start, last_end = job_times(task, virtual)
    facts = phase.facts
    status, ended = _standing(facts, jobs, completed + failed >= sum(jobs), last_end)
    if status == COMPLETED:
        status, ended = _by_jobs(jobs, completed, failed, ended)
    is_started = status == PROCESSING or not jobs[PENDING]
    if (
        status in (PENDING, PROCESSING)
        and card_status in _OVER
        and (is_started or card_status != COMPLETED)
    ):
        status, ended = card_status, card_ended
    nodes = phase.runs if virtual is None else [*phase.runs, virtual]
    started = min([node.first for node in facts]) if facts else first_start
    messages = [node.more.message for node in nodes if node.more and node.more.message]
    return PhaseRow(
        name=name,
        status=status,
        started=started,
        ended=ended,
        total=total or None,
        completed=completed,
        failed=failed,
        pending=max(0, total - completed - failed),
        running=jobs[PROCESSING],
        retrying=jobs[RETRYING],
        stalled=jobs[STALLED],
        rate=_rate(task, name, completed + failed, now) if status == PROCESSING else None,
        message=max(messages)[1] if messages else None,
        runs=len(phase.runs),
        not_held=sum(node.agg[GONE] for node in phase.runs if node.agg) if phase.runs else None,
    )


def _rate(task: Task, name: str, done: int, now: int) -> float | None:
    samples = None if task.rates is None else task.rates.get(name)
    if not samples:
        return None
    end = now // _SECOND
    first = next((one for one in samples if one[0] >= end - _RATE_SPAN_SEC), None)
    if first is None:
        return None
    ended, elapsed = done - first[1], end - first[0]
    if ended < _MIN_RATED_JOBS or elapsed < _MIN_RATED_SEC:
        return None
    return round(ended / elapsed, 3)


def sample(task: Task, now: int) -> None:
    """
    Remember how many jobs each phase of a task has ended, for its rate; raises nothing.

    Called once a second, on the collector's event loop, for tasks of which an event came: counting
    by second in the fold (what merges events) cost a dict an event. Holds the latest 61 samples of
    each phase; a second call within one second replaces the sample.

    Args:
        task: Its ``rates`` are changed.
        now: Microseconds since the Unix epoch.
    """
    second = now // _SECOND
    for name, phase in _merged(task).items():
        _, completed, failed = _counts(phase)
        done = completed + failed
        if task.rates is None:
            task.rates = {}
        samples = task.rates.get(name)
        if samples is None:
            is_reported = any(_reported_total(node) for node in phase.facts)
            if is_reported and not done:
                continue
            samples = task.rates[name] = deque(maxlen=_RATE_SPAN_SEC + 1)
            if not is_reported:
                # Jobs are counted from the first; a reported number says nothing of before.
                samples.append((second, 0))
        elif len(samples) > 1 and samples[-1][0] == second:
            samples.pop()
        samples.append((second, done))
