"""The view ``failures``: failed jobs by cause, the latest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_bridge_collector.model.failures import NO_ERROR
from otel_bridge_collector.model.reading.failed import FailedJob
from otel_bridge_collector.model.snapshot.causes import Cause, cause_of, join_causes
from otel_bridge_collector.model.snapshot.panels import (
    MergedFailures,
    first_ten,
    merged_failures,
    newest_failed,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window
from otel_bridge_collector.views.parts import Around
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.views.failures import FailureRow, FailuresHead
from otel_bridge_collector.wire.views.params import FailuresParams

__all__ = ["compute", "facts_of", "merge", "select", "totals_of"]


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
    merged = merged_failures(state.model, event_filter)
    found = {one.key: one for one in merged if _passes(one, params)}
    order = [((-one.last, key), key) for key, one in found.items()]
    count = sum(group.count for one in found.values() for group in one.groups)
    sums = {"count": count, "causes": merged}
    return Listing(sorted(order), lambda key: _row(found[key]).model_dump_json().encode(), sums)


def select(part: Listing, params: FailuresParams, around: Around = None) -> list[Cause]:
    """
    Take all causes of one state, whatever the filters: they go by the newest failure of all states.

    About 100 bytes for a cause, and 80 for each of the ten newest; on the model's event loop.
    """
    del params, around
    return [cause_of(merged) for merged in part.sums["causes"]]


def merge(parts: Sequence[Listing | Sequence[Cause]], params: FailuresParams) -> Window:
    """
    Merge the parts of several states, and take the window: its head and its rows.

    Pure; raises nothing.

    Args:
        parts: As ``compute``, ``select`` or ``join_causes`` returned them; none give an empty
            window.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 60, at most 200.
    """
    if len(parts) == 1 and isinstance(parts[0], Listing):
        listing = parts[0]
    else:
        found_by_all = (select(one, params) if isinstance(one, Listing) else one for one in parts)
        found = {one.key: one for one in join_causes(found_by_all) if _passes(one, params)}
        order = sorted(((-one.last, key), key) for key, one in found.items())
        count = sum(one.count for one in found.values())
        listing = Listing(
            order, lambda key: _row(found[key]).model_dump_json().encode(), {"count": count}
        )
    shown = list_window(listing, params)
    head = FailuresHead(**shown.head, count=listing.sums["count"])
    return Window(head.model_dump(), shown.rows)


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


def totals_of(cause: MergedFailures | Cause) -> tuple[int, int, int]:
    """Their number, and when the first and the last came, milliseconds; pure."""
    if isinstance(cause, Cause):
        return cause.count, cause.first // 1000, cause.last // 1000
    groups = cause.groups
    count = sum(group.count for group in groups)
    return count, min(group.first for group in groups) // 1000, cause.last // 1000


def _newest(cause: MergedFailures | Cause) -> Sequence[FailedJob]:
    return cause.newest if isinstance(cause, Cause) else newest_failed(cause)


def _passes(cause: MergedFailures | Cause, params: FailuresParams) -> bool:
    if params.type is None and not params.text:
        return True
    jobs = _newest(cause)
    newest = jobs[0] if jobs else None
    names = (None, None) if newest is None else (newest.name, newest.phase)
    if params.type is not None and params.type not in names:
        return False
    text = (params.text or "").casefold()
    error = NO_ERROR if newest is None else newest.error or NO_ERROR
    reason = None if newest is None else newest.reason
    ids = (*first_ten(job.job or job.task for job in jobs), *first_ten(job.task for job in jobs))
    shown = (error, *names, cause.project, reason, *ids)
    return any(text in one.casefold() for one in shown if one is not None)


def _row(cause: MergedFailures | Cause) -> FailureRow:
    return FailureRow(**facts_of(cause.key, cause.project, totals_of(cause), _newest(cause)))
