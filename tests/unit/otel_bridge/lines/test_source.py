"""The source of a block's lines is in its context."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind

from otel_bridge.lines import tap
from otel_bridge.lines.line_queue import LineQueue
from otel_bridge.lines.source import BLOCK_KEY, LineSource, in_block


@pytest.fixture
def span() -> Iterator[Span]:
    queue = LineQueue(10)
    tap.install(queue)
    yield TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    tap.remove(queue)


def test_a_block_is_in_its_context(span: Span) -> None:
    """With its ids and its project."""
    found = in_block(Context({"a": 1}), span, SpanKind.CONSUMER, "p")
    source = found[BLOCK_KEY]
    assert isinstance(source, LineSource)
    context = span.get_span_context()
    assert source.key == (context.trace_id, context.span_id)
    assert (source.project_id, source.is_block, found["a"]) == ("p", True, 1)


def test_an_enqueue_leaves_the_block_around_it(span: Span) -> None:
    """Its lines are those of the phase or job that it is in."""
    outer = in_block(Context(), span, SpanKind.INTERNAL, None)
    assert in_block(outer, span, SpanKind.PRODUCER, None) is outer


def test_work_that_is_not_shown_has_no_lines(span: Span) -> None:
    """While monitoring is off a block has no valid span, and hides the block around it."""
    outer = in_block(Context(), span, SpanKind.INTERNAL, None)
    assert in_block(outer, trace.INVALID_SPAN, SpanKind.INTERNAL, None)[BLOCK_KEY] is None


def test_it_costs_nothing_while_no_lines_are_taken() -> None:
    """The context is the same one."""
    context = Context()
    assert in_block(context, trace.INVALID_SPAN, SpanKind.INTERNAL, None) is context


def test_drops_are_counted_and_limits_shared(span: Span) -> None:
    """A span of another library has the limits of the block around it, and drops of its own."""
    block = LineSource(span.get_span_context(), is_block=True)
    inner = LineSource(span.get_span_context(), block=block)
    assert inner.ensure_limits() is block.ensure_limits()
    inner.drop()
    inner.drop()
    assert (inner.dropped, block.dropped) == (2, 0)
