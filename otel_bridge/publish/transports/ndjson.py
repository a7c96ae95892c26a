"""Bodies of the ``http://`` transport: NDJSON, one object a line, from untrusted clients."""

from __future__ import annotations

from typing import Any

import pydantic_core

from otel_bridge.errors import TransportRejectedError

__all__ = ["lines_of", "parse_line"]


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
