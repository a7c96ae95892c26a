"""The body of ``POST /v1/stacks``: what is encoded is decoded, and nothing else is taken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import TransportRejectedError
from otel_bridge.publish.transports.base import SpanStack
from otel_bridge.publish.transports.http_stacks import (
    MAX_STACKS,
    MAX_STACKS_BYTES,
    decode_stacks,
    encode_stacks,
)

STACK = SpanStack("00f067aa0ba902b7", "ValueError: x\n  a.py:1 f", "p")

STACKS = st.builds(
    SpanStack,
    st.integers(0, 2**64 - 1).map("{:016x}".format),
    st.text(max_size=50),
    st.none() | st.text(max_size=10),
)


@given(st.lists(STACKS, min_size=1, max_size=5))
def test_what_is_encoded_is_decoded(stacks: list[SpanStack]) -> None:
    """Any text, any project, line ends inside of texts included."""
    assert decode_stacks(encode_stacks(stacks)) == stacks


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not JSON",
        b"[]",
        b"{}",
        json.dumps({"span_id": "x", "text": "y"}).encode(),
        json.dumps({"span_id": "00F067AA0BA902B7", "text": "y"}).encode(),
        json.dumps({"span_id": STACK.span_id}).encode(),
        json.dumps({"span_id": STACK.span_id, "text": 1}).encode(),
        json.dumps({"span_id": STACK.span_id, "text": "y", "project_id": 1}).encode(),
        json.dumps({"span_id": STACK.span_id, "text": "é" * 2049}).encode(),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line: bytes) -> None:
    """The request is refused as a whole, and the line is not quoted."""
    with pytest.raises(TransportRejectedError, match="line 2"):
        decode_stacks(encode_stacks([STACK]) + line + b"\n")


def test_the_number_is_limited() -> None:
    """1 to 1,000 stacks; the largest of these fit into the body."""
    with pytest.raises(TransportRejectedError, match="0 stacks"):
        decode_stacks(b"")
    most = [STACK._replace(text="x" * 4096)] * MAX_STACKS
    body = encode_stacks(most)
    assert len(decode_stacks(body)) == MAX_STACKS
    assert len(body) <= MAX_STACKS_BYTES
    with pytest.raises(TransportRejectedError, match="1001 stacks"):
        decode_stacks(body + encode_stacks([STACK]))
