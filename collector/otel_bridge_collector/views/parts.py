"""
``Slice``: what of a list of rows one state sends to where the lists of several are merged.

A list of 10,000 tasks is not sent for a window of 40: a slice has the rows that may be in the
window, and how many are before and after them. Where the window starts is known only to the merged
list if it starts at a key, or far down. Then the first merge raises ``NotCoveredError``, and its
``around`` says where the window is, by what rows are sorted by, so that each state can find it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from otel_bridge_collector.views.listing import Listing
from otel_bridge_collector.wire.views.params import Anchor, AnchorKey

__all__ = [
    "MAX_FREE_ROWS",
    "Around",
    "Item",
    "NotCoveredError",
    "Place",
    "Slice",
    "join_slices",
    "slice_of",
    "slice_window",
]

_Atom = int | str | bool | None
Place = tuple[_Atom | tuple[_Atom, ...], ...]
"""What rows are sorted by: compares after decoding as before encoding."""
Item = tuple[int | Place, str]
"""(sort value, key) of a row, as in ``Listing.order``."""
Around = Item | None
"""The row around which a window is; None: not known, or not needed."""

MAX_FREE_ROWS: Final = 400
"""Of a window that ends so far down all rows before it are sent, about 200 kB; of one further down
first the order alone, then the rows around it."""
_MARGIN: Final = 4
"""A fourth of a window more is sent on both sides of one: it moves while rows come and go."""


class NotCoveredError(Exception):
    """
    Raised by a merge of slices that do not have all rows of the window: select again.

    Attributes:
        around: The row around which to select; None: from the start.
    """

    def __init__(self, around: Around = None) -> None:
        super().__init__("the parts do not have all rows of the window")
        self.around = around


class Slice(msgspec.Struct, array_like=True, frozen=True):
    """
    Some rows of a list, one after the other, and how many there are beside them; a record.

    Attributes:
        before: Rows before those of ``order``.
        order: (sort value, key) of each row, sorted.
        after: Rows after them.
        rows: JSON by key; of further down than 400 rows it may be left out.
        anchor: The row that the window holds on to, if it is anywhere in the list.
        sums: Numbers that add up over several slices.
    """

    before: int
    order: Sequence[Item]
    after: int
    rows: Mapping[str, bytes]
    anchor: Item | None = None
    sums: Mapping[str, int] = {}

    @property
    def total(self) -> int:
        """Rows of the whole list."""
        return self.before + len(self.order) + self.after


def slice_of(
    listing: Listing,
    at: Anchor,
    count: int,
    keys: Sequence[str] | None = None,
    around: Around = None,
) -> Slice:
    """
    Take the rows of a list that may be in the window of several such lists, merged.

    On the event loop of the model, because rows are made here: at most 400; around a known row a
    window and a half, and those above it.

    Args:
        listing: All rows of one state.
        at: Where the window starts, as for ``listing.window``.
        count: Rows in it, at most 200.
        keys: Take these rows alone; default None: a window.
        around: Of a ``NotCoveredError``; default None: not known.

    Raises:
        Exception: What ``listing.row`` raises passes through.
    """
    order, sums = listing.order, listing.sums
    size = len(order)
    if keys is not None:
        known = {key for _, key in order}
        named = {key: listing.row(key) for key in keys if key in known}
        return Slice(0, (), size, named, None, sums)
    anchor, has_rows = None, True
    if isinstance(at, AnchorKey):
        anchor = next((item for item in order if item[1] == at.key), None)
    if at == "end":
        start, end = size - count, size
    elif around is not None:
        found = bisect_left(order, around)
        above = at.above if isinstance(at, AnchorKey) else 0
        margin = count // _MARGIN + 1
        start, end = found - above - margin, found + count + margin
        if end > size:
            start = min(start, size - count)  # the window moves back where the list ends
    else:
        start, end = 0, count if isinstance(at, AnchorKey) else at.row + count
        has_rows = end <= MAX_FREE_ROWS
    start, end = max(0, start), min(end, size)
    shown = order[start:end]
    rows = {key: listing.row(key) for _, key in shown} if has_rows else {}
    return Slice(start, shown, size - end, rows, anchor, sums)


def join_slices(parts: Sequence[Slice]) -> Slice:
    """
    Merge slices of one query from several states, no two of which have the same key; pure.

    In any grouping: joined slices join as those that they are made of. Raises nothing.

    Args:
        parts: Of the same query, around the same row. None give an empty slice.
    """
    if len(parts) == 1:
        return parts[0]
    sums: Counter[str] = Counter()
    rows: dict[str, bytes] = {}
    for part in parts:
        sums.update(part.sums)
        rows.update(part.rows)
    anchor = next((part.anchor for part in parts if part.anchor is not None), None)
    # Beyond what one of them left out, rows of others have an unknown place.
    low = _outermost(((part.order, 0) for part in parts if part.before), max)
    high = _outermost(((part.order, -1) for part in parts if part.after), min)
    merged = sorted(chain.from_iterable(part.order for part in parts))
    start = 0 if low is None else bisect_left(merged, low)
    end = len(merged) if high is None else bisect_left(merged, high) + 1
    if any(part.total and not part.order for part in parts):
        start = end = 0
    end = max(start, end)
    before = start + sum(part.before for part in parts)
    after = len(merged) - end + sum(part.after for part in parts)
    return Slice(before, merged[start:end], after, rows, anchor, dict(sums))


def _outermost(orders: Iterable[tuple[Sequence[Item], int]], which: Any) -> Item | None:
    found: Item | None = which((order[at] for order, at in orders if order), default=None)
    return found


def slice_window(
    part: Slice, at: Anchor, count: int, keys: Sequence[str] | None = None
) -> tuple[int, dict[str, bytes]]:
    """
    Take the window that a client asked for from a slice; as ``listing.window`` from a list. Pure.

    Args:
        part: The joined slice of all states.
        at: Where the window starts.
        count: Rows in it, at most 200.
        keys: Show exactly these rows in this order; default None: a window.

    Returns:
        The number of its first row from 0 (0 for ``keys``), and the rows by key in their order.

    Raises:
        NotCoveredError: The slice does not have all of these rows.
    """
    if keys is not None:
        return 0, {key: part.rows[key] for key in keys if key in part.rows}
    last_start, around = max(0, part.total - count), part.anchor
    if at == "end":
        first = last_start
    elif isinstance(at, AnchorKey):
        first = 0 if around is None else min(max(0, _row_of(part, around) - at.above), last_start)
    else:
        first = min(at.row, last_start)
    start, end = first - part.before, min(first + count, part.total) - part.before
    if start < 0 or end > len(part.order):
        raise NotCoveredError(around)
    shown = part.order[start:end]
    if not all(key in part.rows for _, key in shown):
        raise NotCoveredError(shown[0])
    return first, {key: part.rows[key] for _, key in shown}


def _row_of(part: Slice, anchor: Item) -> int:
    index = bisect_left(part.order, anchor)
    if index == len(part.order) or part.order[index] != anchor:
        raise NotCoveredError(anchor)
    return part.before + index
