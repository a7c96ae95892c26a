"""``OtlpIngest``: maps decoded OTLP requests, checks their projects and appends them to the log."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_bridge.errors import EventTooLargeError, TransportError
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.publisher import POSITION_MAX_BYTES
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.http import MAX_PUSH_EVENTS
from otel_bridge_collector.lines.ingest import LinesIngest
from otel_bridge_collector.lines.records import read_records
from otel_bridge_collector.otlp.correlation import correlate
from otel_bridge_collector.otlp.lifecycle import read_lifecycle
from otel_bridge_collector.otlp.mapping import OtlpReceiver
from otel_bridge_collector.otlp.rejections import Rejection, Rejections
from otel_bridge_collector.otlp.snapshots import HEARTBEAT_INTERVAL_SEC
from otel_bridge_collector.otlp.spans import ReadSpans
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.tokens import Principal

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_RECEIVERS",
    "MAX_REQUESTS",
    "OtlpBusyError",
    "OtlpIngest",
]

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""The limit of a body as it is sent and, again, of its decompressed form. Exporters send 512 spans
at a time, and gRPC has the same limit by default."""
MAX_REQUESTS: Final = 32
"""Requests in progress at a time. Each takes up to 4 MiB and about as much again once decoded.
While the log is slow, further ones are refused and their senders try again."""
MAX_RECEIVERS: Final = 256
"""Receivers in memory, one for each token; the least recently used one is dropped first. A receiver
may remember 20,000 spans. Dropping it loses what later spans could have inherited from those."""


class OtlpBusyError(Exception):
    """Raised when ``MAX_REQUESTS`` requests are in progress; the sender may try again."""

    def __str__(self) -> str:
        return f"{MAX_REQUESTS} requests are in progress; send this one again later"


