"""``encode_line``: one log line of a node (job, phase or task) as it is stored beside the log."""

from __future__ import annotations

from typing import Final

import pydantic_core

__all__ = ["MAX_LINES", "MAX_LOGGER_CHARS", "MAX_TEXT_CHARS", "encode_line"]

MAX_LINES: Final = 200
"""Lines that are kept of one node: the last ones."""
MAX_TEXT_CHARS: Final = 1000
MAX_LOGGER_CHARS: Final = 64


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
