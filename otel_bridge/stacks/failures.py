"""
``FailureStacks``: what the event of a failure says of its stack, and the text to store beside it.

Used where spans become events: in the bus's thread, and in the collector for spans by OTLP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from otel_bridge.events import semconv
from otel_bridge.events.redaction import redact_text
from otel_bridge.stacks.bound import bound
from otel_bridge.stacks.key import key_of, key_of_raised
from otel_bridge.stacks.limits import StackLimiter
from otel_bridge.stacks.own_code import OwnCode, own_code
from otel_bridge.stacks.parse import places_in
from otel_bridge.stacks.recorded import RecordedException
from otel_bridge.stacks.render import stack_text

__all__ = ["FailureStacks", "is_failure_of"]

_FAILED_STATUSES: Final = frozenset({"failed", "retrying"})
"""Of events whose span may have a stack."""
_AFTER: Final = ("reason", "progress", "spans")
"""Fields of an event that come after those of its stack."""
_MAX_KEY_CHARS: Final = 160
"""Of a key that the user gave, as of a key that is made of the message."""


class _SpanEvent(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...


class FailureStacks:
    """
    Reads the stacks of failed spans; for one thread at a time.

    Each failure with a stack gets the key of its group. The first 5 of a key are to be stored, then
    1 a minute (``StackLimiter``); the event of another names the span that has one stored.

    Args:
        packages: ``MONITORING_APP_PACKAGES``: which code is the application's own.

    Attributes:
        limiter: Counts what is to be stored and what is not.
    """

    def __init__(self, packages: str = "") -> None:
        self._own: OwnCode = own_code(packages)
        self.limiter = StackLimiter()

    def add(
        self,
        fields: dict[str, Any],
        attributes: Mapping[str, Any],
        events: Sequence[_SpanEvent],
        now: float,
    ) -> str | None:
        """
        Add ``error_key`` and ``stack`` or ``stack_of`` to the event of a failure.

        Read is the last ``exception`` event of the span that has a stack: what ``recorded``
        captured, else ``exception.stacktrace`` in any language's form. Without one the event gets a
        key only if the user gave one by ``nexus.error.key``, on the span or on the event.

        Args:
            fields: The event's fields, which have a ``span_id``; changed, in the order of the
                model.
            attributes: Of the span.
            events: Of the span, oldest first.
            now: Monotonic seconds.

        Returns:
            The stack's text, at most 4,096 bytes, to be stored under the span's id; None: nothing
            is to be stored.

        Raises:
            Exception: What reading attributes of an event of another SDK raises.
        """
        given = attributes.get(semconv.ERROR_KEY)
        found = _last_stack(events)
        key = None if given is None else redact_text(str(given))[:_MAX_KEY_CHARS]
        if found is None:
            if key is not None:
                _set(fields, error_key=key)
            return None
        key = key or self._key_of(found)
        if key is None:
            return None
        span_id = fields["span_id"]
        # By project too, so that no event names a stack that its readers may not see.
        group = f"{fields.get('project_id')}\0{key}"
        if self.limiter.admit(group, span_id, now):
            _set(fields, error_key=key, stack=True)
            return self._text_of(found)
        holder = self.limiter.holder_of(group)
        if holder is None or holder == span_id:
            _set(fields, error_key=key)
        else:
            _set(fields, error_key=key, stack_of=holder)
        return None

    def _key_of(self, event: _SpanEvent) -> str | None:
        if isinstance(event, RecordedException) and event.raised is not None:
            return key_of_raised(event.raised, self._own)
        attributes = event.attributes or {}
        given = attributes.get(semconv.ERROR_KEY)
        if given is not None:
            return redact_text(str(given))[:_MAX_KEY_CHARS]
        text = str(attributes.get(semconv.EXCEPTION_STACKTRACE))
        places = places_in(text, self._own)
        kind = str(attributes.get(semconv.EXCEPTION_TYPE) or "")
        if kind and places and not places[0][0]:
            # Go's text has no type, and a JavaScript class may have any name.
            places[0] = (kind, places[0][1])
        return key_of(places)

    def _text_of(self, event: _SpanEvent) -> str:
        if isinstance(event, RecordedException) and event.raised is not None:
            return stack_text(event.raised, self._own)
        return bound(str((event.attributes or {}).get(semconv.EXCEPTION_STACKTRACE)))


def is_failure_of(fields: Mapping[str, Any], span: object) -> bool:
    """
    Whether an event is the failure of this span, which may have recorded a stack; never raises.

    A span can cause events of others too: those of requests and wrappers around it.

    Args:
        fields: The event's fields.
        span: Anything; what has no ``context`` has no failure.
    """
    if fields.get("status") not in _FAILED_STATUSES:
        return False
    context = getattr(span, "context", None)
    return context is not None and fields.get("span_id") == f"{context.span_id:016x}"


def _last_stack(events: Sequence[_SpanEvent]) -> _SpanEvent | None:
    for event in reversed(events):
        if event.name != semconv.EXCEPTION_EVENT:
            continue
        if isinstance(event, RecordedException) and event.raised is not None:
            if any(raised.head for raised in event.raised.walk()):
                return event
        elif event.attributes and event.attributes.get(semconv.EXCEPTION_STACKTRACE):
            return event
    return None


def _set(fields: dict[str, Any], **found: Any) -> None:
    """Set fields in the order of the model: those after the stack's move to the end again."""
    later: dict[str, Any] = {name: fields.pop(name) for name in _AFTER if name in fields}
    fields.update(found)
    fields.update(later)
