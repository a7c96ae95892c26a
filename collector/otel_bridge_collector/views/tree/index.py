"""
``TreeIndex``: the rows of one task's tree, kept up by difference while a view asks for them.

Made when a view first asks for it, brought up to date from the nodes that the model says have
changed, and dropped when no view has asked for 60 s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Final

from otel_bridge_collector.model.events import ENQUEUE, JOB, PHASE
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import GONE, Node, Task, children
from otel_bridge_collector.model.reading.keys import is_row
from otel_bridge_collector.views.tree.blocks import Item, add, by_order, fill, remove
from otel_bridge_collector.views.tree.blocks import children as items_below
from otel_bridge_collector.views.tree.folds import Folds
from otel_bridge_collector.views.tree.listed import (
    all_nodes,
    has_failed,
    is_held,
    is_virtual,
    is_virtual_row,
    node_of,
    order_of,
    successor,
)
from otel_bridge_collector.views.tree.rows import RowMaker, gone_below

__all__ = ["TreeIndex"]

_MAX_FOLDS: Final = 200
_MAX_GONE: Final = 10_000
_FIRST: Final = (-2, 0, "")
"""The order of the row for what is no longer in memory: before all its siblings."""
_MAX_STEPS: Final = 100


class TreeIndex:
    """
    The rows of one task: their order, sizes and keys, and the JSON of those that were shown.

    For the collector's event loop, without a lock. As large as the task, 200,000 nodes by default.
    Raises nothing for what the model holds.

    Args:
        model: The state. Its task reports changed nodes to this index alone, which empties the set.
        task: Held by the model; one that is evicted must not be refreshed.

    Attributes:
        root: The task's own row.
        items: Rows by their node; without the task's own one, and without those that stand for what
            is no longer in memory.
        failed: Rows that failed, without the task's own; as a dict for its order.
        version: Rises when a row comes, goes or moves.
        builds: Rises when all items are made again; the former ones are closed.
        rows: Makes the JSON of rows, as of the latest refresh.
    """

    def __init__(self, model: Fold, task: Task) -> None:
        self.task = task
        self.root = Item(None, (0, 0, ""))
        self.items: dict[Node, Item] = {}
        self.failed: dict[Item, None] = {}
        self.version = self.builds = 0
        self._model = model
        self._changes: set[Node] | None = None
        self._more: dict[Item, Item] = {}
        self._gone: dict[str, str] = {}
        """Keys of shown rows that left, and the key of the row above."""
        self._folds: dict[object, Folds] = {}
        self._number = 0
        self.rows = RowMaker(model, task, model.cards.standing(task))
        self.refresh()

    # --- what is read of it ----------------------------------------------------------------------

    def folds(self, default: str, exceptions: tuple[str, ...]) -> Folds:
        """
        Return the rows that are listed for a choice of folds, until the next refresh.

        Args:
            default: ``open`` or ``folded``.
            exceptions: Keys of rows for which it is the other way round; unknown ones are ignored.
        """
        key = default, exceptions
        found = self._folds.get(key)
        if found is None:
            if len(self._folds) >= _MAX_FOLDS:
                self._folds.clear()
            items = [item for item in map(self.item_of, exceptions) if item is not None]
            is_open = default == "open"
            found = self._folds[key] = Folds(self.root, "open" if is_open else "folded", items)
        return found

    def item_of(self, key: str) -> Item | None:
        """The row with a key; None if there is none."""
        if key == self.rows.key(self.root):
            return self.root
        if key.startswith("more:"):
            above = self.item_of(key[5:])
            return None if above is None else self._more.get(above)
        node = node_of(self._model, self.task, key)
        return None if node is None else self.items.get(node)

    def nearest(self, key: str) -> Item:
        """The row with a key; if there is none, what replaced it, else the row that was above."""
        for _ in range(_MAX_STEPS):
            item = self.item_of(key)
            if item is not None:
                return item
            node = node_of(self._model, self.task, key)
            after = None if node is None else successor(node)
            if after is not None and after in self.items:
                return self.items[after]
            above = self._gone.get(key)
            if above is None:
                break
            key = above
        return self.root

    # --- keeping up ------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring it up to date with the model, which must have been swept at the present time."""
        task, version = self.task, self.version
        changes = self._changes
        is_other_root = self._model.tasks.root_of(task) is not self.root.node
        if changes is None or task.changes is not changes or is_other_root:
            self._build()
        elif changes:
            nodes = list(changes)
            changes.clear()
            self._number += 1
            self._follow(nodes)
        if self.version != version:
            self._folds.clear()
        self.rows = RowMaker(self._model, task, self._model.cards.standing(task))

    def close(self) -> None:
        """Let all its items go, which have no garbage collection; it must not be used again."""
        if self.task.changes is self._changes:
            self.task.changes = None
        for item in (self.root, *self.items.values(), *self._more.values()):
            _close(item)
        self.items.clear()
        self.failed.clear()
        self._more.clear()
        self._folds.clear()

    def _build(self) -> None:
        """Make all rows again: at first, and when another node is the task's own one."""
        self.close()
        task = self.task
        self._changes = task.changes = set()
        root = self.root = Item(self._model.tasks.root_of(task), _FIRST)
        items = self.items
        for node in all_nodes(task):
            if node is not root.node and is_row(node):
                items[node] = Item(node, order_of(node))
        below: defaultdict[Item, list[Item]] = defaultdict(list)
        for node, item in list(items.items()):
            up = node.up
            above = items.get(up) if type(up) is Node else root
            if above is None and type(up) is Node and is_virtual(up):
                above = items[up] = Item(up, order_of(up))
            below[above or root].append(item)
            if has_failed(node):
                self.failed[item] = None
        names = self._phase_names()
        for node in task.virtual.values():
            if node not in items and is_virtual_row(task, node, names):
                items[node] = Item(node, order_of(node))
            if node in items:
                below[root].append(items[node])
                if has_failed(node):
                    self.failed[items[node]] = None
        for item in (root, *items.values()):
            if gone_below(task, item, is_task=item is root):
                more = self._more[item] = Item(None, _FIRST)
                below[item].append(more)
        self._arrange(below)
        self.version += 1
        self.builds += 1

    def _arrange(self, below: dict[Item, list[Item]]) -> None:
        """Link all items, the lowest first: a block's sum needs their sizes."""
        order = [self.root]
        for item in order:
            order += below.get(item, ())
        for item in reversed(order):
            kids = below.get(item)
            if kids is not None:
                kids.sort(key=by_order)
                fill(item, kids)

    def _phase_names(self) -> set[str | None]:
        task = self.task
        if not task.virtual:
            return set()
        return {node.name for node in task.tops if node.key is not None}

    def _follow(self, nodes: list[Node]) -> None:
        """
        Bring the rows of these nodes up to date, and of those that depend on them.

        All rows that have another place are taken out before the first is put in, or a row could
        come below one that is still below it.
        """
        self._touch(self.root)  # jobs that have left the task say nothing of its counts
        virtual: dict[Node, None] = {}
        above = {self.root: None}
        is_phase_changed = False
        nodes += [other for node in nodes for other in _depending(node)]
        while nodes:
            placed: list[Node] = []
            more: list[Node] = []
            for node in nodes:
                if is_virtual(node):
                    virtual[node] = None
                    continue
                is_phase_changed = is_phase_changed or node.kind == PHASE
                if self._take_out(node, above, more):
                    placed.append(node)
            for node in placed:
                self._put_in(node, above)
            nodes = more
        if is_phase_changed:
            virtual.update(dict.fromkeys(self.task.virtual.values()))
        for item in above:
            if _is_virtual(item) and item.node is not None:
                virtual[item.node] = None
        if virtual:
            names = self._phase_names()
            for node in virtual:
                self._follow_virtual(node, names, above)
        for item in above:
            self._follow_gone(item)

    def _take_out(self, node: Node, above: dict[Item, None], more: list[Node]) -> bool:
        """Take a row out that is none any more or has another place; whether there is to be one."""
        root, item = self.root, self.items.get(node)
        if node is root.node:
            self._touch(root)
            return False
        up = node.up
        parent = self.items.get(up) if type(up) is Node and up is not root.node else root
        is_listed = is_held(node, self.task) and is_row(node)
        if item is None:
            if parent is not None:
                self._touch(parent)  # an enqueue that is no row may be where its job is counted
            if type(up) is Node and is_virtual(up):
                more.append(up)
            return is_listed
        if not is_listed:
            above[item.parent or root] = None
            more += self._drop(item)
            return False
        if item.parent is not None and (parent is not item.parent or item.order != order_of(node)):
            above[item.parent] = None
            self._detach(item)
        return True

    def _put_in(self, node: Node, above: dict[Item, None]) -> None:
        item = self.items.get(node)
        if item is None:
            item = self.items[node] = Item(node, order_of(node))
        if item.parent is None:
            parent = self._above(node)
            item.order = order_of(node)
            above[parent] = None
            self._attach(parent, item)
        elif _is_virtual(item.parent):
            above[item.parent] = None
        if node.agg is not None and node.agg[GONE]:
            above[item] = None
        self._touch(item)
        self._note_failed(item)

    def _note_failed(self, item: Item) -> None:
        assert item.node is not None
        if has_failed(item.node):
            self.failed[item] = None
        else:
            self.failed.pop(item, None)

    def _above(self, node: Node) -> Item:
        """The row below which a node's row is; one that is not made yet is made."""
        up = node.up
        if type(up) is not Node or up is self.root.node:
            return self.root
        item = self.items.get(up)
        if item is None:
            item = self.items[up] = Item(up, order_of(up))
            self._attach(self._above(up), item)
        return item

    def _follow_virtual(self, node: Node, names: set[str | None], above: dict[Item, None]) -> None:
        task, item = self.task, self.items.get(node)
        has_kids = item is not None and any(kid.node is not None for kid in items_below(item))
        if not is_held(node, task) or not (has_kids or is_virtual_row(task, node, names)):
            if item is not None:
                self._drop(item)
            return
        if item is None:
            item = self.items[node] = Item(node, (0, 0, ""))
        order = order_of(node)
        if item.parent is None or item.order != order:
            if item.parent is not None:
                self._detach(item)
            item.order = order
            self._attach(self.root, item)
        above[item] = None
        self._touch(item)
        self._note_failed(item)

    def _follow_gone(self, item: Item) -> None:
        """The row for what is no longer in memory comes, goes, or has another number."""
        if item is not self.root and (item.node is None or self.items.get(item.node) is not item):
            return
        more = self._more.get(item)
        if gone_below(self.task, item, is_task=item is self.root):
            if more is None:
                more = self._more[item] = Item(None, _FIRST)
                self._attach(item, more)
            more.row = None
        elif more is not None:
            self._detach(more)
            del self._more[item]

    # --- links -----------------------------------------------------------------------------------

    def _attach(self, parent: Item, item: Item) -> None:
        add(parent, item)
        self._touch(parent)
        self.version += 1

    def _detach(self, item: Item) -> None:
        assert item.parent is not None
        self._touch(item.parent)
        remove(item)
        self.version += 1

    def _drop(self, item: Item) -> list[Node]:
        """A row goes; returns the nodes of those below it, which have changed too and move."""
        moved: list[Node] = []
        for kid in list(items_below(item)):
            self._detach(kid)
            if kid.node is None:
                del self._more[item]
            else:
                moved.append(kid.node)
        if item.parent is not None:
            self._remember(item, item.parent)
            self._detach(item)
        assert item.node is not None
        del self.items[item.node]
        self.failed.pop(item, None)
        _close(item)
        return moved

    def _remember(self, item: Item, parent: Item) -> None:
        """Of a row that was shown: a window that holds on to its key moves to the row above."""
        if item.key is None:
            return
        gone = self._gone
        gone.pop(item.key, None)
        gone[item.key] = self.rows.key(parent)
        if len(gone) > _MAX_GONE:
            for key in list(islice(gone, _MAX_GONE // 2)):
                del gone[key]

    def _touch(self, item: Item) -> None:
        """Rows are to be made again: an item has changed, so the counts above it may have."""
        number = self._number
        at: Item | None = item
        while at is not None and at.read != number:
            at.read = number
            at.row = None
            at = at.parent


def _depending(node: Node) -> Iterator[Node]:
    """Nodes of other jobs whose rows depend on this one: an enqueue's attempts, and it on them."""
    if node.kind == ENQUEUE:
        for kid in children(node):
            if kid.own is not node.own:
                yield kid
    elif node.kind == JOB:
        parent = node.parent
        if type(parent) is Node and parent.kind == ENQUEUE and parent.own is not node.own:
            yield parent


def _is_virtual(item: Item) -> bool:
    return item.node is not None and is_virtual(item.node)


def _close(item: Item) -> None:
    item.node = item.parent = item.block = item.kids = item.row = None
