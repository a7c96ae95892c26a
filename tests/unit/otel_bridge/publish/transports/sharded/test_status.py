"""``otel_bridge.publish.transports.sharded.status``: lags, clocks and shards without an answer."""

from __future__ import annotations

import time

import pytest

from otel_bridge.publish.transports.sharded.status import ShardStatus


def status() -> ShardStatus:
    found = ShardStatus()
    for shard, node in ((0, "a:1"), (1, "b:1"), (2, "c:1")):
        found.note_read(shard, node, 0)
    return found


def note_clocks(found: ShardStatus, **ahead_sec: float) -> None:
    for node, seconds in ahead_sec.items():
        found.note_time(f"{node}:1", (time.time() + seconds) * 1000)


def test_skew_is_against_the_median_clock() -> None:
    """One clock that is off is off, and the others are not; above a second it is a warning."""
    found = status()
    assert found.skew_sec() == {}
    note_clocks(found, a=0.0, b=-1.5, c=0.0)
    skews = found.skew_sec()
    assert [round(skews[node], 1) for node in ("a:1", "b:1", "c:1")] == [0.0, -1.5, 0.0]
    assert found.warnings() == [
        "the clock of b:1 is 1.5 s behind: raw events wait for the slowest clock"
    ]
    note_clocks(found, b=0.9)
    assert found.warnings() == []


def test_the_lag_of_a_shard_that_does_not_answer_grows() -> None:
    """One that is read to its end has none; one with more to read is behind its clock."""
    found = status()
    found.note_read(1, "b:1", 2500)
    found.note_shards({0: None, 1: None, 2: None}, {2: time.monotonic() - 60})
    lags = found.lag_sec()
    assert (lags[0], lags[1]) == (0, 2.5)
    assert lags[2] == pytest.approx(60, abs=30)
    assert found.silent == [2]
    assert found.warnings() == ["shards 2 do not answer"]


def test_shards_that_are_gone_are_forgotten() -> None:
    """So are the clocks of servers that have none any more."""
    found = status()
    note_clocks(found, a=0.0, b=0.0, c=9.0)
    was_sharded = found.is_sharded
    found.note_shards({0: None}, {})
    assert (was_sharded, found.is_sharded) == (True, False)
    assert (found.lag_sec(), dict(found.nodes), list(found.skew_sec())) == (
        {0: 0},
        {0: "a:1"},
        ["a:1"],
    )
