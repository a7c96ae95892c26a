"""Resuming: every event after a position, once and in order, or the reason why not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import pytest
from otel_bridge_collector.log.decoding import decode_entries
from otel_bridge_collector.log.reader import Feed
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.resume import Resumer
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.views.events import compute, matcher_of, merge
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.close_codes import SLOW_CLIENT
from otel_bridge_collector.wire.event_matcher import EventMatcher
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter
from otel_bridge_collector.wire.views.params import EventsParams

from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.transports.base import LogEntry, Outgoing
from otel_bridge.publish.transports.memory import MemoryLog, MemoryReceiver
from tests.support.sinks import RecordingSink

RING_EVENTS = 300


class LostReceiver(MemoryReceiver):
    """A receiver whose log cannot be reached."""

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        raise TransportError("connection refused")


class Stage:
    """A log in memory, the reader that fills a small ring from it, and resuming clients."""

    def __init__(self, log_events: int = 100_000) -> None:
        self.log = MemoryLog(log_events)
        self.hub = Hub(
            ReplayRing("", RING_EVENTS),
            limit_bytes=10**9,
            timeout_sec=8,
            make_snapshot=lambda event_filter: b"{}",
        )
        self.model = Fold()
        self.feed = Feed(
            self.open_receiver,
            model=self.model,
            ring=self.hub.ring,
            hub=self.hub,
            max_event_bytes=8192,
        )
        self.resumer = self.make_resumer(self.open_receiver())
        self.count = 0

    def open_receiver(self) -> MemoryReceiver:
        return MemoryReceiver(self.log)

    def make_resumer(self, receiver: MemoryReceiver) -> Resumer:
        return Resumer(
            lambda: receiver,
            decode=partial(decode_entries, max_bytes=8192),
            wait_advance=self.feed.wait_advance,
            hub=self.hub,
            slow_after_sec=0.05,
        )

    def at(self, number: int) -> str:
        """The position of event ``number``; 0 is before the first."""
        return f"{self.log.epoch}:{number}"

    def append(self, data: bytes) -> None:
        self.count += 1
        self.log.append("tests", self.count, [Outgoing(data, None)])

    def publish(self, count: int, message: str = "") -> None:
        for _ in range(count):
            event = {
                "event_id": f"id-{self.count + 1}",
                "ts": "2026-11-24T12:00:00.000000Z",
                "event_type": "task_started",
                "parent_task_id": f"t{(self.count + 1) % 2}",
                "task_id": str(self.count + 1),
                "message": message,
            }
            self.append(json.dumps(event).encode())

    async def has_read(self) -> None:
        """Wait until the feed has read all of the log."""
        async with asyncio.timeout(10):
            while not self.hub.ring.holds(self.log.last_position()):
                await self.feed.wait_advance(0.01)

    async def resume(
        self, position: str, event_filter: EventFilter = ALL_EVENTS
    ) -> tuple[ClientSession, RecordingSink]:
        sink = RecordingSink()
        session = ClientSession(sink, event_filter)
        await self.resumer.join(session, position)
        return session, sink


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.feed.stop()


def numbers(sink: RecordingSink) -> list[int]:
    return [int(message["task_id"]) for message in sink.messages()]


@pytest.mark.parametrize("since", [0, 1, 499, 500, 501, 899, 900, 901, 1199, 1200])
async def test_nothing_is_missing_and_nothing_comes_twice(stage: Stage, since: int) -> None:
    """From any position, in the ring or before it, all later events come once, then live ones."""
    stage.publish(1200)
    assert await stage.feed.start(10)
    _, sink = await stage.resume(stage.at(since))
    stage.publish(5)
    await stage.has_read()
    assert numbers(sink) == list(range(since + 1, 1206))


async def test_events_published_meanwhile_are_not_lost(stage: Stage) -> None:
    """Events published while a client catches up reach it in their order."""
    stage.publish(2000)
    assert await stage.feed.start(10)

    async def go_on() -> None:
        for _ in range(50):
            stage.publish(20)
            await asyncio.sleep(0)

    _, (_, sink) = await asyncio.gather(go_on(), stage.resume(stage.at(0)))
    await stage.has_read()
    assert numbers(sink) == list(range(1, 3001))


async def test_the_filter_holds_for_the_past(stage: Stage) -> None:
    """A client's filter applies to the events it missed as to live ones."""
    stage.publish(1000)
    assert await stage.feed.start(10)
    _, sink = await stage.resume(stage.at(500), EventFilter(task_id="t1"))
    assert numbers(sink) == list(range(501, 1001, 2))


async def test_unreadable_entries_are_left_out(stage: Stage) -> None:
    """A client that resumes across an entry that is no event gets all the others."""
    stage.publish(2)
    stage.append(b'{"nonsense":1}')
    stage.publish(600)
    assert await stage.feed.start(10)
    _, sink = await stage.resume(stage.at(1))
    assert numbers(sink) == [2, *range(4, 604)]


