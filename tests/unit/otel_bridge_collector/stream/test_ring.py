"""The ring of recent events."""

from __future__ import annotations

import pytest
from otel_bridge_collector.stream.ring import Entry, ReplayRing


def filled(count: int, max_events: int = 100, max_bytes: int = 10_000) -> ReplayRing:
    ring = ReplayRing("e:0", max_events, max_bytes)
    for number in range(1, count + 1):
        ring.append(Entry(f"e:{number}", b"x" * 10, "task_started"))
    return ring


def positions(ring: ReplayRing, after: str) -> list[str | None]:
    return [entry.position for entry in ring.after_index(ring.index_of(after))]


def test_replays_what_follows() -> None:
    """After a held position comes exactly what was appended later; after the last, nothing."""
    ring = filled(5)
    assert positions(ring, "e:3") == ["e:4", "e:5"]
    assert positions(ring, "e:5") == []
    assert len(positions(ring, "e:0")) == 5


def test_evicted_positions_are_not_held() -> None:
    """The newest evicted position is the floor; older ones are unknown."""
    ring = filled(10, max_events=4)
    assert (ring.floor, ring.holds("e:6"), ring.holds("e:5")) == ("e:6", True, False)
    assert positions(ring, "e:6") == ["e:7", "e:8", "e:9", "e:10"]
    with pytest.raises(KeyError):
        ring.index_of("e:5")


def test_bounded_in_bytes() -> None:
    """Bytes bound it too, and the newest event is always held."""
    assert len(filled(50, max_bytes=50)) == 5
    assert len(filled(3, max_bytes=1)) == 1


def test_strangers_have_no_position() -> None:
    """An event without a position is replayed to nobody by position, and moves no floor."""
    ring = filled(2, max_events=2)
    ring.append(Entry(None, b"f", "task_started"))
    ring.append(Entry("e:3", b"x", "task_started"))
    assert [entry.position for entry in ring.after_index(ring.index_of("e:2"))] == [None, "e:3"]


def test_skipped_entry_can_be_resumed_from() -> None:
    """A position passed by is a place to resume from while it is the newest."""
    ring = filled(2)
    ring.skip("e:3")
    assert ring.holds("e:3")
    assert positions(ring, "e:3") == []
    ring.append(Entry("e:4", b"x", "task_started"))
    assert positions(ring, "e:2") == ["e:4"]


def test_reset_keeps_counting() -> None:
    """After a reset old positions are gone and indexes go on, so that no one is confused."""
    ring = filled(3)
    ring.reset("f:9")
    assert (ring.holds("e:3"), ring.holds("f:9"), ring.last_index) == (False, True, 3)
    ring.append(Entry("f:10", b"x", "task_started"))
    assert positions(ring, "f:9") == ["f:10"]
    assert ring.reaches_back_to(3)
    assert not ring.reaches_back_to(2)
