"""One collector publishes the stats; when it dies, another does."""

from __future__ import annotations

import json

import pytest

from otel_bridge.events.model import MonitoringEventType
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.app_server import AppProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.fault]


def test_the_stats_go_on_when_the_leader_is_killed(own_redis: RedisServer) -> None:
    """After SIGKILL the lease runs out, the other collector takes it, snapshots come again."""
    bridge = {"bus_url": own_redis.url, "redis_url": own_redis.url}
    with (
        own_redis.client() as client,
        AppProcess(bridge, stats_interval_sec=0.1) as first,
    ):
        wait_until(lambda: client.get(DEFAULT_KEYS.collector_leader), "the first collector leads")
        leader = client.get(DEFAULT_KEYS.collector_leader)
        assert client.pttl(DEFAULT_KEYS.collector_leader) > 0
        with AppProcess(bridge, stats_interval_sec=0.1):

            def snapshots() -> int:
                return sum(
                    json.loads(fields[b"e"])["event_type"] == MonitoringEventType.STATS_SNAPSHOT
                    for _, fields in client.xrange(DEFAULT_KEYS.log_stream())
                )

            wait_until(lambda: snapshots() > 1, "the leader publishes")
            assert client.get(DEFAULT_KEYS.collector_leader) == leader
            first.kill()
            wait_until(
                lambda: client.get(DEFAULT_KEYS.collector_leader) not in (None, leader),
                "the other collector leads",
            )
            count = snapshots()
            wait_until(lambda: snapshots() > count, "the new leader publishes")
