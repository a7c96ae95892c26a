"""What coordinators in the wild do, on a real Redis, folded by the collector's real model."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio as redis_asyncio
from opentelemetry.sdk.trace import TracerProvider
from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.model.events import Event, microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.cards import task_cards
from otel_bridge_collector.model.snapshot.panels import failure_groups
from otel_bridge_collector.wire.messages import TaskCard

import otel_bridge
from otel_bridge.bridge import Bridge, configure
from otel_bridge.instrumentor import CoordinatorInstrumentor
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.coordinator import eventually
from tests.support.plain_coordinators import (
    PublishingCoordinator,
    PublishingOrchestrator,
    RecordOrchestrator,
    Research,
    StrictCoordinator,
    StrictTask,
    SwallowingCoordinator,
    TaskType,
)
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def bridge(own_redis: RedisServer) -> Iterator[Bridge]:
    made = configure(
        tracer_provider=TracerProvider(), bus_url=own_redis.url, redis_url=own_redis.url
    )
    yield made
    made.shutdown()


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[redis_asyncio.Redis]:
    made = redis_asyncio.Redis.from_url(own_redis.url)
    yield made
    await made.aclose()


@pytest.fixture
def instrument() -> Iterator[Callable[..., None]]:
    instrumentor = CoordinatorInstrumentor()
    yield instrumentor.instrument
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def published(server: RedisServer) -> list[Event]:
    with server.client() as looking:
        return [
            decode_event(fields[b"e"]) for _, fields in looking.xrange(DEFAULT_KEYS.log_stream())
        ]


def meta_of(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(event.meta)) if event.meta else {}
    return found


def folded(events: Sequence[Event], after_sec: float = 1) -> Fold:
    """A model of these events, judged some time after the last one."""
    model = Fold(None)
    for event in events:
        model.apply(event, microseconds(event.ts))
    model.sweep(max(microseconds(event.ts) for event in events) + int(after_sec * 1e6))
    return model


def task(name: str, parent: str | None = "parent", **payload: Any) -> StrictTask:
    return StrictTask(id=name, type=TaskType.SEARCH, payload=payload, parent_task_id=parent)


async def handler(payload: dict[str, Any]) -> int:
    if payload.get("fails"):
        raise LookupError("no page")
    return 1


async def ended(coordinator: StrictCoordinator, names: Sequence[str]) -> None:
    """Let two workers run until these jobs have a last status."""
    working = asyncio.ensure_future(coordinator.run(2))
    keys = [f"nexus:task:{name}:status" for name in names]

    async def all_ended() -> bool:
        found = await coordinator.redis_client.mget(keys)
        return all(status in (b"completed", b"failed") for status in found)

    await eventually(all_ended, "the jobs have ended")
    coordinator.running = False
    await working


def of(card: TaskCard) -> tuple[Any, ...]:
    """What a card shows of the work; its bars apart."""
    phases = [(row.name, row.completed, row.failed, row.pending) for row in card.phases]
    return (card.status, card.completed, card.failed, card.pending, card.retries, phases)


async def test_raw_events_of_its_own_are_not_counted_a_second_time(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """A coordinator that also publishes by itself has each job, phase and failure once."""
    instrument(
        coordinator_class=PublishingCoordinator,
        orchestrator_class=PublishingOrchestrator,
        phases={"run_search": "search", "run_extraction": "extraction"},
    )
    calls: dict[int, int] = {}

    async def flaky(payload: dict[str, Any]) -> int:
        number = int(payload["n"])
        calls[number] = calls.get(number, 0) + 1
        if calls[number] <= (0, 1, 3)[number]:
            raise LookupError("no page")
        return number

    coordinator = PublishingCoordinator(client, flaky)
    working = asyncio.ensure_future(coordinator.run(2))
    await PublishingOrchestrator(coordinator).handle(Research(id="r1", title="S", project_id="p"))
    coordinator.running = False
    await working
    assert bridge.flush(10)
    ours = published(own_redis)
    theirs = [decode_event(data.encode()) for data in coordinator.published]
    (alone,) = task_cards(folded(ours))
    assert of(alone)[:5] == ("completed", 5, 1, 0, 3)
    orders = [ours + theirs, theirs + ours, sorted(ours + theirs, key=lambda event: event.ts)]
    orders += [random.Random(seed).sample(orders[0], len(orders[0])) for seed in range(5)]
    for order in orders:
        model = folded(order)
        (card,) = task_cards(model)
        assert of(card) == of(alone)
        assert [group.count for group in failure_groups(model)] == [1]
        workers = model.workers.by_id.values()
        assert sum(worker.completed for worker in workers) == 5


async def test_redis_dead_while_a_coordinator_submits_leaves_no_ghost(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """What Redis did not take has failed, also if the error was swallowed; the others run."""
    instrument(coordinator_class=SwallowingCoordinator)
    coordinator = SwallowingCoordinator(client, handler)
    with otel_bridge.research_task("parent"):
        assert await coordinator.submit_tasks([task("before")]) == ["before"]
        own_redis.kill()
        assert await coordinator.submit_tasks([task("lost1"), task("lost2")]) == []
        own_redis.start()
        assert await coordinator.submit_tasks([task("after")]) == ["after"]
        await ended(coordinator, ["before", "after"])
    assert bridge.flush(10)
    model = folded(published(own_redis))
    (card,) = task_cards(model)
    assert of(card)[:4] == ("completed", 2, 2, 0)
    errors = {event.error for event in published(own_redis) if event.event_type == "task_failed"}
    assert all("ConnectionError" in (error or "") for error in errors)


async def test_a_last_failure_that_was_swallowed_has_failed(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """The exception that the method caught is the error, though no status says so."""
    instrument(coordinator_class=SwallowingCoordinator)
    coordinator = SwallowingCoordinator(client, handler)
    await coordinator._process_task(task("bad", fails=True), 0)
    await coordinator._process_task(task("good"), 0)
    assert bridge.flush(10)
    ends = {
        event.task_id: (event.event_type, event.error)
        for event in published(own_redis)
        if event.event_type in ("task_completed", "task_failed")
    }
    assert ends == {
        "bad": ("task_failed", "LookupError: no page"),
        "good": ("task_completed", None),
    }


@dataclasses.dataclass
class Config:
    """What an application passes beside the id."""

    title: str
    project_id: str
    type: str = "data_aggregation"


@pytest.mark.parametrize(
    "config",
    [
        {"title": "Schools", "project_id": "p1", "type": "data_aggregation"},
        Config("Schools", "p1"),
        Research(id="other", title="Schools", project_id="p1"),
    ],
    ids=["dict", "dataclass", "pydantic"],
)
@pytest.mark.parametrize("has_root", [True, False])
async def test_all_that_a_record_beside_the_id_says_is_there_at_once(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
    config: Any,
    has_root: bool,
) -> None:
    """Root, phase and jobs carry the project from their first event on."""
    run = {"run_method": "run"} if has_root else {"phases": {"run": "all"}}
    instrument(
        coordinator_class=StrictCoordinator,
        orchestrator_class=RecordOrchestrator,
        **{"phases": {"search": "search"}, **run},
    )
    assert await RecordOrchestrator(StrictCoordinator(client, handler)).run("t1", config) == 1
    assert bridge.flush(10)
    events = [event for event in published(own_redis) if event.parent_task_id == "t1"]
    assert {event.project_id for event in events} == {"p1"}
    kinds = {event.event_type for event in events}
    assert kinds >= ({"task_started", "task_enqueued"} if has_root else {"phase_started"})
    if has_root:
        (card,) = task_cards(folded(events))
        assert (card.title, card.task_type) == ("Schools", "data_aggregation")


class InlineOrchestrator(RecordOrchestrator):
    """One method runs all phases."""

    async def run(self, task_id: str, config: Any) -> int:
        for name in ("find", "read"):
            with otel_bridge.phase(name, total=1):
                await self.search(f"{task_id}")
        return 2


async def test_inline_phases_are_named_by_a_block_or_by_a_table(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """``phase()`` works inside a wrapped method; ``task_phases`` names the phase of each type."""
    instrument(
        coordinator_class=StrictCoordinator,
        orchestrator_class=InlineOrchestrator,
        run_method="run",
    )
    coordinator = StrictCoordinator(client, handler)
    await InlineOrchestrator(coordinator).run("t1", {"title": "T"})
    CoordinatorInstrumentor().uninstrument()
    instrument(
        coordinator_class=StrictCoordinator,
        task_phases={"data_aggregation_search": "search"},
    )
    await coordinator.submit_tasks([task("t2:1", "t2")])
    await ended(coordinator, ["t2:1"])
    assert bridge.flush(10)
    events = published(own_redis)
    enqueued = [e for e in events if e.event_type == "task_enqueued"]
    assert [(e.parent_task_id, e.phase) for e in enqueued] == [
        ("t1", "find"),
        ("t1", "read"),
        ("t2", "search"),
    ]
    cards = {card.task_id: card for card in task_cards(folded(events))}
    assert [row.name for row in cards["t1"].phases] == ["find", "read"]
    assert [(row.name, row.completed) for row in cards["t2"].phases] == [("search", 1)]


async def test_queues_are_known_at_once(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """The first depth, the queue of each job and the queues of each worker do not wait for 5 s."""
    instrument(coordinator_class=StrictCoordinator, depth_interval_sec=3600)
    coordinator = StrictCoordinator(client, handler)
    await coordinator.submit_tasks([task("j1"), task("j2")])

    def depths() -> list[Any]:
        assert bridge.flush(10)
        return [e.counts for e in published(own_redis) if e.event_type == "queue_depth_update"]

    wait_until(depths, "a depth")
    assert depths() == [{"nexus:tasks:normal_priority": 2}]
    await ended(coordinator, ["j1", "j2"])
    assert bridge.flush(10)
    events = published(own_redis)
    of_jobs = [e for e in events if e.event_type in ("task_enqueued", "task_started")]
    assert {e.queue for e in of_jobs} == {"nexus:tasks:normal_priority"}
    served = [meta_of(e)["queues"] for e in events if "queues" in meta_of(e)]
    assert served[-1] == ["nexus:tasks:high_priority", "nexus:tasks:normal_priority"]


WORKER = """
import asyncio, sys
from redis.asyncio import Redis
import otel_bridge
from otel_bridge.instrumentor import CoordinatorInstrumentor
from tests.support.plain_coordinators import StrictCoordinator

