"""``POST /v1/traces``: OTLP over HTTP, protobuf or JSON, gzip or not, into the log."""

from __future__ import annotations

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

router = APIRouter(prefix="/v1")

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Of a body as it is sent and, again, of what it inflates to."""
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
        message = decode_traces(body, is_json=media_type == _JSON)
    except BodyTooLargeError:
        return JSONResponse({"detail": f"the body is over {MAX_BODY_BYTES} bytes"}, 413)
    except (OtlpError, ValueError) as error:
        return JSONResponse({"detail": str(error)}, 400)
    collector: Collector = request.app.state.collector
    receiver: OtlpReceiver = request.app.state.otlp_receiver
    principal = principal_of(request.scope)
    projects = list(principal.projects or ())
    only = projects[0] if len(projects) == 1 else None
    received = receiver.receive(message, only)
    refused: set[str | None] = set()
    for event in received.events:
        if not principal.may_use(event.project_id):
            refused.add(event.span_id)
        elif not collector.bus.publish(event):
            return JSONResponse({"detail": "the log is behind"}, 503, {"Retry-After": "1"})
    rejected = received.rejected + len(refused)
    answer = ExportTraceServiceResponse()
    if rejected:
        text = "spans without ids, or of a project that this token may not use"
        part = ExportTracePartialSuccess(rejected_spans=rejected, error_message=text)
        answer.partial_success.CopyFrom(part)
    if media_type == _JSON:
        return Response(MessageToJson(answer), media_type=_JSON)
    return Response(answer.SerializeToString(), media_type=_PROTOBUF)
