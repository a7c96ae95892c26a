"""Places of spans: facts in any order make the same, and what no event asks for is forgotten."""

from __future__ import annotations

import itertools

from otel_bridge_collector.cluster.known import (
    LINKED,
    LOOSE,
    NAMED,
    Group,
    Home,
    Known,
    Place,
    Spans,
)


def known(known_id: str) -> Known:
    return Known(known_id, Group(known_id, 1, "e:0"))


def test_facts_in_any_order_make_the_same_place() -> None:
    """A named task counts before a trace, of two the smaller id; of two parents the smaller."""
    t, u, trace, other = known("t"), known("u"), known("a"), known("0")
    facts = [
        Place(LOOSE, trace, "2"),
        Place(LINKED, other, None),
        Place(NAMED, u, "1"),
        Place(NAMED, t, "3"),
    ]
    for order in itertools.permutations(facts):
        spans = Spans()
        for place in order:
            spans.note("s", place, lambda: 1)
        assert spans.get("s") == Place(NAMED, t, "1")
    linked = Spans()
    for place in facts[:2]:
        linked.note("s", place, lambda: 1)
    assert linked.get("s") == Place(LINKED, other, "2")


def test_spans_that_are_not_asked_for_are_forgotten() -> None:
    """Past twice the limit the older half goes, and ``complete_from`` says since when all stay."""
    spans, place = Spans(max_recent=2), Place(NAMED, known("t"), None)
    for number in range(1, 5):
        spans.note(f"s{number}", place, iter([number]).__next__)
    assert (len(spans), spans.complete_from) == (4, 0)
    assert spans.get("s1") == place
    for number in (5, 6):
        spans.note(f"s{number}", place, iter([number]).__next__)
    assert [number for number in range(1, 7) if spans.get(f"s{number}") is None] == [2]
    assert spans.complete_from == 3


def test_records() -> None:
    """A group has one id and no project at first; a home says whose an event is."""
    group = Group("t", 7, "e:5")
    assert (group.ids, group.partition, group.project) == ({"t"}, -1, None)
    assert (group.is_shared, group.is_indexed, group.is_whole) == (False, False, True)
    assert Home("t", "p", is_mixed=False) == ("t", "p", False)
