"""``parts``: slices of several lists, encoded and merged, give the window of the whole list."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.views.listing import Listing, window
from otel_bridge_collector.views.parts import (
    MAX_FREE_ROWS,
    Around,
    Item,
    NotCoveredError,
    Slice,
    join_slices,
    slice_of,
    slice_window,
)
from otel_bridge_collector.wire.views.params import Anchor, AnchorKey, AnchorRow

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Slice).decode


def listing(items: Sequence[Item]) -> Listing:
    keys = {key for _, key in items}

    def row(key: str) -> bytes:
        assert key in keys
        return f"row {key}".encode()

    return Listing(sorted(items), row, {"all": len(items)})


def shown(
    lists: Sequence[Listing], at: Anchor, count: int, keys: Sequence[str] | None = None
) -> tuple[int, list[str], int, int]:
    """The window of several lists, how often it took to ask, and the rows sent at last."""
    around: Around = None
    for times in range(1, 4):
        parts = [decode(encode(slice_of(one, at, count, keys, around))) for one in lists]
        sent = sum(len(part.rows) for part in parts)
        half = len(parts) // 2
        groups = [join_slices(group) for group in (parts[:half], parts[half:]) if group]
        joined = join_slices(groups)
        assert joined.total == joined.sums.get("all", 0) == sum(len(one.order) for one in lists)
        try:
            first, rows = slice_window(joined, at, count, keys)
        except NotCoveredError as error:
            around = error.around
            continue
        assert all(row == f"row {key}".encode() for key, row in rows.items())
        return first, list(rows), times, sent
    raise AssertionError("not covered after three times")


KEYS = st.integers(0, 60).map(lambda number: f"k{number}")
ANCHORS = st.one_of(
    st.just("end"),
    st.builds(AnchorRow, row=st.integers(0, 60)),
    st.builds(AnchorKey, key=KEYS, above=st.integers(0, 6)),
)
VALUES = st.tuples(st.integers(-3, 3), st.tuples(st.booleans(), st.sampled_from(("", "p"))))


@given(
    values=st.lists(VALUES, max_size=50),
    owners=st.lists(st.integers(0, 3), min_size=50, max_size=50),
    at=ANCHORS,
    count=st.integers(1, 9),
    keys=st.none() | st.lists(KEYS, unique=True, max_size=5),
)
def test_slices_of_several_states_are_one_list(
    values: list[tuple[int, tuple[bool, str]]],
    owners: list[int],
    at: Anchor,
    count: int,
    keys: list[str] | None,
) -> None:
    """Wherever the window starts, by at most two more answers, in whatever groups."""
    items: list[Item] = [(value, f"k{number}") for number, value in enumerate(values)]
    parts = [
        listing([item for item, owner in zip(items, owners, strict=False) if owner == number])
        for number in range(4)
    ]
    first, rows = window(listing(items), at, count, keys)
    found = shown(parts, at, count, keys)
    assert found[:2] == (first, list(rows))
    assert found[2] == 1 or isinstance(at, AnchorKey)


@pytest.mark.parametrize("row", [0, MAX_FREE_ROWS - 10, MAX_FREE_ROWS, 5_000, 9_995, 20_000])
def test_a_long_list_is_not_sent(row: int) -> None:
    """Of 10,000 rows at most 400 of each state are sent, wherever the window is."""
    items: list[Item] = [((-number,), f"k{number}") for number in range(10_000)]
    parts = [listing(items[number::4]) for number in range(4)]
    at = AnchorRow(row=row)
    first, rows = window(listing(items), at, 10)
    found = shown(parts, at, 10)
    assert found[:2] == (first, list(rows))
    assert found[3] <= 4 * MAX_FREE_ROWS
    assert found[2] == (1 if row < MAX_FREE_ROWS else 2)
    key = AnchorKey(key=f"k{10_000 - 1 - min(row, 9_999)}", above=3)
    first, rows = window(listing(items), key, 10)
    found = shown(parts, key, 10)
    assert found[:2] == (first, list(rows))
    assert found[3] <= 4 * (10 + 3 + 2 * 3)


def test_a_row_that_has_gone_meanwhile() -> None:
    """A window around a row that is no longer there starts over, at the first row."""
    part = listing([((number,), f"k{number}") for number in range(100)])
    at = AnchorKey(key="gone", above=1)
    found = slice_of(part, at, 5, around=((50,), "gone"))
    with pytest.raises(NotCoveredError) as raised:
        slice_window(found, at, 5)
    assert raised.value.around is None
    assert shown([part], at, 5)[:2] == (0, ["k0", "k1", "k2", "k3", "k4"])
