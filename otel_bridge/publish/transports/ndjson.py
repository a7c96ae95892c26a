"""Bodies of the ``http://`` transport: NDJSON, one object a line, from untrusted clients."""

from __future__ import annotations

import re
from typing import Any, Final

import pydantic_core

from otel_bridge.errors import TransportRejectedError

__all__ = ["lines_of", "parse_line", "parse_span_line"]

_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")


def lines_of(body: bytes) -> list[bytes]:
    """Return the lines of a body, with or without a line end after the last; empty for none."""
    lines = body.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def parse_line(line: bytes, number: int) -> Any:
    """
    Return the JSON value of a line; NaN and the like are none.

    Args:
        line: Without its line end.
        number: Of the line, from 1, for the error.

    Raises:
        TransportRejectedError: It is not JSON; the line is not quoted.
    """
    try:
        return pydantic_core.from_json(line, allow_inf_nan=False)
    except ValueError:
        raise TransportRejectedError(f"line {number} is not JSON") from None


def parse_span_line(line: bytes, number: int, what: str) -> tuple[dict[str, Any], str | None]:
    """
    Return the fields of a line about one span, and its project; ``span_id`` is valid.

    Args:
        line: Without its line end.
        number: Of the line, from 1, for the error.
        what: What the line is to be, for the error, such as ``a stack``.

    Raises:
        TransportRejectedError: It is no object with ``span_id`` (16 hex digits) whose
            ``project_id``, if there is one, is text; the line is not quoted.
    """
    fields = parse_line(line, number)
    if (
        isinstance(fields, dict)
        and isinstance(span_id := fields.get("span_id"), str)
        and _SPAN_ID.fullmatch(span_id)
        and isinstance(project_id := fields.get("project_id"), str | None)
    ):
        return fields, project_id
    raise TransportRejectedError(f"line {number} is not {what}")
