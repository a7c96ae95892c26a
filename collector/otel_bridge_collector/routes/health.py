"""``GET /healthz`` (the process lives), ``/readyz`` (events flow) and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from otel_bridge_collector.metrics import render_metrics
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import refusal

router = APIRouter()


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Answers while the event loop runs."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """200 while the log is read, 503 while it is not, each with the reason."""
    collector: Collector = request.app.state.collector
    found = collector.readiness()
    status = 200 if found["ready"] else 503
    if not request.app.state.authenticator.is_open:
        found = {"ready": found["ready"]}  # probes carry no token; the rest is in /metrics
    return JSONResponse(found, status)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text format 0.0.4."""
    if principal_of(request.scope).projects is not None:
        why = "this token is limited to projects; /metrics needs one with projects=*"
        return refusal(request.scope, 403, why)
    collector: Collector = request.app.state.collector
    text = render_metrics(collector, request.app.state.otlp_ingest)
    return Response(text, media_type="text/plain; version=0.0.4")
