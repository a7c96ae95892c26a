"""The messages that turn what a client shows into what it is to show."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.views.changes import (
    change_message,
    full_message,
    limit_new_rows,
    splice,
)
from otel_bridge_collector.views.listing import Window
from otel_bridge_collector.wire.views.messages import PartialView

from tests.support.view_client import ShownView


def window_of(rows: dict[str, int], total: int = 0) -> Window:
    made = {key: json.dumps({"k": key, "n": value}).encode() for key, value in rows.items()}
    return Window({"total": total, "first": None}, made)


def test_a_full_is_the_whole_window() -> None:
    """It has number, version, time, head and every row, in their order."""
    message = json.loads(full_message(7, 3, 1795863026859, window_of({"b": 1, "a": 2}, 5)))
    assert message == {
        "t": "full",
        "s": 7,
        "v": 3,
        "at": 1795863026859,
        "head": {"total": 5, "first": None},
        "rows": [{"k": "b", "n": 1}, {"k": "a", "n": 2}],
    }


def test_a_change_has_only_what_differs() -> None:
    """One row differs, so nothing of the head and no keys travel."""
    old, new = window_of({"a": 1, "b": 1}), window_of({"a": 1, "b": 2})
    message = change_message(7, 4, 1, old, new)
    assert message is not None
    assert json.loads(message) == {
        "t": "change",
        "s": 7,
        "v": 4,
        "at": 1,
        "rows": [{"k": "b", "n": 2}],
    }


def test_what_is_old_travels_until_the_view_is_whole_again() -> None:
    """``partial`` is in a full that is not whole, in the change to it, and null in the one back."""
    whole = window_of({"a": 1})
    old = whole._replace(partial=PartialView(why=("partition 3 is not answering",), rows=("a",)))
    said = {"why": ["partition 3 is not answering"], "rows": ["a"]}
    assert json.loads(full_message(7, 3, 1, old))["partial"] == said
    assert json.loads(change_message(7, 4, 1, whole, old) or b"")["partial"] == said
    assert change_message(7, 4, 1, old, old) is None
    assert json.loads(change_message(7, 5, 1, old, whole) or b"")["partial"] is None


def test_nothing_travels_if_nothing_differs() -> None:
    """Equal windows make no message."""
    assert change_message(7, 4, 1, window_of({"a": 1}), window_of({"a": 1})) is None


def test_a_splice_trims_both_ends() -> None:
    """Only what lies between the common ends leaves and comes."""
    assert splice("abcxyz", "abQRyz") == (2, 2, "QR")
    assert splice("abc", "abc") is None
    assert splice("", "ab") == (0, 0, "ab")
    assert splice("aa", "a") == (1, 1, "")


def newest(first: int, count: int) -> Window:
    return window_of({f"{number:03}": number for number in range(first, first + count)})


def test_of_many_new_rows_only_the_newest_are_shown() -> None:
    """The window has no hole, grows with what follows, and says that there are older rows."""
    shown = limit_new_rows(newest(0, 6), newest(100, 6), 2)
    assert (list(shown.rows), shown.head["older"]) == (["104", "105"], True)
    shown = limit_new_rows(shown, newest(101, 6), 2)
    assert (list(shown.rows), shown.head["older"]) == (["104", "105", "106"], True)
    few = newest(2, 6)
    assert limit_new_rows(newest(0, 6), few, 2) is few


def test_the_window_is_whole_when_it_is_quiet() -> None:
    """As soon as no row comes, the skipped ones that are among the newest come as well."""
    last = newest(100, 6)
    shown = limit_new_rows(newest(0, 6), last, 2)
    assert limit_new_rows(shown, last, 2) is last
    assert limit_new_rows(newest(0, 0), newest(100, 2), 2).rows == newest(100, 2).rows


_windows = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 2)).map(
    lambda rows: dict(sorted(rows.items(), key=lambda each: (each[1], each[0])))
)


@given(st.lists(st.tuples(_windows, st.integers(0, 3)), min_size=1))
def test_a_full_and_changes_equal_a_later_full(story: list[tuple[dict[str, int], int]]) -> None:
    """A client that applies every change shows what a client shows that comes later."""
    client, version = ShownView(), 1
    windows = [window_of(*each) for each in story]
    client.apply(json.loads(full_message(1, version, 0, windows[0])))
    for old, new in itertools.pairwise(windows):
        message = change_message(1, version + 1, 0, old, new)
        if message is not None:
            version += 1
            client.apply(json.loads(message))
        later = ShownView()
        later.apply(json.loads(full_message(1, version, 0, new)))
        assert client.shown == later.shown
