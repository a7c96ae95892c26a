"""
``MonitoringSpanProcessor``: passes the start and the end of every span to the event bus.

The SDK calls it in the thread that starts or ends the span. An exception from it would reach user
code, and the processors after it would not get the span. So it only appends the span object itself
to the queue: it reads no clock and no attributes, and takes no lock. Whether an exception is on its
way is known in that thread only, so that is asked here (25 ns).
"""

from __future__ import annotations

import logging
from sys import exception

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otel_bridge.publish.bus import EventBus
from otel_bridge.sdk.interruptions import note_interruption

__all__ = ["MonitoringSpanProcessor"]

logger = logging.getLogger(__name__)


class MonitoringSpanProcessor(SpanProcessor):
    """
    Makes the spans of a provider visible while they run.

    Add it to a provider of your own with
    ``provider.add_span_processor(MonitoringSpanProcessor(bus))``; after ``configure()`` this is not
    needed, because that adds one. Add it once: a second one sends each event again. The provider
    calls its methods: at each start and end of a span, in the thread of the span, without waiting.
    These never raise; the first failure is logged. What the bus cannot hold (20,000 starts and ends
    by default) is dropped and counted there.

    Args:
        bus: The event bus: converts the spans to events and publishes them. The processor flushes
            the bus but never shuts it down; its owner does.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        # Saves two look-ups per hook, a seventh of its cost. Both stay valid in a forked child.
        self._append = bus.append
        self._counter = bus.counter
        self._has_failed = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Queue the start of a span, without waiting; called by the SDK. Never raises."""
        # ``bus.put`` written out: the extra call would add a fifth to the cost of a hook.
        try:
            self._append(span)
            next(self._counter)
            if self._bus.is_idle:
                self._bus.wake_thread()
        except Exception:
            self._note_failure()

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the end of a span, without waiting; called by the SDK. Never raises."""
        try:
            error = exception()
            if error is not None:
                note_interruption(span, error)
            self._append(span)
            next(self._counter)
            if self._bus.is_idle:
                self._bus.wake_thread()
        except Exception:
            self._note_failure()

    def _note_failure(self) -> None:
        if not self._has_failed:
            self._has_failed = True
            logger.exception("a span could not be queued; further failures are not logged")

    def shutdown(self) -> None:
        """Flush the bus, which stays open; waits 5 s at most. The provider's shutdown calls it."""
        # The bus is only flushed: others use it (heartbeats), and it shuts itself down at exit.
        self.force_flush()

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """
        Wait until all events queued so far are sent, rejected or dropped, which the bus counts.

        Blocks the calling thread; never raises.

        Args:
            timeout_millis: How long to wait at most, in milliseconds; default 5000. 0 or less: do
                not wait.

        Returns:
            False when time ran out first, or no thread could be started. True at once if the bus is
            closed.
        """
        return self._bus.flush(timeout_millis / 1000)
