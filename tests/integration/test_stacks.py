"""From a failure in a worker to its stack on request, over each way to a real collector."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import otel_bridge
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.raised import look_up
from tests.support.waiting import wait_until

_names = itertools.count()
WAYS = ["redis", "http", "otlp"]

pytestmark = pytest.mark.redis


@pytest.fixture
def server(redis_url: str) -> Iterator[AppServer]:
    with AppServer(BridgeSettings(bus_url=redis_url), stats_interval_sec=3600) as found:
        yield found


def fail_jobs(count: int, task: str) -> None:
    for number in range(count):
        with (
            contextlib.suppress(KeyError),
            otel_bridge.research_task(task, project_id="p"),
            otel_bridge.job(task_id=f"j{number}", task_type="fetch"),
        ):
            look_up(f"password=hunter2hunter2 {number}")


def failures(server: AppServer, task: str) -> list[dict[str, object]]:
    params = f'{{"task":"{task}"}}'.replace('"', "%22")
    found: list[dict[str, object]] = fetch(
        f"{server.url}/monitor/views/failures?params={params}"
    ).json()["rows"]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_leads_to_its_stack(server: AppServer, redis_url: str, way: str) -> None:
    """Jobs and tasks that failed at one place are one group, which names a span with its stack."""
    task = f"stacks-{way}-{next(_names)}"
    provider = TracerProvider(shutdown_on_exit=False)
    if way == "otlp":
        exporter = OTLPSpanExporter(f"{server.url}/v1/traces")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    # By OTLP alone the events of this process go where nothing reads them.
    url = {"redis": redis_url, "http": server.url}.get(way, f"memory://{task}")
    settings = BridgeSettings(bus_url=url, send_timeout_ms=10_000)
    bridge = otel_bridge.configure(tracer_provider=provider, settings=settings)
    try:
        fail_jobs(4, task)
        assert bridge.flush(10)
        assert bridge.bus is not None
        assert bridge.bus.counters.stacks_lost == 0
    finally:
        bridge.shutdown()
    wait_until(lambda: [row["count"] for row in failures(server, task)] == [8], "one group")
    (row,) = failures(server, task)
    answer = fetch(f"{server.url}/monitor/nodes/{row['stack']}")
    assert answer.status == 200
    stack = answer.json()["stack"]
    assert "look_up" in stack
    assert "raise KeyError(key)" in stack
    assert "hunter2" not in stack
