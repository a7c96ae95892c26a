"""What the start and the end of our own spans say, read from their attributes."""

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
"""Event type and status by the outcome of a job."""


def own_start(attributes: Attributes) -> Fields | None:
    """Read what a start says: event type, status, counts; None: nothing to publish."""
    kind = attributes[semconv.SPAN_KIND]
    if kind == semconv.KIND_PHASE:
        # Only the total is known at the start; the span may have ended since.
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
    """Read what an end says, with duration, counts and error; None: nothing to publish."""
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
    """Whether it is a whole number; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _counts(attributes: Attributes) -> dict[str, int] | None:
    prefix = semconv.COUNT_PREFIX
    counts = {
        key[len(prefix) :]: value
        for key, value in attributes.items()
        if key.startswith(prefix) and is_count(value)
    }
    return counts or None
