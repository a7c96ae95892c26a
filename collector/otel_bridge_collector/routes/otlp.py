"""
``POST /v1/traces`` and ``/v1/logs``: OTLP over HTTP, as protobuf or JSON, with or without gzip.

Refusals are a ``google.rpc.Status``, see ``security/refusals.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fastapi import APIRouter, Request, Response
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

from otel_bridge.errors import TransportError
from otel_bridge_collector.otlp.decode import OtlpError, decode
from otel_bridge_collector.otlp.ingest import (
    MAX_BODY_BYTES,
    REJECTED_LOGS,
    REJECTED_SPANS,
    OtlpBusyError,
    OtlpIngest,
)
from otel_bridge_collector.routes.body import inflate, read_body
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import LOG_UNREACHABLE, refusal
from otel_bridge_collector.security.tokens import Principal
from otel_bridge_collector.wire.otlp_http import JSON, PROTOBUF, encode_message, media_type_of

router = APIRouter(prefix="/v1")

_RETRY: Final = {"Retry-After": "1"}

_Request = TypeVar("_Request", bound=Message)


@router.post("/traces")
async def traces(request: Request) -> Response:
    """Take spans; 200, with the number of rejected ones in ``partial_success``."""
    ingest: OtlpIngest = request.app.state.otlp_ingest

    def answer(rejected: int) -> Message:
        if not rejected:
            return ExportTraceServiceResponse()
        success = ExportTracePartialSuccess(rejected_spans=rejected, error_message=REJECTED_SPANS)
        return ExportTraceServiceResponse(partial_success=success)

    return await _take(request, ExportTraceServiceRequest(), ingest.traces, answer)


@router.post("/logs")
async def logs(request: Request) -> Response:
    """Take log records that carry an open span; others are counted in ``partial_success``."""
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
    scope = request.scope
    media_type = media_type_of(scope["headers"])
    if media_type not in (PROTOBUF, JSON):
        why = f"Content-Type {media_type[:60]!r} is not supported; use {PROTOBUF} or {JSON}"
        return refusal(scope, 415, why)
    ingest: OtlpIngest = request.app.state.otlp_ingest
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        with ingest.slot():
            body = inflate(body, request.headers.get("content-encoding", ""), MAX_BODY_BYTES)
            await asyncio.to_thread(decode, message, body, is_json=media_type == JSON)
            answered = answer(await take(message, principal_of(scope)))
    except (OtlpError, ValueError) as error:
        return refusal(scope, 400, str(error))
    except OtlpBusyError as error:
        return refusal(scope, 503, str(error), _RETRY)
    except TransportError:
        # A repeated request gives events with the same ids, so nothing is counted twice.
        return refusal(scope, 503, LOG_UNREACHABLE, _RETRY)
    content, media_type = encode_message(answered, media_type)
    return Response(content, 200, media_type=media_type)
