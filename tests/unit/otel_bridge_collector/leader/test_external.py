"""
What the leader does with external events, over a log in memory whose answers can be lost.

Several collectors, killed leaders: ``tests/integration/test_external_publishers.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from otel_bridge_collector.leader.external import ExternalIngester
from otel_bridge_collector.log.external import ExternalMessages

from otel_bridge.clock import SYSTEM_CLOCK
from otel_bridge.errors import FencedError, TransportError, TransportRejectedError
from otel_bridge.publish.transports.base import AppendResult, Outgoing
from otel_bridge.publish.transports.memory import MemoryLog


class FencedLog:
    """A log in memory that takes external events with the newest fencing token alone."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.token = ""
        self.fences = 0

    def ids(self) -> list[str]:
        """The ids of its events, in its order."""
        entries = self.log.newest(1000, None)[::-1]
        return [json.loads(entry.data)["event_id"] for entry in entries]


class FaultySender:
    """Appends to the log, and then fails with the next of ``failures``."""

    def __init__(self, log: FencedLog) -> None:
        self._log = log
        self.failures: list[Exception] = []
        self.is_rejecting = False
        self.is_closed = False

    def fence(self, token: str) -> str:
        self._log.token = token
        self._log.fences += 1
        return self._log.log.last_position()

    def send_external(self, token: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        if token != self._log.token:
            raise FencedError("another collector appends")
        if self.is_rejecting:
            raise TransportRejectedError("no")
        result = self._log.log.append(token, first_n, batch)
        if self.failures:
            raise self.failures.pop()
        return result

    def close(self) -> None:
        self.is_closed = True


class Collector:
    """One collector's messages and ingester; ``reach`` is its reader of the log."""

    def __init__(self, log: FencedLog) -> None:
        self.log = log
        self.read: set[str] = set()
        self.is_reading = True
        self.messages = ExternalMessages(4096, is_known=self.read.__contains__, clock=SYSTEM_CLOCK)
        self.leading = asyncio.Event()
        self.sender = FaultySender(log)
        self.ingester = ExternalIngester(
            self.messages, sender=self.sender, leading=self.leading, reach=self.reach
        )

    def add(self, *ids: str) -> None:
        for event_id in ids:
            self.messages.add(
                json.dumps({"event_type": "task_started", "event_id": event_id}).encode()
            )

    async def reach(self, position: str, timeout_sec: float) -> bool:
        if self.is_reading:
            for event_id in self.log.ids():
                self.read.add(event_id)
                self.messages.note_in_log(event_id, is_live=True)
        return self.is_reading


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
async def two() -> AsyncIterator[tuple[Collector, Collector]]:
    """Two collectors of one log, of which none leads."""
    log = FencedLog()
    made = (Collector(log), Collector(log))
    for one in made:
        one.ingester.start()
    yield made
    for one in made:
        await one.ingester.stop()
        assert one.sender.is_closed


async def test_the_leader_appends_in_order(two: tuple[Collector, Collector]) -> None:
    """Also what arrived before it led; the other collector appends nothing."""
    one, other = two
    for collector in two:
        collector.add("a", "b")
    one.leading.set()
    await until(lambda: one.log.ids() == ["a", "b"])
    for collector in two:
        collector.add("c")
    await until(lambda: one.log.ids() == ["a", "b", "c"])
    await until(lambda: one.messages.appended == 3)
    assert (one.log.fences, other.messages.appended, len(other.messages)) == (1, 0, 3)


async def test_nothing_is_sent_without_external_events(two: tuple[Collector, Collector]) -> None:
    """A leader that holds nothing sets no fencing token."""
    one, _ = two
    one.leading.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert one.log.fences == 0


async def test_a_lost_answer_repeats_nothing(
    two: tuple[Collector, Collector], caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that was applied, though its answer was lost, is found in the log."""
    one, _ = two
    one.sender.failures = [TransportError("no answer"), TransportError("no answer")]
    one.add("a", "b")
    one.leading.set()
    await until(lambda: one.log.fences == 2)
    one.add("c")
    await until(lambda: one.log.ids() == ["a", "b", "c"] and not len(one.messages))
    one.add("d")
    await until(lambda: one.log.ids() == ["a", "b", "c", "d"])
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ["cannot append events of external publishers: no answer"]


async def test_a_leader_that_was_replaced_is_refused(two: tuple[Collector, Collector]) -> None:
    """Two lead for a moment: the older is refused, reads what the newer appended, and goes on."""
    one, other = two
    for collector in two:
        collector.add("a")
    one.leading.set()
    await until(lambda: one.log.ids() == ["a"])
    other.add("b")
    other.leading.set()
    await until(lambda: one.log.ids() == ["a", "b"])
    other.leading.clear()
    one.add("b", "c")
    await until(lambda: one.log.ids() == ["a", "b", "c"])
    assert one.log.fences == 3


async def test_a_log_that_is_not_read_to_its_end_is_not_appended_to(
    two: tuple[Collector, Collector], caplog: pytest.LogCaptureFixture
) -> None:
    """Before that the leader cannot know what the log lacks."""
    one, _ = two
    one.is_reading = False
    one.add("a")
    one.leading.set()
    await until(lambda: one.log.fences == 2)
    assert one.log.ids() == []
    one.is_reading = True
    await until(lambda: one.log.ids() == ["a"])
    assert "the log was not read to its end in time" in caplog.text


async def test_a_rejected_batch_is_lost_and_counted(two: tuple[Collector, Collector]) -> None:
    """The log rejects a batch for its content: it is counted, and later events are appended."""
    one, _ = two
    one.sender.is_rejecting = True
    one.add("a")
    one.leading.set()
    await until(lambda: one.messages.lost == {"rejected": 1})
    one.sender.is_rejecting = False
    one.add("b")
    await until(lambda: one.log.ids() == ["b"])


async def test_a_bug_costs_a_pause(
    two: tuple[Collector, Collector], caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception is logged, and the ingester goes on."""
    one, _ = two
    one.sender.failures = [ZeroDivisionError("a bug")]
    one.add("a")
    one.leading.set()
    await until(lambda: one.log.fences == 2 and not len(one.messages))
    assert one.log.ids() == ["a"]
    assert "the ingester of external events failed and is started again" in caplog.text
