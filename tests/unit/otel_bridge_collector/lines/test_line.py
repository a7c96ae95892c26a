"""Stored log lines: what is written is read, and nothing else is taken for a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.lines.line import Line, decode_line

from otel_bridge.lines.line import encode_line

_LINES = st.builds(
    Line,
    st.integers(0, 2**48),
    st.sampled_from([10, 20, 30, 40, 50]),
    st.text(st.characters(codec="utf-8"), max_size=64),
    st.text(st.characters(codec="utf-8"), max_size=1000),
    st.integers(1, 2**40),
)


@given(_LINES)
def test_what_is_encoded_is_decoded(line: Line) -> None:
    """Whatever the texts are."""
    assert decode_line(encode_line(*line)) == line


@pytest.mark.parametrize(
    "data",
    [
        *("", "x", "{}", "[]", "null", "[1,20,[],[],1]", '[1,20,"a","b"]', '[1,20,"a","b",0]'),
        *('[1.5,20,"a","b",1]', '[-1,20,"a","b",1]', '[1,20,"a","b",true]', '[1,20,null,"b",1]'),
        *('[1,20,"a","b",1,2]', '[1e99,20,"a","b",1]', '[9999999999999999999,20,"a","b",1]'),
    ],
)
def test_what_is_no_line_is_none(data: str) -> None:
    """Another program may have written the key."""
    assert decode_line(data) is None


def test_long_texts_are_truncated() -> None:
    """To what a publisher of ours sends at most."""
    found = decode_line(encode_line(1, 20, "l" * 100, "t" * 5000, 1))
    assert found is not None
    assert (len(found.logger), len(found.text)) == (64, 1000)
