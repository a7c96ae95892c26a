"""Log lines of a node (job, phase or task) as they are stored beside the log: ``encode_line``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import pydantic_core

__all__ = ["MAX_LINES", "MAX_LOGGER_CHARS", "MAX_TEXT_CHARS", "SpanLines", "encode_line"]

MAX_LINES: Final = 200
"""Lines that are kept of one node: the last ones."""
MAX_TEXT_CHARS: Final = 1000
MAX_LOGGER_CHARS: Final = 64


class SpanLines(NamedTuple):
    """Log lines of one node (job, phase or task), to be added to those that are stored of it."""

    span_id: str
    """16 hex digits."""
    lines: Sequence[bytes]
    """Oldest first, each the JSON list ``[ms, level, logger, text, n]`` of ``encode_line``, secrets
    masked; may be empty at the node's end. ``n`` counts the node's lines from 1, dropped ones too:
    a gap is the number of dropped lines, and the last ``n`` that of all."""
    project_id: str | None = None
    """Of the node; None: it has none."""
    outcome: str | None = None
    """At the node's end ``completed`` or ``failed``, which decides how long its lines are kept:
    900 s or a day. None: it has not ended; an hour."""
    is_due: bool = True
    """Whether that time begins again, and the node moves up in the index: once a minute is enough.
    Both are done for the first lines in any case."""


def encode_line(at_ms: int, level: int, name: str, text: str, n: int) -> bytes:
    """
    Return a line as the JSON list that is stored: ``[ms, level, logger, text, n]``.

    Args:
        at_ms: When it was written, milliseconds since the Unix epoch.
        level: As in ``logging``: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
        name: Of the logger, truncated to 64 characters.
        text: Secrets masked; truncated to 1,000 characters, line breaks kept.
        n: Its number in the node, from 1; dropped lines are counted too, so a gap is their number.

    Returns:
        UTF-8 without a line end. Halves of surrogate pairs become ``?``.
    """
    if len(text) > MAX_TEXT_CHARS:
        text = text[: MAX_TEXT_CHARS - 1] + "…"
    name = name[:MAX_LOGGER_CHARS]
    try:
        return pydantic_core.to_json([at_ms, level, name, text, n])
    except ValueError:  # a half of a surrogate pair, which no JSON of UTF-8 can hold
        name, text = (part.encode(errors="replace").decode() for part in (name, text))
        return pydantic_core.to_json([at_ms, level, name, text, n])
