"""``otel_bridge.publish.transports.sharded.merge``: one order of the entries of several shards."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.publish.shards.position import LAST_NUMBER, ShardPosition, parse_position
from otel_bridge.publish.transports.sharded.merge import (
    Merge,
    full_bound,
    newest_places,
    time_bound,
)

Row = tuple[bytes, tuple[bytes, bytes]]
Id = tuple[int, int]

ids = st.tuples(st.integers(1, 20), st.integers(0, 3))
logs = st.lists(st.lists(ids, unique=True, max_size=12).map(sorted), min_size=1, max_size=8)
counts = st.lists(st.integers(1, 5), min_size=1)


def rows(found: Sequence[Id]) -> list[Row]:
    return [(f"{ms}-{seq}".encode(), (b"e", f"{ms}-{seq}".encode())) for ms, seq in found]


def placed(log: Sequence[Sequence[Id]]) -> list[tuple[int, int, int]]:
    return sorted((ms, shard, seq) for shard, found in enumerate(log) for ms, seq in found)


def keys(places: Sequence[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int]]:
    return [place[:3] for place in places]


@given(logs, counts, st.integers(1, 7))
def test_any_pace_gives_the_order_of_the_log(
    log: list[list[Id]], per_poll: list[int], limit: int
) -> None:
    """However many entries of each shard are read at a time, they come out in one order."""
    merge, given_out, at = Merge(), [], [0] * len(log)
    merge.start(ShardPosition("e", 0, 0, 0))
    for count in [*per_poll, 100, 100]:
        bounds = [time_bound(1000)]
        for shard, found in enumerate(log):
            part = found[at[shard] : at[shard] + count]
            at[shard] += len(part)
            merge.add(shard, rows(part))
            if len(part) == count:
                bounds.append(full_bound(shard, part[-1]))
        merge.complete(min(bounds))
        while merge.has_complete():
            given_out += keys(merge.take(limit))
    assert given_out == placed(log)
    assert (merge.late, len(merge)) == (0, 0)


@given(logs, st.integers(1, 21))
def test_nothing_is_given_out_before_the_slowest_clock(log: list[list[Id]], time_ms: int) -> None:
    """Entries of the millisecond that a server's clock shows, and later ones, wait."""
    merge = Merge()
    for shard, found in enumerate(log):
        merge.add(shard, rows(found))
    merge.complete(min(time_bound(time_ms), time_bound(1000)))
    expected = [place for place in placed(log) if place[0] < time_ms]
    assert keys(merge.take(1000)) == expected
    merge.complete(None)
    assert not merge.has_complete()


def test_an_entry_below_what_was_given_out_is_late() -> None:
    """It is counted and kept apart from those that are in order."""
    merge = Merge()
    merge.add(0, rows([(5, 0)]))
    merge.complete(time_bound(10))
    assert keys(merge.take(10)) == [(5, 0, 0)]
    merge.add(1, rows([(3, 0), (5, 1), (12, 0)]))
    merge.complete(time_bound(20))
    assert merge.has_late
    assert keys(merge.take_late(10)) == [(3, 1, 0)]
    assert (merge.late, merge.has_late) == (1, False)
    assert keys(merge.take(10)) == [(5, 1, 1), (12, 1, 0)]


def test_passing_over_is_a_place_without_an_entry() -> None:
    """It is behind all that is complete, and what comes below it is late."""
    merge = Merge()
    merge.start(ShardPosition("e", 5, 2, 1))
    assert merge.pass_over("e") == ShardPosition("e", 5, 2, 1)
    merge.complete(time_bound(9))
    place = merge.pass_over("e")
    assert place == parse_position(place.text) == ShardPosition("e", 8, 7, LAST_NUMBER)
    assert {place.cursor_of(shard) for shard in range(8)} == {(8, LAST_NUMBER)}
    merge.add(0, rows([(8, 3), (9, 0)]))
    merge.complete(time_bound(10))
    assert keys(merge.take_late(10)) == [(8, 0, 3)]
    assert keys(merge.take(10)) == [(9, 0, 0)]


@given(logs, st.integers(1, 20))
def test_the_newest_of_all_shards(log: list[list[Id]], limit: int) -> None:
    """Of the newest entries of each shard those of the log, newest first."""
    found = {shard: rows(part[::-1][:limit]) for shard, part in enumerate(log)}
    assert keys(newest_places(found, limit)) == placed(log)[::-1][:limit]
