"""
``LineSource``: a span that log lines come from; that of the block around them is in the context.

A block is a job, phase or task that this library's context managers or adapters open. Its source
lives in the OpenTelemetry context, so it is found without a table, and goes when the block does.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.trace import Span, SpanContext, SpanKind

from otel_bridge.lines import tap
from otel_bridge.lines.limits import Limits

__all__ = ["BLOCK_KEY", "LineSource", "in_block"]

BLOCK_KEY: Final = otel_context.create_key("otel-bridge-lines")


class LineSource:
    """
    A span that log lines come from, and how many of them were dropped; never raises.

    Args:
        context: The span's, with its ids.
        project_id: Of a block; default None: it has none, or the source is no block.
        is_block: Whether it is one; default False: a span of another library.
        block: The block around that; default None: the source is a block, or in none.

    Attributes:
        key: Trace id and span id, whole numbers.
        dropped: Lines that were not let through so far.
        counted: Of these, how many the bus's thread has counted in its node.
        node: What the bus's thread knows of the node that they are lines of; None: not known yet.
    """

    __slots__ = (
        "_counter",
        "block",
        "counted",
        "dropped",
        "is_block",
        "key",
        "limits",
        "node",
        "project_id",
    )

    def __init__(
        self,
        context: SpanContext,
        project_id: str | None = None,
        *,
        is_block: bool = False,
        block: LineSource | None = None,
    ) -> None:
        self.key = (context.trace_id, context.span_id)
        self.project_id = project_id
        self.is_block = is_block
        self.block = block
        self.dropped = self.counted = 0
        self.node: Any = None
        # Made with the first line: most jobs write none.
        self.limits: Limits | None = None
        self._counter: itertools.count[int] | None = None

    def ensure_limits(self) -> Limits:
        """Return the limits of its node: those of the block around it, if there is one."""
        if self.limits is None:
            self.limits = Limits() if self.block is None else self.block.ensure_limits()
        return self.limits

    def drop(self) -> None:
        """Count a line that is not let through; from any thread."""
        if self._counter is None:
            self._counter = itertools.count(1)
        self.dropped = next(self._counter)  # atomic, which ``+= 1`` is not


def in_block(
    context: otel_context.Context, span: Span, kind: SpanKind, project_id: str | None
) -> otel_context.Context:
    """
    Return a context in which log lines are those of a job, phase or task; never raises.

    It is the context itself in an enqueue, and while ``MONITORING_LOGS`` is off.

    Args:
        context: The context of the block.
        span: The block's span; without a valid id its lines are shown nowhere.
        kind: Its kind. In an enqueue (PRODUCER), lines are those of the block around it.
        project_id: Its project, if any.
    """
    if kind is SpanKind.PRODUCER or not tap.is_installed():
        return context
    found = span.get_span_context()
    source = LineSource(found, project_id, is_block=True) if found.is_valid else None
    return otel_context.set_value(BLOCK_KEY, source, context)
