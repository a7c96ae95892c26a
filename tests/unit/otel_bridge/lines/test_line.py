"""One log line as it is stored: bounded, and JSON whatever the text."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.lines.line import MAX_LOGGER_CHARS, MAX_TEXT_CHARS, encode_line

ANY_TEXT = st.text(st.characters(), max_size=30)


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_is_json_on_one_line(name: str, text: str) -> None:
    """Line breaks, controls and halves of surrogate pairs included, of which ``?`` is left."""
    data = encode_line(1, 20, name, text, 7)
    assert b"\n" not in data
    shown = [part.encode(errors="replace").decode() for part in (name, text)]
    assert json.loads(data) == [1, 20, *shown, 7]


def test_a_long_text_is_truncated() -> None:
    """To 1,000 characters, of which the last says so; the name of the logger to 64."""
    _, _, name, text, _ = json.loads(encode_line(1, 20, "n" * 100, "x" * 1001, 1))
    assert name == "n" * MAX_LOGGER_CHARS
    assert text == "x" * (MAX_TEXT_CHARS - 1) + "…"
    assert json.loads(encode_line(1, 20, "n", "x" * 1000, 1))[3] == "x" * 1000
