"""``GET /healthz`` (the process runs), ``/readyz`` (the log is read) and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from otel_bridge_collector.metrics import MetricsPage
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import refusal

router = APIRouter()


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Answer 200 and ``{"status": "ok"}`` while the event loop runs; needs no token."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Answer 200 while the log is read, else 503; details only without authentication."""
    collector: Collector = request.app.state.collector
    found = collector.readiness()
    status = 200 if found["ready"] else 503
    if request.app.state.authenticator.is_enabled:
        found = {"ready": found["ready"]}  # probes have no token; the details are in /metrics
    return JSONResponse(found, status)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """
    Answer all metrics in the format that ``Accept`` names; 403 for a token with projects.

    Of several processes on one port it has the samples of all, each with the label ``process``.
    """
    if principal_of(request.scope).projects is not None:
        why = "this token is limited to projects; /metrics needs one with projects=*"
        return refusal(request.scope, 403, why)
    page: MetricsPage = request.app.state.metrics_page
    body, content_type = await page.render_all(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})
