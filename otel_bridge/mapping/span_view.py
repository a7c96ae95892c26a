"""The parts of a span that the mapping reads, from any source, and its duration and error."""

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
    """The parts of a span that the mapping reads: of an SDK span or of a decoded OTLP span."""

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
"""Fields of an event by name, as ``MonitoringEvent`` has them."""
Attributes = Mapping[str, Any]
"""Attributes of a span by key."""


def duration_ms(span: SpanView) -> int | None:
    """Return the whole milliseconds from start to end, at least 0; None while the span runs."""
    if span.end_time is None or span.start_time is None:
        return None
    return max(0, span.end_time - span.start_time) // 1_000_000


def error_of(span: SpanView, attributes: Attributes) -> str | None:
    """
    Return the reason of a span's failure as one line, or None if it gives none.

    The first of: ``nexus.error``, the last recorded exception as ``<type>: <message>``, the
    description of the status, ``error.type``.
    """
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
