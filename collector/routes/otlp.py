"""``POST /v1/traces`` and ``/v1/logs``: OTLP over HTTP, protobuf or JSON, gzip or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fastapi import APIRouter, Request, Response
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.responses import JSONResponse

from collector.otlp_ingest import MAX_BODY_BYTES, REJECTED_LOGS, REJECTED_SPANS, OtlpIngest
from collector.otlp_messages import OtlpError, decode
from collector.routes.body import BodyTooLargeError, inflate, read_body
from collector.security.authentication import principal_of
from collector.security.tokens import Principal
from otel_bridge.errors import TransportError

router = APIRouter(prefix="/v1")

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"

_Request = TypeVar("_Request", bound=Message)


@router.post("/traces")
async def traces(request: Request) -> Response:
    """Take spans; 200 with ``partial_success`` names how many were not usable or not allowed."""
    ingest: OtlpIngest = request.app.state.otlp_ingest

    def answer(rejected: int) -> Message:
        if not rejected:
            return ExportTraceServiceResponse()
        success = ExportTracePartialSuccess(rejected_spans=rejected, error_message=REJECTED_SPANS)
        return ExportTraceServiceResponse(partial_success=success)

    return await _take(request, ExportTraceServiceRequest(), ingest.traces, answer)


@router.post("/logs")
async def logs(request: Request) -> Response:
    """Take log records that tell of a span's life; others are rejected, by ``partial_success``."""
    ingest: OtlpIngest = request.app.state.otlp_ingest

    def answer(rejected: int) -> Message:
        if not rejected:
            return ExportLogsServiceResponse()
        success = ExportLogsPartialSuccess(
            rejected_log_records=rejected, error_message=REJECTED_LOGS
        )
        return ExportLogsServiceResponse(partial_success=success)

    return await _take(request, ExportLogsServiceRequest(), ingest.logs, answer)


async def _take(
    request: Request,
    message: _Request,
    take: Callable[[_Request, Principal], Awaitable[int]],
    answer: Callable[[int], Message],
) -> Response:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (_PROTOBUF, _JSON):
        detail = f"content-type: {media_type[:60]!r} is not {_PROTOBUF} or {_JSON}"
        return JSONResponse({"detail": detail}, 415)
    try:
        body = await read_body(request, MAX_BODY_BYTES)
        body = inflate(body, request.headers.get("content-encoding", ""), MAX_BODY_BYTES)
        await asyncio.to_thread(decode, message, body, is_json=media_type == _JSON)
    except BodyTooLargeError:
        return JSONResponse({"detail": f"the body is over {MAX_BODY_BYTES} bytes"}, 413)
    except (OtlpError, ValueError) as error:
        return JSONResponse({"detail": str(error)}, 400)
    try:
        answered = answer(await take(message, principal_of(request.scope)))
    except TransportError:
        # Sent again, the same events come; whoever has folded them knows their ids.
        retry = {"Retry-After": "1"}
        return JSONResponse({"detail": "the log cannot be reached"}, 503, retry)
    if media_type == _JSON:
        return Response(MessageToJson(answered), media_type=_JSON)
    return Response(answered.SerializeToString(), media_type=_PROTOBUF)
