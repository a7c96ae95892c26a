"""The parts of a span that the mapping reads, from any source, and what it reads in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otel_bridge.events import semconv

__all__ = [
    "INTERRUPTED_BY",
    "Attributes",
    "Facts",
    "Fields",
    "SpanView",
    "add_ids",
    "add_kind",
    "duration_ms",
    "error_of",
    "failure_of",
    "has_failed",
    "scope_of",
    "shown_name",
    "with_prefix",
]


class _Described(Protocol):
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


def add_kind(fields: Fields, span: _Described, name: str) -> None:
    """
    Add ``span_kind``, ``remote_parent`` and ``name`` of a third-party span to an event's fields.

    A third-party span is one that this package did not start. Never raises; the name is not
    shortened.

    Args:
        fields: Changed in place. A ``span_kind`` that is there stays; kind INTERNAL, a parent in
            this process and an empty name add nothing.
        span: Has kind and parent.
        name: What it is called.
    """
    if span.kind is not SpanKind.INTERNAL:
        fields.setdefault("span_kind", span.kind.name)
    if span.parent is not None and span.parent.is_remote:
        fields["remote_parent"] = True
    if name:
        fields["name"] = name


def scope_of(span: object) -> str:
    """Return the name of a span's instrumentation scope; empty if it has none. Never raises."""
    scope = getattr(span, "instrumentation_scope", None)
    return "" if scope is None else scope.name or ""


def shown_name(span: SpanView, attributes: Attributes) -> str:
    """
    Return the name of a span for people; never raises.

    That of Logfire's spans may be a template, ``Fetch {url}``; ``logfire.msg`` has the values.

    Args:
        span: The span.
        attributes: Its attributes at this moment.
    """
    message = attributes.get("logfire.msg")
    return message if isinstance(message, str) and message else span.name


def duration_ms(span: SpanView) -> int | None:
    """Return the whole milliseconds from start to end, at least 0; None while the span runs."""
    if span.end_time is None or span.start_time is None:
        return None
    return max(0, span.end_time - span.start_time) // 1_000_000


INTERRUPTED_BY: Final = "_otel_bridge_interrupted_by"
"""Of an ended span object of this process: type and message of the exception that ended it."""
_INTERRUPTIONS: Final = {
    "CancelledError": "cancelled",
    "Cancelled": "cancelled",
    "GeneratorExit": "stopped by its reader",
    "KeyboardInterrupt": "stopped by Ctrl-C",
    "SystemExit": "stopped: the process exits",
    "ClientDisconnect": "stopped: the client hung up",
    # JavaScript: the SDK takes an error's code for its type, if it has one.
    "AbortError": "cancelled",
    "ABORT_ERR": "cancelled",
    "CanceledError": "cancelled",
    "ERR_CANCELED": "cancelled",
    # Java, Kotlin and .NET
    "CancellationException": "cancelled",
    "JobCancellationException": "cancelled",
    "InterruptedException": "interrupted",
    "OperationCanceledException": "cancelled",
    "TaskCanceledException": "cancelled",
}
"""What interrupts work, by the last part of the exception's type, in plain words.

The first of them are no ``Exception`` in Python, so the SDK sets no status for them; the others are
how a caller ends a call, so instrumentations often set none."""
_GO_INTERRUPTIONS: Final = {
    "context canceled": "cancelled",
    "context deadline exceeded": "timed out",
}
"""By the end of the message: Go's errors have the type of what wraps them."""
_NO_FAILURE: Final = ("", "0", "None")
"""Messages of ``SystemExit`` when all went well."""
_DOM_ABORT: Final = "20"
"""``DOMException.ABORT_ERR``, which browsers and Node give an aborted call as its code."""


def _interruption_of(attributes: Attributes) -> str | None:
    """What an exception event says of an interruption, in plain words; None: it is none."""
    kind = str(attributes.get(semconv.EXCEPTION_TYPE) or "")
    found = _INTERRUPTIONS.get(kind[kind.rfind(".") + 1 :])
    message = str(attributes.get(semconv.EXCEPTION_MESSAGE) or "")
    if found is not None:
        return None if kind == "SystemExit" and message in _NO_FAILURE else found
    if kind == _DOM_ABORT:
        return "cancelled" if "abort" in message.lower() else None
    return next((text for end, text in _GO_INTERRUPTIONS.items() if message.endswith(end)), None)


def _last_exception(span: SpanView) -> Attributes | None:
    for event in reversed(span.events):
        if event.name == semconv.EXCEPTION_EVENT and event.attributes:
            return event.attributes
    return None


def has_failed(span: SpanView) -> bool:
    """
    Whether an ended span failed: by its status, or without one by what it recorded; never raises.

    True if the status is ``ERROR``. If it is ``UNSET``, also if the last recorded exception escaped
    the span (``exception.escaped``) or interrupted it: ``CancelledError``, ``KeyboardInterrupt``,
    ``GeneratorExit`` and what other languages call these; without any exception, if there is an
    ``error.type``. Else False, also with another exception: it may have been dealt with.

    Args:
        span: The span with its recorded exceptions, attributes and status.
    """
    code = span.status.status_code
    if code is not StatusCode.UNSET:
        return code is StatusCode.ERROR
    if span.events and (last := _last_exception(span)) is not None:
        is_escaped = str(last.get(_ESCAPED)).lower() == "true"
        return is_escaped or _interruption_of(last) is not None
    if getattr(span, INTERRUPTED_BY, None) is not None:
        return True
    return bool((span.attributes or {}).get(semconv.ERROR_TYPE))


_ESCAPED: Final = "exception.escaped"
_MODULES: Final = re.compile(r"^(?:\w+\.)+(?=\w)")
"""Before the name of an exception's type."""
_CANCEL_SCOPE: Final = re.compile(r": Cancelled (?:via|by) cancel scope .*", re.DOTALL)
"""What anyio writes: the address of an object, and the code of a task."""


def failure_of(span: SpanView, attributes: Attributes) -> str | None:
    """
    Return why a third-party span failed, interruptions in plain words; None if it gives no reason.

    E.g. ``cancelled (CancelledError: by the user)``; else as ``error_of``. Never raises.

    Args:
        span: The failed span with its recorded exceptions and status.
        attributes: Its attributes.
    """
    error = error_of(span, attributes)
    last = _last_exception(span)
    if last is None and (by := getattr(span, INTERRUPTED_BY, None)) is not None:
        kind, _, message = by.partition(": ")
        last = {semconv.EXCEPTION_TYPE: kind, semconv.EXCEPTION_MESSAGE: message}
        error = by
    text = None if last is None else _interruption_of(last)
    if text is None or error is None:
        return error
    return f"{text} ({_CANCEL_SCOPE.sub('', _MODULES.sub('', error))})"


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
