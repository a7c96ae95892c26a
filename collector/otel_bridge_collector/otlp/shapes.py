"""
``shape_of``: whether a received span is still open, has ended, or was given up by its sender.

OpenTelemetry has no standard for open spans (specification issue 4993 is open), so there are four
shapes on the wire: log records with a heartbeat (``lifecycle.py`` gives them the attributes of the
second), the same span sent first without an end and later with one, the same with a made-up end and
a flag, and Logfire's pending child span. This is the one table that distinguishes them.

Source: Genkit 1.x (no end), AgentOps 0.4.0 and Prefect 3.1 (a flag and a made-up end each second),
Logfire 4 and partial-span-processor 0.0.9 for Python, and the exporters of JavaScript, Go, Java and
Python (run); Datadog's Ray integration and the processors for .NET and Java (read).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

__all__ = ["HEARTBEAT_ATTRIBUTE", "LOGFIRE_PENDING", "OPEN_ATTRIBUTE", "Seen", "Shape", "shape_of"]

OPEN_ATTRIBUTE: Final = "nexus.span.open"
"""True in a snapshot of an open span; our emitters set it, and it is never shown."""
HEARTBEAT_ATTRIBUTE: Final = "nexus.span.beat_ms"
"""The sender's promise: a snapshot at least this often, in milliseconds."""
LOGFIRE_PENDING: Final = ("logfire.span_type", "pending_span")
_GIVEN_UP: Final = "partial.gc"
_OPEN_FLAGS: Final = frozenset(
    {
        OPEN_ATTRIBUTE,
        "agentops.in-flight",
        "agentops.in_flight",
        "prefect.in-flight",
        "prefect.in_flight",
        "_dd.partial_version",
    }
)
"""As their releases spell them (AgentOps 0.4, Prefect 3.1, ddtrace's Ray integration)."""
_SECOND_NS: Final = 1_000_000_000
_FUTURE_NS: Final = 2 * 86_400 * _SECOND_NS
"""
An end this far ahead is none: otel-go 1.24 sends Go's zero time as the year 2339. Ahead of the
span's start as well, or a sender whose clock is three days ahead would never end a span.
"""
_PAST_NS: Final = 30 * 365 * 86_400 * _SECOND_NS
"""An end before its start that is 30 years old is a zero of some clock, not a clock's step."""
_MIN_BEAT_MS: Final = 1_000
_MAX_BEAT_MS: Final = 86_400_000
"""A day, taken as it is: with a shorter one, a sender that keeps its promise would be stalled."""


class Shape(Enum):
    """
    What a received span is; a member is its text.

    ``OPEN``: a snapshot, whose end is none. ``ENDED``: the true end. ``GIVEN_UP``: an end that the
    sender made up after silence.
    """

    OPEN = "open"
    ENDED = "ended"
    GIVEN_UP = "given_up"


class Seen(NamedTuple):
    """
    What a received span is, and how often it promises a snapshot, ms: 1,000 to 86,400,000.

    None: no promise, or one that is no number of milliseconds within a day.
    """

    shape: Shape
    beat_ms: int | None


def shape_of(start_ns: int, end_ns: int, attributes: Mapping[str, Any], now_ns: int) -> Seen:
    """
    Return what a received span is, by the first rule that applies. Only computes, and never raises.

    1. ``partial.gc`` is true: given up.
    2. ``nexus.span.open``, ``agentops.in-flight``, ``prefect.in-flight`` or ``_dd.partial_version``
       is true, or Logfire calls it pending: open, whatever its end.
    3. The end is 0, over two days after both the start and now, or before the start and 30 years
       old: open.
    4. Otherwise it has ended. An end just before the start is a clock's step, not an open span.

    Args:
        start_ns: Its start, nanoseconds since the Unix epoch.
        end_ns: Its end, 0 if the sender gave none.
        attributes: Of the span, values of any type.
        now_ns: The time of reception.
    """
    if _is_true(attributes.get(_GIVEN_UP)):
        return Seen(Shape.GIVEN_UP, None)
    beat_ms = _beat_ms(attributes.get(HEARTBEAT_ATTRIBUTE))
    # Most spans have none of them, which takes one look.
    is_flagged = not _OPEN_FLAGS.isdisjoint(attributes) and any(
        _is_true(attributes.get(name)) for name in _OPEN_FLAGS
    )
    if is_flagged or attributes.get(LOGFIRE_PENDING[0]) == LOGFIRE_PENDING[1]:
        return Seen(Shape.OPEN, beat_ms)
    is_zero = end_ns == 0 or end_ns > max(start_ns, now_ns) + _FUTURE_NS
    if is_zero or (end_ns < start_ns and end_ns < now_ns - _PAST_NS):
        return Seen(Shape.OPEN, beat_ms)
    return Seen(Shape.ENDED, None)


def _is_true(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in ("true", "1")
    return value is True or (isinstance(value, int | float) and value > 0)


def _beat_ms(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return max(_MIN_BEAT_MS, number) if 0 < number <= _MAX_BEAT_MS else None
