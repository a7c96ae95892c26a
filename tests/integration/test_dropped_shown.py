"""What a worker had to drop in an outage is counted exactly, and shown with the worker."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.bridge import configure
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.context_managers import job, worker
from tests.support.app_server import AppServer, fetch
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.fault]


def workers_shown(site: AppServer) -> list[dict[str, Any]]:
    found = fetch(f"{site.url}/monitor/snapshot").json()["workers"]
    assert isinstance(found, list)
    return found


def test_events_dropped_in_an_outage_are_shown_with_their_worker(own_redis: RedisServer) -> None:
    """Redis hangs, the buffer overflows; afterwards a heartbeat brings the exact count."""
    settings = BridgeSettings(
        bus_url=own_redis.url,
        redis_url=own_redis.url,
        buffer_max_events=50,
        heartbeat_interval_sec=0.05,
        heartbeat_ttl_sec=30,
    )
    bridge = configure(tracer_provider=TracerProvider(), settings=settings)
    bus = bridge.bus
    assert bus is not None
    try:
        with AppServer(settings) as site, worker("w"):
            wait_until(lambda: workers_shown(site), "the worker is shown")
            assert [shown["dropped_events"] for shown in workers_shown(site)] == [0]
            own_redis.stop()
            for number in range(500):
                with job(task_id=str(number), task_type="search"):
                    pass
            own_redis.resume()

            def is_exact() -> bool:
                (shown,) = workers_shown(site)
                return bool(shown["dropped_events"] == bus.counters.dropped)

            wait_until(is_exact, "the worker's count is the bus's own")
            assert bus.counters.dropped >= 500
    finally:
        own_redis.resume()
        bridge.shutdown()
