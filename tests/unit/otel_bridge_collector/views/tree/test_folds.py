"""Which rows are listed while some are folded, against a plain list."""

from __future__ import annotations

import random

import pytest
from otel_bridge_collector.views.tree.blocks import Item, add, children
from otel_bridge_collector.views.tree.folds import Folds


def tree(chooser: random.Random, size: int) -> tuple[Item, list[Item]]:
    """A tree of that many rows; one of them has most of the others directly below it."""
    root = Item(None, (0, 0, ""))
    items = [root]
    for number in range(1, size):
        parent = items[min(1, number - 1)] if chooser.random() < 0.6 else chooser.choice(items)
        one = Item(None, (chooser.randrange(50), number, ""))
        add(parent, one)
        items.append(one)
    return root, items


def listed(item: Item, folds: Folds, depth: int = 0) -> list[tuple[Item, int]]:
    found = [(item, depth)]
    if folds.is_open(item):
        for kid in children(item):
            found += listed(kid, folds, depth + 1)
    return found


@pytest.mark.parametrize("default", ["open", "folded"])
@pytest.mark.parametrize("seed", range(6))
def test_windows_and_numbers_equal_a_plain_list(default: str, seed: int) -> None:
    """At any place, with few and many exceptions, nested ones included."""
    chooser = random.Random(seed)
    root, items = tree(chooser, chooser.choice((1, 40, 1500)))
    for count in (0, 1, 20):
        exceptions = chooser.sample(items, min(count, len(items)))
        if default == "folded" and count:
            exceptions += items[:2]
        folds = Folds(root, "open" if default == "open" else "folded", exceptions)
        plain = listed(root, folds)
        assert folds.total == len(plain)
        assert folds.window(0, len(plain) + 1) == plain
        assert folds.window(len(plain), 5) == []
        for first in chooser.sample(range(len(plain)), min(20, len(plain))):
            assert folds.window(first, 7) == plain[first : first + 7]
        numbers = {item: number for number, (item, _) in enumerate(plain)}
        for item in chooser.sample(items, min(20, len(items))):
            at: Item | None = item
            while at not in numbers:
                assert at is not None
                at = at.parent
            assert folds.row_of(item) == numbers[at]


def test_one_row_is_listed_where_all_are_folded() -> None:
    """Nothing is open without being named, the task's own row included."""
    root, items = tree(random.Random(1), 30)
    assert Folds(root, "folded", []).window(0, 9) == [(root, 0)]
    below = [(kid, 1) for kid in children(root)]
    assert Folds(root, "folded", [root]).window(1, 99) == below
    assert items
