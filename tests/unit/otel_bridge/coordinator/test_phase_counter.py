"""The jobs of a phase are counted by the statuses that the coordinator records in Redis."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis.asyncio as redis_asyncio
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.bridge import Bridge
from otel_bridge.coordinator.observer import CommandObserver
from otel_bridge.coordinator.phase_counter import PhaseCounter
from otel_bridge.coordinator.poller import CoordinatorPoller
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_names = itertools.count()


class Seen:
    def __init__(self, bridge: Bridge, log_name: str) -> None:
        self.bridge = bridge
        self._log_name = log_name

    def counts(self) -> list[dict[str, int]]:
        """The counts published so far, repetitions left out."""
        assert self.bridge.flush(10)
        entries = reversed(memory_log(self._log_name).newest(1000, None))
        events = [json.loads(entry.data) for entry in entries]
        found = [e["counts"] for e in events if e["event_type"] == "stats_snapshot"]
        return [counts for counts, _ in itertools.groupby(found)]


@pytest.fixture
def seen(make_settings: Callable[..., BridgeSettings]) -> Iterator[Seen]:
    name = f"phase-counter-{next(_names)}"
    provider = TracerProvider(shutdown_on_exit=False)
    bridge = otel_bridge.configure(
        tracer_provider=provider, settings=make_settings(bus_url=f"memory://{name}")
    )
    yield Seen(bridge, name)
    bridge.shutdown()


@pytest.fixture
def poller(seen: Seen, own_redis: RedisServer) -> Iterator[CoordinatorPoller]:
    client: Any = redis_asyncio.Redis.from_url(own_redis.url)
    made = CoordinatorPoller(seen.bridge, client, CommandObserver(client, "q:"), 3600)
    yield made
    made.close()


def counts(completed: int, failed: int, pending: int) -> dict[str, int]:
    total = completed + failed + pending
    return {"completed": completed, "failed": failed, "pending": pending, "total": total}


def status_key(task_id: str) -> str:
    return f"job:{task_id}:status"


def test_without_a_poller_the_total_is_published(seen: Seen) -> None:
    """A coordinator whose Redis is not known still shows how many jobs a phase has."""
    with otel_bridge.phase("search") as phase:
        counter = PhaseCounter(phase, status_key, 0.01)
        counter.add_jobs(["a", "b"], None)
        counter.add_jobs(["c"], None)
        counter.close()
        assert seen.counts() == [counts(0, 0, 2), counts(0, 0, 3)]


@pytest.mark.redis
def test_ended_jobs_are_counted_at_an_interval(
    seen: Seen, poller: CoordinatorPoller, own_redis: RedisServer
) -> None:
    """Completed and failed statuses are counted; others, and unreadable ones, are pending."""
    with otel_bridge.phase("search") as phase, own_redis.client() as client:
        counter = PhaseCounter(phase, status_key, 0.01)
        counter.add_jobs("abcde", poller)
        client.set(status_key("a"), "completed")
        client.set(status_key("b"), '{"status": "error"}')
        client.set(status_key("c"), "processing")
        client.lpush(status_key("d"), "no text")
        wait_until(lambda: counts(1, 1, 3) in seen.counts(), "the first two ends")
        client.set(status_key("a"), "processing")
        client.set(status_key("c"), "done")
        wait_until(lambda: counts(2, 1, 2) in seen.counts(), "the third end")
        counter.close()


@pytest.mark.redis
def test_one_last_count_follows_the_end(
    seen: Seen, poller: CoordinatorPoller, own_redis: RedisServer
) -> None:
    """A phase that ends before the first interval is counted all the same, in chunks of 1,000."""
    ids = [f"j{number}" for number in range(2500)]
    with own_redis.client() as client:
        client.mset({status_key(task_id): "completed" for task_id in ids})
    with otel_bridge.phase("search") as phase:
        counter = PhaseCounter(phase, status_key, 3600)
        counter.add_jobs(ids, poller)
        counter.close()
    wait_until(lambda: seen.counts()[-1] == counts(2500, 0, 0), "the last count")
