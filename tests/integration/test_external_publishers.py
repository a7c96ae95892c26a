"""
Events that come over the channel alone are in the log once and on every collector.

An external publisher publishes to ``nexus:events`` and knows nothing of the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from otel_bridge.errors import FencedError
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppProcess, AppServer, fetch
from tests.support.faults import TcpProxy
from tests.support.redis_server import Kind, RedisServer
from tests.support.waiting import wait_until
from tests.support.ws_clients import ResumingClient

pytestmark = [pytest.mark.redis, pytest.mark.fault]

CHANNEL = "nexus:events"


class Publisher:
    """An external publisher: PUBLISH, and nothing else."""

    def __init__(self, server: RedisServer) -> None:
        self.client: Any = server.client()  # redis-py's replies have no usable types
        self.task_ids: list[str] = []

    def wait_for_collectors(self, count: int) -> None:
        """Wait until this many collectors would receive a message."""
        wait_until(lambda: self.client.publish(CHANNEL, b"") >= count, "the subscriptions")

    def publish(self, *task_ids: str, **fields: Any) -> None:
        for task_id in task_ids:
            self.task_ids.append(task_id)
            event = {"event_type": "task_started", "task_id": task_id, **fields}
            self.client.publish(CHANNEL, json.dumps(event))

    def in_log(self) -> list[str]:
        """The task ids of the log, in its order; the collectors' statistics have none."""
        rows = self.client.xrange(DEFAULT_KEYS.log_stream())
        events = [json.loads(fields[b"e"]) for _, fields in rows]
        return [event["task_id"] for event in events if "task_id" in event]

    def wait_for_log(self, timeout_sec: float = 30) -> None:
        """Wait until the log has all, then check that it has each once."""
        wait_until(lambda: len(self.in_log()) >= len(self.task_ids), "the log", timeout_sec)
        assert Counter(self.in_log()) == Counter(self.task_ids)


@pytest.fixture
def publisher(own_redis: RedisServer) -> Iterator[Publisher]:
    made = Publisher(own_redis)
    yield made
    made.client.close()


def recent(url: str) -> list[dict[str, Any]]:
    """What a collector shows: its newest events without the statistics."""
    events = fetch(f"{url}/monitor/snapshot").json()["events"]
    return [event for event in events if event["event_type"] != "stats_snapshot"]


def shows(site: AppServer, count: int) -> bool:
    return len(recent(site.url)) == count


def holds(site: AppServer, count: int) -> bool:
    return len(site.collector.feed.external) == count


def lists(app: AppProcess, count: int) -> bool:
    answer = fetch(f"{app.url}/monitor/events?limit=1000&types=task_started").json()
    return len(answer["events"]) == count


def metrics_have(app: AppProcess, text: str) -> bool:
    return text in fetch(f"{app.url}/metrics").body.decode()


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_every_collector_folds_an_external_event_from_the_log(
    own_redis: RedisServer, publisher: Publisher
) -> None:
    """The log has it once, under one id and position for all; subscribers get it once, as sent."""
    count = 3
    settings = BridgeSettings(redis_url=own_redis.url)
    with contextlib.ExitStack() as stack:
        sites = [stack.enter_context(AppServer(settings)) for _ in range(count)]
        publisher.wait_for_collectors(count)
        subscriber = stack.enter_context(publisher.client.pubsub())
        subscriber.subscribe(CHANNEL)
        assert subscriber.get_message(timeout=5) is not None
        publisher.publish("without id", "equal", "equal", "equal")
        publisher.publish("with id", event_id=str(uuid.uuid4()), ts="2026-11-28T12:00:00Z")
        publisher.wait_for_log()
        for site in sites:
            wait_until(partial(shows, site, 5), "the events")
            wait_until(partial(holds, site, 0), "nothing held")
        shown = [recent(site.url) for site in sites]
        assert all(events == shown[0] for events in shown)
        assert len({event["position"] for event in shown[0]}) == 5
        assert len({event["event_id"] for event in shown[0]}) == 5
        appended = [site.collector.feed.external.appended for site in sites]
        assert sorted(appended) == [0] * (count - 1) + [5]
        assert [site.collector.feed.external.lost for site in sites] == [{}] * count
        heard = [subscriber.get_message(timeout=5) for _ in range(5)]
        assert all(message and b"position" not in message["data"] for message in heard)
        while (message := subscriber.get_message(timeout=0.1)) is not None:
            assert b"stats_snapshot" in message["data"]
        # A collector that starts later has them as well: they are in the log.
        later = stack.enter_context(AppServer(settings))
        assert recent(later.url) == shown[0]


