"""
The reader of the log: what it folds, counts and broadcasts, over a log in memory.

Real Redis, its restarts and the events channel: ``tests/integration/test_collector_faults.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from otel_bridge_collector.log.reader import Feed
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter

from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.transports.base import LogEntry, Outgoing
from otel_bridge.publish.transports.memory import MemoryLog, MemoryReceiver
from tests.support.sinks import RecordingSink


class FaultyReceiver(MemoryReceiver):
    """A receiver whose log can be made unreachable, and that can yield external messages."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.is_broken = False
        self.is_always_lost = False
        self.external: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        if self.is_broken:
            raise TransportError("connection refused")
        if self.is_always_lost:
            raise PositionLostError(after, "epoch")
        return await super().read(after, limit=limit, wait_ms=min(wait_ms, 5))

    async def external_messages(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.external.get()


class FaultyModel(Fold):
    """A model that fails to fold the event of one job."""

    def fold(self, event: Event, seen: int) -> None:
        if event.task_id == "bad":
            raise ZeroDivisionError("a bug")
        super().fold(event, seen)


class Stage:
    """A log in memory, the reader over it, and one client."""

    def __init__(self, log_events: int = 100_000) -> None:
        self.log = MemoryLog(log_events)
        self.receiver = FaultyReceiver(self.log)
        self.model = FaultyModel()
        self.stats = self.model.stats
        self.hub = Hub(
            ReplayRing("", 1000),
            limit_bytes=10**9,
            timeout_sec=8,
            make_snapshot=lambda event_filter: b"{}",
        )
        self.feed = Feed(
            lambda: self.receiver,
            model=self.model,
            ring=self.hub.ring,
            hub=self.hub,
            max_event_bytes=8192,
        )
        self.sink = RecordingSink()
        self.hub.join(ClientSession(self.sink, ALL_EVENTS))
        self.appended = 0

    def append(self, data: bytes) -> None:
        self.appended += 1
        self.log.append("tests", self.appended, [Outgoing(data, None)])

    def publish(self, *names: str) -> None:
        for name in names:
            self.append(encoded(name))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)

    def received(self) -> list[str]:
        """What the client has got: ids of jobs, and types of control messages."""
        return [message.get("task_id", message.get("type")) for message in self.sink.messages()]


def encoded(name: str, **more: str) -> bytes:
    """An event about the job of this name; its id is the same each time."""
    event = {
        "event_id": f"id-{name}",
        "ts": "2026-11-24T12:00:00Z",
        "event_type": "task_started",
        "parent_task_id": "t",
        "task_id": name,
        **more,
    }
    return json.dumps(event).encode()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.feed.stop()


async def test_the_past_is_folded_and_only_live_events_are_broadcast(stage: Stage) -> None:
    """Events before the start are folded and kept in the ring; later ones also reach clients."""
    stage.publish("a", "b")
    assert await stage.feed.start(10)
    assert stage.received() == ["gap"]  # it connected before the log was read
    stage.publish("c")
    await stage.until(lambda: len(stage.sink.messages()) == 2)
    assert stage.received() == ["gap", "c"]
    assert set(stage.model.tasks.by_id["t"].jobs) == {"a", "b", "c"}
    assert (len(stage.hub.ring), stage.stats.events_in) == (3, 3)


async def test_an_event_that_comes_twice_is_folded_once(stage: Stage) -> None:
    """A second copy of an event is counted as a duplicate, and no client gets it."""
    assert await stage.feed.start(10)
    stage.publish("a", "a", "b")
    await stage.until(lambda: stage.received()[-1] == "b")
    assert stage.received() == ["gap", "a", "b"]
    assert (stage.feed.counters.duplicates, stage.stats.events_in) == (1, 2)


