"""
``Listing`` and ``window``: the rows of a view in order, and the part of them that a client sees.

A row is made only when it is in a window. Listings of several processes merge into one: their heads
are sums, their orders merge, and each row comes from the listing that has it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from otel_bridge_collector.wire.views.params import Anchor, AnchorKey, ListParams
from otel_bridge_collector.wire.views.rows import ListHead

__all__ = [
    "GoneError",
    "Listing",
    "Scope",
    "Window",
    "list_window",
    "merge_listings",
    "no_row",
    "whole_window",
    "window",
]

Scope = frozenset[str] | None
"""The projects that a reader may see; None: all, and what has no project."""


class GoneError(LookupError):
    """
    Raised by a view whose subject does not exist, or may not be seen; both look the same.

    Attributes:
        why: ``unknown``: there is none, or the reader may not see it; ``evicted``: it left the
            collector's memory.
    """

    def __init__(self, why: Literal["unknown", "evicted"] = "unknown") -> None:
        super().__init__(why)
        self.why = why


class Listing(NamedTuple):
    """
    All rows of a view for one query; a row is made only when it is in a window.

    A record; checks nothing.

    Attributes:
        order: (sort value, key) of each row, sorted; keys are unique. In any number.
        row: Makes the JSON of the row with a key of ``order``; another key raises ``KeyError``.
        sums: Numbers for the head that add up over several listings; empty if there are none.
    """

    order: Sequence[tuple[Any, str]]
    row: Callable[[str], bytes]
    sums: Mapping[str, Any]


class Window(NamedTuple):
    """
    What one client sees of a view; a record, which checks nothing.

    Attributes:
        head: The numbers above the rows as JSON values by name, such as ``first`` (number of the
            first row shown, from 0) and ``total`` (rows in all).
        rows: The JSON of each row by its key, in the order shown; at most 200, of a strip 240.
    """

    head: Mapping[str, Any]
    rows: Mapping[str, bytes]


def merge_listings(listings: Sequence[Listing]) -> Listing:
    """
    Merge the listings of one query from several processes, no two of which have the same key.

    Raises nothing, whatever their number; none give an empty listing. Makes no rows.

    Args:
        listings: One alone is returned as it is. A key in two of them, which is not checked, is in
            the order twice, with the row of the later one.

    Returns:
        One listing: orders merged, sums added, each row from the listing that has it.
    """
    if len(listings) == 1:
        return listings[0]
    sums: Counter[str] = Counter()
    owner: dict[str, Listing] = {}
    for listing in listings:
        sums.update(listing.sums)
        owner.update((key, listing) for _, key in listing.order)
    order = list(heapq.merge(*(listing.order for listing in listings)))
    return Listing(order, lambda key: owner[key].row(key), dict(sums))


def window(
    listing: Listing, at: Anchor, count: int, keys: Sequence[str] | None = None
) -> tuple[int, dict[str, bytes]]:
    """
    Take the window that a client asked for from a listing.

    Args:
        listing: All rows.
        at: Where the window starts: a row's number, a key, or ``end`` for the last rows. Past the
            end it moves back, and an unknown key counts as row 0.
        count: Rows in it, at most; parameters allow 200, which is not checked here.
        keys: Show exactly these rows in this order, as far as they exist; default None: a window.

    Returns:
        The number of its first row from 0 (0 for ``keys``), and the rows by key in their order.

    Raises:
        Exception: What ``listing.row`` raises for a key of the listing passes through.
    """
    order = listing.order
    if keys is not None:
        known = {key for _, key in order}
        return 0, {key: listing.row(key) for key in keys if key in known}
    last_start = max(0, len(order) - count)
    if at == "end":
        first = last_start
    elif isinstance(at, AnchorKey):
        found = next((index for index, (_, key) in enumerate(order) if key == at.key), 0)
        first = min(max(0, found - at.above), last_start)
    else:
        first = min(at.row, last_start)
    return first, {key: listing.row(key) for _, key in order[first : first + count]}


def list_window(parts: Sequence[Listing], params: ListParams) -> Window:
    """
    Merge the listings of a view without filters, and take the window; pure, raises nothing.

    Args:
        parts: One listing for each process, no two with the same key; none give an empty window.
        params: Where the window starts, and how many rows it has: 60 by default, at most 200.
    """
    listing = merge_listings(parts)
    first, rows = window(listing, params.at, params.count)
    return Window(ListHead(first=first, total=len(listing.order)).model_dump(), rows)


def whole_window(parts: Sequence[Listing], head: type[BaseModel]) -> Window:
    """
    Take all rows of a view of one task, which one process holds; its sums are the head.

    Args:
        parts: One listing; of several the first.
        head: The model of the head, which checks the sums.

    Raises:
        IndexError: There are no parts.
    """
    part = parts[0]
    shown = head.model_validate(part.sums)
    return Window(shown.model_dump(), {key: part.row(key) for _, key in part.order})


def no_row(key: str) -> bytes:
    """Raise ``KeyError``: what a listing without rows gives as the function that makes them."""
    raise KeyError(key)
