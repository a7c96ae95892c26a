"""
``POST /v1/traces``, ``/v1/logs`` and ``/v1/metrics``: OTLP over HTTP, with or without gzip.

Bodies are protobuf or JSON. Metrics are answered and not kept, see ``otlp/metrics.py``. Refusals
are a ``google.rpc.Status``, see ``security/refusals.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fastapi import APIRouter, Request, Response
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from otel_bridge.errors import TransportError
from otel_bridge_collector.otlp.decode import OtlpError, decode
from otel_bridge_collector.otlp.ingest import (
    MAX_BODY_BYTES,
    OtlpBusyError,
    OtlpIngest,
)
from otel_bridge_collector.otlp.metrics import METRICS_NOT_KEPT, decode_metrics, reject_metrics
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.routes.body import inflate, read_body
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import LOG_UNREACHABLE, refusal
from otel_bridge_collector.security.tokens import Principal
from otel_bridge_collector.wire.otlp_http import JSON, PROTOBUF, encode_message, media_type_of

router = APIRouter(prefix="/v1")

__all__ = ["METRICS_NOT_KEPT", "router"]

_RETRY: Final = {"Retry-After": "1"}

_Request = TypeVar("_Request", bound=Message)


@router.post("/traces")
async def traces(request: Request) -> Response:
    """
    Take spans in OTLP; answer 200, with the number of rejected ones in ``partial_success``.

    The body is protobuf or JSON, at most 4 MiB as sent and again once decompressed, and must arrive
    within 30 s; 32 requests are taken at a time. Otherwise 400 (not OTLP, or over 100,000 spans and
    the like), 408 (too slow), 413 (too large), 415 (media type or encoding), or 503 with
    ``Retry-After`` (busy, or the event log cannot be reached).
    """
    ingest: OtlpIngest = request.app.state.otlp_ingest

    return await _take(request, ExportTraceServiceRequest(), ingest.traces)


@router.post("/logs")
async def logs(request: Request) -> Response:
    """
    Take log records: the lines of the node whose span wrote them, or open spans.

    A record that names a trace and a span is kept as a line of the nearest job, phase or task; one
    over a limit or of no known task is dropped, counted in ``/metrics`` and answered with success.
    A record with the attribute ``partial.event`` (``heartbeat`` while the span is open, ``stop`` at
    its end) carries the span as OTLP JSON in its body. Its events are appended to the log, as those
    of ``/v1/traces``; ``partial_success`` counts those that cannot be read. Limits
    and errors are those of ``/v1/traces``: 4 MiB, 30 s, 32 requests at a time; 400, 408, 413, 415,
    503.
    """
    ingest: OtlpIngest = request.app.state.otlp_ingest

    return await _take(request, ExportLogsServiceRequest(), ingest.logs)


@router.post("/metrics")
async def metrics(request: Request) -> Response:
    """
    Take no metrics: 200, with the number of data points as rejected in ``partial_success``.

    Limits and errors are those of ``/v1/traces``: 4 MiB, 30 s, 32 requests at a time; 400 (not
    OTLP, or over 100,000 resources, scopes and metrics), 408, 413, 415, 503.
    """
    message = ExportMetricsServiceRequest()
    return await _take(request, message, reject_metrics, decode_metrics)


async def _take(
    request: Request,
    message: _Request,
    take: Callable[[_Request, Principal, Rejections], Awaitable[Message]],
    read: Callable[..., object] = decode,
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
            rejected = Rejections()
            is_json = media_type == JSON
            await asyncio.to_thread(read, message, body, is_json=is_json, rejected=rejected)
            answered = await take(message, principal_of(scope), rejected)
    except (OtlpError, ValueError) as error:
        return refusal(scope, 400, str(error))
    except OtlpBusyError as error:
        return refusal(scope, 503, str(error), _RETRY)
    except TransportError:
        # A repeated request gives events with the same ids, so nothing is counted twice.
        return refusal(scope, 503, LOG_UNREACHABLE, _RETRY)
    content, media_type = encode_message(answered, media_type)
    return Response(content, 200, media_type=media_type)
