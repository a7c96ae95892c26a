"""Which nodes are watched, and what the table holds of their lines."""

from __future__ import annotations

import json

import pytest
from otel_bridge_collector.lines.table import MAX_WATCHED, LinesTable

from otel_bridge.lines.line import encode_line
from tests.support.faults import FakeClock

SPAN, OTHER = "a" * 16, "b" * 16


def stored(*numbers: int) -> list[bytes]:
    return [encode_line(1000 + n, 20, "app", f"line {n}", n) for n in numbers]


def test_a_node_is_watched_while_it_is_asked_for() -> None:
    """A node that no client asked for in 3 s is dropped, with its lines."""
    clock = FakeClock()
    table = LinesTable(clock)
    held = table.watch(SPAN)
    assert (held.state, dict(held.rows)) == ("reading", {})
    clock.advance(2)
    table.watch(OTHER)
    assert table.watch(SPAN) is held
    clock.advance(3.5)
    table.watch(SPAN)
    assert [span_id for span_id, _ in table.watched()] == [SPAN]
    clock.advance(4)
    assert table.watched() == []
    assert len(table) == 0


def test_the_node_that_was_not_asked_for_longest_leaves_first() -> None:
    """At most 256 are held."""
    table = LinesTable(FakeClock())
    spans = [f"{number:016x}" for number in range(MAX_WATCHED + 1)]
    for span_id in spans[:-1]:
        table.watch(span_id)
    first = table.watch(spans[0])
    table.watch(spans[-1])
    assert len(table) == MAX_WATCHED
    assert table.watch(spans[0]) is first
    assert spans[1] not in dict(table.watched())


def test_lines_are_read_only_when_the_newest_is_another() -> None:
    """Lines that have left the store stay, because a client is looking at them."""
    table = LinesTable(FakeClock())
    held = table.watch(SPAN)
    assert not table.note_newest(held, None)
    assert held.state == "none"
    assert table.note_newest(held, stored(2)[0]) == 200
    assert table.fill(held, stored(1, 2))
    assert (held.state, [line.n for line in held.lines]) == ("held", [1, 2])
    assert not table.note_newest(held, stored(2)[0])
    assert not table.note_newest(held, None)
    table.fill(held, [])
    assert (held.state, [line.n for line in held.lines]) == ("held", [1, 2])


def test_only_what_is_new_is_read() -> None:
    """A few more than have come, so that what is held is recognised; if it is not, all is read."""
    table = LinesTable(FakeClock())
    held = table.watch(SPAN)
    table.fill(held, stored(*range(1, 201)))
    before = held.rows
    assert table.note_newest(held, stored(202)[0]) == 10
    assert table.fill(held, stored(*range(193, 203)), is_all=False)
    assert [line.n for line in held.lines] == list(range(3, 203))
    assert list(held.rows) == [str(n) for n in range(3, 203)]
    assert "1" in before, "what is shown is not changed, but replaced"
    assert table.note_newest(held, stored(300)[0]) == 106
    assert not table.fill(held, stored(*range(210, 311)), is_all=False)
    assert held.lines[-1].n == 202
    assert table.fill(held, stored(*range(111, 311)))
    assert [line.n for line in held.lines] == list(range(111, 311))


@pytest.mark.parametrize("newest", [stored(2)[0], stored(1)[0], b"no line"])
def test_numbers_that_begin_again_are_read_as_a_whole(newest: bytes) -> None:
    """The list was removed, and filled by another publisher."""
    table = LinesTable(FakeClock())
    held = table.watch(SPAN)
    table.fill(held, stored(3, 4))
    assert table.note_newest(held, newest) == 200
    assert table.fill(held, [newest])
    assert held.newest == newest
    assert 4 not in [line.n for line in held.lines]


def test_an_outage_is_noted_and_its_end() -> None:
    """The rows of before stay meanwhile."""
    table = LinesTable(FakeClock())
    held = table.watch(SPAN)
    table.fill(held, stored(1))
    table.note_unreachable()
    assert (held.state, list(held.rows)) == ("unreachable", ["1"])
    assert not table.note_newest(held, stored(1)[0])
    assert held.state == "held"


def test_rows_have_a_key_each_and_what_is_no_line_is_counted() -> None:
    """Two publishers may number the lines of one node."""
    table = LinesTable(FakeClock())
    held = table.watch(SPAN)
    table.fill(held, [*stored(1, 2), b"no line", *stored(2, 2)])
    assert list(held.rows) == ["1", "2", "2.2", "2.3"]
    assert table.unreadable == 1
    row = {"k": "1", "n": 1, "at": 1001, "level": 20, "logger": "app", "text": "line 1"}
    assert json.loads(held.rows["1"]) == row
    other = table.watch(OTHER)
    table.fill(other, [b"no line"])
    assert other.state == "none"
