"""
``OpenSpans``: heartbeats of the third-party spans that are open in a process without a worker.

A worker's heartbeats say that its process lives. A program that only emits spans sends none: when
it was killed, what it ran was shown as running for 900 s. So the start of such a span promises
heartbeats (``beat_ms``), and one ``span_beats`` event for up to 400 open spans keeps the promise.
"""

from __future__ import annotations

import weakref
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan

from otel_bridge.clock import Clock
from otel_bridge.events.span_heartbeats import span_heartbeats

__all__ = ["OpenSpans"]

_MAX_SPANS: Final = 20_000


class OpenSpans:
    """
    Remembers which spans are open, and makes the events with their heartbeats.

    For the bus's thread, which publishes; it neither waits nor raises. At most 20,000 spans have
    heartbeats; the start of a further one promises none. A span is held weakly: of one that the
    program lost without ending it, the heartbeats stop, and it is shown as stalled.

    Args:
        interval_sec: Time between two heartbeats, in seconds.
        clock: Monotonic time, and the time of the events.
    """

    def __init__(self, interval_sec: float, clock: Clock) -> None:
        self._interval_sec = interval_sec
        self._clock = clock
        self._open: dict[int, tuple[weakref.ref[ReadableSpan], str | None]] = {}
        self._due = float("-inf")

    def start(self, span: ReadableSpan, fields: dict[str, Any]) -> None:
        """
        Promise heartbeats in the event of a span's start, unless a worker's stand for it.

        Args:
            span: The span that has started.
            fields: Of its event; ``beat_ms`` is added. Without ``name`` it is a span of this
                library, with ``worker_id`` one of a worker: these are left as they are.
        """
        context = span.context
        if context is None or "name" not in fields or "worker_id" in fields:
            return
        if len(self._open) >= _MAX_SPANS:
            return
        if not self._open:
            self._due = self._clock.monotonic() + self._interval_sec
        self._open[context.span_id] = weakref.ref(span), fields.get("project_id")
        fields["beat_ms"] = int(self._interval_sec * 1000)

    def end(self, span: ReadableSpan) -> None:
        """Forget a span that has ended; of an unknown one nothing happens."""
        if self._open and span.context is not None:
            self._open.pop(span.context.span_id, None)

    def heartbeats(self) -> list[dict[str, Any]]:
        """
        Return the fields of the events that are due: none within the interval after the last.

        Returns:
            One ``span_beats`` for each project and each 400 spans of it.
        """
        if not self._open:
            return []
        now = self._clock.monotonic()
        if now < self._due:
            return []
        self._due = now + self._interval_sec
        for span_id, (span, _) in list(self._open.items()):
            if span() is None:
                del self._open[span_id]
        alive = ((span_id, project_id) for span_id, (_, project_id) in self._open.items())
        return span_heartbeats(alive, self._clock.time_ns())
