"""``Cause``: failures of one cause as several states add them up, each with tasks of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge as merge_sorted

import msgspec
from msgspec.structs import replace

from otel_bridge_collector.model.reading.failed import FailedJob
from otel_bridge_collector.model.snapshot.panels import (
    MergedFailures,
    first_ten,
    key_of,
    newest_failed,
    place_of,
)

__all__ = ["Cause", "cause_of", "join_causes"]


class Cause(msgspec.Struct, array_like=True, frozen=True):
    """
    Failures of one project with one cause, as far as readers see them; a record.

    Attributes:
        project, cause: As of ``MergedFailures``.
        count: How many failures.
        first, last: When the first and the last came, microseconds.
        newest: Of the newest, the latest first, those of which something is shown: the latest of
            all with all that is said of it, and who names one of the first ten types, jobs and
            tasks, or the stack.
    """

    project: str | None
    cause: str
    count: int
    first: int
    last: int
    newest: Sequence[FailedJob]

    @property
    def key(self) -> str:
        """Unique among all projects."""
        return key_of(self.project, self.cause)


def cause_of(merged: MergedFailures) -> Cause:
    """Return what one state knows of a cause; on its event loop. Never raises."""
    groups = merged.groups
    return Cause(
        merged.project,
        merged.cause,
        sum(group.count for group in groups),
        min(group.first for group in groups),
        merged.last,
        list(_shown(newest_failed(merged))),
    )


def join_causes(parts: Iterable[Sequence[Cause]]) -> list[Cause]:
    """
    Add up what several states know, in any grouping; pure, raises nothing.

    Args:
        parts: Of each the causes, in any order; no two know the same task.

    Returns:
        Each cause of each project once, the latest first, as ``merged_failures`` of one state that
        has all tasks.
    """
    found: defaultdict[tuple[str | None, str], list[Cause]] = defaultdict(list)
    for causes in parts:
        for one in causes:
            found[one.project, one.cause].append(one)
    joined = [every[0] if len(every) == 1 else _added(every) for every in found.values()]
    return sorted(joined, key=lambda one: (one.last, one.cause, one.project or ""), reverse=True)


def _added(every: Sequence[Cause]) -> Cause:
    newest = merge_sorted(*(one.newest for one in every), key=place_of, reverse=True)
    return replace(
        every[0],
        count=sum(one.count for one in every),
        first=min(one.first for one in every),
        last=max(one.last for one in every),
        newest=list(_shown(list(newest))),
    )


def _shown(newest: Sequence[FailedJob]) -> Iterator[FailedJob]:
    """The failures of which something is shown; of all but the first no more than that."""
    types = set(first_ten(job.name for job in newest if job.name))
    jobs = set(first_ten(job.job or job.task for job in newest))
    tasks = set(first_ten(job.task for job in newest))
    needs_stack = True
    for index, job in enumerate(newest):
        has_stack = needs_stack and bool(job.stack)
        names = job.name in types, (job.job or job.task) in jobs, job.task in tasks
        if index and not has_stack and True not in names:
            continue
        types.discard(job.name or "")
        jobs.discard(job.job or job.task)
        tasks.discard(job.task)
        needs_stack = needs_stack and not has_stack
        if index == 0:
            yield job
        else:
            yield replace(job, node="", error=None, reason=None, phase=None, worker=None)