async def test_a_position_not_read_yet_is_waited_for(stage: Stage) -> None:
    """A client that comes from a collector ahead of this one waits for it to catch up."""
    stage.publish(10)
    joining = asyncio.create_task(stage.resume(stage.at(10)))
    await asyncio.sleep(0)
    assert await stage.feed.start(10)
    async with asyncio.timeout(5):  # half of how long it waits for a position that never comes
        _, sink = await joining
    stage.publish(1)
    await stage.has_read()
    assert numbers(sink) == [11]


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("feedbeef:5", "epoch"),
        ("{epoch}:999", "epoch"),
        ("{epoch}:x", "malformed"),
        ("nonsense", "malformed"),
        ("", "malformed"),
        ("{epoch}:٣", "malformed"),
        ("1" * 5000, "malformed"),
    ],
)
async def test_an_unknown_position_is_an_error(stage: Stage, position: str, reason: str) -> None:
    """A position of another log, or a malformed one, raises its reason; no session has joined."""
    stage.publish(5)
    assert await stage.feed.start(10)
    with pytest.raises(PositionLostError) as raised:
        await stage.resume(position.replace("{epoch}", stage.log.epoch))
    assert (raised.value.reason, len(stage.hub)) == (reason, 0)
    assert len(raised.value.position) <= 100


async def test_a_position_older_than_the_log_is_an_error() -> None:
    """A position that was trimmed off the log raises ``trimmed``; the session has not joined."""
    stage = Stage(log_events=1000)
    stage.publish(3000)
    assert await stage.feed.start(10)
    with pytest.raises(PositionLostError) as raised:
        await stage.resume(stage.at(1))
    await stage.feed.stop()
    assert (raised.value.reason, len(stage.hub)) == ("trimmed", 0)


async def test_without_the_log_the_ring_still_serves(stage: Stage) -> None:
    """While the log cannot be reached, clients resume from the ring; older positions are lost."""
    stage.publish(500)
    assert await stage.feed.start(10)
    stage.resumer = stage.make_resumer(LostReceiver(stage.log))
    _, sink = await stage.resume(stage.at(490))
    assert numbers(sink) == list(range(491, 501))
    with pytest.raises(PositionLostError) as raised:
        await stage.resume(stage.at(100))
    assert raised.value.reason == "trimmed"


async def test_a_client_that_reads_nothing_is_closed(stage: Stage) -> None:
    """A client that does not read what it asked for is closed as slow, and gets no more."""
    stage.publish(3000, message="x" * 600)
    assert await stage.feed.start(10)
    sink = RecordingSink()
    sink.is_stopped = True
    session = ClientSession(sink, ALL_EVENTS)
    await stage.resumer.join(session, stage.at(0))
    assert (sink.closed_with, session.is_closed, len(stage.hub)) == (SLOW_CLIENT, True, 0)
    assert numbers(sink) == list(range(1, 501))


async def test_the_past_is_read_back_newest_first(stage: Stage) -> None:
    """``read_back`` gives events newest first and the oldest position; none at the beginning."""
    stage.publish(5)
    found, oldest = await stage.resumer.read_back(3, None)
    assert ([entry.task_id for entry in found], oldest) == (["5", "4", "3"], stage.at(3))
    found, oldest = await stage.resumer.read_back(3, oldest)
    assert ([entry.task_id for entry in found], oldest) == (["2", "1"], stage.at(1))
    assert await stage.resumer.read_back(3, oldest) == ([], None)


@pytest.mark.parametrize(
    "params",
    [{}, {"count": 200}, {"task": "t1", "count": 7}, {"text": "3", "count": 1}, {"job": "none"}],
)
async def test_the_view_and_the_pages_before_it_are_the_log(
    stage: Stage, params: dict[str, Any]
) -> None:
    """No hole and no double, whatever comes between two pages and while the view goes on."""
    stage.publish(RING_EVENTS + 150)
    assert await stage.feed.start(10)
    asked = EventsParams(**params)
    state = ViewState(stage.model, ring=stage.hub.ring)
    for _ in range(4):
        shown = merge([compute(state, asked, None)], asked)
        last = stage.count
        found = [json.loads(row)["event"]["task_id"] for row in shown.rows.values()]
        before = next(iter(shown.rows), None)
        is_whole = not shown.head["older"]
        while True:
            page, before = await stage.resumer.recent(
                matcher_of(asked, None), limit=97, before=before
            )
            found[:0] = [json.loads(event)["task_id"] for event in reversed(page)]
            assert not (page and is_whole)
            if before is None:
                break
            stage.publish(9)
        numbers = range(1, last + 1)
        assert found == [str(n) for n in numbers if _is_asked_for(n, asked)]
        await stage.has_read()


def _is_asked_for(number: int, params: EventsParams) -> bool:
    if params.job is not None:
        return False
    if params.task is not None:
        return number % 2 == 1
    return params.text is None or params.text in f"{number}"


async def test_a_page_that_finds_nothing_says_where_to_go_on(stage: Stage) -> None:
    """One request looks at 20,000 events; the next one continues after them."""
    stage.publish(1, "needle")
    stage.publish(20_000)
    matcher = EventMatcher(ALL_EVENTS, text="needle")
    found, before = await stage.resumer.recent(matcher, limit=5, before=None)
    assert (found, before) == ([], stage.at(2))
    found, before = await stage.resumer.recent(matcher, limit=5, before=before)
    assert [json.loads(event)["task_id"] for event in found] == ["1"]
    assert before is None
