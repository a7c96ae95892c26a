"""Text that cannot control a terminal."""

from __future__ import annotations

import pytest

from otel_bridge.terminal.printable import one_line, refusal_text


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "a\u202eb", "\x9b31m", "\ud800"])
def test_what_controls_a_terminal_is_marked(text: str) -> None:
    """Escapes, line breaks, bidirectional overrides and lone surrogates become a visible mark."""
    assert "\N{REPLACEMENT CHARACTER}" in one_line(text)
    assert one_line(text).isprintable()


def test_letters_of_every_script_stay() -> None:
    """Nothing else is changed."""
    assert one_line("Grundschule Süd 学校 ✓") == "Grundschule Süd 学校 ✓"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"detail": "no such\\nview"}', "no such\N{REPLACEMENT CHARACTER}view"),
        (b'{"error": "wrong token"}', "wrong token"),
        (b'{"status": 4}', '{"status": 4}'),
        (b'["a"]', '["a"]'),
        (b"Bad Gateway \xff", "Bad Gateway \ufffd"),
        (b"x" * 300, "x" * 200),
        (b"", ""),
        (None, ""),
    ],
)
def test_the_sentence_of_a_refusal(body: bytes | None, text: str) -> None:
    """The collector's own sentence; of what another server answers, the start."""
    assert refusal_text(body) == text
