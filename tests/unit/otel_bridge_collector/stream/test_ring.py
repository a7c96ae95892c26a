"""The ring of recent events: what it holds, what it evicts, and where a client may resume."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.stream.ring import Entry, ReplayRing


def filled(count: int, max_events: int = 100, max_bytes: int = 10_000) -> ReplayRing:
    ring = ReplayRing("e:0", max_events, max_bytes)
    for number in range(1, count + 1):
        ring.append(Entry(f"e:{number}", b"x" * 10, "task_started"))
    return ring


def positions(ring: ReplayRing, after: str) -> list[str | None]:
    return [entry.position for entry in ring.after_index(ring.index_of(after))]


def test_a_resume_gets_what_follows_its_position() -> None:
    """After a held position come exactly the later entries; after the newest, none."""
    ring = filled(5)
    assert positions(ring, "e:3") == ["e:4", "e:5"]
    assert positions(ring, "e:5") == []
    assert len(positions(ring, "e:0")) == 5


def test_evicted_positions_are_not_held() -> None:
    """The newest evicted position is the low watermark; older positions are not held."""
    ring = filled(10, max_events=4)
    assert (ring.low_watermark, ring.holds("e:6"), ring.holds("e:5")) == ("e:6", True, False)
    assert positions(ring, "e:6") == ["e:7", "e:8", "e:9", "e:10"]
    with pytest.raises(KeyError):
        ring.index_of("e:5")


def test_positions_that_were_asked_for_are_evicted_too() -> None:
    """Clients that resume all the time find what is held then, and what has left since is gone."""
    ring = filled(0, max_events=4)
    for number in range(1, 30):
        ring.append(Entry(f"e:{number}", b"x", "task_started"))
        assert ring.index_of(f"e:{number}") == number
        assert ring.holds("e:1") == (number < 6)  # 4 held, and the low watermark
        assert len(ring._index_of) <= 9


def test_the_ring_is_bounded_in_bytes() -> None:
    """The oldest entries are evicted beyond the byte limit, but never the newest."""
    assert len(filled(50, max_bytes=50)) == 5
    assert len(filled(3, max_bytes=1)) == 1


def test_an_event_without_a_position_keeps_its_place() -> None:
    """An external event has no position; a client that resumes across it gets it in order."""
    ring = filled(2, max_events=2)
    ring.append(Entry(None, b"f", "task_started"))
    ring.append(Entry("e:3", b"x", "task_started"))
    assert [entry.position for entry in ring.after_index(ring.index_of("e:2"))] == [None, "e:3"]


def test_a_client_can_resume_from_an_entry_that_is_left_out() -> None:
    """The position of an unreadable entry is held while it is the newest."""
    ring = filled(2)
    ring.advance("e:3")
    assert ring.holds("e:3")
    assert positions(ring, "e:3") == []
    ring.append(Entry("e:4", b"x", "task_started"))
    assert positions(ring, "e:2") == ["e:4"]


def test_reset_keeps_counting() -> None:
    """After a reset the old positions are not held, and indexes are not reused."""
    ring = filled(3)
    ring.reset("f:9")
    assert (ring.holds("e:3"), ring.holds("f:9"), ring.last_index) == (False, True, 3)
    ring.append(Entry("f:10", b"x", "task_started"))
    assert positions(ring, "f:9") == ["f:10"]
    assert ring.holds_all_after(3)
    assert not ring.holds_all_after(2)


def test_an_entry_routes_by_its_own_fields() -> None:
    """An entry keeps the four fields that filters look at, and has no index before a ring."""
    entry = Entry("e:1", b"x", "task_failed", "p", "t", "j")
    fields = (entry.event_type, entry.project_id, entry.parent_task_id, entry.task_id, entry.index)
    assert fields == ("task_failed", "p", "t", "j", 0)


def test_an_empty_ring_follows_the_log_past_what_it_leaves_out() -> None:
    """While nothing is held, the low watermark moves past unreadable entries of the log."""
    ring = ReplayRing("e:0", 10)
    ring.advance("e:1")
    assert (ring.low_watermark, ring.last_position) == ("e:1", "e:1")
    assert (ring.holds("e:0"), ring.holds("e:1")) == (False, True)
    ring.append(Entry("e:2", b"x", "task_started"))
    assert positions(ring, "e:1") == ["e:2"]


def test_what_is_left_out_after_an_event_keeps_that_event() -> None:
    """With an event held, an unreadable entry moves the last position, not the low watermark."""
    ring = filled(1)
    ring.advance("e:2")
    assert (ring.low_watermark, ring.last_position) == ("e:0", "e:2")
    assert positions(ring, "e:0") == ["e:1"]


def test_the_last_position_is_that_of_the_newest_event_with_one() -> None:
    """The last position follows the events of the log; an external event does not change it."""
    ring = filled(2)
    assert ring.last_position == "e:2"
    ring.append(Entry(None, b"x", "task_started"))
    assert ring.last_position == "e:2"
    ring.reset("f:0")
    assert ring.last_position == "f:0"


def test_evicting_an_event_without_a_position_keeps_the_low_watermark() -> None:
    """An external event may leave the ring before any event of the log has."""
    ring = ReplayRing("e:0", 1)
    ring.append(Entry(None, b"x", "task_started"))
    ring.append(Entry("e:1", b"x", "task_started"))
    assert (len(ring), ring.low_watermark) == (1, "e:0")


def test_bytes_are_counted_from_nothing() -> None:
    """Events of exactly the byte limit are all held, also after a reset."""
    ring = filled(5, max_bytes=50)
    assert len(ring) == 5
    ring.reset("f:0")
    for number in range(5):
        ring.append(Entry(f"f:{number}", b"x" * 10, "task_started"))
    assert len(ring) == 5


def test_a_position_that_is_not_held_is_named() -> None:
    """The error for a position that is not held carries that position."""
    with pytest.raises(KeyError, match="e:99"):
        filled(2).index_of("e:99")


def test_the_newest_come_first_for_a_snapshot() -> None:
    """``newest`` goes backwards from the newest event."""
    assert [entry.position for entry in filled(3).newest()] == ["e:3", "e:2", "e:1"]


def test_a_project_that_becomes_known_late_is_noted() -> None:
    """What has looked at the ring before is given those entries, unless they are too many."""
    ring = filled(3)
    first, second, _ = ring.after_index(0)
    ring.set_project(second, "p")
    assert (second.project_id, ring.changes) == ("p", 1)
    assert ring.changed_after(0) == [second]
    ring.set_project(first, "p")
    assert ring.changed_after(1) == [first]
    assert ring.changed_after(2) == []
    for _ in range(1000):
        ring.set_project(first, "p")
    assert ring.changed_after(0) is None


def test_a_ring_says_whether_it_is_whole() -> None:
    """It is until it evicts an entry, and again after each reset."""
    ring = filled(4, max_events=4)
    assert not ring.has_evicted
    ring.append(Entry("e:5", b"x", "task_started"))
    resets = ring.resets
    evicted = [ring.has_evicted]
    ring.reset("f:0")
    evicted.append(ring.has_evicted)
    assert (evicted, ring.resets) == ([True, False], resets + 1)


@given(
    steps=st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans()), max_size=40),
    max_events=st.integers(1, 10),
)
def test_it_does_not_matter_when_the_ring_is_trimmed(
    steps: list[tuple[int, bool, bool]], max_events: int
) -> None:
    """After each event or after many, the same is held, numbered and evicted."""
    one, other = ReplayRing("e:0", max_events, 60), ReplayRing("e:0", max_events, 60)
    for number, (size, is_passed_over, is_looked_at) in enumerate(steps, 1):
        for ring in (one, other):
            if is_passed_over:
                ring.advance(f"e:{number}")
            else:
                ring.append(Entry(f"e:{number}", b"x" * size, "task_started"))
        one.trim()
        assert one.last_index == other.last_index
        if is_looked_at:
            assert other.holds_all_after(number - 3) == one.holds_all_after(number - 3)

    def shown(ring: ReplayRing) -> object:
        held = [(entry.position, entry.index) for entry in ring.after_index(0)]
        return held, ring.low_watermark, ring.last_position, ring.has_evicted, len(ring)

    assert shown(other) == shown(one)
    assert [other.holds(f"e:{n}") for n in range(len(steps) + 2)] == [
        one.holds(f"e:{n}") for n in range(len(steps) + 2)
    ]
