"""Text that cannot control a terminal."""

from __future__ import annotations

import pytest

from otel_bridge.terminal.printable import one_line


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "a\u202eb", "\x9b31m", "\ud800"])
def test_what_controls_a_terminal_is_marked(text: str) -> None:
    """Escapes, line breaks, bidirectional overrides and lone surrogates become a visible mark."""
    assert "\N{REPLACEMENT CHARACTER}" in one_line(text)
    assert one_line(text).isprintable()


def test_letters_of_every_script_stay() -> None:
    """Nothing else is changed."""
    assert one_line("Grundschule Süd 学校 ✓") == "Grundschule Süd 学校 ✓"