async def test_an_unreadable_event_is_counted_and_left_out(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Unreadable events are counted by reason and logged at most once a second."""
    assert await stage.feed.start(10)
    for data in (b'{"a":1}', b'{"b":1}', b'{"event_type":"task_started","pad":"' + b"x" * 9000):
        stage.append(data)
    stage.publish("a")
    await stage.until(lambda: stage.received()[-1] == "a")
    assert stage.feed.counters.unreadable == {"not an event": 2, "oversized": 1}
    assert (stage.received(), stage.stats.events_unreadable) == (["gap", "a"], 3)
    assert [r.getMessage() for r in caplog.records if "unreadable" in r.getMessage()] == [
        "left out 1 unreadable events; the last: not an event"
    ]


async def test_an_event_that_cannot_be_folded_stops_no_other(stage: Stage) -> None:
    """An exception in the fold costs its own event, which is counted as not folded."""
    assert await stage.feed.start(10)
    stage.publish("bad", "b")
    await stage.until(lambda: stage.received()[-1] == "b")
    assert (stage.received(), stage.feed.counters.unreadable) == (["gap", "b"], {"not folded": 1})


async def test_an_external_message_is_held_until_it_is_read_in_the_log(stage: Stage) -> None:
    """A message of an external publisher reaches nobody before the log has its event."""
    assert await stage.feed.start(10)
    stage.receiver.external.put_nowait(encoded("a"))
    stage.receiver.external.put_nowait(b"not json")
    await stage.until(lambda: stage.feed.counters.external == 2)
    assert (stage.received(), stage.stats.events_in) == (["gap"], 0)
    assert (len(stage.feed.external), stage.feed.counters.unreadable) == (1, {"not JSON": 1})
    (message,) = stage.feed.external.take(10)
    stage.append(message.data)
    await stage.until(lambda: stage.received()[-1] == "a")
    assert stage.sink.messages()[-1]["position"] == stage.log.last_position()
    assert (len(stage.feed.external), stage.feed.external.lost) == (0, {})


async def test_a_message_that_comes_after_its_event_was_read_is_not_held(stage: Stage) -> None:
    """The message comes on another connection than the log: also then its event is there once."""
    assert await stage.feed.start(10)
    stage.publish("a")
    await stage.until(lambda: stage.received()[-1] == "a")
    stage.receiver.external.put_nowait(encoded("a"))
    await stage.until(lambda: stage.feed.counters.external == 1)
    assert len(stage.feed.external) == 0


async def test_a_position_is_waited_for_until_the_log_is_read_up_to_it(stage: Stage) -> None:
    """``wait_reach`` is True once that entry was read, and False if it was not in time."""
    assert await stage.feed.start(10)
    start = stage.log.last_position()
    assert await stage.feed.wait_reach(start, 0)
    epoch = start.partition(":")[0]
    assert not await stage.feed.wait_reach(f"{epoch}:2", 0.01)
    waiting = asyncio.create_task(stage.feed.wait_reach(f"{epoch}:2", 10))
    stage.publish("a", "b")
    assert await waiting
    assert await stage.feed.wait_reach(f"{epoch}:1", 0)


async def test_an_unreachable_log_is_read_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """While the log is unreachable the reader is not live and says why; then it goes on."""
    assert await stage.feed.start(10)
    stage.receiver.is_broken = True
    await stage.until(lambda: not stage.feed.is_live)
    assert stage.feed.log_error == "connection refused"
    stage.publish("a")
    stage.receiver.is_broken = False
    await stage.until(lambda: stage.feed.is_live)
    assert stage.received() == ["gap", "a"]
    assert not stage.feed.log_error
    assert stage.feed.counters.restarts >= 1
    assert "cannot read the log: connection refused; retrying" in caplog.text


async def test_a_hole_in_the_log_is_a_gap() -> None:
    """Events trimmed before they could be read are one gap for each client, with the reason."""
    stage = Stage(log_events=100)
    assert await stage.feed.start(10)
    stage.publish(*(f"n{number}" for number in range(1000)))
    await stage.until(lambda: stage.received()[-1] == "n999")
    await stage.feed.stop()
    gaps = [message for message in stage.sink.messages() if message.get("type") == "gap"]
    assert [gap["reason"] for gap in gaps] == ["epoch", "trimmed"]
    assert stage.feed.counters.gaps == {"trimmed": 1}
    first = stage.received()[2]
    assert stage.received()[2:] == [f"n{number}" for number in range(int(first[1:]), 1000)]


async def test_waiting_for_the_reader_ends_in_time(stage: Stage) -> None:
    """``wait_advance`` is True once more of the log was read, and False if nothing was."""
    assert await stage.feed.start(10)
    assert not await stage.feed.wait_advance(0.01)
    waiting = asyncio.create_task(stage.feed.wait_advance(10))
    await asyncio.sleep(0)
    stage.publish("a")
    assert await waiting


async def test_what_is_live_is_measured(stage: Stage) -> None:
    """Lag and batch size are those of live events; those read back at the start have none."""
    stage.publish("old")
    assert await stage.feed.start(10)
    assert stage.feed.batch_events.buckets()[-1][1] == stage.feed.lag_sec.buckets()[-1][1] == 0
    stage.publish("new")
    await stage.until(lambda: stage.feed.lag_sec.buckets()[-1][1] == 1)
    assert stage.feed.batch_events.total == 1
    assert stage.feed.lag_sec.total >= 0


async def test_a_log_that_is_lost_again_and_again_is_read_with_pauses(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """No position that the log gives can be read on from: the reader waits, and says why."""
    stage.publish("first")
    await stage.feed.start(10)
    stage.receiver.is_always_lost = True
    await stage.until(lambda: stage.feed.log_error)
    assert str(stage.feed.log_error).startswith("the log cannot be read from its start: ")
    assert not stage.feed.is_live
    assert stage.feed.counters.gaps == {"epoch": 3}
    assert caplog.text.count("events are missing") == 3
    stage.receiver.is_always_lost = False
    await stage.until(lambda: stage.feed.is_live)
    stage.publish("second")
    await stage.until(lambda: "second" in stage.received())


async def test_an_event_belongs_to_the_project_of_its_task(stage: Stage) -> None:
    """Events without project pass their task's filter; those sent earlier, once it is known."""
    assert await stage.feed.start(10)
    own = ClientSession(RecordingSink(), EventFilter(project_id="p"))
    stage.hub.join(own)
    stage.publish("before")
    await stage.until(lambda: stage.received()[-1] == "before")
    stage.append(encoded("root", project_id="p"))
    stage.publish("after")
    await stage.until(lambda: stage.received()[-1] == "after")
    assert [entry.project_id for entry in stage.hub.ring.after_index(0)] == ["p", "p", "p"]
    assert isinstance(own.sink, RecordingSink)
    assert [one["task_id"] for one in own.sink.messages()] == ["root", "after"]


TRACE = "a" * 32


def loose(name: str, number: int) -> bytes:
    """An event about a span that knows its trace and no research task."""
    return encoded(name, parent_task_id=TRACE, trace_id=TRACE, span_id=f"{number:016x}")


async def test_an_event_of_a_trace_belongs_to_the_project_of_its_only_task(stage: Stage) -> None:
    """What knew only the trace has the project of the task that the trace turns out to be."""
    assert await stage.feed.start(10)
    stage.append(loose("before", 1))
    stage.append(encoded("named", trace_id=TRACE, span_id=f"{2:016x}"))
    stage.append(encoded("root", project_id="p"))
    await stage.until(lambda: stage.received()[-1] == "root")
    assert [entry.project_id for entry in stage.hub.ring.after_index(0)] == ["p"] * 3


async def test_an_event_of_a_task_of_two_projects_belongs_to_neither(stage: Stage) -> None:
    """Once two projects name a task, its events without project are never taken for one's own."""
    assert await stage.feed.start(10)
    stage.append(encoded("a", project_id="p"))
    stage.append(encoded("b", project_id="q"))
    stage.publish("c")
    stage.append(encoded("d", project_id="q"))
    await stage.until(lambda: stage.received()[-1] == "d")
    projects = [entry.project_id for entry in stage.hub.ring.after_index(0)]
    assert projects == ["p", "q", None, "q"]


async def test_events_of_no_task_are_not_taken_for_each_others_project(stage: Stage) -> None:
    """A job that names neither task nor trace nor project does not get that of another such job."""
    assert await stage.feed.start(10)
    for name, more in (("a", {"project_id": "p"}), ("b", {}), ("c", {"project_id": "p"})):
        event = json.loads(encoded(name, **more))
        del event["parent_task_id"]
        stage.append(json.dumps(event).encode())
    await stage.until(lambda: stage.received()[-1] == "c")
    assert [entry.project_id for entry in stage.hub.ring.after_index(0)] == ["p", None, "p"]
