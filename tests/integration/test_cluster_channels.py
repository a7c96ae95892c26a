"""The channels of a Redis Cluster: silent by themselves, while external publishers are heard."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import TAGS
from otel_bridge.publish.transports import redis_channels
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.faults import FakeClock
from tests.support.lingering import Leading
from tests.support.redis_groups import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

CHANNELS = "nexus:events*"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(has_replicas=False) as made:
        yield made


def event(task_id: str) -> MonitoringEvent:
    return MonitoringEvent(event_type="task_started", task_id=task_id, project_id="p1")


def publishes(server: RedisServer) -> int:
    """How often PUBLISH was called at this node since ``CONFIG RESETSTAT``."""
    with server.client() as client:
        return int(client.info("commandstats").get("cmdstat_publish", {}).get("calls", 0))


def in_the_log(cluster: RedisCluster, task_id: str) -> int:
    with cluster.owner(DEFAULT_KEYS.log_stream()).client() as client:
        entries = client.xrange(DEFAULT_KEYS.log_stream())
    return sum(json.loads(fields[b"e"]).get("task_id") == task_id for _, fields in entries)


def publish_until_appended(cluster: RedisCluster, master: RedisServer, task_id: str) -> None:
    """As an external publisher does; again while no collector has a subscription yet."""
    data = event(task_id).to_json()
    with master.client() as client:

        def is_appended() -> bool:
            if not in_the_log(cluster, task_id):
                client.publish("nexus:events", data)
            return in_the_log(cluster, task_id) > 0

        wait_until(is_appended, f"{task_id} in the log")


def heard(pubsub: Any, count: int) -> list[str]:
    """The task ids of so many messages, in their order."""
    found: list[str] = []

    def got_all() -> bool:
        message = pubsub.get_message(timeout=0.05)
        if message is not None and message["type"] == "pmessage":
            found.append(json.loads(message["data"])["task_id"])
        return len(found) >= count

    wait_until(got_all, f"{count} messages")
    return found


def test_nothing_is_published_and_external_events_come_from_every_node(
    cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Publisher and leader send no PUBLISH, though a program listens, and one warning says so.

    What external publishers publish, at whichever master, is in the log once. The leader of a
    Cluster measures scripts at the node that has the log.
    """
    redis_channels._warn_of_silent_channels.cache_clear()
    settings = BridgeSettings(redis_url=cluster.url, send_timeout_ms=2000)
    masters = cluster.servers
    bus = EventBus.connect(settings)
    with AppServer(settings, stats_interval_sec=0.1) as site, masters[0].client() as client:
        pubsub = client.pubsub()
        pubsub.psubscribe(CHANNELS)
        assert pubsub.get_message(timeout=5) is not None
        for number, master in enumerate(masters):
            publish_until_appended(cluster, master, f"external-{number}")
        assert heard(pubsub, 1)[0] == "external-0"
        for server in cluster.servers:
            with server.client() as one:
                one.config_resetstat()
        bus.publish(event("ours"))
        assert bus.flush(10), bus.outage

        def is_measured() -> bool:
            return "\notel_bridge_linger_ms " in fetch(f"{site.url}/metrics").body.decode()

        wait_until(is_measured, "the leader to measure")
        assert [in_the_log(cluster, f"external-{number}") for number in range(3)] == [1, 1, 1]
        assert [publishes(server) for server in cluster.servers] == [0, 0, 0]
        pubsub.close()
    assert bus.shutdown(5)
    lines = [record for record in caplog.records if "MONITORING_CHANNELS" in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.WARNING]


def test_with_always_a_program_at_another_node_gets_all(cluster: RedisCluster) -> None:
    """The cure that the warning names: the Cluster carries each message to all its nodes."""
    settings = BridgeSettings(redis_url=cluster.url, channels="always", send_timeout_ms=2000)
    owner = cluster.owner(DEFAULT_KEYS.log_stream())
    other = next(server for server in cluster.servers if server is not owner)
    bus = EventBus.connect(settings)
    with other.client() as client, client.pubsub() as pubsub:
        pubsub.psubscribe(CHANNELS)
        assert pubsub.get_message(timeout=5) is not None
        bus.publish(event("a"))
        bus.publish(event("b"))
        assert bus.flush(10), bus.outage
        assert heard(pubsub, 4) == ["a", "a", "b", "b"]  # events and project channel
    assert bus.shutdown(5)


async def test_the_servers_of_a_cluster_share_the_load(cluster: RedisCluster) -> None:
    """The rule gets the mean of the servers that have shards; each shard gets the linger."""
    keys = [DEFAULT_KEYS.log_meta(tag) for tag in TAGS[:3]]
    owners = [cluster.owner(key) for key in keys]
    assert len({server.port for server in owners}) == 3
    async with Leading(cluster.url, FakeClock(), TAGS[:3]) as leading:
        layout = {"gen": 1, "n": 3, "epoch": "e"}
        await leading.client.hset(DEFAULT_KEYS.log_layout(), mapping=layout)
        await leading.round()
        assert await leading.round(1400, 1600) == 0  # 4,667 a second at each
        assert await leading.round(1600, 1800) == 10
        await leading.client.delete(DEFAULT_KEYS.log_layout())
    for key, server in zip(keys, owners, strict=True):
        with server.client() as client:
            assert client.hget(key, "linger_ms") == b"10"
