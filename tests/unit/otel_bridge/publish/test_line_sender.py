"""Log lines are sent at intervals; what may have been stored is not sent again, but counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.errors import TransportError, TransportRejectedError
from otel_bridge.lines import tap
from otel_bridge.lines.drain import LineDrain
from otel_bridge.lines.line import SpanLines
from otel_bridge.lines.line_queue import LineQueue
from otel_bridge.publish.line_sender import LineSender
from otel_bridge.publish.transports.base import Sender
from otel_bridge.publish.transports.memory import MemoryLog, MemorySender
from tests.support.faults import FakeClock, FaultySender

logger = logging.getLogger("shop.orders")
logger.setLevel(logging.INFO)
SPAN = 7


class Faulty(MemorySender):
    """A memory log whose store of lines can be broken."""

    failure: Exception | None = None
    denied = 0

    def store_lines(self, batch: Sequence[SpanLines]) -> int:
        if self.failure is not None:
            raise self.failure
        if self.denied:
            return self.denied
        return super().store_lines(batch)


class Rig:
    """A sender of lines that works when the test calls it."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.store = Faulty(self.log)
        self.clock = FakeClock()
        self.queue = LineQueue(logging.INFO)
        self.drain = LineDrain(self.queue, lambda key, block: (SPAN, None))
        self.lines = self.sender_to(self.store)

    def sender_to(self, store: Sender) -> LineSender:
        return LineSender(self.drain, store, self.clock, "memory://x")

    def write(self, count: int = 1) -> None:
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
        with tracer.start_as_current_span("s"):
            for _ in range(count):
                logger.info("line")
        self.drain.begin_round()
        self.drain.end_round()

    def stored(self) -> int:
        return len(self.log.lines(f"{SPAN:016x}"))


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    tap.install(made.queue)
    yield made
    tap.remove(made.queue)


def test_lines_are_sent_ten_times_a_second(rig: Rig) -> None:
    """Or at once, for a flush."""
    stored = []
    for at_once in (False, False, True):
        rig.write()
        rig.lines.send(at_once=at_once)
        stored.append(rig.stored())
    rig.write()
    rig.clock.advance(0.1)
    rig.lines.send()
    assert [*stored, rig.stored()] == [1, 1, 3, 4]


def test_a_failed_batch_is_lost_and_the_next_one_waits(rig: Rig) -> None:
    """A second, also for a flush; whether it was stored is not known."""
    rig.store.failure = TransportError("no answer")
    rig.write(3)
    rig.lines.send()
    assert rig.drain.dropped == 3
    rig.store.failure = None
    rig.write()
    rig.lines.send(at_once=True)
    assert rig.stored() == 0
    rig.clock.advance(1)
    rig.lines.send()
    assert (rig.stored(), rig.drain.dropped) == (1, 3)


def test_a_bug_in_a_store_does_not_reach_the_bus(rig: Rig) -> None:
    """Any exception counts as a failure."""
    rig.store.failure = RuntimeError("bug")
    rig.write()
    rig.lines.send()
    assert rig.drain.dropped == 1


def test_what_is_denied_is_counted_and_said_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names the cure; where nothing passes, the next attempt is 10 s later."""
    rig.store.denied = 1
    for _ in range(2):
        rig.write()
        rig.lines.send()
        rig.clock.advance(10)
    rig.store.denied, rig.store.failure = 0, TransportRejectedError("no")
    rig.write()
    rig.lines.send()
    assert (rig.drain.dropped, rig.stored()) == (3, 0)
    texts = [r.getMessage() for r in caplog.records if r.name.startswith("otel_bridge")]
    assert len(texts) == 1
    assert texts[0].startswith("log lines cannot be stored at memory://x; a Redis ACL must allow")


def test_a_sender_of_a_users_own_may_store_none(rig: Rig) -> None:
    """``EventBus`` takes any ``Sender``: its lines are counted as lost."""
    rig.lines = rig.sender_to(FaultySender(rig.store))
    rig.write(2)
    rig.lines.send()
    assert rig.drain.dropped == 2