def test_a_killed_leader_loses_and_doubles_nothing(
    own_redis: RedisServer, publisher: Publisher
) -> None:
    """SIGKILL under a flood: what it had not appended yet, the next of two leaders appends."""
    count = 3
    bridge = {"redis_url": own_redis.url}
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(AppProcess(bridge))
        wait_until(lambda: publisher.client.get(DEFAULT_KEYS.collector_leader), "the first leads")
        others = [stack.enter_context(AppProcess(bridge)) for _ in range(count - 1)]
        publisher.wait_for_collectors(count)
        publisher.publish(*names("before", 300))
        publisher.publish(*(["same"] * 100))
        first.kill()
        publisher.publish(*names("meanwhile", 200), *(["same"] * 50))
        publisher.wait_for_log()
        publisher.publish(*names("after", 50))
        publisher.wait_for_log()
        expected = len(publisher.task_ids)
        for other in others:
            wait_until(partial(lists, other, expected), "all events on the others")


def test_a_leader_that_was_stopped_appends_nothing_twice(
    own_redis: RedisServer, publisher: Publisher
) -> None:
    """Stopped and resumed after another took over, it still believes that it leads: refused."""
    bridge = {"redis_url": own_redis.url}
    with AppProcess(bridge) as first:
        leader = DEFAULT_KEYS.collector_leader
        wait_until(lambda: publisher.client.get(leader), "the first leads")
        with AppProcess(bridge) as second:
            publisher.wait_for_collectors(2)
            publisher.publish(*names("before", 50))
            publisher.wait_for_log()
            os.kill(first.pid, signal.SIGSTOP)
            publisher.publish(*names("meanwhile", 100), *(["same"] * 20))
            publisher.wait_for_log()
            os.kill(first.pid, signal.SIGCONT)
            publisher.publish(*names("after", 50), *(["same"] * 20))
            publisher.wait_for_log()
            held = "otel_bridge_external_events_held 0"
            for app in (first, second):
                wait_until(partial(metrics_have, app, held), "nothing held")
                assert not metrics_have(app, "external_events_lost_total{")
            publisher.wait_for_log()


def test_without_a_leader_events_wait(own_redis: RedisServer, publisher: Publisher) -> None:
    """While nothing leads, nothing is appended and nothing lost; the next leader appends all."""
    settings = BridgeSettings(redis_url=own_redis.url)
    publisher.client.set(DEFAULT_KEYS.collector_leader, "of no collector")
    with AppServer(settings) as one, AppServer(settings) as two:
        publisher.wait_for_collectors(2)
        publisher.publish(*names("n", 20))
        for site in (one, two):
            wait_until(partial(holds, site, 20), "20 held")
            assert recent(site.url) == []
        assert publisher.in_log() == []
        publisher.client.delete(DEFAULT_KEYS.collector_leader)
        publisher.wait_for_log()
        assert publisher.in_log() == names("n", 20)
        for site in (one, two):
            wait_until(partial(holds, site, 0), "nothing held")
            assert site.collector.feed.external.lost == {}


def test_a_leader_without_answers_appends_each_event_once(
    own_redis: RedisServer, publisher: Publisher
) -> None:
    """Appends whose answers are lost are not repeated: the log is read first."""
    with TcpProxy(own_redis.port) as proxy:
        settings = BridgeSettings(redis_url=f"redis://127.0.0.1:{proxy.port}")
        with AppServer(settings) as site:
            wait_until(lambda: site.collector.leader.is_leader, "a leader")
            publisher.wait_for_collectors(1)
            publisher.publish(*names("before", 10))
            publisher.wait_for_log()
            for number in range(3):
                publisher.publish(*names(f"round {number} ", 40), "same", "same")
                proxy.swallow_answers()
                publisher.publish(*names(f"silent {number} ", 1))
                wait_until(lambda: not site.collector.feed.is_live, "the outage")
                proxy.heal()
                wait_until(lambda: site.collector.feed.is_live, "the log again")
                publisher.wait_for_collectors(1)
            held = site.collector.feed.external
            wait_until(lambda: not len(held), "nothing held")
        # What was published while there was no subscription, never arrived; the rest is there.
        found = Counter(publisher.in_log())
        assert set(found) <= set(publisher.task_ids)
        assert found - Counter(publisher.task_ids) == Counter()
        assert held.lost == {}


