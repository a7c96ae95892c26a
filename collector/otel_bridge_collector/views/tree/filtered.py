"""
Filtered trees: a list of the rows that pass, with all rows above them.

All rows are looked at, which takes 10 to 100 ms for 50,000, so the budget of the views decides how
often a list is made again. Its rows are those of now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from otel_bridge_collector.model.events import FAILED, PHASE, STATUS_NAMES, TASK
from otel_bridge_collector.model.nodes import Job
from otel_bridge_collector.model.reading.keys import row_name
from otel_bridge_collector.model.snapshot.bars import worker_id_of
from otel_bridge_collector.model.snapshot.cards import OPEN
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task.job import error_of
from otel_bridge_collector.views.tree.blocks import Item, by_order
from otel_bridge_collector.views.tree.index import TreeIndex
from otel_bridge_collector.views.tree.listed import is_final
from otel_bridge_collector.views.tree.rows import TYPED
from otel_bridge_collector.wire.views.params import TreeParams

__all__ = ["FilteredRows", "filtered_rows", "is_filtered"]

_ONLY_FAILED: Final = frozenset({FAILED})
_SECOND_US: Final = 1_000_000
_NEVER: Final = 1 << 62


class FilteredRows:
    """
    The rows of a tree that pass a filter, and those above them, as of when the list was made.

    For the collector's event loop; raises nothing for items of the tree.

    Args:
        root: The task's row.
        found: The rows that pass, in any order, each once.

    Attributes:
        matches: How many rows pass.
    """

    def __init__(self, root: Item, found: Iterable[Item]) -> None:
        self._root = root
        below: defaultdict[Item, list[Item]] = defaultdict(list)
        seen: set[Item] = set()
        self.matches = 0
        for item in found:
            self.matches += 1
            at: Item | None = item
            while at is not None and at not in seen:
                seen.add(at)
                if at.parent is not None:
                    below[at.parent].append(at)
                at = at.parent
        self._rows: list[tuple[Item, int]] = []
        self._numbers: dict[Item, int] | None = None
        todo = [(root, 0)] if seen else []
        while todo:
            item, depth = todo.pop()
            self._rows.append((item, depth))
            kids = below.get(item)
            if kids is not None:
                kids.sort(key=by_order, reverse=True)
                todo += [(kid, depth + 1) for kid in kids]

    @property
    def total(self) -> int:
        """How many rows are listed."""
        return len(self._rows)

    def row_of(self, item: Item) -> int:
        """The number of an item's row from 0, else of the nearest listed above, else 0."""
        if self._numbers is None:
            self._numbers = {item: number for number, (item, _) in enumerate(self._rows)}
        at: Item | None = item
        while at is not None:
            number = self._numbers.get(at)
            if number is not None:
                return number
            at = at.parent
        return 0

    def window(self, first: int, count: int) -> list[tuple[Item, int]]:
        """
        Return some rows, each with its depth (rows above it).

        Rows that have left the tree since the list was made leave the list if they are met here; so
        ``total`` and the numbers of rows may be others afterwards.

        Args:
            first: The number of the first one, from 0; past the end there are none.
            count: How many, at most.
        """
        found = self._rows[first : first + count]
        if not all(self._is_held(item) for item, _ in found):
            self._rows = [row for row in self._rows if self._is_held(row[0])]
            self._numbers = None
            found = self._rows[first : first + count]
        return found

    def _is_held(self, item: Item) -> bool:
        return item.parent is not None or item is self._root


def is_filtered(params: TreeParams) -> bool:
    """Whether parameters have a filter, so that folds do not count."""
    has_exact = params.status is not None or params.type is not None
    return has_exact or params.zoom is not None or bool(params.text)


def filtered_rows(
    state: ViewState, index: TreeIndex, changes: int, params: TreeParams
) -> tuple[FilteredRows, int]:
    """
    Return the rows that pass the filters of a query, made now or kept from before.

    On the collector's event loop. Raises nothing.

    Args:
        state: Its budget decides, and keeps the list.
        index: The tree, as of the latest refresh.
        changes: A number that changes with the task.
        params: With at least one filter.

    Returns:
        The rows, and the time of the state in which they were found, ms.
    """
    text = params.text.casefold() if params.text else None
    # While the task is open, time alone changes what is stalled.
    is_open = index.rows.standing.status in OPEN
    version = changes, state.now // _SECOND_US if is_open else 0
    filters = params.zoom, params.status, params.type, text
    key = "tree", index, index.builds, *filters
    build = partial(_find, index, *filters)
    return state.budget.list(key, build, version)


def _find(
    index: TreeIndex,
    zoom: tuple[int, int] | None,
    status: tuple[str, ...] | None,
    row_type: str | None,
    text: str | None,
) -> FilteredRows:
    codes = None if status is None else frozenset(map(STATUS_NAMES.index, status))
    rows = index.failed if codes == _ONLY_FAILED else index.items.values()
    found: Iterable[Item] = (index.root, *rows)
    if row_type is not None:
        found = (item for item in found if _is_of_type(item, row_type))
    if text is not None:
        found = filter(_Texts(text, index).has_text, found)
    if codes is not None or zoom is not None:
        found = _passing(index, codes, zoom, found)
    return FilteredRows(index.root, found)


def _is_of_type(item: Item, row_type: str) -> bool:
    """Whether a row has this type as ``TreeRow.type``, or is a phase of this name."""
    node = item.node
    if node is None or node.name != row_type:
        return False
    return node.kind == PHASE or node.kind in TYPED


def _passing(
    index: TreeIndex,
    codes: frozenset[int] | None,
    zoom: tuple[int, int] | None,
    items: Iterable[Item],
) -> Iterator[Item]:
    """Those rows that have one of the statuses, and were open in a stretch of time."""
    rows, root = index.rows, index.root
    first, last = (0, _NEVER) if zoom is None else (zoom[0] * 1000, zoom[1] * 1000 + 999)
    for item in items:
        node = item.node
        if node is not None and item is not root and is_final(node):
            # Nearly all, and without a call for each: 15 instead of 55 ms for 50,000.
            start, end, status = node.start, node.end, node.ended & 7
        else:
            state = rows.now(item)
            start, end, status = rows.started(item), state.ended or 0, state.status
        if codes is not None and status not in codes:
            continue
        if zoom is None or (start and start <= last and (not end or end >= first)):
            yield item


class _Texts:
    """Whether rows have a text; each name and each worker is compared once."""

    def __init__(self, text: str, index: TreeIndex) -> None:
        self._text = text
        self._root = index.root
        self._task_name = index.rows.task_name
        self._known: dict[str | int | None, bool] = {}

    def has_text(self, item: Item) -> bool:
        """Whether name, job, type, worker or error of a row have the text."""
        node, text = item.node, self._text
        if node is None:
            return item is self._root and text in self._task_name.casefold()
        if (node.kind == TASK or item is self._root) and text in row_name(node).casefold():
            return True
        own, error = node.own, node.error
        if type(own) is Job:
            if text in own.id.casefold():
                return True
            if error is None and not is_final(node):
                error = error_of(own, node)
        if error is not None and text in error.casefold():
            return True
        return self._is_in(node.name) or (
            node.worker is not None and self._is_in(worker_id_of(node))
        )

    def _is_in(self, name: str | int | None) -> bool:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = name is not None and self._text in str(name).casefold()
        return known
