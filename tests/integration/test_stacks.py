"""From a failure in a worker to its stack on request, over each way to a real collector."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import get_current_span

import otel_bridge
from otel_bridge.publish.redis_keys import RedisKeys
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


def test_attributes_are_read_from_the_log(server: AppServer, redis_url: str) -> None:
    """Of any span by the place of its events in the stream; once that is trimmed it is said."""
    task = f"attributes-{next(_names)}"
    settings = BridgeSettings(bus_url=redis_url, send_timeout_ms=10_000)
    bridge = otel_bridge.configure(settings=settings)
    try:
        for number in range(150):
            with (
                otel_bridge.research_task(task, project_id="p", title=f"T{number}"),
                otel_bridge.job(task_id=f"j{number}", task_type="fetch"),
            ):
                get_current_span().set_attribute("nexus.meta.row", number)
        assert bridge.flush(10)
    finally:
        bridge.shutdown()

    def row_of(number: int) -> dict[str, Any]:
        query = f'{{"task":"{task}","job":"j{number}"}}'.replace('"', "%22")
        answer = fetch(f"{server.url}/monitor/views/job?params={query}")
        span = answer.json()["rows"][0]["span"] if answer.status == 200 else None
        found: dict[str, Any] = fetch(f"{server.url}/monitor/nodes/{span}").json()
        return found

    wait_until(lambda: row_of(149).get("attributes") == {"row": 149}, "the last job")
    for number in (0, 40, 77, 149):
        found = row_of(number)
        assert (found["log"], found["attributes"]) == ("held", {"row": number})
        assert (found["stack"], found["links"]) == (None, None)
    with redis.Redis.from_url(redis_url) as client:
        client.xtrim(RedisKeys().log_stream(), maxlen=100, approximate=False)
    assert [row_of(number)["log"] for number in (0, 149)] == ["gone", "held"]
