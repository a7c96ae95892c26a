"""The view ``tree``: one research task as a tree of rows, folded or filtered, by a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from otel_bridge_collector.model.events import FAILED, STATUS_NAMES
from otel_bridge_collector.views.listing import Scope, Window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.tree.blocks import Item
from otel_bridge_collector.views.tree.filtered import FilteredRows, filtered_rows, is_filtered
from otel_bridge_collector.views.tree.folds import Folds
from otel_bridge_collector.views.tree.index import TreeIndex
from otel_bridge_collector.views.tree.indexes import TreeIndexes
from otel_bridge_collector.wire.views.params import AnchorKey, TreeParams

__all__ = ["compute", "merge"]


def compute(state: ViewState, params: TreeParams, scope: Scope) -> Window:
    """
    Take a window of the tree of one task.

    Computed on the collector's event loop. The first window of a task makes its index, which is
    kept while windows of it are asked for.

    Args:
        state: As of its latest refresh; keeps the index.
        params: Which task, what is folded or filtered, and where the window (the rows that the
            client sees) starts.
        scope: The projects that the reader may see; None: all. A task of several projects is gone
            for a limited reader.

    Returns:
        The head and at most 200 rows; the rows' JSON is shared with all other windows of the task.

    Raises:
        GoneError: There is no such task, or the reader may not see it.
    """
    known = state.tasks.find(params.task, scope)
    index = state.keep(TreeIndexes).of(known.task)
    if is_filtered(params):
        filtered, as_of = filtered_rows(state, index, known.changes, params)
        first, shown = _window(index, filtered, params)
        sums = _Sums(first, filtered.total, filtered.matches, as_of)
    else:
        folds = index.folds(params.default, params.except_)
        first, shown = _window(index, folds, params)
        sums = _Sums(first, folds.total, None, None)
    rows = index.rows
    rows.slowness = state.slowness
    found = {rows.key(item): rows.row(item, depth) for item, depth in shown}
    return Window({**_head(index, sums), "path": _rows_above(index, shown)}, found)


class _Sums(NamedTuple):
    """What a head says of the rows that are listed."""

    first: int
    total: int
    matches: int | None
    as_of: int | None


def _window(
    index: TreeIndex, listed: Folds | FilteredRows, params: TreeParams
) -> tuple[int, list[tuple[Item, int]]]:
    at, count = params.at, params.count
    while True:
        total = listed.total
        first = total
        if isinstance(at, AnchorKey):
            first = listed.row_of(index.nearest(at.key)) - at.above
        elif at != "end":
            first = at.row
        first = max(0, min(first, total - count))
        shown = listed.window(first, count)
        if listed.total == total:
            return first, shown


def merge(parts: Sequence[Window], params: TreeParams) -> Window:
    """
    Return the window of the process that has the task; all nodes of a task are in one process.

    Args:
        parts: At least one.
        params: Not looked at.
    """
    del params
    return parts[0]


def _rows_above(index: TreeIndex, shown: Sequence[tuple[Item, int]]) -> list[dict[str, Any]]:
    """The rows above the first one of a window, the task's first."""
    if not shown:
        return []
    item, depth = shown[0]
    found = []
    while item.parent is not None:
        item, depth = item.parent, depth - 1
        found.append(index.rows.values(item, depth))
    found.reverse()
    return found


def _head(index: TreeIndex, sums: _Sums) -> dict[str, Any]:
    # Not ``TreeHead`` itself: with two rows above it costs 13 us, the dict 1; tests validate it.
    task, standing = index.task, index.rows.standing
    return {
        "first": sums.first,
        "total": sums.total,
        "matches": sums.matches,
        "start": ms(standing.started),
        "end": ms(standing.ended),
        "status": STATUS_NAMES[standing.status],
        "failed": len(index.failed) + (standing.status == FAILED),
        "nodes": {"seen": task.size + task.not_held, "kept": task.size},
        "as_of": sums.as_of,
    }
