"""
What members of a cluster say to each other on a peer connection; pure.

The side that asks (the edge: the member that has the client) sends JSON texts. A text of over 12
KiB comes in pieces, because the service's WebSockets take 16 KiB a message. The side that answers
(the owner of partitions) sends binary messages: a line of JSON, then the bytes that it announces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_TEXT_BYTES",
    "PROTOCOL",
    "Answer",
    "BadMessageError",
    "Pieces",
    "answer",
    "pieces",
    "read_answer",
]

PROTOCOL: Final = 1
MAX_TEXT_BYTES: Final = 256 * 1024
"""Of one text of the asking side: parameters have at most 16 KiB, the rest is a scope."""
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
_PIECE_CHARS: Final = 3 * 1024
"""Of UTF-8 at most 12 KiB."""


class BadMessageError(ValueError):
    """Raised for a message of a peer that cannot be read; the connection is then closed."""


def pieces(text: str) -> Iterator[str]:
    """Split a text into messages: all but the last start with ``+``, the last with ``=``."""
    while len(text) > _PIECE_CHARS:
        yield "+" + text[:_PIECE_CHARS]
        text = text[_PIECE_CHARS:]
    yield "=" + text


class Pieces:
    """Puts the messages of ``pieces`` together again, at most 256 KiB; for one connection."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._size = 0

    def add(self, message: str) -> dict[str, Any] | None:
        """
        Take one message; return the fields of the text when it is whole, else None.

        Raises:
            BadMessageError: The text is too long, or no JSON object.
        """
        self._size += len(message)
        if message[:1] not in ("+", "=") or self._size > MAX_TEXT_BYTES:
            raise BadMessageError("a piece of a text is too long or has no mark")
        self._held.append(message[1:])
        if message[0] == "+":
            return None
        text, self._held, self._size = "".join(self._held), [], 0
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise BadMessageError("a text is not JSON") from None
        if not isinstance(fields, dict):
            raise BadMessageError("a text is no JSON object")
        return fields


class Answer(NamedTuple):
    """A message of the answering side: its fields, and what follows them."""

    fields: dict[str, Any]
    body: bytes


def answer(fields: dict[str, Any], body: bytes = b"") -> bytes:
    """Return one message of the answering side."""
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n" + body


def read_answer(message: bytes) -> Answer:
    """
    Read a message of the answering side.

    Raises:
        BadMessageError: It has no line of JSON.
    """
    line, _, body = message.partition(b"\n")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise BadMessageError("an answer is not JSON") from None
    if not isinstance(fields, dict):
        raise BadMessageError("an answer is no JSON object")
    return Answer(fields, body)
