"""Event type, status, counts and error of our own spans, read from their attributes."""

from __future__ import annotations

from typing import Any, Final, TypeGuard

from opentelemetry.trace import StatusCode

from otel_bridge.events import semconv
from otel_bridge.mapping.span_view import Attributes, Fields, SpanView, duration_ms, error_of

__all__ = ["OUTCOMES", "is_count", "own_end", "own_start"]

OUTCOMES: Final = {
    "completed": ("task_completed", "completed"),
    "failed": ("task_failed", "failed"),
    "retrying": ("task_retry", "retrying"),
}
"""Event type and status of a job's end, by its outcome (``nexus.outcome``)."""


def own_start(attributes: Attributes) -> Fields | None:
    """
    Return the event type, status and counts of a span's start; None: nothing to publish.

    Args:
        attributes: The attributes of one of our own spans; ``nexus.span.kind`` is required.
    """
    kind = attributes[semconv.SPAN_KIND]
    if kind == semconv.KIND_PHASE:
        # Only the total belongs to the start; by now the span may have ended and hold more counts.
        total = attributes.get(f"{semconv.COUNT_PREFIX}total")
        return {
            "event_type": "phase_started",
            "status": "processing",
            "counts": {"total": total} if is_count(total) else None,
        }
    if kind == semconv.KIND_ENQUEUE:
        if semconv.TASK_ID not in attributes:
            return None
        return {"event_type": "task_enqueued", "status": "pending"}
    if kind in (semconv.KIND_JOB, semconv.KIND_RESEARCH_TASK):
        return {"event_type": "task_started", "status": "processing"}
    return None


def own_end(span: SpanView, attributes: Attributes, was_start_sent: bool) -> Fields | None:
    """
    Return the event type, status, duration, counts and error of a span's end, or None.

    Args:
        span: One of our own spans, ended.
        attributes: Its attributes; ``nexus.span.kind`` is required.
        was_start_sent: Whether the start was an event. An enqueue is published only once: at its
            end only if its start had no job id yet.

    Returns:
        None when there is nothing to publish.
    """
    kind = attributes[semconv.SPAN_KIND]
    if kind == semconv.KIND_ENQUEUE:
        if was_start_sent or semconv.TASK_ID not in attributes:
            return None
        return {"event_type": "task_enqueued", "status": "pending"}
    outcome = str(attributes.get(semconv.OUTCOME))
    if outcome not in OUTCOMES:
        outcome = "failed" if span.status.status_code is StatusCode.ERROR else "completed"
    event_type, status = OUTCOMES[outcome]
    if kind == semconv.KIND_PHASE:
        event_type = "phase_completed"
    elif kind not in (semconv.KIND_JOB, semconv.KIND_RESEARCH_TASK):
        return None
    return {
        "event_type": event_type,
        "status": status,
        "duration_ms": duration_ms(span),
        "counts": _counts(attributes),
        "error": None if status == "completed" else error_of(span, attributes),
    }


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _counts(attributes: Attributes) -> dict[str, int] | None:
    prefix = semconv.COUNT_PREFIX
    counts = {
        key[len(prefix) :]: value
        for key, value in attributes.items()
        if key.startswith(prefix) and is_count(value)
    }
    return counts or None
