"""Fan-out, gaps and slow clients; the test moves the clock and reads the sinks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.ring import Entry, ReplayRing
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.close_codes import RESTARTING, SLOW_CLIENT
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter

from tests.support.faults import FakeClock
from tests.support.sinks import RecordingSink

LIMIT = 1000


class Stage:
    """A hub, its ring and clock, and sessions by name."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ring = ReplayRing("e:0", 1000)
        self.hub = Hub(
            self.ring,
            limit_bytes=LIMIT,
            timeout_sec=8,
            make_snapshot=self._snapshot,
            clock=self.clock,
        )
        self._count = 0

    def _snapshot(self, event_filter: EventFilter) -> bytes:
        return json.dumps({"type": "snapshot", "position": self.ring.last_position}).encode()

    def connect(
        self, event_filter: EventFilter = ALL_EVENTS, after: int | None = None, **options: Any
    ) -> tuple[ClientSession, RecordingSink]:
        sink = RecordingSink()
        session = ClientSession(sink, event_filter, **options)
        self.hub.join(session, after)
        return session, sink

    def publish(self, count: int = 1, size: int = 0, **ids: Any) -> None:
        entries = []
        for _ in range(count):
            self._count += 1
            event = {"n": self._count, "pad": "x" * size}
            entry = Entry(f"e:{self._count}", json.dumps(event).encode(), "task_started", **ids)
            self.ring.append(entry)
            entries.append(entry)
        self.hub.broadcast(entries)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def numbers(sink: RecordingSink) -> list[Any]:
    return [message.get("n", message.get("type")) for message in sink.messages()]


def test_a_batch_is_one_write_of_the_same_bytes(stage: Stage) -> None:
    """Sessions with equal filters get the same bytes object, with one message per event."""
    _, one = stage.connect()
    _, other = stage.connect()
    stage.publish(8)
    assert numbers(one) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(one.writes) == 1
    assert one.writes[0] is other.writes[0]
    assert stage.hub.counters.events_out == 16


def test_each_session_gets_what_passes_its_filter(stage: Stage) -> None:
    """Sessions with a project, a task or no filter get the events that pass it, in order."""
    sinks = {
        name: stage.connect(event_filter)[1]
        for name, event_filter in {
            "all": ALL_EVENTS,
            "p": EventFilter(project_id="p"),
            "q": EventFilter(project_id="q"),
            "t": EventFilter(task_id="t"),
        }.items()
    }
    stage.publish(project_id="p", parent_task_id="t")
    stage.publish(project_id="q", parent_task_id="u")
    stage.publish()
    stage.publish(parent_task_id="t")
    found = {name: numbers(sink) for name, sink in sinks.items()}
    assert found == {"all": [1, 2, 3, 4], "p": [1, 3], "q": [2, 3], "t": [1, 4]}
    assert stage.hub.group_count == 4


def test_joining_after_an_index_leaves_no_hole(stage: Stage) -> None:
    """A session joining with a ring index gets what followed it, then what is live."""
    stage.publish(5)
    _, sink = stage.connect(after=2)
    stage.publish(2)
    assert numbers(sink) == [3, 4, 5, 6, 7]


async def test_batches_are_arrays_without_duplicates(stage: Stage) -> None:
    """With batch_ms messages are arrays; a session that joins between two gets no event twice."""
    _, early = stage.connect(batch_ms=20)
    stage.publish(2)
    _, late = stage.connect(batch_ms=20, after=1)
    stage.publish(1)
    async with asyncio.timeout(5):
        while len(late.writes) < 2:
            await asyncio.sleep(0.001)
    assert [event["n"] for array in early.messages() for event in array] == [1, 2, 3]
    assert [event["n"] for array in late.messages() for event in array] == [2, 3]


