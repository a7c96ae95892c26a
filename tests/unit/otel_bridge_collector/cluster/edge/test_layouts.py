"""Who answers for which partitions, and how that is said."""

from __future__ import annotations

from otel_bridge_collector.cluster.edge.layouts import Layout, keys_of, ranges
from otel_bridge_collector.cluster.partitions import PARTITIONS

ALL = frozenset(range(PARTITIONS))
HALF = frozenset(range(12))


def test_a_layout_is_whole_when_all_is_served_and_answered() -> None:
    """Its own partitions need no answer; one that no member serves keeps it from being whole."""
    layout = Layout({"own": HALF, "b": ALL - HALF}, "own")
    assert (layout.own, layout.missing) == (HALF, frozenset())
    assert [group.member_id for group in layout.groups] == ["b"]
    whole = [layout.is_whole]
    layout.groups[0].is_answered = True
    assert [*whole, layout.is_whole] == [False, True]
    assert not Layout({"own": HALF}, "own").is_whole
    assert Layout({"own": ALL}, "own").is_whole


def test_partitions_are_named_shortly() -> None:
    """As the start of a sentence, with runs of numbers."""
    assert ranges({3}) == "partition 3 is"
    assert ranges({5, 4, 3, 0}) == "partitions 0, 3 to 5 are"


def test_a_part_without_rows_has_no_keys() -> None:
    """Such as the sums of an overview, or none."""
    assert list(keys_of(None)) == []
