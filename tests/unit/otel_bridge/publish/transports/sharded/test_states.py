"""``otel_bridge.publish.transports.sharded.states``: how far each shard is read, and its losses."""

from __future__ import annotations

from dataclasses import replace

from otel_bridge.publish.shards.layout import Layout
from otel_bridge.publish.shards.position import LAST_NUMBER, ShardPosition
from otel_bridge.publish.transports.sharded.continuity import NOTHING_READ, Bounds
from otel_bridge.publish.transports.sharded.states import ReadStates

TWO = Layout(1, 2, "log", {0: "log", 1: "one"}, {})
ZERO = Bounds("log", (3, 0), (20, 0), (90, 0))
ONE = Bounds("one", (5, 0), (30, 2), (80, 0))


def started() -> ReadStates:
    states = ReadStates()
    states.follow(TWO)
    states.start({0: ZERO, 1: ONE})
    return states


def test_the_start_is_before_the_first_entry_of_each_shard() -> None:
    """Shards that were trimmed to different times begin where they do, without a gap."""
    states = ReadStates()
    states.follow(TWO)
    assert states.start({0: ZERO, 1: ONE}) == ShardPosition("log", 19, 0, LAST_NUMBER)
    assert states.cursors() == {0: (19, LAST_NUMBER), 1: (30, 1)}
    states.compare({0: ZERO, 1: ONE})
    assert states.lost == {}


def test_resuming_at_a_place() -> None:
    """The cursors follow from the place; a hole is returned, and changes nothing."""
    states = started()
    place = ShardPosition("log", 40, 1, 5)
    assert states.resume(place, {0: ZERO, 1: ONE}, unread=False) is None
    assert states.cursors() == {0: (40, LAST_NUMBER), 1: (40, 5)}
    early = ShardPosition("log", 10, 0, 0)
    assert states.resume(early, {0: ZERO, 1: ONE}, unread=False) == ("trimmed", [0, 1])
    lost = ONE._replace(epoch="new", first_ever=(70, 0))
    assert states.resume(early, {0: ZERO, 1: lost}, unread=False) == ("epoch", [1])
    assert states.cursors() == {0: (40, LAST_NUMBER), 1: (40, 5)}


def test_all_of_new_shards_is_read_by_who_knew_one_stream() -> None:
    """Their entries may have ids before the position, by a clock that is behind."""
    states = ReadStates()
    states.follow(TWO)
    new = Bounds("one", (39, 0), (39, 0), (60, 0))
    place = ShardPosition("log", 40, 0, 7)
    assert states.resume(place, {0: ZERO, 1: new}, unread=True) is None
    assert states.cursors() == {0: (40, 7), 1: NOTHING_READ}


def test_a_loss_is_noted_once_and_read_past() -> None:
    """The cursor goes behind the hole, and the other shard stays where it is."""
    states = started()
    states.note_read(0, (50, 0))
    states.note_read(1, (50, 0))
    states.compare({0: ZERO, 1: ONE._replace(epoch="new")})
    assert states.lost == {"epoch": {1}}
    assert states.lost_shards == {1}
    assert states.cursors() == {0: (50, 0), 1: (30, 1)}
    states.lost.clear()
    states.compare({0: ZERO, 1: ONE._replace(epoch="new")})
    assert states.lost == {}
    states.compare({0: ZERO._replace(first=(60, 0))})
    assert states.lost == {"trimmed": {0}}
    assert states.cursors()[0] == (59, LAST_NUMBER)


def test_a_shard_out_of_use_is_read_until_it_is_gone() -> None:
    """Its last entries are read, and its end is no loss; what was not read of it is one."""
    states = started()
    states.note_read(1, (80, 0))
    ended = replace(TWO, gen=2, count=1, ended={1: "80-0"})
    states.follow(ended)
    assert (states.shards, states.is_one_stream) == ([0, 1], False)
    states.compare({0: ZERO, 1: Bounds("one", (5, 0), None, None)})
    assert (states.lost, states.shards, states.is_one_stream) == ({}, [0], True)

    late = started()
    late.note_read(1, (70, 0))
    late.follow(ended)
    late.compare({1: Bounds(None, None, None, None)})
    assert late.lost == {"trimmed": {1}}


def test_a_shard_that_comes_back_empty_is_another_one() -> None:
    """A new epoch in the layout is no loss of what was read to its end before."""
    states = started()
    states.note_read(1, (80, 0))
    ended = {1: "80-0"}
    states.follow(replace(TWO, gen=2, count=1, epochs={0: "log"}, ended=ended))
    assert states.cursors() == {0: (19, LAST_NUMBER)}
    states.follow(replace(TWO, gen=3, epochs={0: "log", 1: "again"}, ended=ended))
    states.compare({1: Bounds("again", None, None, None)})
    assert (states.lost, states.cursors()[1]) == ({}, NOTHING_READ)

    behind = started()
    behind.note_read(1, (70, 0))
    behind.follow(replace(TWO, gen=3, epochs={0: "log", 1: "again"}, ended=ended))
    assert behind.lost == {"trimmed": {1}}
