"""The rows of a tree as a plain list, made of the model alone: what an index must agree with."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node, Task
from otel_bridge_collector.model.reading.keys import is_row, node_key
from otel_bridge_collector.views.tree.blocks import Item
from otel_bridge_collector.views.tree.listed import (
    all_nodes,
    is_virtual_row,
    order_of,
)
from otel_bridge_collector.views.tree.rows import RowMaker, gone_below

__all__ = ["flat_rows", "folded"]


def flat_rows(model: Fold, task: Task) -> list[dict[str, Any]]:
    """All rows of a task's tree, the numbers that depend on other rows counted one by one."""
    root = model.tasks.root_of(task)
    below: dict[Node | None, list[Node]] = defaultdict(list)
    for node in all_nodes(task):
        if node is not root and is_row(node):
            up = node.up
            below[up if type(up) is Node and up is not root else None].append(node)
    names = {node.name for node in task.tops if node.key is not None}
    for node in task.virtual.values():
        if below[node] or is_virtual_row(task, node, names):
            below[None].append(node)
    maker = RowMaker(model, task, model.cards.standing(task))
    found: list[dict[str, Any]] = []

    def walk(node: Node | None, depth: int) -> None:
        item = Item(root if node is None else node, (0, 0, ""))
        if node is not None:
            item.parent = item
        row = json.loads(maker.row(item, depth))
        found.append(row)
        before = len(found)
        gone = gone_below(task, item, is_task=node is None)
        if gone:
            found.append({"k": f"more:{row['k']}", "depth": depth + 1, "kids": gone})
        for kid in sorted(below[node], key=order_of):
            walk(kid, depth + 1)
        row["kids"] = len(below[node]) + gone
        row["n"] = len(found) - before

    walk(None, 0)
    keys = [row["k"] for row in found]
    assert len(set(keys)) == len(keys), keys
    listed = {node_key(node) for nodes in below.values() for node in nodes}
    assert listed <= set(keys), "a row is below one that is none"
    return found


def folded(
    rows: list[dict[str, Any]], default: str, exceptions: Collection[str]
) -> list[dict[str, Any]]:
    """Those of a plain list that are listed for a choice of folds."""
    found = []
    limit: int | None = None
    for row in rows:
        if limit is not None and row["depth"] > limit:
            continue
        limit = None
        found.append(row)
        if (row["k"] in exceptions) is (default == "open"):
            limit = row["depth"]
    return found
