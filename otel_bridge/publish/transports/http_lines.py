"""
The body of ``POST /v1/lines``: log lines of nodes (spans), from workers without a Redis.

They travel apart from the events, as stacks do (``http_stacks``): a collector of an older release
knows nothing of this path, which costs the lines alone. The body is NDJSON, one node a line.
Encoder and decoder are both here, so that the two ends cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pydantic_core

from otel_bridge.errors import TransportRejectedError
from otel_bridge.lines.line import MAX_LOGGER_CHARS, MAX_TEXT_CHARS
from otel_bridge.publish.transports.base import SpanLines
from otel_bridge.publish.transports.ndjson import lines_of, parse_span_line

__all__ = ["LINES_PATH", "MAX_LINES_BYTES", "MAX_LOG_LINES", "decode_lines", "encode_lines"]

LINES_PATH: Final = "/v1/lines"
"""Path below the URL of the collector."""
MAX_LOG_LINES: Final = 1000
"""Log lines of one request, and nodes."""
MAX_LINES_BYTES: Final = 8 * 1024 * 1024
"""Bound on the body: 1,000 log lines of 1,000 characters, of which JSON escapes many."""
_OUTCOMES: Final = (None, "completed", "failed")
_MAX_MS: Final = 8_640_000_000_000_000
"""The last moment that JavaScript's ``Date`` can express."""
_MAX_NUMBER: Final = 2**53 - 1
"""The last integer that JavaScript counts exactly."""


def encode_lines(batch: Sequence[SpanLines]) -> bytes:
    """
    Encode log lines as NDJSON: ``{"span_id": ..., "project_id": ..., "lines": [[...]]}`` a node.

    ``outcome`` follows at the node's end. Never raises; a project or outcome of None is left out.

    Args:
        batch: The collector accepts 1 to 1,000 nodes with at most 1,000 lines. Not checked.
    """
    found = []
    for of_span in batch:
        fields = {"span_id": of_span.span_id}
        if of_span.project_id is not None:
            fields["project_id"] = of_span.project_id
        if of_span.outcome is not None:
            fields["outcome"] = of_span.outcome
        head = pydantic_core.to_json(fields)
        found.append(head[:-1] + b',"lines":[' + b",".join(of_span.lines) + b"]}\n")
    return b"".join(found)


def decode_lines(body: bytes) -> list[SpanLines]:
    """
    Decode and validate the log lines of an untrusted client; the reverse of ``encode_lines``.

    Args:
        body: NDJSON of 1 to ``MAX_LOG_LINES`` (1,000) nodes, with at most as many log lines. The
            size of the body as a whole is bounded by the caller.

    Returns:
        The nodes, in order, each ``is_due``; the texts are as they came, not masked again.

    Raises:
        TransportRejectedError: A line of the body is no node with log lines, or there are too many.
            Says which; never quotes it. It is the only error.
    """
    lines = lines_of(body)
    if not 1 <= len(lines) <= MAX_LOG_LINES:
        raise TransportRejectedError(f"{len(lines)} nodes; a request has 1 to {MAX_LOG_LINES}")
    batch = [_decode_line(line, number) for number, line in enumerate(lines, start=1)]
    total = sum(len(of_span.lines) for of_span in batch)
    if total > MAX_LOG_LINES:
        raise TransportRejectedError(f"{total} log lines; a request has at most {MAX_LOG_LINES}")
    return batch


def _decode_line(line: bytes, number: int) -> SpanLines:
    fields, project_id = parse_span_line(line, number, "a node with log lines")
    if not (
        (outcome := fields.get("outcome")) in _OUTCOMES
        and isinstance(found := fields.get("lines"), list)
        and all(map(_is_log_line, found))
    ):
        raise TransportRejectedError(f"line {number} is not a node with log lines")
    encoded = [pydantic_core.to_json(each) for each in found]
    return SpanLines(fields["span_id"], encoded, project_id, outcome)


def _is_log_line(found: Any) -> bool:
    if not isinstance(found, list) or len(found) != 5:
        return False
    at_ms, level, name, text, n = found
    return (
        _is_number(at_ms, _MAX_MS)
        and _is_number(level, _MAX_NUMBER)
        and isinstance(name, str)
        and len(name) <= MAX_LOGGER_CHARS
        and isinstance(text, str)
        and len(text) <= MAX_TEXT_CHARS
        and _is_number(n, _MAX_NUMBER)
        and n > 0
    )


def _is_number(value: Any, highest: int) -> bool:
    return type(value) is int and 0 <= value <= highest
