"""
``recorded``: a standard ``exception`` event of a span, whose text is made when it is first read.

``Span.record_exception`` of OpenTelemetry formats the stack in the thread that failed: 90 to 170
us, and 13 ms after a deep recursion. Here that thread takes 6 to 60 us; the text is made by the
thread that exports the span, if any does, and the event bus reads what was captured.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import Span
from opentelemetry.util import types

from otel_bridge.events import semconv
from otel_bridge.stacks.capture import Raised, capture
from otel_bridge.stacks.key import key_of_raised
from otel_bridge.stacks.own_code import OwnCode
from otel_bridge.stacks.render import python_text

__all__ = ["RecordedException", "add_recorded", "recorded", "recorded_text"]

_ESCAPED: Final = "exception.escaped"


class RecordedException(Event):
    """
    An ``exception`` event of a span, as OpenTelemetry's semantic conventions have it.

    Its attributes are made when they are first read, in any thread; they do not change afterwards.
    Beside the standard ones there is ``nexus.error.key``, so that a collector that gets this span
    by OTLP finds the same key as the event bus.

    Attributes:
        raised: What was captured of the exception; None if there is only a text.
    """

    def __init__(
        self,
        raised: Raised | None,
        attributes: dict[str, types.AttributeValue],
        own: OwnCode,
        *,
        max_attributes: int | None = None,
        max_value_chars: int | None = None,
    ) -> None:
        super().__init__(semconv.EXCEPTION_EVENT)
        self.raised = raised
        self._given = attributes
        self._own = own
        self._max_attributes = max_attributes
        self._max_value_chars = max_value_chars
        self._made: BoundedAttributes | None = None

    def bounded_by(self, span: SdkSpan) -> RecordedException:
        """Keep to the limits of a span's events, which are set by ``OTEL_*`` variables."""
        limits = span._limits
        self._max_attributes = limits.max_event_attributes
        self._max_value_chars = limits.max_attribute_length
        return self

    @property
    def attributes(self) -> types.Attributes:
        """The attributes of the event, with ``exception.stacktrace``."""
        if self._made is None:
            found = dict(self._given)
            if self.raised is not None:
                found[semconv.EXCEPTION_STACKTRACE] = python_text(self.raised)
                key = key_of_raised(self.raised, self._own)
                if key is not None:
                    found[semconv.ERROR_KEY] = key
            self._made = BoundedAttributes(
                self._max_attributes, found, max_value_len=self._max_value_chars, immutable=True
            )
        return self._made

    @property
    def dropped_attributes(self) -> int:
        """How many attributes the limits of the span have dropped."""
        made = self.attributes
        return made.dropped if isinstance(made, BoundedAttributes) else 0


def recorded(error: BaseException, message: str, own: OwnCode) -> RecordedException:
    """
    Capture an exception for a span's ``exception`` event; 6 to 60 us. Holds no exception or frame.

    Args:
        error: The failure.
        message: What ``str(error)`` gave, of any length.
        own: Which code is the application's.
    """
    kind = type(error)
    module, name = kind.__module__, kind.__qualname__
    attributes: dict[str, types.AttributeValue] = {
        semconv.EXCEPTION_TYPE: name if module == "builtins" else f"{module}.{name}",
        semconv.EXCEPTION_MESSAGE: message,
        _ESCAPED: "False",
    }
    return RecordedException(capture(error), attributes, own)


def recorded_text(text: str, own: OwnCode) -> RecordedException:
    """
    Make an ``exception`` event of a stack that is known as text only.

    As of a job that failed in another process. Its type is the first word of its last line.

    Args:
        text: The stack in Python's form; of any length.
        own: Which code is the application's.
    """
    last = text.rstrip().rpartition("\n")[2]
    kind, _, message = last.partition(": ")
    attributes: dict[str, types.AttributeValue] = {semconv.EXCEPTION_STACKTRACE: text}
    if kind and " " not in kind:
        attributes[semconv.EXCEPTION_TYPE] = kind
        attributes[semconv.EXCEPTION_MESSAGE] = message
    return RecordedException(None, attributes, own)


def add_recorded(span: Span, event: RecordedException) -> None:
    """
    Add the event to a span that has not ended; the span of another SDK gets it with its text.

    Raises what the span's ``add_event`` raises; that of OpenTelemetry's SDK raises nothing.
    """
    if isinstance(span, SdkSpan):
        # The SDK's ``add_event`` takes attributes that are made already.
        span._add_event(event.bounded_by(span))
    else:
        span.add_event(semconv.EXCEPTION_EVENT, event.attributes)
