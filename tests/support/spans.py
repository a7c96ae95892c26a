"""Spans for tests: a provider whose processor records, and spans as our blocks open them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, Tracer

from otel_bridge.events import semconv

__all__ = ["START_NS", "SpanRecorder", "job_attributes", "tracer_with"]

START_NS = 1_790_000_000_123_456_789
"""A wall-clock time whose microseconds are all different digits."""


class SpanRecorder(SpanProcessor):
    """Keeps what the SDK hands to a processor: live spans at the start, frozen ones at the end."""

    def __init__(self) -> None:
        self.started: list[Span] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def tracer_with(*processors: SpanProcessor) -> Tracer:
    """A tracer of a provider of its own."""
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider.get_tracer("tests")


def job_attributes(task_id: str = "j1", **more: Any) -> Mapping[str, Any]:
    """Attributes of a job span as ``otel_bridge.job`` sets them."""
    return {
        semconv.SPAN_KIND: semconv.KIND_JOB,
        semconv.TASK_ID: task_id,
        semconv.TASK_TYPE: "search",
        semconv.PARENT_TASK_ID: "t1",
        semconv.PROJECT_ID: "p1",
        semconv.PHASE: "find",
        semconv.WORKER_ID: 3,
        semconv.RETRY_COUNT: 0,
        semconv.QUEUE: "nexus:tasks:normal_priority",
        **more,
    }


CONSUMER = SpanKind.CONSUMER