class OtlpIngest:
    """
    Maps decoded OTLP requests to events and appends them; the application makes one.

    It keeps one ``OtlpReceiver``, which remembers a sender's spans, for each token, or for each
    subject of JWTs: at most 256, then the least recently used one is dropped, and later spans
    inherit nothing from what it remembered. At most 32 requests may be in progress, over HTTP and
    gRPC together; callers enter ``slot`` for each, which raises ``OtlpBusyError`` beyond that. Use
    it on the collector's event loop. Making one never raises, and it needs no closing.

    Args:
        collector: Appends to the log, and knows which events it has already.

    Attributes:
        active: Requests in progress; 0 at first, as ``shed``.
        shed: Requests refused because 32 were in progress.
        rejected: The number of rejected items so far by kind: ``span`` and ``log record``.
        lines: Takes log records that carry no span.
        stacks_lost: Stacks of failures that could not be stored, by an ACL.
        rejected_by_cause: The same by cause, as ``Rejection`` lists them.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._receivers: OrderedDict[str, OtlpReceiver] = OrderedDict()
        self.active = 0
        self.shed = 0
        self.rejected = {"span": 0, "log record": 0}
        self._waiting: dict[OtlpReceiver, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lookups = collector.answers.lookups
        self._lookups.correlate = correlate
        elsewhere = collector.answers.lines
        self.lines = LinesIngest(collector.model, collector.lines, collector.clock, elsewhere)
        if elsewhere is not None:
            elsewhere.take = self.lines.take_here
        self.stacks_lost = 0
        self.rejected_by_cause = {cause.value: 0 for cause in Rejection}

    @contextmanager
    def slot(self) -> Iterator[None]:
        """
        Context manager that counts a request as in progress; call it on the event loop only.

        It never waits. A refused request is counted in ``shed``.

        Raises:
            OtlpBusyError: On entry: 32 requests are in progress.
        """
        if self.active >= MAX_REQUESTS:
            self.shed += 1
            raise OtlpBusyError
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    async def traces(
        self, message: ExportTraceServiceRequest, principal: Principal, rejected: Rejections
    ) -> ExportTraceServiceResponse:
        """
        Append spans, ended ones and those that are still open in any known shape (async).

        A sender's requests run one after the other. An event that the collector knows already is
        skipped. Events go to the log in batches of 1,000.

        Args:
            message: The decoded request; the caller has checked its size.
            principal: The sender, whose projects limit what it may write.
            rejected: What decoding rejected; further spans are added: those without valid ids, that
                could not be converted to an event, of a project that the sender may not use, or
                whose event is over ``MONITORING_MAX_EVENT_SIZE_BYTES`` (8192) although its texts
                are truncated.

        Returns:
            The answer; its ``partial_success`` has the number of rejected spans, and a sentence
            for each cause.

        Raises:
            TransportError: The log cannot be reached. A part may be in the log; the whole request
                may be sent again, without doubles.
        """
        await self._append_spans(message, principal, rejected)
        self._count("span", rejected)
        answer = ExportTraceServiceResponse()
        if rejected.total:
            answer.partial_success.rejected_spans = rejected.total
            answer.partial_success.error_message = str(rejected)
        return answer

    async def logs(
        self, message: ExportLogsServiceRequest, principal: Principal, rejected: Rejections
    ) -> ExportLogsServiceResponse:
        """
        Append the spans that log records carry; keep the others as lines of their node (async).

        A record that carries a span has the attribute ``partial.event`` (``heartbeat``: the span is
        open; ``stop``: it has ended) and the span in its body. The others are log lines, see
        ``LinesIngest``; those that are dropped are counted there and not rejected. A sender's
        requests run one after the other.

        Args:
            message: The decoded request; the caller has checked its size.
            principal: The sender, whose projects limit what it may write.
            rejected: What decoding rejected; further records and spans are added: unreadable
                ones, those of a project that the sender may not use, or over
                ``MONITORING_MAX_EVENT_SIZE_BYTES`` (8192).

        Returns:
            The answer, as that of ``traces``.

        Raises:
            TransportError: The log cannot be reached. A part may be in the log; the whole request
                may be sent again, without doubles.
        """
        spans = await asyncio.to_thread(read_lifecycle, message, rejected)
        now_ms = self._collector.clock.time_ns() // 1_000_000
        records = await asyncio.to_thread(read_records, message, now_ms)
        if spans.resource_spans:
            await self._append_spans(spans, principal, rejected)
        if records.found or records.untraced:
            await self.lines.take(records, principal)
        self._count("log record", rejected)
        answer = ExportLogsServiceResponse()
        if rejected.total:
            answer.partial_success.rejected_log_records = rejected.total
            answer.partial_success.error_message = str(rejected)
        return answer

    def _count(self, what: str, rejected: Rejections) -> None:
        self.rejected[what] += rejected.total
        for cause, count in rejected.counts.items():
            self.rejected_by_cause[cause.value] += count

    async def _append_spans(
        self, message: ExportTraceServiceRequest, principal: Principal, rejected: Rejections
    ) -> None:
        receiver = self.receiver_of(principal)
        projects = list(principal.projects or ())
        only_project = projects[0] if len(projects) == 1 else None
        max_bytes = self._collector.bridge_settings.max_event_size_bytes - POSITION_MAX_BYTES
        refused: dict[tuple[str | None, str | None], Rejection] = {}
        batch: list[Outgoing] = []

        def put(event: MonitoringEvent) -> None:
            if not principal.may_use(event.project_id) or self._is_of_others(event, principal):
                cause = Rejection.PROJECT
            else:
                try:
                    stack = received.stacks.get(event.event_id)
                    data = event.to_json(max_bytes)
                    batch.append(Outgoing(data, event.project_id, stack=stack))
                    return
                except EventTooLargeError:
                    cause = Rejection.SIZE
            refused[event.trace_id, event.span_id] = cause
            receiver.refuse(event)

        async with receiver.lock:
            read = await asyncio.to_thread(receiver.read, message, only_project, rejected)
            correlated = await self._lookups.correlated(
                read.parents, principal.may_use, principal.projects
            )
            received = await asyncio.to_thread(
                receiver.receive, read, rejected, correlated=correlated
            )
            self._note_parents(read, received.events)
            knows = self._collector.fold.feed_model.knows
            for event in received.events:
                if not knows(event.event_id):
                    put(event)
                    continue
                # Of a request that was sent again, or a span that also arrived live over the bus.
                # A snapshot may still say something new of a span that is known.
                update = received.updates.get(event.event_id)
                if update is None:
                    continue
                if knows(update.event_id):
                    receiver.hear(update)
                else:
                    put(update)
            for event in receiver.heartbeats():
                put(event)
            await self._append(receiver, batch)
            receiver.confirm()
            if receiver.has_heartbeats and receiver not in self._waiting:
                self._waiting[receiver] = asyncio.get_running_loop().call_later(
                    HEARTBEAT_INTERVAL_SEC, self._send_heartbeats, receiver
                )
        for cause in refused.values():
            rejected.add(cause)

    def _note_parents(self, read: ReadSpans, events: Sequence[MonitoringEvent]) -> None:
        """
        Remember the parents of spans that the model will not know, for their log lines.

        Of the others it will know that itself, a moment later: until then a line of a job would be
        shown at the phase above it.
        """
        shown = {event.span_id for event in events}
        self.lines.owners.note_parents(
            (span.key, span.parent.span_id)
            for span, _, _ in read.spans
            if span.parent is not None and f"{span.key[1]:016x}" not in shown
        )

    def _is_of_others(self, event: MonitoringEvent, principal: Principal) -> bool:
        """
        Whether a span is known in a project that the sender may not use.

        The model knows a span by its id alone, which calls pass on in ``traceparent``: a sender of
        another project could end it.
        """
        if principal.projects is None or event.span_id is None:
            return False
        node = self._lookups.held(event.span_id)
        if node is not None:
            return (not node.is_mixed and node.project is not None) and not principal.may_use(
                node.project
            )
        fold = self._collector.fold
        if not fold.is_shared:
            return False
        # Another member holds it: by what is known of its trace, which decides where it is folded.
        project = fold.project_of_past(None, event.trace_id, event.span_id)
        return project is not None and not principal.may_use(project)

    async def _append(self, receiver: OtlpReceiver, batch: Sequence[Outgoing]) -> None:
        for start in range(0, len(batch), MAX_PUSH_EVENTS):
            part = batch[start : start + MAX_PUSH_EVENTS]
            first_n = receiver.reserve_numbers(len(part))
            result = await self._collector.append(receiver.producer_id, first_n, part)
            self.stacks_lost += result.unstored

    def _send_heartbeats(self, receiver: OtlpReceiver) -> None:
        self._waiting.pop(receiver, None)
        task = asyncio.create_task(self.flush_heartbeats(receiver), name="otlp-heartbeats")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def flush_heartbeats(self, receiver: OtlpReceiver) -> None:
        """
        Append the heartbeats that came within a second after the last ones (async).

        Without it they would wait for the sender's next request, which may be long in coming. What
        the log cannot take is dropped: the next heartbeats say as much. Raises nothing.
        """
        async with receiver.lock:
            events = receiver.heartbeats(is_due=True)
            batch = [Outgoing(event.to_json(), event.project_id) for event in events]
            try:
                await self._append(receiver, batch)
            except TransportError:
                logger.debug("heartbeats were dropped", exc_info=True)

    def receiver_of(self, principal: Principal) -> OtlpReceiver:
        """The receiver of a sender's requests, made if there is none."""
        found = self._receivers.get(principal.account)
        if found is None:
            settings = self._collector.bridge_settings
            found = OtlpReceiver(
                settings.meta_attributes.split(","),
                with_prompts=settings.prompts_enabled,
                packages=settings.app_packages,
            )
            self._receivers[principal.account] = found
            if len(self._receivers) > MAX_RECEIVERS:
                self._receivers.popitem(last=False)
        self._receivers.move_to_end(principal.account)
        return found
