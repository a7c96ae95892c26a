"""
``Listing`` and ``window``: the rows of a view in order, and the part of them that a client sees.

A row is made only when it is in a window. What several states list is merged by ``views.parts``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from otel_bridge_collector.wire.views.messages import PartialView
from otel_bridge_collector.wire.views.params import Anchor, AnchorKey, ListParams
from otel_bridge_collector.wire.views.rows import ListHead

__all__ = [
    "GoneError",
    "Listing",
    "NotYetError",
    "Scope",
    "Window",
    "list_window",
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


class NotYetError(Exception):
    """Raised for a view that other processes have not answered yet; the answer comes by itself."""


class Listing(NamedTuple):
    """
    All rows of a view for one query; a row is made only when it is in a window.

    A record; checks nothing.

    Attributes:
        order: (sort value, key) of each row, sorted; keys are unique. In any number.
        row: Makes the JSON of the row with a key of ``order``; another key raises ``KeyError``.
        sums: What the head is made of; empty if there is nothing.
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
        partial: What of it is old or missing, as other processes do not answer; default None: it is
            whole.
    """

    head: Mapping[str, Any]
    rows: Mapping[str, bytes]
    partial: PartialView | None = None


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


def list_window(listing: Listing, params: ListParams) -> Window:
    """
    Take the window of a view without filters; pure, raises nothing.

    Args:
        listing: All rows.
        params: Where the window starts, and how many rows it has: 60 by default, at most 200.
    """
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
