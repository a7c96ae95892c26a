"""Columns and paragraphs: nothing is wider than it may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from otel_bridge.terminal.layout import Cell, bar, columns, fit, heading, paragraph, share_bar

LETTERS = st.text("ab \n\t学👩\u0301\x1b", max_size=120)
"""Narrow, wide and combining characters, and some that control a terminal."""


@given(LETTERS, st.integers(0, 40))
def test_a_text_fits(text: str, width: int) -> None:
    """No text takes more columns than there are, wide characters included."""
    assert cell_len(fit(text, width)) <= width


def test_the_end_of_a_name_stays() -> None:
    """The middle is left out, for the names of siblings differ at their ends."""
    assert fit("data_aggregation_search_0057", 16) == "data_agg…ch_0057"
    assert fit("short", 16) == "short"


def test_columns_fill_the_line() -> None:
    """The cell of width 0 takes what the others leave, and a control character is marked."""
    line = columns(30, [Cell("✕ failed", 9), Cell("a\x1bb"), Cell("41 ms", 8, "", True)])
    assert line.plain == "✕ failed  a\N{REPLACEMENT CHARACTER}b            41 ms"
    assert cell_len(line.plain) == 30
    assert heading(30, [Cell("name")]).plain.startswith("name")
    assert cell_len(columns(5, [Cell("wide", 9), Cell("x")]).plain) == 5


@given(LETTERS, st.integers(20, 60), st.integers(0, 4))
def test_a_paragraph_stays_in_its_width(text: str, width: int, indent: int) -> None:
    """Each line fits, and no letter is lost."""
    lines = paragraph(text, width, indent=indent)
    assert all(cell_len(line.text.plain) <= width for line in lines)


def test_the_lines_of_a_stack_keep_their_indent() -> None:
    """A line that is broken goes on under its own start."""
    lines = [line.text.plain for line in paragraph("    raise ValueError('no table')", 20)]
    assert lines == ["    raise ValueError", "    ('no table')"]


def test_bars() -> None:
    """The shortest thing takes one column, and what is nearly done is not drawn as done."""
    assert bar(10, 0.5, 0.5) == "     ━    "
    assert bar(4, -1, 9) == "━━━━"
    assert bar(4, 2, 3) == "   ━"
    assert share_bar(4, 0.99) == "━━━─"
    assert share_bar(4, 1) == "━━━━"
    assert share_bar(4, None) == "────"
