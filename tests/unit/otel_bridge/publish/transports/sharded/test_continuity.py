"""``otel_bridge.publish.transports.sharded.continuity``: where a shard has a hole."""

from __future__ import annotations

import pytest

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import Layout
from otel_bridge.publish.shards.position import LAST_NUMBER, ShardPosition, StreamId
from otel_bridge.publish.transports.sharded.continuity import (
    BOUNDS_COMMANDS,
    NOTHING_READ,
    Bounds,
    ReadState,
    bounds_commands,
    gap_since_place,
    gap_since_read,
    id_before,
    parse_bounds,
)

LAYOUT = Layout(3, 2, "log", {0: "log", 1: "one", 2: "two"}, {2: "50-0"})
"""Shards 0 and 1 are in use; shard 2 was, up to its entry 50-0."""
NOTHING = Bounds(None, None, None, None)
WHOLE = Bounds("one", (10, 0), (10, 0), (90, 0))
TRIMMED = Bounds("one", (10, 0), (40, 0), (90, 0))


@pytest.mark.parametrize(
    ("shard", "state", "found", "reason"),
    [
        (1, ((20, 0), True, "one"), WHOLE, None),
        (1, (NOTHING_READ, False, "one"), WHOLE, None),
        (1, (NOTHING_READ, False, None), WHOLE, None),
        (1, (NOTHING_READ, False, "one"), Bounds("one", None, None, None), None),
        (1, (NOTHING_READ, False, None), NOTHING, None),
        (1, ((20, 0), True, "one"), WHOLE._replace(epoch="new"), "epoch"),
        (1, ((20, 0), True, "one"), NOTHING, "epoch"),
        (1, ((91, 0), True, "one"), WHOLE, "epoch"),
        (1, ((91, 0), False, "one"), WHOLE, None),
        (1, ((20, 0), True, "one"), TRIMMED, "trimmed"),
        (1, ((39, LAST_NUMBER), False, "one"), TRIMMED, None),
        (1, ((40, 0), True, "one"), TRIMMED, None),
        (2, ((50, 0), True, "two"), NOTHING, None),
        (2, ((50, 0), True, "two"), Bounds("two", (1, 0), None, None), None),
        (2, ((49, 0), True, "two"), NOTHING, "trimmed"),
        (2, ((49, 0), True, "two"), Bounds("two", (1, 0), None, None), "trimmed"),
    ],
)
def test_reading_on(
    shard: int, state: tuple[StreamId, bool, str | None], found: Bounds, reason: str | None
) -> None:
    """A reader finds by epoch, first and last entry whether a shard goes on where it is."""
    cursor, is_exact, epoch = state
    known = ReadState(cursor, is_exact=is_exact, epoch=epoch)
    assert gap_since_read(shard, known, found, LAYOUT) == reason


@pytest.mark.parametrize(
    ("shard", "place", "found", "reason"),
    [
        (1, (20, 1, 0), WHOLE, None),
        (1, (20, 0, 0), WHOLE, None),
        (1, (5, 0, 0), WHOLE, None),
        (1, (95, 0, 0), WHOLE, None),
        (1, (95, 1, 0), WHOLE, "epoch"),
        (1, (95, 1, LAST_NUMBER), WHOLE, None),
        (1, (20, 0, 0), TRIMMED, "trimmed"),
        (1, (40, 0, 0), TRIMMED, None),
        (1, (5, 0, 0), WHOLE._replace(epoch="new"), "epoch"),
        (1, (10, 0, 0), WHOLE._replace(epoch="new"), None),
        (1, (20, 0, 0), NOTHING, "epoch"),
        (1, (20, 0, 0), Bounds("one", None, None, None), None),
        (1, (20, 0, 0), Bounds("one", (10, 0), None, None), "epoch"),
        (2, (50, 2, 0), NOTHING, None),
        (2, (60, 0, 0), NOTHING, None),
        (2, (20, 0, 0), NOTHING, "trimmed"),
        (2, (20, 0, 0), Bounds("two", (1, 0), (1, 0), (50, 0)), None),
        (0, (0, 0, 0), Bounds("log", None, None, None), None),
    ],
)
def test_resuming(
    shard: int, place: tuple[int, int, int], found: Bounds, reason: str | None
) -> None:
    """So does a client that comes with a position, by the epochs in the layout."""
    assert gap_since_place(shard, ShardPosition("log", *place), found, LAYOUT) == reason


@pytest.mark.parametrize(("time", "reason"), [(20, "trimmed"), (50, None)])
def test_a_shard_that_came_back_empty(time: int, reason: str | None) -> None:
    """What a shard had before it expired and was added again is missing, and nothing else."""
    layout = Layout(5, 3, "log", {0: "log", 1: "one", 2: "again"}, {2: "50-0"})
    found = Bounds("again", (70, 0), (70, 0), (70, 0))
    assert gap_since_place(2, ShardPosition("log", time, 2, 0), found, layout) == reason


def test_what_redis_answers() -> None:
    """The commands and their replies, also while the stream is being replaced."""
    assert len(bounds_commands(DEFAULT_KEYS, 1)) == BOUNDS_COMMANDS
    rows = [[[b"10-0", [b"e", b"{}"]]], [[b"90-1", [b"e", b"{}"]]]]
    assert parse_bounds([[b"one", b"9-0"], *rows, b"one"]) == Bounds(
        "one", (9, 0), (10, 0), (90, 1)
    )
    assert parse_bounds([[None, None], [], [], None]) == NOTHING
    assert parse_bounds([[b"one", b"9-0"], *rows, b"two"]) is None


def test_the_id_before_another() -> None:
    """Nothing comes between them."""
    assert [id_before(each) for each in ((5, 1), (5, 0), (0, 0))] == [
        (5, 0),
        (4, LAST_NUMBER),
        (0, 0),
    ]
