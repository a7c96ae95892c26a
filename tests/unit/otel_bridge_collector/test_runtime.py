"""
One collector over a log in memory: what it appends, reads back, shows and reports as ready.

Redis, its faults and clients over HTTP: ``tests/integration/test_collector.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.runtime import Collector, log_url
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.close_codes import RESTARTING
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter

from otel_bridge.errors import PositionLostError
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.settings import BridgeSettings
from tests.support.faults import FakeClock
from tests.support.sinks import RecordingSink

_names = itertools.count()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that reads a log of its own, and publishes no statistics within the test."""
    settings = BridgeSettings(bus_url=f"memory://runtime-{next(_names)}")
    made = Collector(CollectorSettings(stats_interval_sec=3600), settings, clock=FakeClock())
    await made.start()
    yield made
    await made.stop()


async def append(collector: Collector, *names: str, project_id: str = "p") -> None:
    """Append one event for each job, and wait until the collector has read them."""
    ids = {"parent_task_id": "t", "project_id": project_id}
    await append_events(collector, *({"task_id": name, **ids} for name in names))


async def append_events(collector: Collector, *jobs: dict[str, str]) -> None:
    """Append the start of each of these jobs, and wait until the collector has read them."""
    batch = []
    for job in jobs:
        event = {"event_type": "task_started", "ts": "2026-09-21T12:00:00Z", **job}
        event["event_id"] = f"id-{job['task_id']}"
        batch.append(Outgoing(json.dumps(event).encode(), job.get("project_id")))
    result = await collector.append(f"tests-{jobs[0]['task_id']}", 1, batch)
    async with asyncio.timeout(10):
        while collector.ring.last_position != result.position:
            await collector.feed.wait_advance(1)


def job_ids(events: list[bytes]) -> list[str]:
    return [json.loads(data)["task_id"] for data in events]


@pytest.mark.parametrize(
    ("bus_url", "redis_url", "expected"),
    [
        ("", "", "memory://collector"),
        ("", "redis://a", "redis://a"),
        ("redis://b", "redis://a", "redis://b"),
        ("memory://c", "redis://a", "memory://c"),
        ("http://collector:12000", "redis://a", "redis://a"),
        ("http://collector:12000", "", "memory://collector"),
    ],
)
def test_the_log_is_redis_or_memory(bus_url: str, redis_url: str, expected: str) -> None:
    """The bus URL names the log if it is Redis or memory, else the Redis URL, else memory does."""
    assert log_url(BridgeSettings(bus_url=bus_url, redis_url=redis_url)) == expected


async def test_an_appended_batch_is_folded(collector: Collector) -> None:
    """An appended event is in the state and in the snapshot; nothing was denied in memory."""
    await append(collector, "a", "b")
    snapshot = collector.snapshots.message()
    assert snapshot.position == collector.ring.last_position
    assert [card.task_id for card in snapshot.tasks] == ["t"]
    assert [event["task_id"] for event in snapshot.events] == ["a", "b"]
    assert collector.channel_messages_refused == 0


async def test_the_snapshot_keeps_to_the_filter(collector: Collector) -> None:
    """A limited token gets no events, cards, workers or queues of other projects."""
    await append(collector, "a", project_id="p")
    await append(collector, "b", project_id="q")
    limited = collector.snapshots.message(EventFilter().limited(frozenset({"q"})))
    assert [event["task_id"] for event in limited.events] == ["b"]
    assert (limited.workers, limited.queues) == ([], [])


async def test_a_snapshot_is_made_once_for_equal_filters(collector: Collector) -> None:
    """Equal filters share one snapshot until an event comes or half a second has passed."""
    first = collector.snapshots.json(EventFilter(project_id="p"))
    assert collector.snapshots.json(EventFilter(project_id="p")) is first
    await append(collector, "a")
    second = collector.snapshots.json(EventFilter(project_id="p"))
    assert second != first
    clock: Any = collector.clock
    clock.advance(0.5)
    assert collector.snapshots.json(EventFilter(project_id="p")) is not second


