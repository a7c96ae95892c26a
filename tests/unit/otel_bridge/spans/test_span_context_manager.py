"""Every context manager of a span: it starts complete, always ends, and raises nothing itself."""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import StatusCode

import otel_bridge
from otel_bridge.bridge import Bridge
from otel_bridge.events import semconv
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.scope import Scope, current_scope
from otel_bridge.spans.span_context_manager import (
    SelfReturningContextManager,
    SpanContextManager,
    guarded,
    meta_attributes,
    one_line,
    safe_repr,
    safe_str,
    whole_number,
)
from tests.support.hostile import HOSTILE, Hostile, HostileMapping
from tests.support.spans import SpanRecorder


class Minimal(SpanContextManager, SelfReturningContextManager):
    """The smallest subclass."""

    _kind = semconv.KIND_PHASE


def opening(label: str = "search", ids: Scope | None = None, **attributes: Any) -> Minimal:
    return Minimal(label, ids or Scope("t", "p", None), attributes)


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    """The spans that are opened, as a processor sees them."""
    found = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(found)
    bridge: Bridge = otel_bridge.configure(
        tracer_provider=provider, settings=BridgeSettings(bus_url="memory://span-context-manager")
    )
    yield found
    bridge.shutdown()


def only(recorder: SpanRecorder) -> ReadableSpan:
    (span,) = recorder.ended
    return span


def test_a_span_starts_complete(recorder: SpanRecorder) -> None:
    """At its start a span has its kind and every id that is known, and none that is not."""
    with opening(total=3, absent=None):
        (live,) = recorder.started
        assert dict(live.attributes or {}) == {
            semconv.SPAN_KIND: "phase",
            semconv.PARENT_TASK_ID: "t",
            semconv.PROJECT_ID: "p",
            "total": 3,
        }
        assert (live.name, current_scope().parent_task_id) == ("phase search", "t")
        assert trace.get_current_span() is live
    assert (current_scope().parent_task_id, trace.get_current_span()) == (
        None,
        trace.INVALID_SPAN,
    )


def test_the_end_without_an_exception_is_a_completion(recorder: SpanRecorder) -> None:
    """Without an exception the outcome is completed, and the span's status is no error."""
    with opening() as opened:
        opened.message("all found")
    span = only(recorder)
    attributes = span.attributes or {}
    assert (attributes[semconv.OUTCOME], attributes[semconv.MESSAGE]) == ("completed", "all found")
    assert (span.status.status_code, semconv.ERROR in attributes) == (StatusCode.UNSET, False)


async def test_an_exception_fails_and_propagates(recorder: SpanRecorder) -> None:
    """The same exception object leaves the block, and the span records what it was."""
    error = KeyError("page")
    with pytest.raises(KeyError) as raised:
        async with opening():
            raise error
    span = only(recorder)
    assert raised.value is error
    assert (span.attributes or {})[semconv.OUTCOME] == "failed"
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "KeyError: 'page'",
    )
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_an_interruption_is_a_failure_without_a_stack(
    recorder: SpanRecorder, error: BaseException
) -> None:
    """A block that is interrupted has failed; the stack of the interruption is not recorded."""
    with pytest.raises(type(error)), opening():
        raise error
    span = only(recorder)
    assert (span.status.status_code, len(span.events)) == (StatusCode.ERROR, 0)


def test_the_given_reason_takes_precedence_over_a_later_exception(recorder: SpanRecorder) -> None:
    """The reason given to ``fail`` stays, also if an exception leaves the block after it."""
    opened = opening()
    opened.fail("no such school")
    with pytest.raises(ValueError, match="late"), opened:
        raise ValueError("late")
    assert (only(recorder).attributes or {})[semconv.ERROR] == "no such school"


class MuteError(Exception):
    """A user's exception whose ``__str__`` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_text_still_ends_the_span(recorder: SpanRecorder) -> None:
    """If a user's ``__str__`` raises, the text is missing, but the span ends."""
    with pytest.raises(MuteError), opening():
        raise MuteError
    span = only(recorder)
    assert ((span.attributes or {})[semconv.OUTCOME], span.status.description) == (
        "failed",
        "MuteError",
    )
    with opening() as opened:
        opened.fail(MuteError())
    assert (recorder.ended[1].attributes or {})[semconv.ERROR] == "MuteError"


class Unopened(Minimal):
    """A context manager that cannot be opened."""

    def _open(self) -> None:
        raise RuntimeError("no span")


