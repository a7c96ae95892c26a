"""What every block promises: a span that begins complete and always ends, and no own error."""

from __future__ import annotations

from collections.abc import Iterator
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
from otel_bridge.spans.span_block import SelfBlock, SpanBlock, guarded, meta_attributes, one_line
from tests.support.spans import SpanRecorder


class Block(SpanBlock, SelfBlock):
    """The least that a block can be."""

    _kind = semconv.KIND_PHASE


def block(label: str = "search", ids: Scope | None = None, **attributes: Any) -> Block:
    return Block(label, ids or Scope("t", "p", None), attributes)


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    """Spans of the blocks, as a processor sees them."""
    found = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(found)
    bridge: Bridge = otel_bridge.configure(
        tracer_provider=provider, settings=BridgeSettings(bus_url="memory://span-block")
    )
    yield found
    bridge.shutdown()


def only(recorder: SpanRecorder) -> ReadableSpan:
    (span,) = recorder.ended
    return span


def test_a_span_begins_complete(recorder: SpanRecorder) -> None:
    """At its start a span has its kind and every id that is known, and none that is not."""
    with block(total=3, absent=None):
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


def test_a_block_that_ends_has_completed(recorder: SpanRecorder) -> None:
    """Without an exception the outcome is completed and the status is nobody's error."""
    with block() as opened:
        opened.message("all found")
    span = only(recorder)
    attributes = span.attributes or {}
    assert (attributes[semconv.OUTCOME], attributes[semconv.MESSAGE]) == ("completed", "all found")
    assert (span.status.status_code, semconv.ERROR in attributes) == (StatusCode.UNSET, False)


async def test_an_exception_fails_and_goes_on(recorder: SpanRecorder) -> None:
    """An exception leaves the block as it came, and the span says what it was."""
    error = KeyError("page")
    with pytest.raises(KeyError) as raised:
        async with block():
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
def test_being_stopped_is_a_failure_without_a_stack(
    recorder: SpanRecorder, error: BaseException
) -> None:
    """A block that is interrupted has failed; a stack of the interpreter's own helps nobody."""
    with pytest.raises(type(error)), block():
        raise error
    span = only(recorder)
    assert (span.status.status_code, len(span.events)) == (StatusCode.ERROR, 0)


def test_the_given_reason_wins_over_a_later_exception(recorder: SpanRecorder) -> None:
    """What ``fail`` said stands, also when an exception leaves the block after it."""
    opened = block()
    opened.fail("no such school")
    with pytest.raises(ValueError, match="late"), opened:
        raise ValueError("late")
    assert (only(recorder).attributes or {})[semconv.ERROR] == "no such school"


class MuteError(Exception):
    """An error of the user's that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_without_words_still_ends_the_span(recorder: SpanRecorder) -> None:
    """A broken ``__str__`` of the user's costs the words, not the end: no job runs for ever."""
    with pytest.raises(MuteError), block():
        raise MuteError
    span = only(recorder)
    assert ((span.attributes or {})[semconv.OUTCOME], span.status.description) == (
        "failed",
        "MuteError",
    )
    with block() as opened:
        opened.fail(MuteError())
    assert (recorder.ended[1].attributes or {})[semconv.ERROR] == "MuteError"


class Unopened(Block):
    """A block that cannot be opened."""

    def _open(self) -> None:
        raise RuntimeError("no span")


def test_a_block_that_cannot_be_opened_runs_unseen(
    recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Trouble of our own is logged; the work inside runs, with the same calls, and nothing ends."""
    ran = []
    with Unopened("search", Scope(), {}) as opened:
        opened.message("x")
        opened.fail("y")
        ran.append(True)
    assert (ran, recorder.ended) == ([True], [])
    assert "could not open <phase search>; the work goes on unseen" in caplog.text


def test_a_guarded_method_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong inside a call of ours is one entry in the log, with the call's name."""

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
    """A text is its own reason; an exception is its class and its words, if it has any."""
    assert one_line(reason) == expected


def test_meta_is_what_a_span_can_hold() -> None:
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
