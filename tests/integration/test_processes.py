"""``serve --processes``: several on one port show what one does, also when one is stopped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import connect

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer
from tests.support.cluster_members import until
from tests.support.redis_server import RedisServer
from tests.support.resuming_viewers import fresh
from tests.support.served_processes import ServedProcesses
from tests.support.task_pages import Page, TaskLoad
from tests.support.view_client import ViewClient
from tests.support.waiting import wait_until
from tests.support.ws_clients import Listener, ResumingClient

pytestmark = [pytest.mark.redis, pytest.mark.timeout(120)]

TASKS = 60
CLIENTS = 4
PAST = 10_000
"""Events that the other process reads again; without the handing over views are partial then."""
VIEWS: list[tuple[str, dict[str, Any]]] = [
    ("tasks", {"sort": "newest", "count": 40}),
    ("tasks", {"at": {"row": 30}, "count": 10}),
    ("failures", {}),
    ("workers", {}),
    ("queues", {}),
    ("tree", {"task": "t7"}),
    ("job", {"task": "t7", "job": "t7 j1"}),
    ("search", {"text": "t1"}),
    ("events", {"count": 30}),
]
_COUNTED = ("tasks", "jobs_running", "jobs_running_by_type", "events", "workers_online", "queued")


def publish(bus: EventBus) -> int:
    """Tasks of three jobs each, of which one fails; return the number of events."""
    events: list[dict[str, Any]] = []
    for number in range(TASKS):
        task = f"t{number}"
        events.append({"event_type": "task_started", "parent_task_id": task, "task_id": task})
        for job in range(3):
            name = {"parent_task_id": task, "task_id": f"{task} j{job}", "task_type": f"kind {job}"}
            worker = {"worker_id": f"w{job}", "project_id": f"p{number % 3}"}
            events.append({"event_type": "task_enqueued", "queue": "jobs", **name})
            events.append({"event_type": "task_started", "status": "processing", **name, **worker})
        events.append({"event_type": "task_failed", "error": "ValueError: no", **name, **worker})
    for fields in events:
        bus.publish(MonitoringEvent.model_validate(fields))
    assert bus.flush(10)
    return len(events)


def settled(shown: Any) -> Any:
    """Without when a process received something: two processes do so at different times."""
    if isinstance(shown, dict):
        return {
            key: settled(value)
            for key, value in shown.items()
            if key not in ("seen", "eta_sec", "as_of")
        }
    return [settled(one) for one in shown] if isinstance(shown, (list, tuple)) else shown


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[ServedProcesses, BridgeSettings]]:
    """Two processes on a Redis of their own, which take seconds to start."""
    with RedisServer() as redis, ServedProcesses(redis.url, 2) as several:
        yield several, BridgeSettings(bus_url=redis.url, redis_url=redis.url)
        assert several.stop() == 0


@pytest.fixture
def bus(site: tuple[ServedProcesses, BridgeSettings]) -> Iterator[EventBus]:
    found = EventBus.connect(site[1])
    yield found
    found.shutdown(5)


async def test_two_processes_on_one_port_show_what_one_collector_shows(
    site: tuple[ServedProcesses, BridgeSettings], bus: EventBus
) -> None:
    """Views by HTTP and live equal those of a collector beside it, and raw events come whole."""
    several, settings = site
    with AppServer(settings) as one:
        async with (
            Listener(f"{several.ws_url}/ws/monitor") as raw,
            connect(f"{several.ws_url}/ws/views", max_size=None) as page,
        ):
            await page.send('{"op":"sub","id":1,"view":"overview"}')
            count = await asyncio.to_thread(publish, bus)
            await raw.until(lambda got: len(got.events) >= count)
            ids = [event["event_id"] for event in raw.events]
            assert len(set(ids)) == len(ids) >= count
            shown = ViewClient()
            async with asyncio.timeout(20):
                while shown.view(1).head.get("tasks") != {"processing": TASKS}:
                    shown.take(json.loads(await page.recv()))
        await asyncio.to_thread(compare, one.url, several)


def compare(url: str, several: ServedProcesses) -> None:
    """Wait until each view is the same; asked several times, as each process has to show it."""
    for view, params in VIEWS:
        for _ in range(2):
            wait_until(
                partial(is_equal, url, several.url, view, params), f"{view} {params}", 30, 0.1
            )
    one, _ = fresh(url, "overview", {})
    other, _ = fresh(several.url, "overview", {})
    assert {name: other[name] for name in _COUNTED} == {name: one[name] for name in _COUNTED}


def is_equal(url: str, other_url: str, view: str, params: dict[str, Any]) -> bool:
    return bool(settled(fresh(url, view, params)) == settled(fresh(other_url, view, params)))


async def test_a_process_that_is_stopped_hands_over_first(
    site: tuple[ServedProcesses, BridgeSettings], bus: EventBus
) -> None:
    """After SIGTERM to one of them no view is ever partial, and raw clients miss nothing."""
    several, _ = site
    load = TaskLoad(bus, per_sec=100)
    before = several.view("tasks")["head"]["total_all"]
    for number in range(PAST):
        task = f"past {number % 100}"
        fields = {"parent_task_id": task, "task_id": f"{task} {number}"}
        bus.publish(MonitoringEvent.model_validate({"event_type": "task_started", **fields}))
    assert await asyncio.to_thread(bus.flush, 20)
    clients = [
        ResumingClient([f"{several.ws_url}/ws/monitor"], snapshot="true").start()
        for _ in range(CLIENTS)
    ]
    pages = [Page(several.ws_url) for _ in range(CLIENTS)]
    running = [asyncio.create_task(page.run()) for page in pages]
    try:
        await until(lambda: all(client.is_following for client in clients), "all follow")
        load.start()
        # Right after so many events a member that is busy with them may not answer for a second.
        await until(lambda: all(page.seen and not page.seen[-1][2] for page in pages), "whole")
        seen = [len(page.seen) for page in pages]
        missing = await asyncio.to_thread(stop_one, several)
        count = await asyncio.to_thread(load.stop)
        assert await asyncio.to_thread(bus.flush, 10)
        sent = [str(number) for number in range(count)]
        await until(lambda: all(sent[-1] in client.task_ids for client in clients), "all events")
        total = before + 100 + count
        await until(lambda: all(page.seen[-1][1] == total for page in pages), "all tasks")
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(
            *running, *(client.stop() for client in clients), return_exceptions=True
        )
    for client in clients:
        assert [one for one in client.task_ids if one.isdigit()] == sent
        assert client.gaps == []
    assert missing == set()
    for page, first in zip(pages, seen, strict=True):
        assert not any(is_partial for _, _, is_partial in page.seen[first:])


def stop_one(several: ServedProcesses) -> set[int]:
    """SIGTERM to one process; return which partitions no member had ready until others have all."""
    former = several.members()
    several.children[0].terminate()
    missing: set[int] = set()

    def is_taken_over() -> bool:
        try:
            found = several.get("/readyz").json()
        except OSError:
            return False  # it closed its socket with this connection waiting
        missing.update(found["partitions_missing"])
        return not former <= set(found["folds"]) and not found["partitions_missing"]

    wait_until(is_taken_over, "the other process has all partitions", 30)
    return missing
