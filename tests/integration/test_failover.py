"""Failover under load: the log's master is killed, with Sentinels and in a Cluster."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from otel_bridge.errors import ConfigurationError
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_clients import check_url, close, connect
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.redis_groups import RedisCluster, SentinelGroup
from tests.support.redis_server import Kind, RedisServer
from tests.support.waiting import wait_until
from tests.support.ws_clients import ResumingClient

pytestmark = [
    pytest.mark.redis,
    pytest.mark.fault,
    pytest.mark.timeout(180),
]

LOST_AT_MOST = 100
"""Acknowledged by the old master, not yet sent to its replica: asynchronous replication."""


class Load:
    """Publishes numbered events, one each 2 ms, until stopped."""

    def __init__(self, url: str) -> None:
        self.bus = EventBus.connect(BridgeSettings(redis_url=url))
        self.count = 0
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._is_open.wait(0.002):
            self.publish()

    def publish(self) -> str:
        task_id = f"j{self.count}"
        fields = {"event_type": "task_started", "task_id": task_id, "status": "processing"}
        self.bus.publish(MonitoringEvent.model_validate(fields))
        self.count += 1
        return task_id

    def stop(self) -> None:
        self._is_open.set()
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.bus.shutdown(2)


# Each server and each kind of group once by default, as one takes 10 s; `make chaos` has the rest.
@pytest.fixture(
    params=[
        "sentinel",
        "valkey-cluster",
        pytest.param("cluster", marks=pytest.mark.chaos),
        pytest.param("valkey-sentinel", marks=pytest.mark.chaos),
    ]
)
def group(request: pytest.FixtureRequest) -> Iterator[SentinelGroup | RedisCluster]:
    kind: Kind = "valkey" if request.param.startswith("valkey") else "redis"
    make = SentinelGroup if request.param.endswith("sentinel") else RedisCluster
    with make(kind) as found:
        yield found
    # What was left open is told by the test that left it, not by one that comes after.
    gc.collect()


def wait_for_replica(group: SentinelGroup | RedisCluster, master: RedisServer) -> None:
    """Until a replica has what the master had a moment ago: on a busy machine it may lag."""

    def has_it() -> bool:
        with master.client() as client:
            offset = int(client.info("replication")["master_repl_offset"])
        for server in group.servers:
            with server.client() as client:
                found = client.info("replication")
            is_its = found["role"] == "slave" and int(found["master_port"]) == master.port
            if is_its and int(found["slave_repl_offset"]) >= offset:
                return True
        return False

    wait_until(has_it, "a replica to catch up")


def kill_master(group: SentinelGroup | RedisCluster) -> None:
    """SIGKILL of whoever has the log; returns when another one has it."""
    if isinstance(group, SentinelGroup):
        old = group.master()
        master = next(server for server in group.servers if server.port == old)
        wait_for_replica(group, master)
        master.kill()
        wait_until(lambda: group.master() != old, "the Sentinels to choose", timeout_sec=60)
        return
    owner = group.owner(DEFAULT_KEYS.log_stream())
    wait_for_replica(group, owner)
    owner.kill()

    def is_replaced() -> bool:
        try:
            return group.owner(DEFAULT_KEYS.log_stream()).port != owner.port
        except AssertionError:
            return False

    wait_until(is_replaced, "the Cluster to choose", timeout_sec=60)


async def test_the_log_survives_its_master(group: SentinelGroup | RedisCluster) -> None:
    """
    Publisher, collector and a WebSocket client find the new master by themselves.

    Nothing was dropped, and the client sees the events of before and after, none twice.
    """
    settings = BridgeSettings(redis_url=group.url)
    with AppServer(settings, stats_interval_sec=3600) as site, Load(group.url) as load:
        client = ResumingClient([site.ws_url]).start()
        async with asyncio.timeout(150):
            while len(client.task_ids) < 200:
                await asyncio.sleep(0.02)
            await asyncio.to_thread(kill_master, group)
            load.stop()
            last = load.publish()
            assert await asyncio.to_thread(load.bus.flush, 30)
            while last not in client.task_ids:
                await asyncio.sleep(0.05)
        await client.stop()
        fewest = load.count - LOST_AT_MOST
        assert len(client.task_ids) == len(set(client.task_ids))
        assert len(client.task_ids) >= fewest
        await asyncio.to_thread(check_log, site, load, group.url)


def check_log(site: AppServer, load: Load, url: str) -> None:
    """The log and the collector have the events, but for the few that a replica never got."""
    assert load.bus.counters.dropped == 0
    fewest = load.count - LOST_AT_MOST
    wait_until(lambda: site.collector.stats.events_in >= fewest, "the collector to catch up")
    answer = fetch(f"{site.url}/monitor/events?limit=50").json()
    assert any(event.get("task_id") == f"j{load.count - 1}" for event in answer["events"])
    client = connect(url)
    logged = client.xlen(DEFAULT_KEYS.log_stream())
    close(client)
    assert fewest <= logged <= load.count + 10
    assert fetch(f"{site.url}/readyz").status == 200


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:26379",
        "redis+sentinel:///mymaster",
        "redis+sentinel://127.0.0.1:x/mymaster",
        "redis+cluster://127.0.0.1/3",
        "redis+sentinel://127.0.0.1/mymaster/x",
    ],
)
def test_bad_urls_say_what_is_missing(url: str) -> None:
    """The error names the URL without its password, and shows a right one."""
    with pytest.raises(ConfigurationError, match="redis\\+sentinel://host,host/service"):
        check_url(url)


def test_urls_are_read_whole() -> None:
    """Hosts, service, database and credentials."""
    client: Any = connect("redis+sentinel://u:p%40@a:1,b/mymaster/3?sentinel_password=s")
    pool = client.connection_pool
    assert pool.service_name == "mymaster"
    assert pool.connection_kwargs["db"] == 3
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("u", "p@")
    assert [
        (s.get_connection_kwargs()["host"], s.get_connection_kwargs()["port"])
        for s in pool.sentinel_manager.sentinels
    ] == [("a", 1), ("b", 26379)]
