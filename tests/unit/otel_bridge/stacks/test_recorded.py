"""The ``exception`` event of a span: standard attributes, made when they are first read."""

from __future__ import annotations

import re

import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext

from otel_bridge.stacks import recorded as module
from otel_bridge.stacks.capture import Raised
from otel_bridge.stacks.own_code import OwnCode
from otel_bridge.stacks.recorded import add_recorded, recorded, recorded_text
from tests.support.raised import UnreadableError, chained, raised_by

OWN = OwnCode()


def exported(error: BaseException, limits: SpanLimits | None = None) -> dict[str, object]:
    """The attributes of the event as an exporter gets them."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("t").start_span("s")
    add_recorded(span, recorded(error, str(error), OWN))
    span.end()
    (event,) = exporter.get_finished_spans()[0].events
    assert event.name == "exception"
    return dict(event.attributes or {})


def test_the_attributes_are_those_of_record_exception() -> None:
    """Type, message, stack trace in Python's form; and the key, for a collector behind OTLP."""
    found = exported(chained())
    assert found["exception.type"] == "ValueError"
    assert found["exception.message"] == "bad page"
    assert found["exception.escaped"] == "False"
    text = str(found["exception.stacktrace"])
    assert text.startswith("Traceback (most recent call last):\n")
    assert "The above exception was the direct cause" in text
    assert text.endswith("ValueError: bad page\n")
    assert re.fullmatch("[0-9a-f]{16}", str(found["nexus.error.key"]))


def test_a_class_of_a_module_is_named_with_it() -> None:
    """As OpenTelemetry's own SDK names it."""
    event = recorded(UnreadableError(), "", OWN)
    assert (event.attributes or {})["exception.type"] == "tests.support.raised.UnreadableError"


def test_the_text_is_made_once_and_only_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that nothing exports pays for no text."""
    made: list[Raised] = []

    def counting(raised: Raised) -> str:
        made.append(raised)
        return "text"

    monkeypatch.setattr(module, "python_text", counting)
    event = recorded(chained(), "bad", OWN)
    span = TracerProvider().get_tracer("t").start_span("s")
    add_recorded(span, event)
    span.end()
    assert made == []
    assert event.attributes is event.attributes
    assert made == [event.raised]


def test_the_limits_of_spans_hold() -> None:
    """``OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT`` and ``OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT``."""
    short = exported(chained(), SpanLimits(max_attribute_length=20))
    assert {len(str(value)) for value in short.values()} <= set(range(21))
    few = exported(chained(), SpanLimits(max_event_attributes=2))
    assert len(few) == 2
    event = recorded(chained(), "bad", OWN)
    span = TracerProvider(span_limits=SpanLimits(max_event_attributes=2)).get_tracer("t")
    add_recorded(span.start_span("s"), event)
    assert event.dropped_attributes == 3


def test_a_stack_that_is_known_as_text() -> None:
    """Of a job that failed in another process: type and message are read in its last line."""
    event = recorded_text('Traceback ...\n  File "a.py", line 1, in f\nshop.Error: a: b\n', OWN)
    attributes = event.attributes or {}
    assert (attributes["exception.type"], attributes["exception.message"]) == ("shop.Error", "a: b")
    assert event.raised is None
    assert "exception.type" not in (recorded_text("no such line", OWN).attributes or {})


def test_spans_of_other_sdks_take_it_too() -> None:
    """A span that records nothing ignores it."""
    add_recorded(NonRecordingSpan(SpanContext(1, 2, False)), recorded(chained(), "bad", OWN))


def test_the_error_is_not_held() -> None:
    """Only names, lines and messages are."""
    event = recorded(raised_by(lambda: 1 / 0), "zero", OWN)
    assert not any(isinstance(value, BaseException) for value in vars(event).values())