async def test_recent_events_come_in_pages(collector: Collector) -> None:
    """``recent`` gives matching events newest first, and the position for the next page."""
    await append(collector, "a", "b", "c")
    await append(collector, "other", project_id="q")
    event_filter = EventFilter(project_id="p")
    found, before = await collector.resumer.recent(event_filter, limit=2, before=None)
    assert job_ids(found) == ["c", "b"]
    found, before = await collector.resumer.recent(event_filter, limit=2, before=before)
    assert (job_ids(found), before) == (["a"], None)
    with pytest.raises(PositionLostError):
        await collector.resumer.recent(ALL_EVENTS, limit=1, before="other:1")


async def test_the_projects_that_the_fold_knows_are_those_of_the_filter(
    collector: Collector,
) -> None:
    """Who asks for a project gets what knew only its trace or task, live, resumed and read back."""
    event_filter = EventFilter(project_id="p")
    live, resumed = RecordingSink(), RecordingSink()
    before = collector.ring.last_position
    collector.hub.join(ClientSession(live, event_filter))
    trace = "a" * 32
    loose = {"parent_task_id": trace, "trace_id": trace}
    await append_events(collector, {"task_id": "early", "span_id": "1" * 16, **loose})
    await append_events(
        collector,
        {"task_id": "t", "parent_task_id": "t", "trace_id": trace, "project_id": "p"},
        {"task_id": "no project", "parent_task_id": "t"},
        {"task_id": "late", "span_id": "2" * 16, **loose},
        {"task_id": "other", "parent_task_id": "u", "project_id": "q"},
    )
    own = ["early", "t", "no project", "late"]
    assert [one["task_id"] for one in live.messages()] == own[1:]
    await collector.resumer.join(ClientSession(resumed, event_filter), before)
    assert [one["task_id"] for one in resumed.messages()] == own
    found, _ = await collector.resumer.recent(event_filter, limit=9, before=None)
    assert job_ids(found) == own[::-1]
    assert [one["task_id"] for one in collector.snapshots.message(event_filter).events] == own


async def test_readiness_says_whether_the_log_is_read() -> None:
    """Before the start the collector is catching up; after it, it is ready."""
    settings = BridgeSettings(bus_url=f"memory://runtime-{next(_names)}")
    collector = Collector(CollectorSettings(), settings)
    assert (collector.readiness()["ready"], collector.readiness()["log"]) == (False, "catching up")
    await collector.start()
    found = collector.readiness()
    await collector.stop()
    assert (found["ready"], found["log"], found["clients"]) == (True, "read", 0)


async def test_stopping_closes_every_client(collector: Collector) -> None:
    """``stop`` closes the clients with 1012; it and ``start`` may be called twice."""
    sink = RecordingSink()
    collector.hub.join(ClientSession(sink, ALL_EVENTS))
    await collector.start()
    await collector.stop()
    await collector.stop()
    assert (sink.closed_with, len(collector.hub)) == (RESTARTING, 0)


async def test_research_tasks_are_listed_open_first(collector: Collector) -> None:
    """Open research tasks come first, then the newest; the limit does not change the total."""
    await append(collector, "a")
    for n, (name, kind) in enumerate(
        [("old", "task_completed"), ("new", "task_completed"), ("open", "task_started")]
    ):
        root = {"event_id": f"r-{n}", "event_type": kind, "ts": f"2026-09-21T12:00:0{n}Z"}
        root |= {"parent_task_id": name, "task_id": name, "project_id": name}
        collector.model.apply(decode_event(json.dumps(root).encode()), n)
    rows, total = collector.snapshots.research_tasks(ALL_EVENTS, 2)
    assert (len(rows), total, rows[0]["status"]) == (2, 4, "processing")
    rows, total = collector.snapshots.research_tasks(ALL_EVENTS, 10)
    assert [row["task_id"] for row in rows[-2:]] == ["new", "old"]
    limited = EventFilter(projects=frozenset({"new"}))
    assert collector.snapshots.research_tasks(limited, 10) == ([rows[-2]], 1)
    assert rows[-2] == {
        "task_id": "new",
        "title": None,
        "status": "completed",
        "project_id": "new",
    }
