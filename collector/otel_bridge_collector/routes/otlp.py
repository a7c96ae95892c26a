"""
``POST /v1/traces`` and ``/v1/logs``: OTLP over HTTP, protobuf or JSON, gzip or not.

Refusals leave as a ``google.rpc.Status``, see ``otlp_refusals``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
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
from otel_bridge_collector.otlp.refusals import JSON, PROTOBUF, encode, media_type_of
from otel_bridge_collector.routes.body import (
    BodyTooLargeError,
    BodyTooSlowError,
    UnknownEncodingError,
    inflate,
    read_body,
)
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.tokens import Principal

router = APIRouter(prefix="/v1")

_RETRY: Final = {"Retry-After": "1"}

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
    media_type = media_type_of(request.scope)
    if media_type not in (PROTOBUF, JSON):
        return _refuse(415, f"content-type: {media_type[:60]!r} is not {PROTOBUF} or {JSON}")
    ingest: OtlpIngest = request.app.state.otlp_ingest
    try:
        body = await read_body(request, MAX_BODY_BYTES)
        with ingest.place():
            body = inflate(body, request.headers.get("content-encoding", ""), MAX_BODY_BYTES)
            await asyncio.to_thread(decode, message, body, is_json=media_type == JSON)
            answered = answer(await take(message, principal_of(request.scope)))
    except BodyTooLargeError:
        return _refuse(413, f"the body is over {MAX_BODY_BYTES} bytes")
    except BodyTooSlowError:
        return _refuse(408, "the body did not come in time", {"Connection": "close"})
    except UnknownEncodingError as error:
        return _refuse(415, str(error), {"Accept-Encoding": "gzip"})
    except (OtlpError, ValueError) as error:
        return _refuse(400, str(error))
    except OtlpBusyError as error:
        return _refuse(503, str(error), _RETRY)
    except TransportError:
        # Sent again, the same events come; whoever has folded them knows their ids.
        return _refuse(503, "the log cannot be reached", _RETRY)
    content, media_type = encode(answered, media_type)
    return Response(content, 200, media_type=media_type)


def _refuse(status_code: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"detail": why}, status_code, headers)
