"""
``LineQueue``: log lines on their way from the thread that wrote them to the bus's thread.

The caller pays for finding the span, for two token buckets and for the text of the line, which is
made at once, because the arguments may change. What is dear, masking and encoding, is done by the
bus's thread. A deque needs no lock, so nothing can deadlock in a signal handler or a forked child.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from otel_bridge.forking import on_fork
from otel_bridge.lines.limits import ProcessLimits
from otel_bridge.lines.source import BLOCK_KEY, LineSource

__all__ = ["MAX_RAW_CHARS", "LineQueue", "RawLine", "line_queue_of"]

MAX_RAW_CHARS: Final = 2000
"""Of a text so many characters are masked, of which half are shown at most: so a secret across that
bound is whole, and found."""
_MAX_WAITING: Final = 10_000
"""Lines that wait for the bus's thread."""
_MAX_SOURCES: Final = 10_000
"""Spans of other libraries with lines, that have not ended; the oldest is forgotten first."""
_MAX_NAMES: Final = 4096
_SKIPPED: Final = ("opentelemetry", "redis", "urllib3")
"""Loggers that may write because a line is published, beside our own."""


class RawLine(NamedTuple):
    """A log line as it was written, with secrets."""

    source: LineSource
    at_ms: int
    level: int
    name: str
    """Of the logger."""
    text: str
    """At most ``MAX_RAW_CHARS`` (2,000) characters and one."""
    dropped: int
    """Lines of the source that were dropped before it."""


class LineQueue:
    """
    Takes the lines of work that is shown, at most 10,000 at a time; from any thread, without locks.

    A line belongs to the span that runs where it is written; without one, or with one that has
    ended or is not recorded, it is not taken. ``add`` never raises or waits. In a forked child the
    queue is empty.

    Args:
        level: The least level, as in ``logging``.
        monotonic: Time in seconds, for the limits; tests pass their own.

    Attributes:
        failed: Lines that could not be read, such as one whose arguments do not fit its format.
        dropped: Lines over a limit, or over 10,000 that wait.
        sources: The spans of other libraries that lines came from, by id; the bus's thread removes
            those that have ended.
    """

    def __init__(self, level: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._level = level
        self._monotonic = monotonic
        self._lines: deque[RawLine] = deque()
        self._process = ProcessLimits()
        self._is_skipped: dict[str, bool] = {}
        self.sources: OrderedDict[int, LineSource] = OrderedDict()
        self.reset()
        on_fork(after_in_child=self.reset)

    def __len__(self) -> int:
        return len(self._lines)

    def reset(self) -> None:
        """Forget all lines and counts, in a forked child."""
        self._lines.clear()
        self.sources.clear()
        self._counter = itertools.count(1)
        self.dropped = self.failed = 0

    def add(self, record: logging.LogRecord) -> None:
        """Take the line of a record, if it belongs to a span; never waits or raises."""
        if record.levelno < self._level:
            return
        try:
            self._add(record)
        except Exception:
            self.failed += 1

    def _add(self, record: logging.LogRecord) -> None:
        context = otel_context.get_current()
        if not context:
            return
        span = trace.get_current_span(context)
        if not span.is_recording() or context.get(_SUPPRESS_INSTRUMENTATION_KEY):
            return
        is_skipped = self._is_skipped.get(record.name)
        if is_skipped is None:
            is_skipped = self._note_name(record.name)
        if is_skipped:
            return
        source = self._source_of(span, context.get(BLOCK_KEY))  # type: ignore[arg-type]
        is_allowed = self._process.allow(source.ensure_limits(), record.levelno, self._monotonic())
        if not is_allowed or len(self._lines) >= _MAX_WAITING:
            source.drop()
            self.dropped = next(self._counter)
            return
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}\n{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        self._lines.append(
            RawLine(
                source,
                int(record.created * 1000),
                record.levelno,
                record.name,
                text[: MAX_RAW_CHARS + 1],
                source.dropped,
            )
        )

    def _source_of(self, span: trace.Span, block: LineSource | None) -> LineSource:
        context = span.get_span_context()
        span_id = context.span_id
        if block is not None:
            if block.key[1] == span_id:
                return block
            if block.key[0] != context.trace_id:
                block = None  # another trace was begun inside the block
        source = self.sources.get(span_id)
        if source is None:
            source = self.sources[span_id] = LineSource(context, block=block)
            if len(self.sources) > _MAX_SOURCES:
                self.sources.popitem(last=False)
        return source

    def _note_name(self, name: str) -> bool:
        is_skipped = name.startswith("otel_bridge") or name.partition(".")[0] in _SKIPPED
        if len(self._is_skipped) < _MAX_NAMES:
            self._is_skipped[name] = is_skipped
        return is_skipped

    def take(self) -> list[RawLine]:
        """Remove and return the lines that wait now, in order; for the bus's thread alone."""
        popleft = self._lines.popleft
        return [popleft() for _ in range(len(self._lines))]


def line_queue_of(name: str) -> LineQueue | None:
    """Make the queue for a level such as ``info``; None for ``off``."""
    return None if name == "off" else LineQueue(logging.getLevelNamesMapping()[name.upper()])
