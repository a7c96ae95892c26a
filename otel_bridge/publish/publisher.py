"""
``Publisher``: the work of the bus's thread: it converts, batches, sends, counts and logs.

Used by one thread at a time. A batch stays in the send buffer until the log has acknowledged it.
Until then it is sent again with the same numbers, and the log skips the events that it has. Each
change (connection lost, recovered, events dropped, rejected) is one line in the application's log;
repetitions are counted, not logged.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import Span as LiveSpan

from otel_bridge.clock import Clock
from otel_bridge.errors import EventTooLargeError, TransportError, TransportRejectedError
from otel_bridge.events.encoding import encode_event
from otel_bridge.events.model import STATS_EVENT_TYPES, MonitoringEvent
from otel_bridge.events.redaction import MetaAllowlist, redact_fields
from otel_bridge.forking import current_incarnation
from otel_bridge.lines.drain import LineDrain
from otel_bridge.lines.line_queue import LineQueue
from otel_bridge.mapping.mapper import SpanMapper
from otel_bridge.publish.buffer import EventQueue, FlushRequest, Linger, SendBuffer
from otel_bridge.publish.line_sender import LineSender
from otel_bridge.publish.open_spans import OpenSpans
from otel_bridge.publish.retry import Breaker
from otel_bridge.publish.transports.base import Outgoing, Sender, SpanStack
from otel_bridge.settings import BridgeSettings
from otel_bridge.stacks.failures import FailureStacks, is_failure_of
from otel_bridge.urls import redact_url

__all__ = ["POSITION_MAX_BYTES", "BusCounters", "Publisher"]

logger = logging.getLogger(__name__)

POSITION_MAX_BYTES: Final = 64
"""Room reserved for ``"position":"...",``, which the log adds. An epoch of 8 digits and two numbers
of up to 20 digits make 64 bytes together with the field's name."""
_TAKE_LIMIT: Final = 2048
"""Items taken from the queue at a time."""
_LOG_INTERVAL_SEC: Final = 60.0
"""At most one line per minute about drops, and one about rejections."""


@dataclass(frozen=True, slots=True)
class BusCounters:
    """
    Counts of a bus since the start of this process, or since its fork; from ``EventBus.counters``.

    An immutable record; checks nothing. All are 0 at first. Each item that is handed in ends as
    exactly one of published, dropped or ignored: ``queued == published + dropped + ignored +
    waiting``.

    Attributes:
        queued: Events, and starts and ends of spans, that were handed in; and events of
            intermediate spans (third-party spans around others), which are made later than the span
            is handed in.
        published: Events that the log acknowledged.
        dropped: Events that are lost: the buffer was full, they were rejected, or were left at
            shutdown.
        rejected: Of the dropped: events that the log does not accept, e.g. of a project that the
            token may not write, or that could not be encoded. Sending them again cannot help.
        ignored: Starts and ends of spans that are no events, such as a database query; no loss.
        skipped: Of the published: events sent again after a lost answer, which the log already had.
        refused: Pub/Sub messages about published events that a Redis ACL denied; no loss, because
            the events are in the log.
        failed_attempts: Attempts to send a batch that did not reach the log; no loss: it is sent
            again.
        stacks_limited: Stacks of failures that were not stored, because others of the same key
            were: the first 5, then 1 a minute. Their events name the span that has one stored.
        stacks_lost: Stacks that could not be stored, by an ACL or an older collector, although
            their events say that they are.
        lines_dropped: Log lines of ``MONITORING_LOGS`` that are not shown: over a limit, or not
            stored. Where they were, the numbers of the lines have a gap.
        waiting: Events and spans that are queued or not acknowledged yet.
        is_connected: Whether the last attempt reached the log; False before the first.
    """

    queued: int
    published: int
    dropped: int
    rejected: int
    ignored: int
    skipped: int
    refused: int
    failed_attempts: int
    waiting: int
    is_connected: bool
    stacks_limited: int = 0
    stacks_lost: int = 0
    lines_dropped: int = 0


