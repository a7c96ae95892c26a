"""Windows of a listing."""

from __future__ import annotations

import json

import pytest
from otel_bridge_collector.views.listing import Listing, window
from otel_bridge_collector.wire.views.params import Anchor, AnchorKey, AnchorRow


def listing(keys: list[str], sums: dict[str, int] | None = None) -> Listing:
    made: list[str] = []

    def row(key: str) -> bytes:
        made.append(key)
        return json.dumps({"k": key, "made": len(made)}).encode()

    return Listing([(key, key) for key in sorted(keys)], row, sums or {})


TEN = [f"{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("at", "first", "keys"),
    [
        (AnchorRow(row=0), 0, "012"),
        (AnchorRow(row=4), 4, "456"),
        (AnchorRow(row=99), 7, "789"),
        ("end", 7, "789"),
        (AnchorKey(key="5"), 5, "567"),
        (AnchorKey(key="5", above=1), 4, "456"),
        (AnchorKey(key="0", above=9), 0, "012"),
        (AnchorKey(key="9"), 7, "789"),
        (AnchorKey(key="gone"), 0, "012"),
    ],
)
def test_a_window_starts_where_it_is_anchored(at: Anchor, first: int, keys: str) -> None:
    """It never ends past the last row while there are enough of them."""
    found, rows = window(listing(TEN), at, 3)
    assert (found, list(rows)) == (first, list(keys))


def test_a_window_holds_on_to_its_key() -> None:
    """However many rows come above it, the row under the eye stays at its place."""
    at = AnchorKey(key="5", above=1)
    before = window(listing(["4", "5", "6"]), at, 2)
    after = window(listing([*TEN, *(f"0{number}" for number in range(50))]), at, 2)
    assert list(before[1]) == list(after[1]) == ["4", "5"]
    assert (before[0], after[0]) == (0, 54)


def test_a_short_listing_is_shown_whole() -> None:
    """With fewer rows than asked for, all are shown."""
    assert list(window(listing(["b", "a"]), "end", 5)[1]) == ["a", "b"]
    assert window(listing([]), AnchorRow(row=3), 5) == (0, {})


def test_keys_are_shown_in_their_own_order() -> None:
    """A list that stands still shows the rows that it is asked for, as far as they exist."""
    assert list(window(listing(TEN), "end", 2, ["7", "gone", "1"])[1]) == ["7", "1"]


def test_only_rows_of_the_window_are_made() -> None:
    """A row costs nothing as long as nobody sees it."""
    _, rows = window(listing(TEN), AnchorRow(row=8), 2)
    assert [json.loads(row)["made"] for row in rows.values()] == [1, 2]
