"""``otel_bridge.commands.shards.table``: how the table is written."""

from __future__ import annotations

import pytest

from otel_bridge.commands.shards.table import age_text, format_table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min"), (3480, "58 min"), (10_800, "3.0 h")],
)
def test_a_time_has_a_unit_that_fits(seconds: float, text: str) -> None:
    """Seconds, then minutes up to an hour and a half, then hours."""
    assert age_text(seconds) == text


def test_an_unknown_time_is_not_zero() -> None:
    """A question mark stands for what could not be read."""
    assert age_text(None) == "?"


def test_columns_are_as_wide_as_their_longest_text() -> None:
    """Numbers stand right, texts left, and no line ends with blanks."""
    row = ["0", "0", "13907", "127.0.0.1:6379", "100,000", "1-0", "2-0", "0.0 s", "ab", "3", "1"]
    other = ["1", "1.723", "5721", "?", "?", "?", "?", "?", "?", "?", "?"]
    head, first, second = format_table([[*row, "in use"], [*other, ""]])
    assert head.split("  ")[0] == "shard"
    assert first.index("100,000") + len("100,000") == second.index("?", 40) + 1
    assert first.endswith("in use")
    assert second == second.rstrip()
