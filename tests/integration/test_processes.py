"""``serve --processes``: several processes on one port show what a single collector shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import connect

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer
from tests.support.resuming_viewers import fresh
from tests.support.served_processes import ServedProcesses
from tests.support.view_client import ViewClient
from tests.support.waiting import wait_until
from tests.support.ws_clients import Listener

pytestmark = [pytest.mark.redis, pytest.mark.timeout(120)]

TASKS = 60
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


async def test_two_processes_on_one_port_show_what_one_collector_shows(
    redis_url: str, make_settings: Callable[..., BridgeSettings]
) -> None:
    """Views by HTTP and live equal those of a collector beside it, and raw events come whole."""
    settings = make_settings(bus_url=redis_url, redis_url=redis_url)
    bus = EventBus.connect(settings)
    try:
        with AppServer(settings) as one, ServedProcesses(redis_url, 2) as several:
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
            assert several.stop() == 0
    finally:
        bus.shutdown(5)


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
