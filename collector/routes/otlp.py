"""``POST /v1/traces``: OTLP over HTTP, protobuf or JSON, gzip or not, into the log."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from starlette.responses import JSONResponse

from collector.otlp_receiver import OtlpError, OtlpReceiver, decode_traces
from collector.routes.body import BodyTooLargeError, inflate, read_body
from collector.runtime import Collector
from collector.security.authentication import principal_of
from collector.security.tokens import Principal
from otel_bridge.errors import TransportError
from otel_bridge.publisher import POSITION_MAX_BYTES
from otel_bridge.transports.base import Outgoing
from otel_bridge.transports.http import MAX_PUSH_EVENTS

router = APIRouter(prefix="/v1")

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Of a body as it is sent and, again, of what it inflates to; exporters send 512 spans at a time,
and gRPC's own limit is the same."""
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"


@router.post("/traces")
async def traces(request: Request) -> Response:
    """Take spans; 200 with ``partial_success`` names how many were not usable or not allowed."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (_PROTOBUF, _JSON):
        detail = f"content-type: {media_type[:60]!r} is not {_PROTOBUF} or {_JSON}"
        return JSONResponse({"detail": detail}, 415)
    try:
        body = await read_body(request, MAX_BODY_BYTES)
        body = inflate(body, request.headers.get("content-encoding", ""), MAX_BODY_BYTES)
        message = await asyncio.to_thread(decode_traces, body, is_json=media_type == _JSON)
    except BodyTooLargeError:
        return JSONResponse({"detail": f"the body is over {MAX_BODY_BYTES} bytes"}, 413)
    except (OtlpError, ValueError) as error:
        return JSONResponse({"detail": str(error)}, 400)
    collector: Collector = request.app.state.collector
    principal = principal_of(request.scope)
    receiver = _receiver_of(request, principal)
    projects = list(principal.projects or ())
    only = projects[0] if len(projects) == 1 else None
    max_bytes = collector.bridge_settings.max_event_size_bytes - POSITION_MAX_BYTES
    refused: set[str | None] = set()
    batch: list[Outgoing] = []
    async with receiver.lock:
        received = await asyncio.to_thread(receiver.receive, message, only)
        for event in received.events:
            if principal.may_use(event.project_id):
                batch.append(Outgoing(event.to_json(max_bytes), event.project_id))
            else:
                refused.add(event.span_id)
        try:
            for start in range(0, len(batch), MAX_PUSH_EVENTS):
                part = batch[start : start + MAX_PUSH_EVENTS]
                first_n = receiver.numbers(len(part))
                await collector.append(receiver.producer_id, first_n, part)
        except TransportError:
            # Sent again, the same events come; whoever has folded them knows their ids.
            retry = {"Retry-After": "1"}
            return JSONResponse({"detail": "the log cannot be reached"}, 503, retry)
    rejected = received.rejected + len(refused)
    answer = ExportTraceServiceResponse()
    if rejected:
        text = "spans without ids, or of a project that this token may not use"
        success = ExportTracePartialSuccess(rejected_spans=rejected, error_message=text)
        answer.partial_success.CopyFrom(success)
    if media_type == _JSON:
        return Response(MessageToJson(answer), media_type=_JSON)
    return Response(answer.SerializeToString(), media_type=_PROTOBUF)


def _receiver_of(request: Request, principal: Principal) -> OtlpReceiver:
    """One for each token: there are as many as the operator has given out."""
    state = request.app.state
    receivers: dict[str, OtlpReceiver] = state.otlp_receivers
    found = receivers.get(principal.digest)
    if found is None:
        settings = state.collector.bridge_settings
        found = OtlpReceiver(
            settings.meta_attributes.split(","), with_prompts=settings.prompts_enabled
        )
        receivers[principal.digest] = found
    return found
