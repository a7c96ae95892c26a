"""Duration and error of a span, from the SDK or from another decoder."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otel_bridge.events import semconv
from otel_bridge.mapping.span_view import (
    SpanView,
    duration_ms,
    error_of,
    failure_of,
    has_failed,
    scope_of,
    shown_name,
    with_prefix,
)
from tests.support.spans import START_NS, SpanRecorder, tracer_with


class SpanEvent(NamedTuple):
    name: str
    attributes: dict[str, Any] | None


class View(NamedTuple):
    """A span that does not come from the SDK."""

    name: str = "work"
    kind: SpanKind = SpanKind.INTERNAL
    context: SpanContext | None = None
    parent: SpanContext | None = None
    start_time: int | None = None
    end_time: int | None = None
    status: Status = Status()
    attributes: dict[str, Any] | None = None
    events: tuple[SpanEvent, ...] = ()


def exception(kind: str | None, message: str | None) -> SpanEvent:
    pairs = {semconv.EXCEPTION_TYPE: kind, semconv.EXCEPTION_MESSAGE: message}
    return SpanEvent("exception", {key: value for key, value in pairs.items() if value is not None})


def failed_with(*events: SpanEvent, status: str | None = None, **attributes: str) -> str | None:
    view: SpanView = View(status=Status(StatusCode.ERROR, status), events=events)
    return error_of(view, {name.replace("_", "."): value for name, value in attributes.items()})


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(1, 1_999_999, 1), (0, 0, 0), (9, 5, 0), (None, 5, None), (5, None, None)],
)
def test_a_duration_is_never_negative(
    start: int | None, end: int | None, expected: int | None
) -> None:
    """Whole milliseconds; 0 if the clock was set back, None while the span runs."""
    assert duration_ms(View(start_time=start, end_time=end)) == expected


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_any_two_times_have_a_valid_duration(start: int, end: int) -> None:
    """Whatever the clocks say, a duration is a number and not negative."""
    found = duration_ms(View(start_time=start, end_time=end))
    assert found is not None
    assert found >= 0


def test_the_given_reason_comes_before_all_others() -> None:
    """``nexus.error``, which users set, comes before exceptions, status and ``error.type``."""
    raised = exception("ValueError", "x")
    assert failed_with(raised, status="s", nexus_error="mine", error_type="t") == "mine"
    assert failed_with(raised, status="s", nexus_error="", error_type="t") == ""


def test_the_last_exception_is_the_reason() -> None:
    """Of several recorded exceptions the last one is the error."""
    events = (exception("KeyError", "'a'"), exception("ValueError", "b"), SpanEvent("log", {}))
    assert failed_with(*events, status="s") == "ValueError: b"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (exception("TimeoutError", None), "TimeoutError"),
        (exception("TimeoutError", ""), "TimeoutError"),
        (exception(None, "it broke"), "it broke"),
        (exception(None, None), "the status"),
        (SpanEvent("exception", None), "the status"),
        (SpanEvent("note", {semconv.EXCEPTION_MESSAGE: "not an exception"}), "the status"),
    ],
)
def test_a_part_of_an_exception_is_enough(event: SpanEvent, expected: str) -> None:
    """A type or a message alone is an error; an exception with neither is skipped."""
    assert failed_with(event, status="the status") == expected


def test_without_exceptions_status_and_type_are_the_error() -> None:
    """The description of the status comes before ``error.type``; without either it is None."""
    assert failed_with(status="no such school", error_type="x") == "no such school"
    assert failed_with(error_type="timeout") == "timeout"
    assert failed_with() is None


def test_the_sdks_own_spans_are_views() -> None:
    """A span of the SDK can be read without conversion, live and ended."""
    recorder = SpanRecorder()
    span = tracer_with(recorder).start_span("work", start_time=START_NS)
    span.record_exception(ValueError("bad"))
    (live,) = recorder.started
    assert duration_ms(live) is None
    span.end(START_NS + 2_000_000)
    (ended,) = recorder.ended
    assert (duration_ms(ended), error_of(ended, ended.attributes or {})) == (2.0, "ValueError: bad")


def test_an_exception_event_without_type_and_message_is_passed_over() -> None:
    """An exception event that says nothing leaves the word to an earlier one."""
    silent = SpanEvent("exception", {"exception.escaped": True})
    assert failed_with(exception("ValueError", "no page"), silent) == "ValueError: no page"
    assert failed_with(silent, status="boom") == "boom"


@pytest.mark.parametrize(
    ("code", "exceptions", "expected"),
    [
        (StatusCode.UNSET, (), False),
        (StatusCode.UNSET, ("asyncio.exceptions.CancelledError",), True),
        (StatusCode.UNSET, ("KeyboardInterrupt",), True),
        (StatusCode.UNSET, ("GeneratorExit",), True),
        (StatusCode.UNSET, ("ValueError",), False),
        (StatusCode.UNSET, ("CancelledError", "ValueError"), False),
        (StatusCode.OK, ("CancelledError",), False),
        (StatusCode.ERROR, (), True),
        (StatusCode.ERROR, ("CancelledError",), True),
    ],
)
def test_the_status_or_an_interruption_without_one_is_a_failure(
    code: StatusCode, exceptions: tuple[str, ...], expected: bool
) -> None:
    """A status decides; without one, what was interrupted last has failed, what recovered not."""
    events = tuple(exception(kind, None) for kind in exceptions)
    assert has_failed(View(status=Status(code), events=events)) is expected


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("asyncio.exceptions.CancelledError", None, "cancelled (CancelledError)"),
        (
            "asyncio.exceptions.CancelledError",
            "Cancelled via cancel scope 7f33 by <Task pending coro=<run() at app.py:3>>",
            "cancelled (CancelledError)",
        ),
        ("starlette.requests.ClientDisconnect", None, "stopped: the client hung up (Clie"),
        ("AbortError", "This operation was aborted", "cancelled (AbortError: This operation"),
        ("20", "This operation was aborted", "cancelled (20: This operation was aborted)"),
        ("ABORT_ERR", None, "cancelled (ABORT_ERR)"),
        ("*errors.errorString", "context canceled", "cancelled (*errors.errorString: context"),
        ("*url.Error", "Get: context canceled", "cancelled (*url.Error: Get: context canceled)"),
        ("context.deadlineExceededError", "context deadline exceeded", "timed out (deadlineExc"),
        ("java.util.concurrent.CancellationException", None, "cancelled (CancellationException)"),
        ("java.lang.InterruptedException", "sleep", "interrupted (InterruptedException: sleep)"),
        ("System.Threading.Tasks.TaskCanceledException", None, "cancelled (TaskCanceledException)"),
        ("SystemExit", "3", "stopped: the process exits (SystemExit: 3)"),
    ],
)
def test_an_interruption_is_a_failure_in_plain_words(
    kind: str, message: str | None, expected: str
) -> None:
    """In Python, JavaScript, Go, Java and .NET, without a status: what happened, then the type."""
    view = View(events=(exception(kind, message),))
    assert has_failed(view)
    assert (failure_of(view, {}) or "").startswith(expected)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("20", "no such table"), ("SystemExit", "0"), ("*errors.errorString", "x")],
)
def test_what_only_looks_like_an_interruption_is_none(kind: str, message: str) -> None:
    """Another error with the code of an abort, an exit without error, an error of Go."""
    assert not has_failed(View(events=(exception(kind, message),)))


@pytest.mark.parametrize(("escaped", "expected"), [(True, True), ("True", True), ("False", False)])
def test_an_exception_that_escaped_its_span_is_a_failure(escaped: object, expected: bool) -> None:
    """The attribute says so, also as text, as some SDKs write it."""
    event = SpanEvent("exception", {"exception.type": "ValueError", "exception.escaped": escaped})
    assert has_failed(View(events=(event,))) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [(StatusCode.UNSET, True), (StatusCode.OK, False), (StatusCode.ERROR, True)],
)
def test_an_error_type_without_status_is_a_failure(code: StatusCode, expected: bool) -> None:
    """The conventions set ``error.type`` for errors only; a status of OK overrules it."""
    view = View(status=Status(code), attributes={"error.type": "timeout"})
    assert has_failed(view) is expected
    assert failure_of(view, view.attributes or {}) == "timeout"


def test_a_span_is_called_by_logfires_text() -> None:
    """Its name is the template; a message that is no text is not taken."""
    view = View(name="Fetch {url}")
    assert shown_name(view, {"logfire.msg": "Fetch a"}) == "Fetch a"
    assert [shown_name(view, {"logfire.msg": text}) for text in ("", 7)] == ["Fetch {url}"] * 2
    assert scope_of(view) == ""


def test_events_of_another_name_say_nothing_of_a_failure() -> None:
    """Only the events of recorded exceptions are read, and one without attributes is passed by."""
    other = SpanEvent("log", {semconv.EXCEPTION_TYPE: "CancelledError"})
    assert not has_failed(View(events=(other,)))
    interrupted = (exception("CancelledError", None), SpanEvent("exception", None))
    assert has_failed(View(events=interrupted))


def test_attributes_are_found_by_the_beginning_of_their_key() -> None:
    """In their order, by the rest of the key; a prefix elsewhere in a key does not count."""
    attributes = {"a.x": 1, "b.a.y": 2, "a.": 3, "a.z": None}
    assert with_prefix(attributes, "a.") == [("x", 1), ("", 3), ("z", None)]
    assert with_prefix({"b.a.y": 2}, "a.") == []
    assert with_prefix({}, "a.") == []
