"""What interrupts a span is noted when it ends; the SDK records nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import Tracer

from otel_bridge.events.redaction import MetaAllowlist
from otel_bridge.mapping.mapper import SpanMapper
from otel_bridge.mapping.span_view import INTERRUPTED_BY
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports.memory import MemoryLog, MemorySender
from otel_bridge.sdk.interruptions import note_interruption
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.settings import BridgeSettings
from tests.support.spans import SpanRecorder

Ends = Callable[[], dict[str, str | None]]


@pytest.fixture
def program(make_settings: Callable[..., BridgeSettings]) -> Iterator[tuple[Tracer, Ends]]:
    """A tracer of a watched provider; and the error of each span that has ended, by its name."""
    bus = EventBus(MemorySender(MemoryLog()), make_settings())
    provider, recorder = TracerProvider(shutdown_on_exit=False), SpanRecorder()
    provider.add_span_processor(MonitoringSpanProcessor(bus))
    provider.add_span_processor(recorder)

    def ends() -> dict[str, str | None]:
        mapper = SpanMapper(MetaAllowlist(()))
        found = [mapper.fields(span, is_end=True) for span in recorder.ended]
        return {event["name"]: event.get("error") for event in found if event is not None}

    yield provider.get_tracer("app"), ends
    bus.shutdown(1)


async def cancelled(work: Any) -> None:
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_cancelled_task_fails_its_spans(program: tuple[Tracer, Ends]) -> None:
    """Both spans around the ``await`` say that they were cancelled, in plain words."""
    tracer, ends = program

    async def work() -> None:
        with tracer.start_as_current_span("root"), tracer.start_as_current_span("x"):
            await asyncio.Event().wait()

    await cancelled(work())
    assert ends()["root"] == "cancelled (CancelledError)"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), "stopped by Ctrl-C (KeyboardInterrupt)"),
        (SystemExit(3), "stopped: the process exits (SystemExit: 3)"),
        (SystemExit(0), None),
        (GeneratorExit(), None),
    ],
)
@pytest.mark.parametrize("is_manual", [False, True])
def test_what_ends_a_process_fails_its_span(
    program: tuple[Tracer, Ends], error: BaseException, expected: str | None, is_manual: bool
) -> None:
    """In ``with`` and in ``finally``; ``sys.exit(0)`` and a reader that stops are no failure."""
    tracer, ends = program

    def work() -> None:
        if not is_manual:
            with tracer.start_as_current_span("root"):
                raise error
        span = tracer.start_span("root")
        try:
            raise error
        finally:
            span.end()

    with pytest.raises(type(error)):
        work()
    assert ends() == {"root": expected}


async def test_a_span_that_cleans_up_has_not_failed(program: tuple[Tracer, Ends]) -> None:
    """A handler of the cancellation opens a span, which ends well."""
    tracer, ends = program

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with tracer.start_as_current_span("clean up"):
                pass

    await cancelled(work())
    assert ends() == {"clean up": None}


def test_an_ordinary_exception_is_left_to_the_sdk(program: tuple[Tracer, Ends]) -> None:
    """Its status says that the span failed; a span inside a handler has nothing to do with it."""
    tracer, ends = program
    with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("root"):
        raise ValueError("no")
    try:
        raise OSError
    except OSError:
        tracer.start_span("other").end()
    assert ends() == {"root": "ValueError: no", "other": None}


@pytest.mark.parametrize("error", [ValueError("no"), GeneratorExit(), SystemExit(0), SystemExit()])
def test_what_is_no_interruption_leaves_no_note(error: BaseException) -> None:
    """An ordinary exception has its own status; a reader that stops and exit code 0 are fine."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("app").start_span("s")
    assert isinstance(span, ReadableSpan)
    try:
        raise error
    except BaseException as caught:
        note_interruption(span, caught)
    assert not hasattr(span, INTERRUPTED_BY)


def test_an_interruption_elsewhere_is_not_noted() -> None:
    """One that did not come through the code that ends the span says nothing of it."""
    span = ReadableSpan("x")
    note_interruption(span, KeyboardInterrupt())
    assert not hasattr(span, INTERRUPTED_BY)
