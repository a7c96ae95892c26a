"""The view ``failures``: failed jobs by cause, the latest first."""

from __future__ import annotations

from collections.abc import Sequence

from otel_bridge_collector.model.failures import NO_ERROR
from otel_bridge_collector.model.nodes import Node
from otel_bridge_collector.model.snapshot.bars import phase_of
from otel_bridge_collector.model.snapshot.panels import (
    MergedFailures,
    first_ten,
    job_id_of,
    merged_failures,
    newest_failed,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.views.params import FailuresParams
from otel_bridge_collector.wire.views.rows import FailureRow

__all__ = ["compute", "merge"]


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
    return Listing(sorted(order), lambda key: _row(found[key]).model_dump_json().encode(), {})


def merge(parts: Sequence[Listing], params: FailuresParams) -> Window:
    """
    Merge the parts of several processes, and take the window: ``first``, ``total`` and its rows.

    Pure; raises nothing.

    Args:
        parts: One listing (all rows of the view) for each process, no two with the same cause of
            the same project; one alone is taken as it is, none give an empty window.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 60, at most 200.
    """
    return list_window(parts, params)


def _passes(merged: MergedFailures, params: FailuresParams) -> bool:
    if params.type is None and not params.text:
        return True
    nodes = newest_failed(merged)
    newest = nodes[0] if nodes else None
    names = (None, None) if newest is None else (newest.name, phase_of(newest))
    if params.type is not None and params.type not in names:
        return False
    text = (params.text or "").casefold()
    error = (newest and newest.error) or NO_ERROR
    ids = (*first_ten(map(job_id_of, nodes)), *first_ten(node.own.task.id for node in nodes))
    shown = (error, *names, merged.project, _why(newest), *ids)
    return any(text in one.casefold() for one in shown if one is not None)


def _why(newest: Node | None) -> str | None:
    return newest.more.reason if newest is not None and newest.more is not None else None


def _row(merged: MergedFailures) -> FailureRow:
    nodes = newest_failed(merged)
    newest = nodes[0] if nodes else None
    return FailureRow(
        k=merged.key,
        error=(newest and newest.error) or NO_ERROR,
        type=newest and newest.name,
        types=tuple(first_ten(node.name for node in nodes if node.name)),
        phase=None if newest is None else phase_of(newest),
        why=_why(newest),
        count=sum(group.count for group in merged.groups),
        first=min(group.first for group in merged.groups) // 1000,
        last=merged.last // 1000,
        jobs=tuple(first_ten(job_id_of(node) for node in nodes)),
        tasks=tuple(first_ten(node.own.task.id for node in nodes)),
        project=merged.project,
        stack=next((node.more.stack for node in nodes if node.more and node.more.stack), None),
    )
