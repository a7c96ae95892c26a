"""
Maps OTLP spans to events, by the same rules as the live spans of this package.

A span that has ended gives two events, a start and an end. One that is still open (``shapes.py``)
gives its start alone, then a ``span_updated`` for each snapshot that says something new, and a
share of a ``span_beats`` for each that does not. A span that is sent twice, or also arrives live
over the bus, gives events with the same ids (derived from trace, span, start and side), so the fold
knows them already.

Source: OTLP 1.7, ``opentelemetry/proto/collector/trace/v1``.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.events.redaction import MetaAllowlist, redact_fields
from otel_bridge.mapping.inheritance import InheritedContext, Key
from otel_bridge.mapping.mapper import SpanMapper
from otel_bridge.publish.transports.base import SpanStack
from otel_bridge.stacks.failures import FailureStacks, is_failure_of
from otel_bridge_collector.otlp.rejections import Rejection, Rejections
from otel_bridge_collector.otlp.shapes import Shape
from otel_bridge_collector.otlp.snapshots import (
    Snapshots,
    event_of_snapshot,
    snapshot_id_of_start,
)
from otel_bridge_collector.otlp.spans import OtlpSpan, ReadSpan, ReadSpans, read_spans

__all__ = ["OtlpReceiver", "Received", "read_spans"]

logger = logging.getLogger(__name__)

_MAX_UNCONFIRMED_STACKS: Final = 1000
_MAX_UNCONFIRMED: Final = 10_000
"""While the log cannot be reached, senders send again and again; then the oldest are dropped."""
_NO_CORRELATION: Final[Mapping[Key, InheritedContext]] = {}


class Received(NamedTuple):
    """What the spans of a request were mapped to."""

    events: list[MonitoringEvent]
    updates: dict[str, MonitoringEvent]
    """By the id of a span's start: what goes to the log if the collector knows the start already,
    from before a restart, from another process, or as a span of another role."""
    stacks: dict[str, SpanStack]
    """By the id of a failure's event."""


