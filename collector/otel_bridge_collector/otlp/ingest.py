"""What OTLP brings, over HTTP or gRPC: mapped, checked against the token's projects, appended."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.errors import EventTooLargeError
from otel_bridge.publish.publisher import POSITION_MAX_BYTES
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.http import MAX_PUSH_EVENTS
from otel_bridge_collector.model.old.lending import lend
from otel_bridge_collector.otlp.mapping import OtlpReceiver, read_spans
from otel_bridge_collector.otlp.shapes import read_lifecycle
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.tokens import Principal

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_RECEIVERS",
    "MAX_TAKING",
    "REJECTED_LOGS",
    "REJECTED_SPANS",
    "OtlpBusyError",
    "OtlpIngest",
]

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Of a body as it is sent and, again, of what it inflates to; exporters send 512 spans at a time,
and gRPC's own limit is the same."""
MAX_TAKING: Final = 32
"""Requests in memory at a time, 4 MiB each and about as much again once decoded; whoever comes
while the log is slow is told to come again."""
MAX_RECEIVERS: Final = 256
"""Tokens whose spans are remembered, the one used longest ago forgotten first: a receiver may know
20,000 spans. A forgotten one costs what it knew of spans that other spans refer to."""
REJECTED_SPANS: Final = "spans without ids, too large, or of a project that this token may not use"
REJECTED_LOGS: Final = "log records that tell of no span's life, or of a project not allowed"


class OtlpBusyError(Exception):
    """Raised when ``MAX_TAKING`` requests are being taken; the sender may try again."""

    def __str__(self) -> str:
        return f"{MAX_TAKING} requests are being taken"


class OtlpIngest:
    """
    Takes requests; one receiver for each token, or user of JWTs, at most ``MAX_RECEIVERS``.

    Args:
        collector: Appends to the log.

    Attributes:
        taking: Requests in memory.
        shed: Requests refused because there were too many.
        rejected: Spans and log records refused, by what they are.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._receivers: OrderedDict[str, OtlpReceiver] = OrderedDict()
        self.taking = 0
        self.shed = 0
        self.rejected = {"span": 0, "log record": 0}

    @contextmanager
    def place(self) -> Iterator[None]:
        """
        Hold one of the places for requests; on the event loop.

        Raises:
            OtlpBusyError: There is none.
        """
        if self.taking >= MAX_TAKING:
            self.shed += 1
            raise OtlpBusyError
        self.taking += 1
        try:
            yield
        finally:
            self.taking -= 1

    async def traces(self, message: ExportTraceServiceRequest, principal: Principal) -> int:
        """
        Take spans that have ended.

        Returns:
            How many were rejected.

        Raises:
            TransportError: The log cannot be reached; the request may be sent again.
        """
        rejected = await self._take(message, principal, are_open=False)
        self.rejected["span"] += rejected
        return rejected

    async def logs(self, message: ExportLogsServiceRequest, principal: Principal) -> int:
        """
        Take log records that tell of a span's life, see ``span_lifecycle``.

        Returns:
            How many were rejected.

        Raises:
            TransportError: As ``traces``.
        """
        told = await asyncio.to_thread(read_lifecycle, message)
        rejected = told.rejected
        for spans, are_open in ((told.open_spans, True), (told.ended_spans, False)):
            if spans.resource_spans:
                rejected += await self._take(spans, principal, are_open=are_open)
        self.rejected["log record"] += rejected
        return rejected

    async def _take(
        self, message: ExportTraceServiceRequest, principal: Principal, *, are_open: bool
    ) -> int:
        receiver = self.receiver_of(principal)
        projects = list(principal.projects or ())
        only = projects[0] if len(projects) == 1 else None
        max_bytes = self._collector.bridge_settings.max_event_size_bytes - POSITION_MAX_BYTES
        refused: set[str | None] = set()
        async with receiver.lock:
            read = await asyncio.to_thread(read_spans, message, only)
            state = self._collector.state
            lent = lend(state.traces, state.tasks, read.wanted, principal.may_use)
            received = await asyncio.to_thread(receiver.receive, read, are_open=are_open, lent=lent)
            batch = []
            for event in received.events:
                if not principal.may_use(event.project_id):
                    refused.add(event.span_id)
                elif not self._collector.state.knows(event.event_id):
                    # Known: a heartbeat's span, a request sent again, or live over the bus as well.
                    try:
                        batch.append(Outgoing(event.to_json(max_bytes), event.project_id))
                    except EventTooLargeError:
                        refused.add(event.span_id)
            for start in range(0, len(batch), MAX_PUSH_EVENTS):
                part = batch[start : start + MAX_PUSH_EVENTS]
                first_n = receiver.numbers(len(part))
                await self._collector.append(receiver.producer_id, first_n, part)
        return received.rejected + len(refused)

    def receiver_of(self, principal: Principal) -> OtlpReceiver:
        """The receiver of a token's requests, which it takes one after the other."""
        found = self._receivers.get(principal.account)
        if found is None:
            settings = self._collector.bridge_settings
            found = OtlpReceiver(
                settings.meta_attributes.split(","), with_prompts=settings.prompts_enabled
            )
            self._receivers[principal.account] = found
            if len(self._receivers) > MAX_RECEIVERS:
                self._receivers.popitem(last=False)
        self._receivers.move_to_end(principal.account)
        return found
