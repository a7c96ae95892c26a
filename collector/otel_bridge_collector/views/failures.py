"""The view ``failures``: failed jobs by cause, the latest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_bridge_collector.model.failures import NO_ERROR
from otel_bridge_collector.model.reading.failed import FailedJob
from otel_bridge_collector.model.snapshot.panels import (
    MergedFailures,
    first_ten,
    merged_failures,
    newest_failed,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.views.failures import FailureRow, FailuresHead
from otel_bridge_collector.wire.views.params import FailuresParams

__all__ = ["compute", "facts_of", "merge", "totals_of"]


def compute(state: ViewState, params: FailuresParams, scope: Scope) -> Listing:
    """
    List the causes of failures that a reader may see, the one that failed last first.

    A cause is the same error in one project, numbers, ids and quoted texts aside. Raises nothing.
    Computed on the collector's event loop.

    Args:
        state: As of its latest refresh.
        params: Filters; without any all causes pass. With ``task`` the numbers are of its failures.
        scope: The projects that the reader may see; None: all. Tasks of several projects are left
            out for a limited reader.

    Returns:
        One row for each cause; at most 101 a task, no other limit. Rows are made when a window asks
        for them.
    """
    event_filter = EventFilter(project_id=params.project, task_id=params.task, projects=scope)
    found = {
        merged.key: merged
        for merged in merged_failures(state.model, event_filter)
        if _passes(merged, params)
    }
    order = [((-merged.last, key), key) for key, merged in found.items()]
    count = sum(group.count for merged in found.values() for group in merged.groups)
    sums = {"count": count}
    return Listing(sorted(order), lambda key: _row(found[key]).model_dump_json().encode(), sums)


def merge(parts: Sequence[Listing], params: FailuresParams) -> Window:
    """
    Merge the parts of several processes, and take the window: its head and its rows.

    Pure; raises nothing.

    Args:
        parts: One listing (all rows of the view) for each process, no two with the same cause of
            the same project; one alone is taken as it is, none give an empty window.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 60, at most 200.
    """
    found = list_window(parts, params)
    head = FailuresHead(**found.head, count=sum(part.sums["count"] for part in parts))
    return Window(head.model_dump(), found.rows)


def facts_of(
    key: str, project: str | None, totals: tuple[int, int, int], newest: Sequence[FailedJob]
) -> dict[str, Any]:
    """
    Return the fields of ``FailureRow``, and of the head of the view ``failure``; pure.

    Args:
        key: That of the row.
        project: The project of these failures.
        totals: How many they are, and when the first and the last came, milliseconds.
        newest: What is said of the newest ones, the latest first; in any number.
    """
    latest = newest[0] if newest else None
    count, first, last = totals
    return {
        "k": key,
        "error": (latest and latest.error) or NO_ERROR,
        "type": latest and latest.name,
        "types": tuple(first_ten(job.name for job in newest if job.name)),
        "phase": latest and latest.phase,
        "why": latest and latest.reason,
        "count": count,
        "first": first,
        "last": last,
        "jobs": tuple(first_ten(job.job or job.task for job in newest)),
        "tasks": tuple(first_ten(job.task for job in newest)),
        "project": project,
        "stack": next((job.stack for job in newest if job.stack), None),
    }


def totals_of(merged: MergedFailures) -> tuple[int, int, int]:
    """Their number, and when the first and the last came, milliseconds; pure."""
    groups = merged.groups
    count = sum(group.count for group in groups)
    return count, min(group.first for group in groups) // 1000, merged.last // 1000


def _passes(merged: MergedFailures, params: FailuresParams) -> bool:
    if params.type is None and not params.text:
        return True
    jobs = newest_failed(merged)
    newest = jobs[0] if jobs else None
    names = (None, None) if newest is None else (newest.name, newest.phase)
    if params.type is not None and params.type not in names:
        return False
    text = (params.text or "").casefold()
    error = NO_ERROR if newest is None else newest.error or NO_ERROR
    reason = None if newest is None else newest.reason
    ids = (*first_ten(job.job or job.task for job in jobs), *first_ten(job.task for job in jobs))
    shown = (error, *names, merged.project, reason, *ids)
    return any(text in one.casefold() for one in shown if one is not None)


def _row(merged: MergedFailures) -> FailureRow:
    newest = newest_failed(merged)
    return FailureRow(**facts_of(merged.key, merged.project, totals_of(merged), newest))