def test_slow_session_loses_its_own_events_only(stage: Stage) -> None:
    """A session over its limit gets one gap with its number of lost events; others lose none."""
    _, slow = stage.connect()
    _, good = stage.connect()
    slow.is_stopped = True
    stage.publish(3, size=600)
    stage.publish(3, size=600)
    stage.publish(2)
    assert numbers(good) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert numbers(slow) == [1, 2, 3]
    slow.is_stopped = False
    slow.drain()
    stage.hub.sweep()
    stage.publish(1)
    assert numbers(slow) == [1, 2, 3, "gap", 9]
    gap = slow.messages()[3]
    assert (gap["reason"], gap["dropped"], gap["position"]) == ("slow", 5, "e:8")
    assert stage.hub.counters.dropped_slow == 5


def test_a_snapshot_follows_a_gap_if_asked_for(stage: Stage) -> None:
    """After a gap a client that asked for snapshots gets one; another only goes on."""
    _, subscriber = stage.connect(has_extras=True, wants_snapshot=True)
    _, plain = stage.connect()
    stage.hub.send_gap_to_all("epoch")
    assert numbers(subscriber) == ["gap", "snapshot"]
    assert numbers(plain) == ["gap"]


def test_session_that_stays_over_is_closed(stage: Stage) -> None:
    """A session that stays over its byte limit past the time limit is closed as slow."""
    session, sink = stage.connect()
    sink.is_stopped = True
    stage.publish(2, size=1000)
    stage.publish(1)
    for _ in range(17):
        stage.clock.advance(0.5)
        sink.drain(10)
        stage.hub.sweep()
    assert sink.closed_with == SLOW_CLIENT
    assert (session.is_closed, len(stage.hub), stage.hub.counters.slow_closed) == (True, 0, 1)


def test_session_that_takes_nothing_is_closed_under_the_limit(stage: Stage) -> None:
    """A client that reads nothing is closed after the time limit, however little is waiting."""
    _, sink = stage.connect()
    sink.is_stopped = True
    stage.publish(1)
    stage.hub.sweep()
    stage.clock.advance(7.9)
    stage.hub.sweep()
    assert None is sink.closed_with
    stage.clock.advance(0.2)
    stage.hub.sweep()
    assert sink.closed_with == SLOW_CLIENT


def test_slow_but_steady_client_is_kept(stage: Stage) -> None:
    """A client that reads something every few seconds and stays under its limit is kept."""
    _, sink = stage.connect()
    sink.is_stopped = True
    for _ in range(20):
        stage.publish(1, size=100)
        stage.clock.advance(4)
        sink.drain(100)
        stage.hub.sweep()
    assert None is sink.closed_with


def test_a_big_snapshot_does_not_make_a_client_slow(stage: Stage) -> None:
    """Events after a snapshot larger than the limit are not dropped while it is on its way."""
    sink = RecordingSink()
    session = ClientSession(sink, ALL_EVENTS, has_extras=True, wants_snapshot=True)
    snapshot = b'{"type":"snapshot","pad":"' + b"x" * 5000 + b'"}'
    stage.hub._make_snapshot = lambda event_filter: snapshot
    sink.is_stopped = True
    stage.hub.send_snapshot(session)
    stage.hub.join(session)
    stage.publish(3)
    assert numbers(sink) == ["snapshot", 1, 2, 3]


def test_only_some_sessions_get_keep_alives(stage: Stage) -> None:
    """Only sessions that understand control messages get ticks."""
    _, extra = stage.connect(has_extras=True)
    _, plain = stage.connect()
    stage.publish(1)
    stage.hub.tick()
    assert numbers(extra) == [1, "tick"]
    assert extra.messages()[1]["position"] == "e:1"
    assert numbers(plain) == [1]


def test_closing_flushes_first(stage: Stage) -> None:
    """At shutdown the waiting batch is sent, then every session is closed with 1012."""

    async def scenario() -> RecordingSink:
        _, sink = stage.connect(batch_ms=5000)
        stage.publish(1)
        stage.hub.close_all()
        return sink

    sink = asyncio.run(scenario())
    assert [event["n"] for event in sink.messages()[0]] == [1]
    assert sink.closed_with == RESTARTING
    assert len(stage.hub) == 0
