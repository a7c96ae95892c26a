"""
``Publisher``: what the bus's thread does with what was queued: convert, batch, send, count, log.

Used by one thread at a time. A batch leaves the outbox when the log has acknowledged it; until
then it is sent again with the same numbers, and the log skips what it holds. Every change (gone,
back, dropped, refused) is one line in the application's log; repeats are counted, not logged.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, Final

from opentelemetry.sdk.trace import Span as LiveSpan

from otel_bridge.clock import Clock
from otel_bridge.errors import EventTooLargeError, TransportError, TransportRejectedError
from otel_bridge.events.encoding import encode_event
from otel_bridge.events.model import STATS_EVENT_TYPES, MonitoringEvent
from otel_bridge.events.redaction import MetaAllowlist, redact_fields
from otel_bridge.mapping.mapper import SpanMapper
from otel_bridge.publish.buffer import EventQueue, SendBuffer
from otel_bridge.publish.retry import Breaker
from otel_bridge.publish.transports.base import Outgoing, Sender
from otel_bridge.settings import BridgeSettings, redact_url

__all__ = ["POSITION_MAX_BYTES", "Publisher"]

logger = logging.getLogger(__name__)

POSITION_MAX_BYTES: Final = 64
"""Room kept for ``"position":"..."``, which the log adds: two numbers of up to 20 digits and an
epoch of 8 make it 64 bytes with its name."""
_TAKE_LIMIT: Final = 2048
_LOG_INTERVAL_SEC: Final = 60.0


class Publisher:
    """
    Moves what was queued to the log.

    Args:
        sender: Where batches go.
        settings: Bounds and names.
        clock: Monotonic time for retries.
        intake: What was queued.
        forked_at_ns: See ``SpanMapper``.
    """

    def __init__(
        self,
        sender: Sender,
        settings: BridgeSettings,
        clock: Clock,
        intake: EventQueue,
        forked_at_ns: int,
    ) -> None:
        self.outbox: SendBuffer[Outgoing] = SendBuffer(
            settings.buffer_max_events, settings.buffer_max_bytes
        )
        self.breaker = Breaker()
        self.published = self.skipped = self.refused = self.failed_attempts = 0
        self.rejected = self.ignored = 0
        self.is_connected = False
        """Whether the last attempt reached the log."""
        self.was_connected = False
        """Whether any did."""
        self._sender = sender
        self._settings = settings
        self._clock = clock
        self._intake = intake
        self._where = redact_url(settings.bus_url)
        self._max_event_bytes = settings.max_event_size_bytes - POSITION_MAX_BYTES
        allowed = settings.meta_attributes.split(",")
        self._mapper = SpanMapper(
            MetaAllowlist(allowed, with_prompts=settings.prompts_enabled), forked_at_ns
        )
        self._producer_id = uuid.uuid4().hex
        self._dropped_at_outage = 0
        self._drop_logged_at = self._reject_logged_at = float("-inf")
        self._drops_logged = 0

    def convert(self) -> bool:
        """Move what has come to the outbox, spans turned into events; whether anything had."""
        has_come = len(self._intake) > 0
        while items := self._intake.take(_TAKE_LIMIT):
            for item in items:
                try:
                    outgoing = self._outgoing(item)
                except Exception as error:
                    self.rejected += 1
                    self._log_rejected(error)
                    continue
                if outgoing is None:
                    self.ignored += 1
                else:
                    self.outbox.add(outgoing)
            if len(items) < _TAKE_LIMIT:
                break
        self._log_drops()
        return has_come

    def _outgoing(self, item: Any) -> Outgoing | None:
        if isinstance(item, MonitoringEvent):
            fields: dict[str, Any] | None = item.to_fields()
        else:
            # The SDK hands out the live span at its start and a frozen copy at its end.
            fields = self._mapper.fields(item, is_end=not isinstance(item, LiveSpan))
        if fields is None:
            return None
        redact_fields(fields)
        data = encode_event(fields, self._max_event_bytes)
        return Outgoing(data, fields.get("project_id"), fields["event_type"] in STATS_EVENT_TYPES)

    def send(self) -> None:
        """Try to send one batch, the one in flight if there is one; note what became of it."""
        batch = self.outbox.form_batch(self._settings.batch_max_events)
        try:
            result = self._sender.send(self._producer_id, self.outbox.first_n, batch)
        except TransportRejectedError as error:
            self.rejected += len(batch)
            self.outbox.settle_batch()
            self._note_success()
            self._log_rejected(error)
        except TransportError as error:
            self._note_failure(error, error.retry_after_sec)
        except Exception as error:  # a sender's bug is an outage, not the end of the thread
            self._note_failure(error, None)
        else:
            self.published += len(batch) - result.rejected
            self.rejected += result.rejected
            self.skipped += result.skipped
            self.refused += result.refused
            self.outbox.settle_batch()
            self._note_success()
            if result.rejected:
                self._log_rejected(
                    TransportRejectedError("MONITORING_TOKEN may not write into their project")
                )

    def _note_failure(self, error: Exception, retry_after_sec: float | None) -> None:
        self.failed_attempts += 1
        self.is_connected = False
        if self.breaker.failures == 0:
            self._dropped_at_outage = self.outbox.dropped
        if self.breaker.fail(self._clock.monotonic(), retry_after_sec):
            logger.warning(
                "cannot publish to %s (%s); the work goes on, up to %d events are kept",
                self._where,
                error,
                self._settings.buffer_max_events,
            )

    def _note_success(self) -> None:
        self.is_connected = self.was_connected = True
        if self.breaker.failures:
            outage_sec = self.breaker.succeed(self._clock.monotonic())
            if outage_sec is not None:
                logger.warning(
                    "publishing to %s again after %.1f s; %d events were dropped",
                    self._where,
                    outage_sec,
                    self.outbox.dropped - self._dropped_at_outage,
                )

    def _log_drops(self) -> None:
        # During an outage the line at its end says it; this is about a thread that cannot keep up.
        dropped = self.outbox.dropped
        if dropped == self._drops_logged or self.breaker.failures:
            return
        now = self._clock.monotonic()
        if now - self._drop_logged_at >= _LOG_INTERVAL_SEC:
            self._drop_logged_at = now
            logger.warning("%d events dropped: the buffer was full", dropped - self._drops_logged)
            self._drops_logged = dropped

    def _log_rejected(self, error: Exception) -> None:
        now = self._clock.monotonic()
        if now - self._reject_logged_at >= _LOG_INTERVAL_SEC:
            self._reject_logged_at = now
            kind = "" if isinstance(error, EventTooLargeError) else f"{type(error).__name__}: "
            logger.warning("%d events refused so far; the last: %s%s", self.rejected, kind, error)

    def abandon(self) -> bool:
        """Drop and count what is left, close the connection; return whether nothing was."""
        left = self.outbox.abandon()
        if left:
            logger.warning("%d events could not be published to %s", left, self._where)
        self._sender.close()
        return left == 0
