"""What every mapping rule asks of a span: how long it took and why it failed."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otel_bridge.events import semconv
from otel_bridge.mapping.span_view import SpanView, duration_ms, error_of
from tests.support.spans import START_NS, SpanRecorder, tracer_with


class Happening(NamedTuple):
    name: str
    attributes: dict[str, Any] | None


class View(NamedTuple):
    """A span as another decoder than the SDK would give it."""

    name: str = "work"
    kind: SpanKind = SpanKind.INTERNAL
    context: SpanContext | None = None
    parent: SpanContext | None = None
    start_time: int | None = None
    end_time: int | None = None
    status: Status = Status()
    attributes: dict[str, Any] | None = None
    events: tuple[Happening, ...] = ()


def exception(kind: str | None, message: str | None) -> Happening:
    pairs = {semconv.EXCEPTION_TYPE: kind, semconv.EXCEPTION_MESSAGE: message}
    return Happening("exception", {key: value for key, value in pairs.items() if value is not None})


def failed_with(*events: Happening, status: str | None = None, **attributes: str) -> str | None:
    view: SpanView = View(status=Status(StatusCode.ERROR, status), events=events)
    return error_of(view, {name.replace("_", "."): value for name, value in attributes.items()})


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(1, 1_500_001, 1.5), (0, 0, 0), (9, 5, 0), (None, 5, None), (5, None, None)],
)
def test_a_duration_is_never_negative(
    start: int | None, end: int | None, expected: float | None
) -> None:
    """Milliseconds from start to end; nothing when a clock was set back, None while it runs."""
    assert duration_ms(View(start_time=start, end_time=end)) == expected


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_any_times_have_a_duration_that_an_event_takes(start: int, end: int) -> None:
    """Whatever the clocks say, a duration is a number from zero."""
    found = duration_ms(View(start_time=start, end_time=end))
    assert found is not None
    assert found >= 0


def test_the_given_reason_wins_over_all_others() -> None:
    """``nexus.error`` is what the user said, before exceptions, status and type."""
    told = exception("ValueError", "x")
    assert failed_with(told, status="s", nexus_error="mine", error_type="t") == "mine"
    assert failed_with(told, status="s", nexus_error="", error_type="t") == ""


def test_the_last_exception_is_the_reason() -> None:
    """Of several recorded exceptions the last one ended the span."""
    events = (exception("KeyError", "'a'"), exception("ValueError", "b"), Happening("log", {}))
    assert failed_with(*events, status="s") == "ValueError: b"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (exception("TimeoutError", None), "TimeoutError"),
        (exception("TimeoutError", ""), "TimeoutError"),
        (exception(None, "it broke"), "it broke"),
        (exception(None, None), "the status"),
        (Happening("exception", None), "the status"),
        (Happening("note", {semconv.EXCEPTION_MESSAGE: "not an exception"}), "the status"),
    ],
)
def test_half_an_exception_is_told_as_far_as_it_goes(event: Happening, expected: str) -> None:
    """A type or a message alone is a reason; an exception that says nothing is passed over."""
    assert failed_with(event, status="the status") == expected


def test_without_exceptions_the_status_and_then_the_type_speak() -> None:
    """A status's words come before ``error.type``, and nothing at all is None."""
    assert failed_with(status="no such school", error_type="x") == "no such school"
    assert failed_with(error_type="timeout") == "timeout"
    assert failed_with() is None


def test_the_sdks_own_spans_are_views() -> None:
    """A span of the SDK is read as it is, live and ended."""
    recorder = SpanRecorder()
    span = tracer_with(recorder).start_span("work", start_time=START_NS)
    span.record_exception(ValueError("bad"))
    (live,) = recorder.started
    assert duration_ms(live) is None
    span.end(START_NS + 2_000_000)
    (ended,) = recorder.ended
    assert (duration_ms(ended), error_of(ended, ended.attributes or {})) == (2.0, "ValueError: bad")
