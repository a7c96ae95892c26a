"""What OTLP brings, over HTTP or gRPC: mapped, checked against the token's projects, appended."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.otlp_receiver import OtlpReceiver
from collector.runtime import Collector
from collector.security.tokens import Principal
from collector.span_lifecycle import read_lifecycle
from otel_bridge.publisher import POSITION_MAX_BYTES
from otel_bridge.transports.base import Outgoing
from otel_bridge.transports.http import MAX_PUSH_EVENTS

__all__ = ["MAX_BODY_BYTES", "REJECTED_LOGS", "REJECTED_SPANS", "OtlpIngest"]

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Of a body as it is sent and, again, of what it inflates to; exporters send 512 spans at a time,
and gRPC's own limit is the same."""
_MAX_RECEIVERS: Final = 1000
"""A forgotten one costs what it knew of spans that other spans refer to."""
REJECTED_SPANS: Final = "spans without ids, or of a project that this token may not use"
REJECTED_LOGS: Final = "log records that tell of no span's life, or of a project not allowed"


class OtlpIngest:
    """
    Takes requests; one receiver for each token, or user of JWTs: the latest 1,000 are kept.

    Args:
        collector: Appends to the log.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._receivers: OrderedDict[str, OtlpReceiver] = OrderedDict()

    async def traces(self, message: ExportTraceServiceRequest, principal: Principal) -> int:
        """
        Take spans that have ended.

        Returns:
            How many were rejected.

        Raises:
            TransportError: The log cannot be reached; the request may be sent again.
        """
        return await self._take(message, principal, are_open=False)

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
        for spans in told.open_spans:
            rejected += await self._take(spans, principal, are_open=True)
        for spans in told.ended_spans:
            rejected += await self._take(spans, principal, are_open=False)
        return rejected

    async def _take(
        self, message: ExportTraceServiceRequest, principal: Principal, *, are_open: bool
    ) -> int:
        receiver = self._receiver_of(principal)
        projects = list(principal.projects or ())
        only = projects[0] if len(projects) == 1 else None
        max_bytes = self._collector.bridge_settings.max_event_size_bytes - POSITION_MAX_BYTES
        refused: set[str | None] = set()
        async with receiver.lock:
            received = await asyncio.to_thread(receiver.receive, message, only, are_open=are_open)
            allowed = []
            for event in received.events:
                if not principal.may_use(event.project_id):
                    refused.add(event.span_id)
                elif not self._collector.state.knows(event.event_id):
                    # Known: a heartbeat's span, a request sent again, or live over the bus as well.
                    allowed.append(event)
            for start in range(0, len(allowed), MAX_PUSH_EVENTS):
                part = allowed[start : start + MAX_PUSH_EVENTS]
                batch = [Outgoing(event.to_json(max_bytes), event.project_id) for event in part]
                first_n = receiver.numbers(len(batch))
                await self._collector.append(receiver.producer_id, first_n, batch)
        return received.rejected + len(refused)

    def _receiver_of(self, principal: Principal) -> OtlpReceiver:
        account = principal.account
        found = self._receivers.get(account)
        if found is not None:
            self._receivers.move_to_end(account)
        else:
            settings = self._collector.bridge_settings
            found = OtlpReceiver(
                settings.meta_attributes.split(","), with_prompts=settings.prompts_enabled
            )
            self._receivers[account] = found
            if len(self._receivers) > _MAX_RECEIVERS:
                self._receivers.popitem(last=False)
        return found
