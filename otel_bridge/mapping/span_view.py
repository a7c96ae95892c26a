"""What the mapping rules read of a span, whoever made it, and what every rule asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.trace import SpanContext, SpanKind, Status

from otel_bridge.events import semconv

__all__ = ["Attributes", "Fields", "SpanView", "duration_ms", "error_of"]


class _SpanEvent(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...


class SpanView(Protocol):
    """What the rules read of a span; the SDK's own spans are one, a decoded OTLP span another."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> SpanKind: ...
    @property
    def context(self) -> SpanContext | None: ...
    @property
    def parent(self) -> SpanContext | None: ...
    @property
    def start_time(self) -> int | None: ...
    @property
    def end_time(self) -> int | None: ...
    @property
    def status(self) -> Status: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...
    @property
    def events(self) -> Sequence[_SpanEvent]: ...


Fields = dict[str, Any]
Attributes = Mapping[str, Any]


def duration_ms(span: SpanView) -> float | None:
    """Milliseconds from start to end, never negative; None while it runs."""
    if span.end_time is None or span.start_time is None:
        return None
    return max(0, span.end_time - span.start_time) / 1_000_000


def error_of(span: SpanView, attributes: Attributes) -> str | None:
    """``nexus.error``, else the last recorded exception, else the status, else ``error.type``."""
    given = attributes.get(semconv.ERROR)
    if given is not None:
        return str(given)
    for event in reversed(span.events):
        if event.name == semconv.EXCEPTION_EVENT and event.attributes:
            kind = event.attributes.get(semconv.EXCEPTION_TYPE)
            text = event.attributes.get(semconv.EXCEPTION_MESSAGE)
            found = ": ".join(str(part) for part in (kind, text) if part)
            if found:
                return found
    if span.status.description:
        return span.status.description
    error_type = attributes.get(semconv.ERROR_TYPE)
    return None if error_type is None else str(error_type)
