"""What members say to each other: texts in pieces, and answers with a line of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.cluster.connections.frames import (
    MAX_TEXT_BYTES,
    BadMessageError,
    Pieces,
    answer,
    pieces,
    read_answer,
)


@given(st.text(max_size=9000))
def test_a_text_comes_whole_in_pieces_that_fit_one_message(text: str) -> None:
    """However long, and whatever its characters are: the service takes 16 KiB a message."""
    fields = {"op": "sub", "text": text}
    together = Pieces()
    found: list[dict[str, Any] | None] = []
    for piece in pieces(json.dumps(fields, ensure_ascii=False)):
        assert len(piece.encode("utf-8", "surrogatepass")) <= 16 * 1024
        found.append(together.add(piece))
    assert found[-1] == fields
    assert found[:-1] == [None] * (len(found) - 1)


@pytest.mark.parametrize("message", ["", "{}", "=no", "=[]", "=" + "[" * 5000, "+" + "x" * 300_000])
def test_what_is_no_message_is_refused(message: str) -> None:
    """A mark that is missing, text that is no JSON object, and one that is too long."""
    with pytest.raises(BadMessageError):
        Pieces().add(message)


def test_pieces_without_end_are_refused() -> None:
    """More than 256 KiB are not held for one connection."""
    together = Pieces()
    for _ in range(MAX_TEXT_BYTES // 1001):
        assert together.add("+" + "x" * 1000) is None
    with pytest.raises(BadMessageError):
        together.add("+" + "x" * 1000)


@given(st.binary(max_size=200))
def test_an_answer_keeps_its_bytes(body: bytes) -> None:
    """Also those that look like another line."""
    found = read_answer(answer({"sub": 7}, body))
    assert (found.fields, found.body) == ({"sub": 7}, body)


@pytest.mark.parametrize("message", [b"", b"x\n", b"[]\n", b"\xff\n", b"[" * 5000])
def test_an_answer_without_fields_is_refused(message: bytes) -> None:
    """It is of another program, or damaged."""
    with pytest.raises(BadMessageError):
        read_answer(message)
