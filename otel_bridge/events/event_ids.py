"""
The ids of span events, derived from the span, so that every path of a span gives the same ids.

Duplicates are recognised by these ids, so all releases must agree on them; a test pins some.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from opentelemetry.trace import SpanContext

__all__ = ["digest_of", "event_id_of", "snapshot_id_of"]


def event_id_of(context: SpanContext, start_ns: int, *, is_end: bool) -> str:
    """
    Return the id of the event for a span's start or end; only computes, and never raises.

    The id is the same whether the span arrives live or over OTLP, and as random as the trace and
    span ids. The start time distinguishes the spans of workers that seed Python's ``random`` alike:
    the SDK takes trace and span ids from it, so such workers repeat each other's.

    Args:
        context: The span's own context; its trace id and span id enter the event id.
        start_ns: The start of the span, also for its end: nanoseconds since the Unix epoch.
        is_end: True for the end, False for the start.

    Returns:
        A UUID of version 4 as text, 36 characters.
    """
    span_id = context.span_id
    bits = context.trace_id ^ (span_id << 64 | span_id) ^ (start_ns * _SPREAD & _UUID_ALL)
    if is_end:
        bits ^= _END_SIDE
    return _uuid_text(bits)


def snapshot_id_of(context: SpanContext, start_ns: int, digest: int) -> str:
    """
    Return the id of the event for a snapshot of an open span; only computes, and never raises.

    The same for the same snapshot, however often it is received, so a request that is sent
    again is folded once.

    Args:
        context: The span's own context.
        start_ns: The start of the span, nanoseconds since the Unix epoch.
        digest: Of all that the snapshot says, 64 bits.
    """
    span_id = context.span_id
    bits = context.trace_id ^ (span_id << 64 | span_id) ^ (start_ns * _SPREAD & _UUID_ALL)
    return _uuid_text(bits ^ (digest * _SPREAD & _UUID_ALL) ^ _SNAPSHOT_SIDE)


def digest_of(data: bytes) -> int:
    """Return 64 bits of what these bytes say, for ``snapshot_id_of``."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def _uuid_text(bits: int) -> str:
    text = f"{bits & _UUID_KEPT | _UUID_VERSION_4:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_UUID_ALL: Final = (1 << 128) - 1
_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""2^128 divided by the golden ratio. Odd, so that two start times never give the same product."""
_END_SIDE: Final = 0x5DEECE66D
_SNAPSHOT_SIDE: Final = 0x27D4EB2F165667C5
_UUID_KEPT: Final = _UUID_ALL - (0xF << 76) - (0x3 << 62)
_UUID_VERSION_4: Final = (4 << 76) | (2 << 62)
"""Version and variant bits of RFC 9562. The text is formatted here, because ``uuid4`` costs
three times as much."""