class OtlpReceiver:
    """
    Maps the requests of one sender to events; for one request at a time.

    Senders do not share one, so the spans of one sender cannot change what another's inherit. It
    remembers at most 20,000 spans for that, and 10,000 events that are not confirmed to be in the
    log; the oldest are forgotten. No method raises, and it needs no closing.

    Attributes:
        producer_id: The name of this receiver as a producer in the log, 32 hexadecimal digits.
        lock: An ``asyncio.Lock``. Hold it while a request is mapped and appended, so that the
            events reach the log in the order of their numbers.

    Args:
        meta_attributes: Names of the span attributes that may be shown, at most 64 of a span; a
            name that ends in ``*`` is a prefix. Default: none.
        with_prompts: Whether prompts and answers of language models may be shown when named there;
            default False.
        packages: ``MONITORING_APP_PACKAGES``: which code is the application's own.
    """

    def __init__(
        self, meta_attributes: Iterable[str] = (), *, with_prompts: bool = False, packages: str = ""
    ) -> None:
        self._mapper = SpanMapper(
            MetaAllowlist(meta_attributes, with_prompts=with_prompts), parents_come_first=False
        )
        self._snapshots = Snapshots()
        self._stacks = FailureStacks(packages)
        self._found_stacks: dict[str, SpanStack] = {}
        self._unconfirmed: list[MonitoringEvent] = []
        """Of intermediate spans: each is made once, also if the sender sends its request again."""
        self.producer_id = uuid.uuid4().hex
        self.lock = asyncio.Lock()
        self._next_n = 1

    def read(
        self, request: ExportTraceServiceRequest, project_id: str | None, rejected: Rejections
    ) -> ReadSpans:
        """
        Read a request as ``read_spans`` does; a snapshot that says nothing new is only noted.

        It is then a heartbeat of its span. Blocks; any thread, one at a time. Never raises.
        """
        return read_spans(request, project_id, rejected, self._snapshots.is_repeat)

    def receive(
        self,
        read: ReadSpans,
        rejected: Rejections,
        *,
        correlated: Mapping[Key, InheritedContext] = _NO_CORRELATION,
    ) -> Received:
        """
        Map a request to events. Blocks for the size of the request; any thread, one at a time.

        Events of intermediate spans (requests and wrappers, which are no task, phase or job) are
        returned by each call until ``confirm`` is called, because they are made only once; at most
        10,000 of them, then the oldest are dropped. Never raises: a span that cannot be mapped is
        counted as rejected.

        Args:
            read: The spans of the request, as ``read`` returns them.
            rejected: Counts the spans that cannot be mapped.
            correlated: The task, project and phase that they inherit from spans that reached the
                collector on another path, by (trace id, span id); span id 0 stands for the whole
                trace. Default: nothing.

        Returns:
            ``events``: unconfirmed ones first, then those of this request, sorted by time, what
            snapshots changed last; ``updates``; ``stacks``. Sizes are not checked.
        """
        self._snapshots.begin()
        self._mapper.correlate(correlated)
        now_ns = time.time_ns()
        events: list[tuple[int, MonitoringEvent]] = []
        updates: dict[str, MonitoringEvent] = {}
        bad: set[Key] = set()
        ended = [one.span for one in read.spans if one.seen.shape is Shape.ENDED]
        self._mapper.note_ended(reversed(ended))
        for one in read.spans:
            if one.seen.shape is Shape.ENDED:
                self._map(one.span, events, bad, is_end=False)
            else:
                self._map_open(one, events, updates, bad, now_ns)
        # At equal end times the span that started last ends first: children before their parents.
        ended.sort(key=lambda span: (span.end_time or 0, -(span.start_time or 0)))
        for span in ended:
            self._map(span, events, bad, is_end=True)
            self._snapshots.end(span.key)
        events.sort(key=lambda pair: pair[0])
        if bad:
            rejected.add(Rejection.MAPPING, count=len(bad))
        found = [*self._unconfirmed, *(event for _, event in events)]
        return Received(found, updates, self._found_stacks)

    @property
    def has_heartbeats(self) -> bool:
        """Whether heartbeats wait for the second after the last ones to be over."""
        return self._snapshots.has_heartbeats

    def heartbeats(self, *, is_due: bool = False) -> list[MonitoringEvent]:
        """Return the events with the heartbeats so far, as ``Snapshots.heartbeats`` does."""
        return self._snapshots.heartbeats(time.time_ns(), is_due=is_due)

    def hear(self, update: MonitoringEvent) -> None:
        """Count a snapshot that the log has already, from another process, as a heartbeat."""
        key = _key_of_event(update)
        if key is not None:
            self._snapshots.hear(key, update.project_id)

    def refuse(self, event: MonitoringEvent) -> None:
        """Forget what a span said whose event is not for the log, so that it is counted again."""
        key = _key_of_event(event)
        if key is not None:
            self._snapshots.end(key)

    def confirm(self) -> None:
        """Everything that ``receive`` returned is in the log."""
        self._unconfirmed, self._found_stacks = [], {}
        self._snapshots.confirm()

    def _map_open(
        self,
        one: ReadSpan,
        events: list[tuple[int, MonitoringEvent]],
        updates: dict[str, MonitoringEvent],
        bad: set[Key],
        now_ns: int,
    ) -> None:
        """Map a snapshot: the span's start, or what is new since the snapshot before."""
        span, key = one.span, one.span.key
        is_given_up = one.seen.shape is Shape.GIVEN_UP
        says = ~one.digest if is_given_up else one.digest
        known = self._snapshots.last(key)
        if known is not None and known.digest == says:
            if not is_given_up:
                self._snapshots.hear(key, known.project_id)
            return
        start = self._event(span, bad, is_end=False)
        if start is None:
            # No rule knows it yet; a span below it may show it, and then its heartbeats count.
            self._snapshots.note(key, says, _project_of(span))
            return
        if one.seen.beat_ms is not None:
            start = start.model_copy(update={"beat_ms": one.seen.beat_ms})
        self._snapshots.note(key, says, start.project_id, start.event_type)
        # The same words may come again after others, so what is new after a snapshot that is known
        # has an id of its own. The first one here may be in the log already, and has the same id.
        mark = 0 if known is None else now_ns
        update = event_of_snapshot(start, span, says ^ mark, now_ns, is_given_up=is_given_up)
        if known is not None and known.role == start.event_type:
            events.append((now_ns, update))
            return
        events.append((span.start_time or 0, start))
        if known is not None:
            # A rule knows it only now: the log may have its start as that of a plain span.
            updates[start.event_id] = start.model_copy(
                update={"event_id": snapshot_id_of_start(span, says ^ mark)}
            )
            events.append((now_ns, update))
        elif is_given_up:
            events.append((now_ns, update))
        else:
            updates[start.event_id] = update

    def _map(
        self,
        span: OtlpSpan,
        events: list[tuple[int, MonitoringEvent]],
        bad: set[Key],
        *,
        is_end: bool,
    ) -> None:
        event = self._event(span, bad, is_end=is_end)
        if event is not None:
            # An enqueue is known at its end and happened at its start. The event's own time is
            # in microseconds: two spans may start in one.
            is_about_end = is_end and event.event_type != MonitoringEventType.TASK_ENQUEUED
            at = span.end_time if is_about_end else span.start_time
            events.append((at or 0, event))

    def _event(self, span: OtlpSpan, bad: set[Key], *, is_end: bool) -> MonitoringEvent | None:
        try:
            fields = self._mapper.fields(span, is_end=is_end)
            for one in self._mapper.take_intermediate():
                self._unconfirmed.append(self._with_stack(one, span))
            del self._unconfirmed[:-_MAX_UNCONFIRMED]
            return None if fields is None else self._with_stack(fields, span)
        except Exception:
            # One bad span must not cost the others; the sender gets the number of bad ones.
            logger.debug("a span could not be mapped", exc_info=True)
            bad.add(span.key)
            return None

    def _with_stack(self, fields: dict[str, Any], span: OtlpSpan) -> MonitoringEvent:
        """The event; if it is the span's failure, its stack is kept to be stored with it."""
        if is_failure_of(fields, span):
            text = self._stacks.add(fields, span.attributes or {}, span.events, time.monotonic())
            if text is not None and len(self._found_stacks) < _MAX_UNCONFIRMED_STACKS:
                stack = SpanStack(fields["span_id"], text, fields.get("project_id"))
                self._found_stacks[fields["event_id"]] = stack
        return _event(fields)

    def reserve_numbers(self, count: int) -> int:
        """
        Reserve the numbers of ``count`` events in the log, from 1 upwards, without a limit.

        Call it while holding ``lock``. Never raises.

        Args:
            count: The number of events, at least 1; not checked.

        Returns:
            The first of these consecutive numbers. No number is given out twice, also when the
            events are never sent.
        """
        first = self._next_n
        self._next_n += count
        return first


def _event(fields: dict[str, Any]) -> MonitoringEvent:
    redact_fields(fields)
    return MonitoringEvent.model_validate(fields)


def _key_of_event(event: MonitoringEvent) -> Key | None:
    if event.trace_id is None or event.span_id is None:
        return None
    return int(event.trace_id, 16), int(event.span_id, 16)


def _project_of(span: OtlpSpan) -> str | None:
    project = None if span.attributes is None else span.attributes.get(semconv.PROJECT_ID)
    return project if isinstance(project, str) else None
