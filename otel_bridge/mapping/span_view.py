"""The parts of a span that the mapping reads, from any source, and what it reads in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otel_bridge.events import semconv

__all__ = [
    "Attributes",
    "Facts",
    "Fields",
    "SpanView",
    "add_ids",
    "add_kind",
    "duration_ms",
    "error_of",
    "has_failed",
    "with_prefix",
]


class _Described(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> SpanKind: ...
    @property
    def parent(self) -> SpanContext | None: ...


class _SpanEvent(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...


class SpanView(Protocol):
    """
    The parts of a span that the mapping reads: of an SDK span or of a decoded OTLP span.

    A protocol with the names and types of the SDK's ``ReadableSpan``. It checks and limits nothing
    and raises nothing.

    Attributes:
        name: Of any length.
        kind: ``SpanKind``, such as ``INTERNAL`` or ``CLIENT``.
        context: ``SpanContext`` with the trace id and the span id; None: no event is made.
        parent: ``SpanContext`` of the parent; None for a root span.
        start_time: Nanoseconds since the Unix epoch.
        end_time: The same; None while the span runs.
        status: ``Status`` with its code (``UNSET``, ``OK`` or ``ERROR``) and description.
        attributes: Values by key; None: no event is made.
        events: Recorded exceptions and other events, oldest first, with name and attributes.
    """

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


class Facts(NamedTuple):
    """
    What was read of the start or the end of a span; values of attributes are as the user set them.

    A record, which checks and limits nothing; fields without a value are None.

    Attributes:
        project_id: The project that the work belongs to.
        parent_task_id: The research task; None: the trace counts as one.
        task_id: The job, or the research task itself.
        task_type: The kind of job.
        phase: The name of the phase.
        retry_count: Attempts before this one.
        queue: The name of the queue.
        title: What a research task is called.
        kind: ``research_task``, ``phase``, ``enqueue``, ``job`` or ``span``, or another text: then
            there is no event.
        outcome: How the span ended: ``completed``, ``failed`` or ``retrying``; None for its start.
        counts: Progress, whole numbers by name, e.g. ``total``.
        error: The reason of a failure or retry.
    """

    project_id: Any
    parent_task_id: Any
    task_id: Any
    task_type: Any
    phase: Any
    retry_count: Any
    queue: Any
    title: Any
    kind: str
    outcome: str | None
    counts: dict[str, int] | None
    error: str | None


def with_prefix(attributes: Attributes, prefix: str) -> list[tuple[str, Any]]:
    """
    Return the attributes whose key begins with a prefix, in order, by what follows the prefix.

    Most spans have none, and one search of all keys costs a fifth of looking at each.

    Args:
        attributes: Of a span; every key is text.
        prefix: E.g. ``nexus.meta.``.
    """
    if prefix not in "\n".join(attributes):
        return []
    start = len(prefix)
    return [(key[start:], value) for key, value in attributes.items() if key.startswith(prefix)]


def add_ids(
    fields: Fields,
    trace_id: int,
    span_id: int,
    parent: SpanContext | None,
    incarnation: str | None,
) -> None:
    """
    Add the ids of a span, its parent and its process to the fields of an event; never raises.

    Args:
        fields: Changed in place: ``trace_id`` (32 hex digits), ``span_id``, ``parent_span_id`` (16)
            and ``incarnation``; what is there already is replaced.
        trace_id: The trace id as a number, at most 128 bits; not checked.
        span_id: The span id as a number, at most 64 bits; not checked.
        parent: The parent's context; None for a root span, then the field is left out.
        incarnation: The id of one life of the process; None: the field is left out.
    """
    fields["trace_id"] = f"{trace_id:032x}"
    fields["span_id"] = f"{span_id:016x}"
    if parent is not None:
        fields["parent_span_id"] = f"{parent.span_id:016x}"
    if incarnation is not None:
        fields["incarnation"] = incarnation


def add_kind(fields: Fields, span: _Described) -> None:
    """
    Add ``span_kind``, ``remote_parent`` and ``name`` of a third-party span to an event's fields.

    A third-party span is one that this package did not start. Never raises; the name is not
    shortened.

    Args:
        fields: Changed in place. A ``span_kind`` that is there stays; kind INTERNAL, a parent in
            this process and an empty name add nothing.
        span: Has name, kind and parent.
    """
    if span.kind is not SpanKind.INTERNAL:
        fields.setdefault("span_kind", span.kind.name)
    if span.parent is not None and span.parent.is_remote:
        fields["remote_parent"] = True
    if span.name:
        fields["name"] = span.name


def duration_ms(span: SpanView) -> int | None:
    """Return the whole milliseconds from start to end, at least 0; None while the span runs."""
    if span.end_time is None or span.start_time is None:
        return None
    return max(0, span.end_time - span.start_time) // 1_000_000


_INTERRUPTIONS: Final = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt"})
"""Exceptions that are no ``Exception`` in Python: the SDK sets no status for them."""


def has_failed(span: SpanView) -> bool:
    """
    Whether an ended span failed: by its status, or interrupted without one; never raises.

    True if the status is ``ERROR``; or if it is ``UNSET`` and the last recorded exception is
    ``CancelledError``, ``KeyboardInterrupt`` or ``GeneratorExit``, of any module, for which the SDK
    sets no status. Else False, also with another exception.

    Args:
        span: The span with its recorded exceptions and status.
    """
    code = span.status.status_code
    if code is not StatusCode.UNSET:
        return code is StatusCode.ERROR
    for event in reversed(span.events):
        if event.name == semconv.EXCEPTION_EVENT and event.attributes:
            kind = str(event.attributes.get(semconv.EXCEPTION_TYPE))
            return kind.rpartition(".")[2] in _INTERRUPTIONS
    return False


def error_of(span: SpanView, attributes: Attributes) -> str | None:
    """
    Return the reason of a span's failure as text, or None if it gives none; never raises.

    The first of: ``nexus.error``, the last recorded exception as ``<type>: <message>``, the
    description of the status, ``error.type``. Not shortened and not masked; line breaks in it stay.

    Args:
        span: The span with its recorded exceptions and status.
        attributes: Its attributes.
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
