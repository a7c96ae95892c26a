"""``otel_bridge.publish.shards.position``: text, order and cursors of places in a sharded log."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import PositionLostError
from otel_bridge.publish.publisher import POSITION_MAX_BYTES
from otel_bridge.publish.shards.layout import MAX_SHARDS
from otel_bridge.publish.shards.position import (
    LAST_NUMBER,
    ShardPosition,
    StreamId,
    parse_position,
)
from otel_bridge.publish.transports.base import position_after, splice_position

YEAR_5000_MS = 95_617_584_000_000
SHARDS = range(MAX_SHARDS)

epochs = st.text("0123456789abcdef", min_size=8, max_size=8)
places = st.builds(
    ShardPosition,
    st.just("4af2c1b0"),
    st.integers(0, 5) | st.integers(0, YEAR_5000_MS),
    st.sampled_from(SHARDS),
    st.integers(0, 5) | st.integers(0, LAST_NUMBER),
)
entries = st.sets(
    st.tuples(st.integers(1, 4), st.sampled_from(SHARDS), st.integers(0, 3)), max_size=30
)


@given(places, epochs)
def test_a_position_comes_back_from_its_text(place: ShardPosition, epoch: str) -> None:
    """A text parses to the position that it was made of."""
    place = place._replace(epoch=epoch)
    assert parse_position(place.text) == place


@given(places, places)
def test_texts_sort_as_the_log(first: ShardPosition, second: ShardPosition) -> None:
    """Positions read from texts have the order (milliseconds, shard, sequence number)."""
    in_log = first[1:] < second[1:]
    assert (parse_position(first.text) < parse_position(second.text)) == in_log
    assert (first.text == second.text) == (first == second)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("4af2c1b0:1764412800000-3", ("4af2c1b0", 1764412800000, 0, 3)),
        ("4af2c1b0:1764412800000-5-3", ("4af2c1b0", 1764412800000, 5, 3)),
        ("4af2c1b0:1764412800000-0-3", ("4af2c1b0", 1764412800000, 0, 3)),
        ("set:by:hand:7-1", ("set:by:hand", 7, 0, 1)),
    ],
)
def test_both_texts_are_read(text: str, place: tuple[str, int, int, int]) -> None:
    """The text of a log of one stream is a place in shard 0."""
    assert parse_position(text) == place


def test_shard_0_keeps_the_text_of_one_stream() -> None:
    """An entry of shard 0 has the same text before and after shards are added."""
    assert ShardPosition("4af2c1b0", 7, 0, 3).text == "4af2c1b0:7-3"
    assert ShardPosition("4af2c1b0", 7, 2, 3).text == "4af2c1b0:7-2-3"


@pytest.mark.parametrize(
    "text",
    [
        *("", "7-1", ":7-1", "e:7", "e:7-", "e:-1", "e:7-1-2-3", "e:7--1", "e:x-1", "e:7-1-x"),
        *("e:7-٣", f"e:{2**64}-0", f"e:7-{'1' * 21}"),
    ],
)
def test_other_text_is_malformed(text: str) -> None:
    """A text that is no position is an error that says so."""
    with pytest.raises(PositionLostError) as lost:
        parse_position(text)
    assert (lost.value.position, lost.value.reason) == (text, "malformed")


@given(places, epochs)
def test_a_position_fits_into_its_room(place: ShardPosition, epoch: str) -> None:
    """What a position adds to an event is never over ``POSITION_MAX_BYTES``."""
    text = place._replace(epoch=epoch).text
    event = b'{"a":1}'
    longer = splice_position(text, event)
    assert json.loads(longer) == {"position": text, "a": 1}
    assert len(longer) - len(event) <= POSITION_MAX_BYTES


@given(entries, places)
def test_cursors_split_the_log_at_a_position(
    log: set[tuple[int, int, int]], place: ShardPosition
) -> None:
    """The entries after the cursors of all shards are those after the position, no other."""
    after = {one for one in log if one > place[1:]}
    by_cursor = {(ms, k, seq) for ms, k, seq in log if (ms, seq) > place.cursor_of(k)}
    assert by_cursor == after


@given(places)
def test_nothing_comes_between_a_position_and_the_one_before(place: ShardPosition) -> None:
    """From the place before a position its own entry is the first that is read."""
    if (place.ms, place.seq) == (0, 0):
        return  # no entry has the id 0-0
    before = place.before()
    assert before < place
    assert (place.ms, place.seq) > before.cursor_of(place.shard)
    nearest: StreamId = (place.ms, place.seq - 1) if place.seq else (place.ms - 1, LAST_NUMBER)
    assert before.cursor_of(place.shard) in (nearest, (0, 0))


@given(places)
def test_reading_back_from_right_after_a_position(place: ShardPosition) -> None:
    """``position_after`` takes the text of every shard."""
    after = parse_position(position_after(place.text))
    assert after == place._replace(seq=min(place.seq + 1, LAST_NUMBER))
