"""Ids of events: which are no repeats, one by one and many at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.model.work.event_ids import EventIds

IDS = st.integers(0, 30).map(str)


@given(count=st.integers(2, 40), reads=st.lists(st.lists(IDS, max_size=8), max_size=20))
def test_many_at_once_are_as_each_alone(count: int, reads: list[list[str]]) -> None:
    """Also where ids repeat within a read, and where the oldest are forgotten."""
    one, other = EventIds(count), EventIds(count)
    for read in reads:
        found = one.add_all(read)
        assert (found or [True] * len(read)) == [other.add(event_id) for event_id in read]
        assert [str(n) in one for n in range(31)] == [str(n) in other for n in range(31)]


@given(st.lists(IDS, min_size=1, unique=True))
def test_the_newest_are_remembered(ids: list[str]) -> None:
    """At least half of the number that was asked for."""
    known = EventIds(10)
    assert all(known.add(event_id) for event_id in ids)
    assert all(event_id in known for event_id in ids[-5:])
    assert not known.add(ids[-1])
