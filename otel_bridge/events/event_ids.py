"""
The ids of span events: derived, so that every way a span comes gives the same id.

Releases must agree on them, because a duplicate is recognised by its id.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import SpanContext

__all__ = ["event_id_of"]


def event_id_of(context: SpanContext, start_ns: int, *, is_end: bool) -> str:
    """
    The id of a span's start or end: the same whichever way the span comes, live or over OTLP.

    Random as trace and span ids are. The start time keeps apart the spans of workers that seed
    Python's generator alike, from which the SDK takes its ids.
    """
    span_id = context.span_id
    bits = context.trace_id ^ (span_id << 64 | span_id) ^ (start_ns * _SPREAD & _UUID_ALL)
    if is_end:
        bits ^= _END_SIDE
    text = f"{bits & _UUID_KEPT | _UUID_VERSION_4:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_UUID_ALL: Final = (1 << 128) - 1
_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Odd, so that no two start times meet; 2^128 divided by the golden ratio."""
_END_SIDE: Final = 0x5DEECE66D
_UUID_KEPT: Final = _UUID_ALL - (0xF << 76) - (0x3 << 62)
_UUID_VERSION_4: Final = (4 << 76) | (2 << 62)
"""Version and variant bits of RFC 9562; formatted here, because ``uuid4`` costs three times as
much."""
