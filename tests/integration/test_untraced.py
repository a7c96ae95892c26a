"""Our own Redis calls are never traced, even when the application otel_metrics redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

import otel_bridge
from otel_bridge.instrumentor import CoordinatorInstrumentor
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.settings import BridgeSettings
from tests.support.plain_coordinators import StrictCoordinator, StrictTask, TaskType
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

MakeSettings = Callable[..., BridgeSettings]


def test_publishing_and_beating_make_no_spans(
    own_redis: RedisServer, make_settings: MakeSettings
) -> None:
    """With redis-py instrumented the application's call is a span; the bridge's own are not."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = make_settings(bus_url=own_redis.url, heartbeat_interval_sec=0.05)
    instrumentor = RedisInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    bridge = otel_bridge.configure(tracer_provider=provider, settings=settings)
    try:
        with own_redis.client() as client:
            with otel_bridge.worker("w1"), otel_bridge.job(task_id="j1", task_type="find"):
                client.set("mine", "1")
                wait_until(lambda: client.exists(DEFAULT_KEYS.worker_heartbeat("w1")), "a beat")
            assert bridge.flush(10)
            assert bridge.shutdown()
            assert client.xlen(DEFAULT_KEYS.log_stream()) >= 4
    finally:
        instrumentor.uninstrument()
        provider.shutdown()
    names = {span.name for span in exporter.get_finished_spans()}
    assert names == {"job find", "SET", "EXISTS", "XLEN"}
    sets = [s for s in exporter.get_finished_spans() if s.name == "SET"]
    assert len(sets) == 1


@pytest.fixture
def watched() -> Iterator[None]:
    CoordinatorInstrumentor().instrument(coordinator_class=StrictCoordinator)
    yield
    CoordinatorInstrumentor().uninstrument()


async def test_watching_a_coordinator_makes_no_spans_of_commands(
    own_redis: RedisServer, make_settings: MakeSettings, watched: None
) -> None:
    """Its own commands are spans; groups, depths and the look-up of its project are not."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = RedisInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    settings = make_settings(bus_url=own_redis.url, redis_url=own_redis.url)
    bridge = otel_bridge.configure(tracer_provider=provider, settings=settings)
    client = Redis.from_url(own_redis.url)

    async def handler(payload: dict[str, Any]) -> None: ...

    try:
        coordinator = StrictCoordinator(client, handler)
        one = StrictTask(id="j1", type=TaskType.SEARCH, payload={}, parent_task_id="t1")
        await coordinator.submit_tasks([one])
        await coordinator._process_task(one, 0)
        with own_redis.client() as looking:
            await asyncio.to_thread(
                wait_until,
                lambda: looking.exists(DEFAULT_KEYS.task_group("t1")),
                "the group",
            )
        assert bridge.shutdown()
    finally:
        instrumentor.uninstrument()
        provider.shutdown()
        await client.aclose()
    names = [span.name for span in exporter.get_finished_spans() if " " not in span.name]
    assert sorted(set(names) - {"EXISTS"}) == ["LPUSH", "SET"]
