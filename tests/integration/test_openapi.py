"""schemathesis over the collector's own OpenAPI document: no request makes it answer 5xx."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer

_names = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[AppServer]:
    """One collector for all requests."""
    bridge = BridgeSettings(bus_url=f"memory://openapi-{next(_names)}")
    with AppServer(bridge, stats_interval_sec=3600) as found:
        yield found


def test_no_request_is_too_strange(server: AppServer) -> None:
    """Every documented operation, with what fits the schema and what does not."""
    document = schemathesis.openapi.from_dict(server.app.openapi())
    tried: set[str] = set()
    for found in document.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]

        @given(case=operation.as_strategy())
        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        def ask(case: Any) -> None:
            status = case.call(base_url=server.url).status_code
            # 503: not ready, or no coordinator; the answer says so.
            assert status < 500 or status == 503
            tried.add(case.path)

        ask()
    assert len(tried) >= 13


def test_the_document_has_every_route(server: AppServer) -> None:
    """What is tested above is all there is, but for the stream and the page's own files."""
    paths = set(server.app.openapi()["paths"])
    expected = {
        *("/monitor/snapshot", "/monitor/events", "/monitor/config", "/tasks", "/tasks/{task_id}"),
        *("/monitor/nodes/{span_id}", "/v1/stacks", "/v1/lines"),
        *("/v1/events", "/v1/traces", "/v1/logs", "/v1/metrics", "/session", "/session/ticket"),
        *("/healthz", "/readyz", "/metrics"),
    }
    assert expected <= paths
