"""``Line``: one log line of a node (one span), as it is stored beside the log."""

from __future__ import annotations

from typing import Final, NamedTuple

from pydantic_core import from_json

from otel_bridge.lines.line import MAX_LOGGER_CHARS, MAX_TEXT_CHARS

__all__ = ["Line", "decode_line"]

_MAX_MS: Final = 8_640_000_000_000_000
"""The last moment that JavaScript's ``Date`` can express."""
_MAX_NUMBER: Final = 2**53 - 1
"""The last integer that JavaScript counts exactly."""


class Line(NamedTuple):
    """One log line, as its publisher masked and truncated it."""

    at: int
    """When, milliseconds since the Unix epoch."""
    level: int
    """As in ``logging``: 10 debug, 20 info, 30 warning, 40 error, 50 critical."""
    logger: str
    """Name of the logger, at most 64 characters."""
    text: str
    """At most 1,000 characters, line breaks kept."""
    n: int
    """Its number in the node, from 1; dropped lines are counted too, so a gap is their count."""


def decode_line(data: bytes | str) -> Line | None:
    """
    Read a stored line, which another program may have written; the reverse of ``encode_line``.

    Longer texts than a publisher of ours sends are truncated. From any thread; never raises.

    Args:
        data: The JSON list.

    Returns:
        The line; None if it is none.
    """
    try:
        found = from_json(data)
    except ValueError:
        return None
    if not isinstance(found, list) or len(found) != len(Line._fields):
        return None
    at, level, logger, text, n = found
    is_line = (
        _is_number(at, _MAX_MS)
        and _is_number(level, _MAX_NUMBER)
        and isinstance(logger, str)
        and isinstance(text, str)
        and _is_number(n, _MAX_NUMBER)
        and n > 0
    )
    if not is_line:
        return None
    return Line(at, level, logger[:MAX_LOGGER_CHARS], text[:MAX_TEXT_CHARS], n)


def _is_number(value: object, highest: int) -> bool:
    return type(value) is int and 0 <= value <= highest
