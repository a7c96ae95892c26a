"""The body of ``POST /v1/lines``: what is encoded is decoded, and nothing else is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import TransportRejectedError
from otel_bridge.lines.line import encode_line
from otel_bridge.publish.transports.base import SpanLines
from otel_bridge.publish.transports.http_lines import (
    MAX_LINES_BYTES,
    MAX_LOG_LINES,
    decode_lines,
    encode_lines,
)

LINE = encode_line(1, 20, "shop", "text", 1)
SPAN = SpanLines("00f067aa0ba902b7", [LINE], "p")

ENCODED = st.builds(
    encode_line,
    st.integers(0, 2**50),
    st.integers(0, 50),
    st.text(max_size=10),
    st.text(max_size=50),
    st.integers(1, 2**50),
)
SPANS = st.builds(
    SpanLines,
    st.integers(0, 2**64 - 1).map("{:016x}".format),
    st.lists(ENCODED, max_size=3),
    st.none() | st.text(max_size=10),
    st.sampled_from([None, "completed", "failed"]),
    st.just(True),
)


@given(st.lists(SPANS, min_size=1, max_size=4))
def test_what_is_encoded_is_decoded(batch: list[SpanLines]) -> None:
    """Any text, any project, line ends inside of texts included."""
    assert decode_lines(encode_lines(batch)) == batch


def body(**changed: Any) -> bytes:
    fields = {"span_id": SPAN.span_id, "lines": [[1, 20, "shop", "text", 1]], **changed}
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not JSON",
        b"[]",
        b"{}",
        body(span_id="x"),
        body(span_id="00F067AA0BA902B7"),
        body(project_id=1),
        body(outcome="open"),
        body(lines=None),
        body(lines=[1]),
        body(lines=[[1, 20, "shop", "text"]]),
        body(lines=[[-1, 20, "shop", "text", 1]]),
        body(lines=[[1, True, "shop", "text", 1]]),
        body(lines=[[1, 20, None, "text", 1]]),
        body(lines=[[1, 20, "s" * 65, "text", 1]]),
        body(lines=[[1, 20, "shop", "x" * 1001, 1]]),
        body(lines=[[1, 20, "shop", "text", 0]]),
        body(lines=[[1, 20, "shop", "text", 2**53]]),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line: bytes) -> None:
    """The request is refused as a whole, and the line is not quoted."""
    with pytest.raises(TransportRejectedError, match="line 2"):
        decode_lines(encode_lines([SPAN]) + line + b"\n")


def test_the_numbers_are_limited() -> None:
    """1 to 1,000 nodes with at most 1,000 lines; the largest of these fit into the body."""
    with pytest.raises(TransportRejectedError, match="0 nodes"):
        decode_lines(b"")
    longest = encode_line(2**50, 20, "n" * 64, "\x00" * 1000, 2**50)
    most = encode_lines([SPAN._replace(lines=[longest])] * MAX_LOG_LINES)
    assert len(decode_lines(most)) == MAX_LOG_LINES
    assert len(most) <= MAX_LINES_BYTES
    with pytest.raises(TransportRejectedError, match="1001 nodes"):
        decode_lines(most + encode_lines([SPAN]))
    with pytest.raises(TransportRejectedError, match="1001 log lines"):
        decode_lines(encode_lines([SPAN._replace(lines=[LINE] * (MAX_LOG_LINES + 1))]))