bridge = otel_bridge.configure(bus_url=sys.argv[1], redis_url=sys.argv[1])
CoordinatorInstrumentor().instrument(coordinator_class=StrictCoordinator)

async def handler(payload):
    await asyncio.sleep(3600)

asyncio.run(StrictCoordinator(Redis.from_url(sys.argv[1]), handler).run(1))
"""


async def test_workers_of_two_processes_that_number_alike_are_told_apart(
    own_redis: RedisServer, bridge: Bridge, client: redis_asyncio.Redis
) -> None:
    """Both have a worker 0; the job of the one that is killed does not live on by the other's."""
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, own_redis.url], env={**os.environ})
        for _ in range(2)
    ]
    try:
        await StrictCoordinator(client, handler).submit_tasks([task("j1"), task("j2")])

        def started() -> list[Event]:
            return [e for e in published(own_redis) if e.event_type == "task_started"]

        await asyncio.to_thread(lambda: wait_until(lambda: len(started()) == 2, "both jobs run"))
        of_worker = [e for e in published(own_redis) if e.event_type == "worker_started"]
        assert {e.worker_id for e in of_worker} == {0}
        dead, living = started()
        pid_of = {e.incarnation: meta_of(e)["pid"] for e in of_worker}
        os.kill(int(pid_of[dead.incarnation]), signal.SIGKILL)
        events = published(own_redis)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    beat = json.loads(
        json.dumps(
            {
                "event_id": "later",
                "event_type": "worker_heartbeat",
                "ts": (events[-1].ts + timedelta(seconds=60)).isoformat(),
                "worker_id": 0,
                "incarnation": living.incarnation,
            }
        )
    )
    model = folded([*events, decode_event(json.dumps(beat).encode())])
    (card,) = task_cards(model)
    statuses = {bar.task_id: bar.status for bar in card.spans if bar.task_id in ("j1", "j2")}
    assert statuses == {dead.task_id: "stalled", living.task_id: "processing"}
