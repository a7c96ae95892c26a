"""What our own spans say: kind, ids, outcome, counts and error, read from their attributes."""

from __future__ import annotations

from typing import Any, Final, TypeGuard

from otel_bridge.events import semconv
from otel_bridge.mapping.span_view import (
    Attributes,
    Facts,
    Fields,
    SpanView,
    error_of,
    has_failed,
    with_prefix,
)

__all__ = ["OUTCOMES", "add_job_end", "is_count", "own_facts"]

OUTCOMES: Final = ("completed", "failed", "retrying")
"""The values of ``nexus.outcome``."""


def own_facts(span: SpanView, attributes: Attributes, *, is_end: bool) -> Facts:
    """
    Read what an event will say in the start or the end of a span of this library; never raises.

    Values are taken as the user set them, of any size. Counts that are not whole numbers are left
    out.

    Args:
        span: The span.
        attributes: Its attributes; ``nexus.span.kind`` marks it as a span of this library.
        is_end: True for the end, False for the start.

    Returns:
        A record with kind, ids, job type, phase, queue, title and attempts before this one, each
        None if it is missing. For the end also ``outcome`` (``completed``, ``failed`` or
        ``retrying``), ``error`` and, but for an enqueue, ``counts``; for the start of a phase only
        its ``total``. An unknown ``nexus.outcome`` counts as ``failed`` if the span's status is an
        error or it was interrupted, else as ``completed``.
    """
    get = attributes.get
    kind = get(semconv.SPAN_KIND)
    outcome = counts = error = None
    if is_end:
        outcome = _outcome(span, attributes)
        error = None if outcome == "completed" else error_of(span, attributes)
        if kind != semconv.KIND_ENQUEUE:
            counts = _counts(attributes)
    elif kind == semconv.KIND_PHASE:
        # Only the total belongs to the start; by now the span may have ended and hold more counts.
        total = get(f"{semconv.COUNT_PREFIX}total")
        counts = {"total": total} if is_count(total) else None
    facts = Facts._make((*map(get, _COPIED), str(kind), outcome, counts, error))
    if facts.task_id is None and kind == semconv.KIND_RESEARCH_TASK:
        return facts._replace(task_id=facts.parent_task_id)
    return facts


_COPIED: Final = (
    semconv.PROJECT_ID,
    semconv.PARENT_TASK_ID,
    semconv.TASK_ID,
    semconv.TASK_TYPE,
    semconv.PHASE,
    semconv.RETRY_COUNT,
    semconv.QUEUE,
    semconv.TASK_TITLE,
)
"""The attributes that are facts as they are, in the order of ``Facts``."""


def _outcome(span: SpanView, attributes: Attributes) -> str:
    outcome = str(attributes.get(semconv.OUTCOME))
    if outcome in OUTCOMES:
        return outcome
    return "failed" if has_failed(span) else "completed"


def add_job_end(fields: Fields, attributes: Attributes) -> None:
    """
    Add to the event of a job's end why it ended so, and how far it was, if the span says so.

    Never raises. ``reason`` is text of any length; ``progress`` has the numbers ``done`` and
    ``total`` that are whole numbers, and is left out without ``done``.

    Args:
        fields: The event's fields so far, which are before these two in ``FIELD_ORDER``; changed.
        attributes: Of the job's span.
    """
    reason = attributes.get(semconv.REASON)
    if reason is not None:
        fields["reason"] = str(reason)
    done = attributes.get(_DONE)
    if is_count(done):
        total = attributes.get(_TOTAL)
        fields["progress"] = {"done": done, "total": total} if is_count(total) else {"done": done}


_DONE: Final = f"{semconv.PROGRESS_PREFIX}done"
_TOTAL: Final = f"{semconv.PROGRESS_PREFIX}total"


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _counts(attributes: Attributes) -> dict[str, int] | None:
    found = with_prefix(attributes, semconv.COUNT_PREFIX)
    return {name: value for name, value in found if is_count(value)} or None