async def test_a_client_resumes_across_external_events(
    own_redis: RedisServer, publisher: Publisher
) -> None:
    """Clients that hop between collectors get events of both kinds once each, in one order."""
    settings = BridgeSettings(redis_url=own_redis.url)
    bus = EventBus.connect(settings)
    with AppServer(settings) as one, AppServer(settings) as two:
        await asyncio.to_thread(publisher.wait_for_collectors, 2)
        turns = ([one.ws_url, two.ws_url], [two.ws_url, one.ws_url])
        clients = [ResumingClient(urls, batch_ms=20).start() for urls in turns]
        await until(lambda: all(client.is_following for client in clients), "both clients")
        publisher.publish("first")
        await until(lambda: all(client.positions for client in clients), "a first position")
        for number in range(10):
            publisher.publish(*names(f"raw {number} ", 10))
            for name in names(f"own {number} ", 10):
                publisher.task_ids.append(name)
                bus.publish(MonitoringEvent(event_type="task_started", task_id=name))
            hops = [client.connects for client in clients]
            for site in (one, two):
                await asyncio.to_thread(site.call, partial(_close_clients, site))
            await until(partial(have_hopped, clients, hops), "both to hop")
        await asyncio.to_thread(publisher.wait_for_log)
        expected = publisher.in_log()
        await until(
            lambda: all(len(client.task_ids) >= len(expected) for client in clients), "all events"
        )
        for client in clients:
            await client.stop()
        assert [client.task_ids for client in clients] == [expected, expected]
        assert [client.gaps for client in clients] == [[], []]
    bus.shutdown(2)


def have_hopped(clients: list[ResumingClient], before: list[int]) -> bool:
    return all(client.connects > count for client, count in zip(clients, before, strict=True))


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what)


async def _close_clients(site: AppServer) -> None:
    site.collector.hub.close_all()


@pytest.mark.parametrize("kind", ["redis", "oldest", "valkey"])
def test_an_older_fencing_token_is_refused(kind: Kind) -> None:
    """Only the newest token appends, also to an empty log; an own batch needs none."""
    with RedisServer(kind=kind) as server:
        settings = BridgeSettings(redis_url=server.url, send_timeout_ms=10_000)
        sender = RedisSender(server.url, settings)
        event = Outgoing(b'{"event_type":"task_started"}', "p1", is_stats=True)
        assert sender.fence("first") == "0:0-0"
        with server.client() as client, client.pubsub() as pubsub:
            pubsub.psubscribe("*")
            assert pubsub.get_message(timeout=5) is not None
            appended = sender.send_external("first", 1, [event, event])
            assert (appended.skipped, appended.refused) == (0, 0)
            assert sender.fence("second") == appended.position
            with pytest.raises(FencedError):
                sender.send_external("first", 3, [event])
            assert sender.send_external("second", 1, [event]).skipped == 0
            assert client.xlen(DEFAULT_KEYS.log_stream()) == 3
            assert pubsub.get_message(timeout=0.1) is None
            assert sender.send("worker", 1, [event]).skipped == 0
            assert pubsub.get_message(timeout=5) is not None
        sender.close()


def test_an_external_event_waits_for_a_full_redis(
    own_redis: RedisServer, publisher: Publisher
) -> None:
    """A Redis that is out of memory refuses the append; the event waits until there is room."""
    with AppServer(BridgeSettings(redis_url=own_redis.url)) as site:
        wait_until(lambda: site.collector.leader.is_leader, "a leader")
        publisher.wait_for_collectors(1)
        publisher.client.config_set("maxmemory", "1")
        publisher.publish("a")
        wait_until(partial(holds, site, 1), "the message")
        assert publisher.in_log() == []
        publisher.client.config_set("maxmemory", "0")
        publisher.wait_for_log()
        wait_until(partial(holds, site, 0), "nothing held")
        assert site.collector.feed.external.lost == {}
