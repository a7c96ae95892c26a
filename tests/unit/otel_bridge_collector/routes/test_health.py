"""Probes answer without a token and say little; metrics need a token for all projects."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from otel_bridge_collector.routes.health import router
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import Authenticator
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.settings import BridgeSettings
from tests.support.asgi_site import call, open_site, token_line

ALL, LIMITED = "token-of-all-0123456789", "token-of-alpha-0123456789"
TOKENS = ";".join([token_line(ALL), token_line(LIMITED, "alpha")])


@pytest.mark.parametrize("tokens", ["", TOKENS])
async def test_the_process_answers(tokens: str) -> None:
    """``/healthz`` is 200 while the event loop runs, for every client."""
    async with open_site(tokens=tokens) as site:
        answer = await site.get("/healthz")
        assert (answer.status, answer.json()) == (200, {"status": "ok"})


async def test_readiness_has_details_without_authentication() -> None:
    """``/readyz`` is 200 with the state of the log where every client may see everything."""
    async with open_site() as site:
        answer = await site.get("/readyz")
        assert answer.status == 200
        assert answer.json().items() >= {"ready": True, "log": "read", "clients": 0}.items()


async def test_readiness_has_no_details_with_authentication() -> None:
    """A probe carries no token, so it learns nothing but the fact."""
    async with open_site(tokens=TOKENS) as site:
        answer = await site.get("/readyz")
        assert (answer.status, answer.json()) == (200, {"ready": True})


async def test_a_collector_that_does_not_read_is_not_ready() -> None:
    """Before the log is read, ``/readyz`` is 503 and says why."""
    app = FastAPI()
    app.include_router(router)
    app.state.authenticator = Authenticator(None)
    app.state.collector = Collector(
        CollectorSettings(), BridgeSettings(bus_url="memory://not-started")
    )
    answer = await call(app, "/readyz")
    app.state.collector.bus.shutdown(0)
    assert (answer.status, answer.json()["log"]) == (503, "catching up")


async def test_metrics_are_for_tokens_of_all_projects() -> None:
    """They count all projects' work: no token is 401, a limited one 403 with the reason."""
    async with open_site(tokens=TOKENS) as site:
        assert (await site.get("/metrics")).status == 401
        limited = await site.get("/metrics", headers={"Authorization": f"Bearer {LIMITED}"})
        assert (limited.status, "projects=*" in limited.json()["detail"]) == (403, True)
        answer = await site.get("/metrics", headers={"Authorization": f"Bearer {ALL}"})
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b"\notel_bridge_clients 0.0\n" in answer.body


async def test_metrics_come_as_openmetrics_if_asked() -> None:
    """The format follows the ``Accept`` header."""
    async with open_site() as site:
        accept = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1"}
        answer = await site.get("/metrics", headers=accept)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.body.endswith(b"# EOF\n")


async def test_metrics_of_an_unknown_version_are_no_error() -> None:
    """A version in ``Accept`` that is no number is answered with the text format, not with 500."""
    async with open_site() as site:
        accept = {"Accept": "application/openmetrics-text; version=abc"}
        answer = await site.get("/metrics", headers=accept)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