class Publisher:
    """
    Moves queued events to the log, the stream of all events; used by one thread at a time.

    ``EventBus`` creates it, calls ``convert`` and ``send`` in turn, and ends it by ``abandon``.
    These never raise for an event or an unreachable log: they count and log it. At most 20,000
    events or 32 MiB wait, by default; over that the oldest is dropped.

    Args:
        sender: Sends the batches; ``abandon`` closes it.
        settings: Bounds, and the attributes that may enter ``meta``.
        clock: Monotonic time for retries.
        queue: Live spans, ended spans and events to publish.
        line_queue: Log lines to publish; None: ``MONITORING_LOGS`` is off.
        forked_at_ns: When this process was forked, in nanoseconds since the Unix epoch; 0: it was
            not. Spans that started before are left to the parent process.

    Attributes:
        lines: Sends the log lines; None: ``MONITORING_LOGS`` is off.
        send_buffer: Encoded events that wait for the log.
        breaker: Says when the next attempt is due, at most 1 s after a failed one unless the
            collector asks for more.
        published: Events that the log acknowledged. All counts are 0 at first; ``BusCounters`` says
            how they add up.
        skipped: Of these, events that the log already had.
        refused: Pub/Sub messages that a Redis ACL denied.
        rejected: Events that could not be encoded or that the log rejected.
        ignored: Starts and ends of spans that are no events.
        stacks: Reads the stacks of failures; its ``limiter`` counts those that are not stored.
        stacks_lost: Stacks that could not be stored.
        intermediate: Events beyond the items of the queue: of spans that were ignored before, and
            heartbeats of open spans.
        failed_attempts: Batches that did not reach the log.
        outage: Why no batch reaches the log; None before three attempts in a row have failed.
        is_connected: Whether the last attempt reached the log; False before the first.
        was_connected: Whether any attempt has reached the log.
    """

    def __init__(
        self,
        sender: Sender,
        settings: BridgeSettings,
        clock: Clock,
        queue: EventQueue,
        line_queue: LineQueue | None,
        forked_at_ns: int,
    ) -> None:
        self.send_buffer: SendBuffer[Outgoing] = SendBuffer(
            settings.buffer_max_events, settings.buffer_max_bytes
        )
        self.breaker = Breaker()
        self._linger = Linger(settings.linger_max_ms, settings.flush_interval_ms)
        self.published = self.skipped = self.refused = self.failed_attempts = 0
        self.rejected = self.ignored = self.intermediate = self.stacks_lost = 0
        self.stacks = FailureStacks(settings.app_packages)
        self.outage: TransportError | None = None
        self.is_connected = False
        self.was_connected = False
        self._sender = sender
        self._settings = settings
        self._clock = clock
        self._queue = queue
        self._shown_url = redact_url(settings.bus_url)
        self._max_event_bytes = settings.max_event_size_bytes - POSITION_MAX_BYTES
        allowed = settings.meta_attributes.split(",")
        self._mapper = SpanMapper(
            MetaAllowlist(allowed, with_prompts=settings.prompts_enabled),
            forked_at_ns,
            incarnation=current_incarnation(),
        )
        self.lines: LineSender | None = None
        if line_queue is not None:
            drain = LineDrain(line_queue, self._mapper.node_of)
            self.lines = LineSender(drain, sender, clock, self._shown_url)
        self._open_spans = OpenSpans(settings.heartbeat_interval_sec, clock)
        self._producer_id = uuid.uuid4().hex
        self._dropped_at_outage = 0
        self._drop_logged_at = self._reject_logged_at = float("-inf")
        self._drops_logged = 0

    @property
    def lines_dropped(self) -> int:
        """Log lines that are not shown, over a limit or lost."""
        return 0 if self.lines is None else self.lines.drain.dropped

    def convert(self, flushes: Sequence[FlushRequest] = (), *, is_last: bool = False) -> bool:
        """
        Convert all queued items to encoded events and move them to the send buffer.

        Never waits or raises: an item that cannot be converted is counted in ``rejected``, and
        logged at most once a minute. A full send buffer (20,000 events, 32 MiB by default) drops
        its oldest event and counts it. An event has at most 8,192 bytes, by default.

        Args:
            flushes: Requests that wait; each is noted, for all log lines before it are converted.
            is_last: Whether all log lines are to be converted in any case; default False.

        Returns:
            Whether there was any item.
        """
        had_items = len(self._queue) > 0
        if self.lines is not None:
            self.lines.drain.begin_round()
        while items := self._queue.take(_TAKE_LIMIT):
            for item in items:
                self._convert_item(item)
            if len(items) < _TAKE_LIMIT:
                break
        if self.lines is not None:
            self.lines.drain.end_round()
            if flushes or is_last:
                self.lines.drain.begin_round()
                self.lines.drain.end_round()
        for request in flushes:
            request.is_noted = True
        for fields in self._open_spans.heartbeats():
            self.intermediate += 1
            self.send_buffer.add(self._encode_fields(fields))
        self._log_drops()
        return had_items

    def _convert_item(self, item: Any) -> None:
        try:
            outgoing = self._encode(item)
            self.ignored += outgoing is None
        except Exception as error:
            outgoing = None
            self._reject(error)
        for fields in self._mapper.take_intermediate():
            self.intermediate += 1
            try:
                self.send_buffer.add(self._encode_of_span(fields, item))
            except Exception as error:
                self._reject(error)
        if outgoing is not None:
            self.send_buffer.add(outgoing)

    def _reject(self, error: Exception) -> None:
        self.rejected += 1
        self._log_rejected(error)

    def _encode(self, item: Any) -> Outgoing | None:
        # The SDK passes the live span at its start, and a read-only copy of it at its end. By type
        # first, because isinstance() of these classes is a call in Python.
        is_end = type(item) is ReadableSpan
        if not is_end:
            if isinstance(item, MonitoringEvent):
                return self._encode_fields(item.to_fields())
            is_end = not isinstance(item, LiveSpan)
        fields = self._mapper.fields(item, is_end=is_end)
        if is_end:
            self._open_spans.end(item)
            if self.lines is not None:
                self.lines.drain.span_ended(item.context.span_id)
        if fields is None:
            return None
        if not is_end:
            self._open_spans.start(item, fields)
        return self._encode_of_span(fields, item)

    def _encode_of_span(self, fields: dict[str, Any], span: Any) -> Outgoing:
        if not is_failure_of(fields, span):
            return self._encode_fields(fields)
        try:
            text = self.stacks.add(
                fields, span.attributes or {}, span.events, self._clock.monotonic()
            )
        except Exception:
            text = None
            logger.debug("a stack could not be read", exc_info=True)
        outgoing = self._encode_fields(fields)
        if text is None:
            return outgoing
        return outgoing._replace(stack=SpanStack(fields["span_id"], text, outgoing.project_id))

    def _encode_fields(self, fields: dict[str, Any]) -> Outgoing:
        if self.lines is not None:
            self.lines.drain.note_event(fields)
        redact_fields(fields)
        data = encode_event(fields, self._max_event_bytes)
        return Outgoing(data, fields.get("project_id"), fields["event_type"] in STATS_EVENT_TYPES)

    def send_lines(self, *, at_once: bool = False) -> None:
        """
        Send the log lines that wait, unless some were sent just before; never raises.

        Blocks as ``send`` does, for each 1,000 lines. During an outage they wait; those of an
        attempt that failed are lost, and counted.

        Args:
            at_once: Whether to send all now; default False: at most ten times a second.
        """
        if self.lines is not None and not self.breaker.failures:
            self.lines.send(at_once=at_once)

    def linger_sec(self, now: float) -> float:
        """
        Return how long to wait for more events before ``send``, in seconds; 0: call it now.

        Args:
            now: Monotonic time of ``clock`` in seconds.
        """
        if self.send_buffer.has_batch(self._settings.batch_max_events):
            return 0.0
        return self._linger.wait_sec(now)

    def send(self) -> None:
        """
        Send one batch to the log (the stream of all events) and count the result; never raises.

        It is the batch in flight, if there is one, else up to ``MONITORING_BATCH_MAX_EVENTS`` (256)
        new events. Call it only while ``send_buffer`` is not empty. It blocks as long as one
        attempt of the sender may take: by default about 200 ms. A batch that the log rejects is
        dropped; after any other error it stays in flight, and ``breaker`` says when the next
        attempt is due.
        """
        batch = self.send_buffer.form_batch(self._settings.batch_max_events)
        self._linger.end_batch()
        try:
            result = self._sender.send(self._producer_id, self.send_buffer.first_n, batch)
        except TransportRejectedError as error:
            self.rejected += len(batch)
            self.send_buffer.complete_batch()
            self._note_success()
            self._log_rejected(error)
        except TransportError as error:
            self._note_failure(error, error.retry_after_sec)
        except Exception as error:  # a bug in a sender counts as an outage
            self._note_failure(error, None)
        else:
            self.published += len(batch) - result.rejected
            self.rejected += result.rejected
            self.skipped += result.skipped
            self.refused += result.refused
            self._linger.note_reply(result.linger_ms, self._clock.monotonic())
            self._note_lost_stacks(result.unstored)
            self.send_buffer.complete_batch()
            self._note_success()
            if result.rejected:
                self._log_rejected(
                    TransportRejectedError("MONITORING_TOKEN may not write into their project")
                )

    def _note_lost_stacks(self, count: int) -> None:
        if count and not self.stacks_lost:
            logger.warning(
                "stacks of failures cannot be stored at %s; a Redis ACL must allow EVAL, EXPIRE, "
                "HGET and HSET on the keys of the log, a collector must be of this release",
                self._shown_url,
            )
        self.stacks_lost += count

    def _note_failure(self, error: Exception, retry_after_sec: float | None) -> None:
        self.failed_attempts += 1
        self.is_connected = False
        if self.breaker.failures == 0:
            self._dropped_at_outage = self.send_buffer.dropped
        is_new = self.breaker.fail(self._clock.monotonic(), retry_after_sec)
        if self.breaker.is_open:
            name = type(error).__name__
            self.outage = error if isinstance(error, TransportError) else TransportError(name)
        if is_new:
            logger.warning(
                "cannot publish to %s (%s); the application goes on, up to %d events are buffered",
                self._shown_url,
                error,
                self._settings.buffer_max_events,
            )

    def _note_success(self) -> None:
        self.is_connected = self.was_connected = True
        self.outage = None
        if self.breaker.failures:
            outage_sec = self.breaker.succeed(self._clock.monotonic())
            if outage_sec is not None:
                logger.warning(
                    "publishing to %s again after %.1f s; %d events were dropped",
                    self._shown_url,
                    outage_sec,
                    self.send_buffer.dropped - self._dropped_at_outage,
                )

    def _log_drops(self) -> None:
        # Skipped during an outage, because the recovery line reports those drops. This line warns
        # that the thread is too slow.
        dropped = self.send_buffer.dropped
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
            logger.warning("%d events rejected so far; the last: %s%s", self.rejected, kind, error)

    def abandon(self) -> bool:
        """Drop and count all unsent events and close the sender; True if there were none."""
        left = self.send_buffer.abandon()
        if left:
            logger.warning("%d events could not be published to %s", left, self._shown_url)
        self._sender.close()
        return left == 0
