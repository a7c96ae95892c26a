"""Children in blocks: their order, and the sums of sizes, whatever is put in and taken out."""

from __future__ import annotations

import random

from otel_bridge_collector.views.tree.blocks import Item, Order, add, children, fill, remove


def item(number: int, size: int = 1) -> Item:
    order: Order = (number // 3, number, "")
    return Item(None, order, size)


def check(parent: Item, expected: list[Item]) -> None:
    assert list(children(parent)) == sorted(expected, key=lambda one: one.order)
    blocks = parent.kids or []
    assert all(block.size == sum(one.size for one in block.items) for block in blocks)
    assert all(1 <= len(block.items) <= 512 for block in blocks)
    assert all(
        one.block is block and one.parent is parent for block in blocks for one in block.items
    )
    assert parent.size == 1 + sum(one.size for one in expected)


def test_items_are_sorted_and_counted_wherever_they_come() -> None:
    """1,500 items in any order, half of them moved, then all of them taken out again."""
    chooser = random.Random(3)
    top, parent = item(0), item(1)
    add(top, parent)
    held = [item(number, chooser.choice((1, 1, 4))) for number in range(2, 1502)]
    chooser.shuffle(held)
    for one in held:
        add(parent, one)
    check(parent, held)
    assert len(parent.kids or []) > 2
    for one in chooser.sample(held, 750):
        remove(one)
        one.order = (chooser.randrange(500), one.order[1], "")
        add(parent, one)
    check(parent, held)
    assert top.size == 1 + parent.size
    for one in held:
        remove(one)
        assert (one.parent, one.block) == (None, None)
    check(parent, [])
    assert not parent.kids
    assert top.size == 2


def test_items_that_come_in_order_fill_blocks() -> None:
    """The last block is split so that most of it stays: three quarters, not half."""
    parent = item(0)
    for number in range(1, 1201):
        add(parent, item(number))
    assert [len(block.items) for block in parent.kids or []] == [384, 384, 432]


def test_a_list_becomes_children_at_once() -> None:
    """What is filled is as if each had been added."""
    parent, held = item(0), [item(number, 2) for number in range(1, 1000)]
    fill(parent, held)
    check(parent, held)
    fill(parent, [])
    assert (parent.kids, parent.size) == (None, 1)
