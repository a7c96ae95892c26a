"""Numbers, limits and masked texts of one node's lines."""

from __future__ import annotations

import json

from otel_bridge_collector.lines.limits import SenderLimits
from otel_bridge_collector.lines.nodes import NodeLines, encode_all
from otel_bridge_collector.lines.records import Record


def record(text: str = "text", logger: str = "app") -> Record:
    return Record(1, 2, 3, 20, logger, text, None)


def test_numbers_go_on_from_what_is_stored_and_count_what_is_dropped() -> None:
    """A gap is the number of dropped lines; at the end a line follows them."""
    lines, sender = NodeLines("p", b'[1,20,"app","before",7]'), SenderLimits()
    assert [lines.add(record(), 1.0, sender) for _ in range(501)] == [True] * 500 + [False]
    assert [n for n, _ in lines.take_pending()] == list(range(308, 508))  # the last 200 are kept
    assert lines.pending == []
    lines.add(record(), 1.0, sender)
    (last,) = lines.last_line(9)
    assert json.loads(last)[4] == 510
    assert lines.last_line(9) == []


def test_what_is_stored_and_no_line_is_no_number() -> None:
    """Then the numbers begin with 1."""
    lines = NodeLines(None, b"no line")
    assert lines.add(record(), 1.0, SenderLimits())
    assert [n for n, _ in lines.take_pending()] == [1]
    assert lines.last_line(9) == []


def test_renewals_are_spaced() -> None:
    """The first one is due at once."""
    lines = NodeLines(None, None)
    assert [lines.is_due(now, 60) for now in (1.0, 2.0, 61.0, 62.0)] == [True, False, True, False]


def test_lines_are_masked_before_they_are_truncated() -> None:
    """A secret that crosses the end of the line is not shown in part."""
    secret = "password=hunter2hunter2hunter2"
    (encoded,) = encode_all([[(1, record(f"{'x ' * 490}{secret}")), (2, record(secret))]])
    assert all(b"hunter2" not in line for line in encoded)
    assert [json.loads(line)[4] for line in encoded] == [1, 2]
