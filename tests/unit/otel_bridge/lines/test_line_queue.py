"""Which lines are taken, with what, and that the caller never notices."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_bridge.lines import tap
from otel_bridge.lines.line_queue import MAX_RAW_CHARS, LineQueue, line_queue_of
from otel_bridge.suppression import suppress_instrumentation

logger = logging.getLogger("shop.orders")
logger.setLevel(logging.DEBUG)


@pytest.fixture
def queue() -> Iterator[LineQueue]:
    made = LineQueue(logging.INFO, lambda: 1.0)
    tap.install(made)
    yield made
    tap.remove(made)


@pytest.fixture
def span(queue: LineQueue) -> Iterator[Span]:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("s") as made:
        assert isinstance(made, Span)
        yield made


def texts(queue: LineQueue) -> list[str]:
    return [line.text for line in queue.take()]


def test_a_line_has_its_time_level_logger_and_text(queue: LineQueue, span: Span) -> None:
    """The text is made at once: an argument may change later."""
    rows = [1]
    logger.warning("rows %s", rows)
    rows.append(2)
    (line,) = queue.take()
    assert (line.level, line.name, line.text) == (30, "shop.orders", "rows [1]")
    assert line.at_ms > 1_600_000_000_000
    context = span.get_span_context()
    assert line.source.key == (context.trace_id, context.span_id)
    assert not len(queue)


def test_an_exception_is_named(queue: LineQueue, span: Span) -> None:
    """``logger.exception`` says what was raised, on a line of its own; the stack is elsewhere."""
    try:
        raise KeyError("county")
    except KeyError:
        logger.exception("no luck")
    assert texts(queue) == ["no luck\nKeyError: 'county'"]


def test_a_long_text_is_bounded(queue: LineQueue, span: Span) -> None:
    """To 2,000 characters and one, which says that there were more."""
    logger.info("x" * 10_000)
    assert texts(queue) == ["x" * (MAX_RAW_CHARS + 1)]


@pytest.mark.parametrize(
    "name", ["otel_bridge.publish", "opentelemetry.sdk", "redis", "urllib3.pool"]
)
def test_loggers_that_publishing_itself_uses_are_left_out(
    queue: LineQueue, span: Span, name: str
) -> None:
    """Else a line that is published could write another one; ``redis_worker`` is another logger."""
    logging.getLogger(name).error("no")
    logging.getLogger("redis_worker").error("yes")
    assert texts(queue) == ["yes"]


def write_below_the_level() -> None:
    logger.debug("no")


def write_under_suppression() -> None:
    with suppress_instrumentation():
        logger.info("no")


def write_outside_of_a_span() -> None:
    with trace.use_span(trace.INVALID_SPAN):
        logger.info("no")


def write_in_a_span_that_is_not_recorded() -> None:
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("s"):
        logger.info("no")


def write_after_the_end() -> None:
    trace.get_current_span().end()
    logger.info("no")


@pytest.mark.parametrize(
    "write",
    [
        write_below_the_level,
        write_under_suppression,
        write_outside_of_a_span,
        write_in_a_span_that_is_not_recorded,
        write_after_the_end,
    ],
)
def test_other_lines_are_not_taken(queue: LineQueue, span: Span, write: Callable[[], None]) -> None:
    """Nor counted: they are shown nowhere."""
    write()
    assert (texts(queue), queue.dropped, queue.failed) == ([], 0, 0)


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_line_that_cannot_be_read_is_counted(
    queue: LineQueue, span: Span, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's thread gets no exception of ours, whatever an argument does."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.info("%s", Broken())
    logger.info("%d", "x")
    assert (texts(queue), queue.failed) == ([], 2)


def test_lines_over_a_limit_are_counted_where_they_are_dropped(
    queue: LineQueue, span: Span
) -> None:
    """A line that comes after them says how many there were before."""
    for number in range(700):
        logger.info("line %d", number)
    logger.error("after the flood")
    lines = queue.take()
    assert [line.text for line in lines[499:501]] == ["line 499", "after the flood"]
    assert (lines[499].dropped, lines[500].dropped, queue.dropped) == (0, 200, 200)


def test_a_forked_child_starts_empty(queue: LineQueue, span: Span) -> None:
    """The lines before are the parent's."""
    logger.info("of the parent")
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writes, str(len(queue)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reads, 10) == b"0"
    os.close(reads)
    os.close(writes)
    assert len(queue) == 1


def test_the_level_is_given_by_name() -> None:
    """``off`` makes no queue."""
    assert line_queue_of("off") is None
    assert isinstance(line_queue_of("debug"), LineQueue)
