"""
The body of ``POST /v1/stacks``: the stacks of failures, from workers without a Redis.

They travel apart from the events. A collector of an older release would refuse a whole batch of
events for one line that it does not know; of this path it knows nothing, which costs the stacks
alone. The body is NDJSON, one object a line. Encoder and decoder are both here, so that the two
ends cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pydantic_core

from otel_bridge.errors import TransportRejectedError
from otel_bridge.publish.transports.base import SpanStack
from otel_bridge.publish.transports.ndjson import lines_of, parse_span_line
from otel_bridge.stacks.render import MAX_STACK_BYTES

__all__ = ["MAX_STACKS", "MAX_STACKS_BYTES", "STACKS_PATH", "decode_stacks", "encode_stacks"]

STACKS_PATH: Final = "/v1/stacks"
"""Path below the URL of the collector."""
MAX_STACKS: Final = 1000
"""Stacks of one request."""
MAX_STACKS_BYTES: Final = 8 * 1024 * 1024
"""Bound on the body: 1,000 stacks of 4 KiB, of which JSON escapes many characters."""


def encode_stacks(stacks: Sequence[SpanStack]) -> bytes:
    """
    Encode stacks as NDJSON: ``{"span_id": ..., "project_id": ..., "text": ...}`` a line.

    Never raises; a project of None is left out.

    Args:
        stacks: The collector accepts 1 to 1,000. Not checked.
    """
    lines = []
    for stack in stacks:
        fields = {"span_id": stack.span_id, "text": stack.text}
        if stack.project_id is not None:
            fields["project_id"] = stack.project_id
        lines.append(pydantic_core.to_json(fields) + b"\n")
    return b"".join(lines)


def decode_stacks(body: bytes) -> list[SpanStack]:
    """
    Decode and validate the stacks of an untrusted client; the reverse of ``encode_stacks``.

    Args:
        body: NDJSON of 1 to ``MAX_STACKS`` (1,000) stacks. The size of the body as a whole is
            bounded by the caller.

    Returns:
        The stacks, in order; their texts are as they came, not masked again.

    Raises:
        TransportRejectedError: A line is no stack, or its text is over 4,096 bytes. Says which
            line; never quotes it. It is the only error.
    """
    lines = lines_of(body)
    if not 1 <= len(lines) <= MAX_STACKS:
        raise TransportRejectedError(f"{len(lines)} stacks; a request has 1 to {MAX_STACKS}")
    return [_decode_line(line, number) for number, line in enumerate(lines, start=1)]


def _decode_line(line: bytes, number: int) -> SpanStack:
    fields, project_id = parse_span_line(line, number, "a stack")
    if not isinstance(text := fields.get("text"), str):
        raise TransportRejectedError(f"line {number} is not a stack")
    if len(text.encode()) > MAX_STACK_BYTES:
        raise TransportRejectedError(f"line {number} has a text over {MAX_STACK_BYTES} bytes")
    return SpanStack(fields["span_id"], text, project_id)
