"""The view ``tree``: one research task as a tree of rows, folded or filtered, by a window."""

from __future__ import annotations

from collections.abc import Sequence

from otel_bridge_collector.model.events import FAILED, STATUS_NAMES
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.views.listing import GoneError, Scope, Window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.tree.index import TreeIndex
from otel_bridge_collector.views.tree.indexes import TreeIndexes
from otel_bridge_collector.wire.views.params import AnchorKey, TreeParams
from otel_bridge_collector.wire.views.tree import Held, TreeHead

__all__ = ["compute", "merge"]


def compute(state: ViewState, params: TreeParams, scope: Scope) -> Window:
    """
    Take a window of the tree of one task.

    Computed on the collector's event loop. The first window of a task makes its index, which is
    kept while windows of it are asked for.

    Args:
        state: As of its latest refresh; keeps the index.
        params: Which task, what is folded, and where the window (the rows that the client sees)
            starts.
        scope: The projects that the reader may see; None: all. A task of several projects is gone
            for a limited reader.

    Returns:
        The head and at most 200 rows; the rows' JSON is shared with all other windows of the task.

    Raises:
        GoneError: There is no such task, or the reader may not see it.
    """
    indexes = state.keep(TreeIndexes)
    index = indexes.of(_task(state, indexes, params.task, scope))
    folds = index.folds(params.default, params.except_)
    total = folds.total
    first = total
    if isinstance(params.at, AnchorKey):
        first = folds.row_of(index.nearest(params.at.key)) - params.at.above
    elif params.at != "end":
        first = params.at.row
    first = max(0, min(first, total - params.count))
    shown = folds.window(first, params.count)
    rows = index.rows
    found = {rows.key(item): rows.row(item, depth) for item, depth in shown}
    return Window(_head(index, first, total).model_dump(), found)


def merge(parts: Sequence[Window], params: TreeParams) -> Window:
    """
    Return the window of the process that has the task; all nodes of a task are in one process.

    Args:
        parts: At least one.
        params: Not looked at.
    """
    del params
    return parts[0]


def _task(state: ViewState, indexes: TreeIndexes, task_id: str, scope: Scope) -> Task:
    task = state.model.tasks.by_id.get(task_id)
    if task is None:
        raise GoneError("evicted" if indexes.was_evicted(task_id, scope) else "unknown")
    is_hidden = scope is not None and (is_shared(task) or task.project not in scope)
    if is_hidden or not state.model.tasks.is_shown(task):
        raise GoneError
    return task


def _head(index: TreeIndex, first: int, total: int) -> TreeHead:
    task, standing = index.task, index.rows.standing
    return TreeHead(
        first=first,
        total=total,
        matches=None,
        start=ms(standing.started),
        end=ms(standing.ended),
        status=STATUS_NAMES[standing.status],
        failed=len(index.failed) + (standing.status == FAILED),
        nodes=Held(seen=task.size + task.not_held, kept=task.size),
        as_of=None,
    )