def test_work_runs_also_if_its_span_cannot_be_opened(
    recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of our own is logged; the work inside runs, its calls work, and no span ends."""
    ran = []
    with Unopened("search", Scope(), {}) as opened:
        opened.message("x")
        opened.fail("y")
        ran.append(True)
    assert (ran, recorder.ended) == ([True], [])
    assert "could not open <phase search>; the work runs, but is not shown" in caplog.text


def test_a_guarded_method_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    """An exception inside a guarded method is one log entry with the call and its arguments."""

    class Owner:
        @guarded
        def advance(self, count: int) -> None:
            """Fail."""
            raise ZeroDivisionError(count)

    Owner().advance(3)
    (record,) = caplog.records
    assert "Owner.advance(3,) failed" in record.getMessage()
    assert Owner.advance.__doc__ == "Fail."


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("as it is", "as it is"),
        (ValueError("bad page"), "ValueError: bad page"),
        (ValueError(), "ValueError"),
        (TimeoutError(), "TimeoutError"),
        (MuteError(), "MuteError"),
    ],
)
def test_a_reason_as_people_read_it(reason: Any, expected: str) -> None:
    """A text is its own reason; an exception is its class and its message, if it has one."""
    assert one_line(reason) == expected


def test_meta_becomes_what_a_span_can_hold() -> None:
    """Texts, numbers and booleans stay as they are, the rest becomes text, None is left out."""
    meta = {"a": "x", "b": 1, "c": 1.5, "d": False, "e": [1, 2], "f": None}
    assert meta_attributes(meta) == {
        "nexus.meta.a": "x",
        "nexus.meta.b": 1,
        "nexus.meta.c": 1.5,
        "nexus.meta.d": False,
        "nexus.meta.e": "[1, 2]",
    }
    assert meta_attributes(None) == {}


def test_any_value_becomes_text() -> None:
    """``safe_str`` is ``str``, without halves of surrogate pairs; else it is the type's name."""
    assert [safe_str(value) for value in ("x", 3, None, MuteError(), "a\ud800b")] == [
        *("x", "3", "None", "<MuteError>", "a?b")
    ]
    assert safe_str(Hostile()) == "<Hostile>"


def test_any_value_can_be_logged() -> None:
    """``safe_repr`` is ``repr``; if that raises, it is the type's name."""
    assert [safe_repr(value) for value in ("x", (3,), Hostile())] == ["'x'", "(3,)", "<Hostile>"]


class ReadingFilter(logging.Filter):
    """Formats each line, as filters that mask secrets do."""

    def filter(self, record: logging.LogRecord) -> bool:
        return bool(record.getMessage())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_log_line_about_a_hostile_value_raises_nothing(name: str) -> None:
    """A guarded method logs its arguments by a line that every filter of the logger can format."""

    class Owner:
        @guarded
        def advance(self, count: Any) -> None:
            raise ZeroDivisionError

    reading = ReadingFilter()
    logger = logging.getLogger("otel_bridge.spans.span_context_manager")
    logger.addFilter(reading)
    try:
        Owner().advance(HOSTILE[name]())
    finally:
        logger.removeFilter(reading)


def test_a_meta_that_cannot_be_read_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """If the items of a mapping cannot be read, that is logged, and there are no attributes."""
    assert meta_attributes(HostileMapping()) == {}
    assert "could not read a meta of type HostileMapping" in caplog.text


@pytest.mark.parametrize("count", [5, 5.0, "5", b"5", Decimal(5)])
def test_a_whole_number_of_any_type_is_an_int(count: Any) -> None:
    """Numbers without a fraction and texts of digits become an ``int``."""
    assert (whole_number("failed", count), type(whole_number("failed", count))) == (5, int)


@pytest.mark.parametrize("count", [0.5, "0.5", "", None, float("nan"), float("inf"), MuteError()])
def test_what_is_no_whole_number_is_named(count: Any) -> None:
    """The error has the name and the value, and what to use."""
    message = f"failed={safe_str(count)} is no whole number; use an int"
    with pytest.raises(ValueError, match=re.escape(message)):
        whole_number("failed", count)


def look_up() -> None:
    raise KeyError("page")


def exception_of(span: ReadableSpan) -> dict[str, Any] | None:
    """The attributes of its one ``exception`` event; None: it has none."""
    found = [event for event in span.events if event.name == "exception"]
    assert len(found) <= 1
    return dict(found[0].attributes or {}) if found else None


@pytest.mark.parametrize("outcome", ["leaves", "fail", "retry"])
def test_an_exception_is_recorded_whichever_way_it_is_reported(
    recorder: SpanRecorder, outcome: str
) -> None:
    """One that leaves the block, and one that is given to ``fail()`` or ``retry()``."""
    with contextlib.suppress(KeyError), otel_bridge.job(task_id="j", task_type="t") as job:
        if outcome == "leaves":
            look_up()
        try:
            look_up()
        except KeyError as error:
            getattr(job, outcome)(error)
    found = exception_of(only(recorder))
    assert found is not None
    assert (found["exception.type"], found["exception.message"]) == ("KeyError", "'page'")
    assert "in look_up" in found["exception.stacktrace"]


def test_what_completes_has_no_exception(recorder: SpanRecorder) -> None:
    """Also if an exception was given before, or leaves the block after ``complete()``."""
    with contextlib.suppress(KeyError), otel_bridge.job(task_id="j", task_type="t") as job:
        job.fail(ValueError("x"))
        job.complete()
        look_up()
    assert exception_of(only(recorder)) is None


def test_a_reason_as_text_keeps_the_stack_of_what_leaves(recorder: SpanRecorder) -> None:
    """The user's words are the error, and the stack is that of the exception."""
    with contextlib.suppress(KeyError), opening() as block:
        block.fail("the page is gone")
        look_up()
    span = only(recorder)
    assert (span.attributes or {})[semconv.ERROR] == "the page is gone"
    found = exception_of(span)
    assert found is not None
    assert "in look_up" in found["exception.stacktrace"]


def test_a_stack_can_be_given_apart_from_the_reason(recorder: SpanRecorder) -> None:
    """As text of another process, or as an exception; one that ends the process is none."""
    with opening() as block:
        block.fail("failed elsewhere")
        block.keep_stack('Traceback ...\n  File "a.py", line 1, in f\nValueError: x')
        block.keep_stack(SystemExit(1))
    found = exception_of(only(recorder))
    assert found is not None
    assert found["exception.type"] == "ValueError"


def test_frames_that_are_cleared_before_the_end_are_kept(recorder: SpanRecorder) -> None:
    """As Celery does between a job's failure and its end."""
    with opening() as block:
        try:
            look_up()
        except KeyError as error:
            block.fail(error)
            traceback.clear_frames(error.__traceback__)
    found = exception_of(only(recorder))
    assert found is not None
    assert "in look_up" in found["exception.stacktrace"]


def test_without_a_bridge_nothing_is_captured() -> None:
    """Monitoring that is off costs a failing job nothing."""
    with opening() as block:
        block.fail(ValueError("x"))
        assert block._recorded is None
