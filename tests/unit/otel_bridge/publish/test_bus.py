"""The bus: it returns at once, keeps order, counts every loss and logs every change."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.trace import SpanKind

from otel_bridge.errors import TransportError, TransportRejectedError, UnknownTransportError
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports.memory import MemoryLog, MemorySender
from otel_bridge.settings import BridgeSettings
from tests.support.faults import FakeClock, FaultySender, no_threads_left
from tests.support.spans import SpanRecorder, job_attributes, tracer_with
from tests.support.waiting import wait_until

MakeSettings = Callable[..., BridgeSettings]


def event(number: int, **fields: Any) -> MonitoringEvent:
    return MonitoringEvent(
        event_type=MonitoringEventType.TASK_STARTED, task_id=str(number), **fields
    )


class Rig:
    """A bus over a memory log, with a sender that can be made to fail."""

    def __init__(self, settings: BridgeSettings, **options: Any) -> None:
        self.log = MemoryLog(100_000)
        self.sender = FaultySender(MemorySender(self.log))
        self.bus = EventBus(self.sender, settings, **options)

    def entries(self) -> list[dict[str, Any]]:
        """Everything in the log, decoded."""
        entries = self.log.entries_after(f"{self.log.epoch}:0", 1_000_000)
        return [json.loads(entry.data) for entry in entries]

    def numbers(self) -> list[int]:
        return [int(entry["task_id"]) for entry in self.entries()]


@pytest.fixture
def rig(make_settings: MakeSettings) -> Iterator[Rig]:
    made = Rig(make_settings())
    yield made
    made.sender.gate.set()
    made.sender.failure = None
    made.bus.shutdown(5)


def test_published_events_reach_the_log_in_order(rig: Rig) -> None:
    """After a flush every published event is in the log, once, in order."""
    assert all(rig.bus.publish(event(number)) for number in range(1000))
    assert rig.bus.flush(10)
    assert rig.numbers() == list(range(1000))
    counters = rig.bus.counters
    assert (counters.queued, counters.published, counters.waiting) == (1000, 1000, 0)
    assert (counters.dropped, counters.is_connected) == (0, True)


def test_the_size_of_batches_is_bounded(rig: Rig, make_settings: MakeSettings) -> None:
    """Many events go in batches of 256, numbered without holes."""
    rig.sender.gate.clear()
    rig.bus.publish(event(0))
    assert rig.sender.is_waiting.wait(10)
    for number in range(1, 1000):
        rig.bus.publish(event(number))
    rig.sender.gate.set()
    assert rig.bus.flush(10)
    assert max(length for _, _, length in rig.sender.batches) == 256
    expected = 1
    for _, first_n, length in rig.sender.batches:
        assert first_n == expected
        expected += length


def test_publish_returns_while_the_log_hangs(rig: Rig) -> None:
    """While a send hangs, publishing and counting return at once."""
    rig.sender.gate.clear()
    rig.bus.publish(event(0))
    assert rig.sender.is_waiting.wait(10)
    assert all(rig.bus.publish(event(number)) for number in range(1, 5000))
    assert rig.bus.counters.waiting == 5000
    assert not rig.bus.flush(0)


def test_a_lost_answer_makes_no_duplicate(rig: Rig) -> None:
    """Batches that were appended but not acknowledged are sent again and skipped."""
    rig.sender.answers_lost = 3
    for number in range(300):
        rig.bus.publish(event(number))
    assert rig.bus.flush(10)
    assert rig.numbers() == list(range(300))
    assert rig.bus.counters.failed_attempts == 3
    assert rig.bus.counters.skipped > 0


def test_an_outage_loses_no_event_that_the_buffer_holds(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Events wait during an outage and arrive in order after it; it is two lines in the log."""
    rig.sender.failure = TransportError("connection refused")
    with caplog.at_level(logging.WARNING):
        for number in range(2000):
            rig.bus.publish(event(number))
        wait_until(lambda: rig.bus.counters.failed_attempts >= 5, "five attempts")
        rig.sender.failure = None
        assert rig.bus.flush(10)
    assert rig.numbers() == list(range(2000))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "connection refused" in lines[0]
    assert "again after" in lines[1]
    assert lines[1].endswith("0 events were dropped")


def test_a_full_buffer_drops_the_oldest_and_counts_exactly(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage longer than the buffer loses the oldest events, and the count is exact."""
    rig = Rig(make_settings(buffer_max_events=500, batch_max_events=50))
    rig.bus.publish(event(0))
    assert rig.bus.flush(10)
    rig.sender.failure = TransportError("gone")
    with caplog.at_level(logging.WARNING):
        for number in range(1, 3001):
            rig.bus.publish(event(number))
        wait_until(lambda: rig.bus.counters.failed_attempts >= 4, "an open breaker")
        wait_until(lambda: rig.bus.counters.waiting == 500, "a full buffer")
        assert rig.bus.counters.dropped == 2500
        rig.sender.failure = None
        assert rig.bus.flush(10)
    found = rig.numbers()
    assert found == sorted(found)
    assert (len(found), rig.bus.counters.dropped) == (501, 2500)
    # One batch was in flight since before the buffer was full; the rest are the newest events.
    assert set(found) >= set(range(3000 - 449, 3001))
    assert rig.bus.shutdown(5)


def test_bytes_bound_the_buffer_too(make_settings: MakeSettings) -> None:
    """Large events fill the buffer before its number of events is reached."""
    rig = Rig(make_settings(buffer_max_bytes=65_536, max_event_size_bytes=4096))
    rig.sender.failure = TransportError("gone")
    for number in range(100):
        rig.bus.publish(event(number, message="x" * 4000))
    wait_until(lambda: rig.bus.counters.dropped, "drops")
    wait_until(lambda: rig.bus.counters.waiting < 20, "the bound")
    rig.sender.failure = None
    assert rig.bus.flush(10)
    assert len(rig.numbers()) + rig.bus.counters.dropped == 100
    assert rig.bus.shutdown(5)


def test_a_rejected_batch_is_counted_and_later_ones_are_sent(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that the log rejects is dropped and counted; later events arrive."""
    rig.sender.failure = TransportRejectedError("line 1 is not JSON")
    rig.bus.publish(event(1))
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: rig.bus.counters.rejected == 1, "the rejection")
    rig.sender.failure = None
    rig.bus.publish(event(2))
    assert rig.bus.flush(10)
    assert rig.numbers() == [2]
    assert rig.bus.counters.dropped == 1
    assert "line 1 is not JSON" in caplog.text


def test_a_senders_bug_does_not_end_the_thread(rig: Rig) -> None:
    """An unexpected exception of a sender is a failed attempt; the batch is sent again."""
    rig.sender.failure = ZeroDivisionError("a bug")
    rig.bus.publish(event(1))
    wait_until(lambda: rig.bus.counters.failed_attempts >= 2, "two attempts")
    rig.sender.failure = None
    assert rig.bus.flush(10)
    assert rig.numbers() == [1]


def test_an_event_that_cannot_be_encoded_is_counted(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """An event that is too large even without its texts is dropped, with one line in the log."""
    with caplog.at_level(logging.WARNING):
        rig.bus.publish(event(1).model_copy(update={"task_id": "x" * 9000}))
        rig.bus.publish(event(2).model_copy(update={"task_id": "x" * 9000}))
        rig.bus.publish(event(3))
        assert rig.bus.flush(10)
    assert rig.numbers() == [3]
    assert (rig.bus.counters.rejected, rig.bus.counters.dropped) == (2, 2)
    assert len(caplog.records) == 1


def test_a_retry_after_is_observed(make_settings: MakeSettings) -> None:
    """No attempt is made before the delay that the receiver asked for is over."""
    clock = FakeClock()
    rig = Rig(make_settings(), clock=clock)
    rig.sender.failure = TransportError("503", retry_after_sec=30)
    rig.bus.publish(event(1))
    wait_until(lambda: rig.bus.counters.failed_attempts == 1, "the first attempt")
    rig.sender.failure = None
    clock.advance(29)
    rig.bus.publish(event(2))
    wait_until(lambda: rig.bus.counters.queued == 2, "the second event")
    assert len(rig.sender.batches) == 1
    clock.advance(2)
    wait_until(lambda: rig.bus.counters.published == 2, "both")
    assert rig.bus.shutdown(5)


def test_a_given_project_replaces_the_events_own(rig: Rig) -> None:
    """``project_id`` of the call replaces the event's own."""
    rig.bus.publish(event(1, project_id="old"), project_id="new")
    rig.bus.publish(event(2, project_id="own"))
    assert rig.bus.flush(10)
    assert [entry["project_id"] for entry in rig.entries()] == ["new", "own"]


def test_secrets_do_not_leave(rig: Rig) -> None:
    """Texts and meta of a published event are masked."""
    rig.bus.publish(
        event(
            1,
            message="redis://u:hunter2@db",
            error="bearer abcdefghijklmnop1234",
            meta={"api_key": "abc", "note": "sk-abcdefghijklmnop1234"},
        )
    )
    assert rig.bus.flush(10)
    (entry,) = rig.entries()
    assert entry["message"] == "redis://u:[redacted]@db"
    assert entry["error"] == "bearer [redacted]"
    assert entry["meta"] == {"api_key": "[redacted]", "note": "[redacted]"}


def test_an_event_fits_with_its_position(rig: Rig) -> None:
    """The bound holds for the event that readers get, the position included."""
    rig.bus.publish(event(1, message="x" * 20_000))
    assert rig.bus.flush(10)
    (entry,) = rig.log.entries_after(f"{rig.log.epoch}:0", 10)
    assert 8192 - 200 < len(entry.data) <= 8192


def test_spans_become_events(rig: Rig) -> None:
    """A live span gives its start, an ended one its end; a span of no job is ignored."""
    recorder = SpanRecorder()
    tracer = tracer_with(recorder)
    tracer.start_span("x", attributes=dict(job_attributes())).end()
    tracer.start_span("GET", kind=SpanKind.CLIENT, attributes={"http.method": "GET"}).end()
    for item in (*recorder.started, *recorder.ended):
        rig.bus.put(item)
    assert rig.bus.flush(10)
    assert [entry["event_type"] for entry in rig.entries()] == ["task_started", "task_completed"]
    counters = rig.bus.counters
    assert (counters.queued, counters.published, counters.ignored) == (4, 2, 2)


def test_a_late_start_is_still_a_start(rig: Rig) -> None:
    """A span that ended before the bus read it has both events, in order."""
    recorder = SpanRecorder()
    tracer = tracer_with(recorder)
    rig.sender.gate.clear()
    rig.bus.publish(event(0))
    assert rig.sender.is_waiting.wait(10)
    span = tracer.start_span("x", attributes=dict(job_attributes()))
    rig.bus.put(recorder.started[0])
    span.set_attribute("nexus.outcome", "failed")
    span.end()
    rig.bus.put(recorder.ended[0])
    rig.sender.gate.set()
    assert rig.bus.flush(10)
    assert [(entry["event_type"], entry.get("status")) for entry in rig.entries()[1:]] == [
        ("task_started", "processing"),
        ("task_failed", "failed"),
    ]


async def test_events_published_from_a_loop_and_from_threads_all_arrive(rig: Rig) -> None:
    """Any thread and any event loop may publish."""

    def publish_from(base: int) -> None:
        for number in range(base, base + 200):
            rig.bus.publish(event(number))

    await asyncio.gather(*(asyncio.to_thread(publish_from, base) for base in range(0, 1000, 200)))
    for number in range(1000, 1100):
        rig.bus.publish(event(number))
    assert await asyncio.to_thread(rig.bus.flush, 10)
    assert sorted(rig.numbers()) == list(range(1100))


def test_the_thread_runs_untraced(make_settings: MakeSettings) -> None:
    """Sending happens with instrumentation suppressed, by the thread and at shutdown."""
    seen: list[object] = []

    class Looking(FaultySender):
        def send(self, *arguments: Any) -> Any:
            seen.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
            return super().send(*arguments)

    bus = EventBus(Looking(MemorySender(MemoryLog())), make_settings())
    bus.publish(event(1))
    assert bus.flush(10)
    bus.publish(event(2))
    assert bus.shutdown(5)
    assert seen == [True, True]
    assert get_value(_SUPPRESS_INSTRUMENTATION_KEY) is None


def test_the_thread_starts_with_the_first_event(make_settings: MakeSettings) -> None:
    """A bus without an event has no thread."""
    before = threading.active_count()
    bus = EventBus(MemorySender(MemoryLog()), make_settings())
    assert threading.active_count() == before
    assert bus.shutdown(1)
    assert threading.active_count() == before


def test_a_bus_that_is_dropped_can_be_collected(make_settings: MakeSettings) -> None:
    """The hook for forks does not keep a bus alive."""
    bus = EventBus(MemorySender(MemoryLog()), make_settings())
    watched = weakref.ref(bus)
    del bus
    gc.collect()
    assert watched() is None


def test_shutdown_flushes_stops_and_closes(rig: Rig) -> None:
    """Shutdown sends the queue, ends the thread, closes the sender; a second call is harmless."""
    before = set(threading.enumerate())
    for number in range(500):
        rig.bus.publish(event(number))
    assert rig.bus.flush(10)
    started = [thread for thread in threading.enumerate() if thread not in before]
    assert "otel-bridge-bus" in {thread.name for thread in started}
    assert rig.bus.shutdown(10)
    assert rig.bus.shutdown(10)
    assert rig.numbers() == list(range(500))
    assert rig.sender.closed == 1
    assert not [
        thread for thread in started if thread.name == "otel-bridge-bus" and thread.is_alive()
    ]


def test_after_shutdown_nothing_is_queued(rig: Rig) -> None:
    """A closed bus returns False, and counts spans that still arrive as dropped."""
    assert rig.bus.shutdown(5)
    assert not rig.bus.publish(event(1))
    rig.bus.put(event(2))
    counters = rig.bus.counters
    assert (counters.queued, counters.dropped, counters.waiting) == (1, 1, 0)
    assert rig.bus.flush(1)


def test_events_left_at_shutdown_are_dropped_and_counted(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a log, shutdown ends at its time-out, logs and counts the remaining events."""
    rig = Rig(make_settings())
    rig.bus.publish(event(0))
    assert rig.bus.flush(10)
    rig.sender.failure = TransportError("gone")
    for number in range(1, 100):
        rig.bus.publish(event(number))
    with caplog.at_level(logging.WARNING):
        assert not rig.bus.shutdown(0.3)
    assert not rig.bus.shutdown(0.3)
    counters = rig.bus.counters
    assert (counters.published, counters.dropped, counters.waiting) == (1, 99, 0)
    assert "99 events could not be published" in caplog.text


def test_events_behind_a_hanging_attempt_are_counted(make_settings: MakeSettings) -> None:
    """If an attempt hangs at the time-out, all events count as dropped until it ends."""
    rig = Rig(make_settings(batch_max_events=1))
    rig.sender.gate.clear()
    rig.bus.publish(event(0))
    assert rig.sender.is_waiting.wait(10)
    for number in range(1, 4):
        rig.bus.publish(event(number))
    assert not rig.bus.shutdown(0)
    counters = rig.bus.counters
    assert (counters.published, counters.dropped, counters.waiting) == (0, 4, 0)
    rig.sender.gate.set()
    wait_until(lambda: rig.sender.closed, "the end of the attempt")
    counters = rig.bus.counters
    assert (counters.published, counters.dropped, counters.waiting) == (1, 3, 0)
    assert rig.numbers() == [0]


def test_a_span_that_ends_during_the_shutdown_is_counted(make_settings: MakeSettings) -> None:
    """An event between the last batch and the end of shutdown counts as dropped."""

    class Sender(MemorySender):
        def close(self) -> None:
            bus.put(event(1))

    bus = EventBus(Sender(MemoryLog()), make_settings())
    bus.publish(event(0))
    assert bus.shutdown(5)
    counters = bus.counters
    assert (counters.queued, counters.dropped, counters.waiting) == (2, 1, 0)


@pytest.mark.parametrize("is_closed", [True, False])
def test_code_that_interrupts_the_bus_may_use_it(
    is_closed: bool, make_settings: MakeSettings
) -> None:
    """A signal handler or a finalizer may publish and count at any moment without a deadlock."""
    rig = Rig(make_settings())
    if is_closed:
        rig.bus.shutdown(5)
    seen: list[int] = []

    def interrupted() -> None:
        with rig.bus._lock:
            rig.bus.put(event(0))
            seen.append(rig.bus.counters.queued)

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(10)
    assert seen == [1]
    rig.bus.shutdown(5)
    counters = rig.bus.counters
    assert (counters.published, counters.dropped) == ((0, 1) if is_closed else (1, 0))


def test_a_thread_that_cannot_start_is_tried_again(rig: Rig) -> None:
    """While the system has no thread left, events wait."""
    with no_threads_left():
        assert rig.bus.publish(event(0))
        assert not rig.bus.flush(600)
    assert rig.bus.publish(event(1))
    assert rig.bus.flush(10)
    assert rig.numbers() == [0, 1]


def test_a_log_that_was_never_reached_does_not_delay_the_exit(make_settings: MakeSettings) -> None:
    """A program whose collector is not running ends long before the shutdown's time-out."""
    rig = Rig(make_settings())
    rig.sender.failure = TransportError("connection refused")
    rig.bus.publish(event(0))
    wait_until(lambda: rig.bus.counters.failed_attempts >= 3, "an open breaker")
    # Would run into the test's own time limit if it waited.
    assert not rig.bus.shutdown(600)


def test_flush_from_many_threads_is_answered(rig: Rig) -> None:
    """Each flush returns when the events queued before it have been sent."""
    results: list[bool] = []

    def publish_and_flush(base: int) -> None:
        for number in range(50):
            rig.bus.publish(event(base + number))
        results.append(rig.bus.flush(20))

    threads = [threading.Thread(target=publish_and_flush, args=(n * 50,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
    assert sorted(rig.numbers()) == list(range(400))


def test_connecting_to_an_unknown_scheme_fails_at_once(make_settings: MakeSettings) -> None:
    """An unknown scheme is an error that names the setting and the known schemes."""
    with pytest.raises(UnknownTransportError, match=r"'kafka' in MONITORING_BUS_URL; known: mem"):
        EventBus.connect(make_settings(bus_url="kafka://x"))


def lingering(make_settings: MakeSettings, **settings: Any) -> tuple[Rig, FakeClock]:
    """A bus whose log asks for 50 ms, on a clock that stands still; one batch was sent."""
    clock = FakeClock()
    rig = Rig(make_settings(**settings), clock=clock)
    rig.sender.linger_ms = 50
    rig.bus.publish(event(0))
    wait_until(lambda: rig.bus.counters.published == 1, "the first batch")
    return rig, clock


def wait_for_buffered(rig: Rig, count: int) -> None:
    """Until so many events wait in the send buffer."""
    buffer = rig.bus._publisher.send_buffer
    wait_until(lambda: len(buffer) == count, f"{count} events in the send buffer")


def wait_for_published(rig: Rig, count: int) -> None:
    wait_until(lambda: rig.bus.counters.published == count, f"{count} events in the log")


def lengths(rig: Rig) -> list[int]:
    return [length for _, _, length in rig.sender.batches]


def test_a_batch_lingers_as_the_log_asks(make_settings: MakeSettings) -> None:
    """Events that come within the linger are one batch; without it they are sent as they come."""
    rig, clock = lingering(make_settings)
    for number in range(1, 41):
        rig.bus.publish(event(number))
        wait_for_buffered(rig, number)
    assert lengths(rig) == [1]
    rig.sender.linger_ms = 0
    clock.advance(0.05)  # the thread has waited since the first of these events
    wait_for_published(rig, 41)
    assert lengths(rig) == [1, 40]
    rig.bus.publish(event(41))
    wait_for_published(rig, 42)
    assert rig.numbers() == list(range(42))
    assert rig.bus.shutdown(5)


def test_a_full_batch_does_not_linger(make_settings: MakeSettings) -> None:
    """With 256 events, or at half of the buffer's bound, a batch goes though the clock stands."""
    for settings, expected in (({}, 256), ({"buffer_max_events": 20}, 10)):
        rig, _ = lingering(make_settings, **settings)
        for number in range(expected - 1):
            rig.bus.publish(event(number))
        wait_for_buffered(rig, expected - 1)
        assert lengths(rig) == [1]
        rig.bus.publish(event(999))
        wait_for_published(rig, expected + 1)
        assert lengths(rig) == [1, expected]
        assert rig.bus.counters.dropped == 0
        assert rig.bus.shutdown(5)


def test_neither_a_flush_nor_the_end_waits_for_the_linger(make_settings: MakeSettings) -> None:
    """Both send at once what is collected, though the clock stands still."""
    rig, _ = lingering(make_settings)
    rig.bus.publish(event(1))
    wait_for_buffered(rig, 1)
    assert rig.bus.flush(10)
    assert rig.numbers() == [0, 1]
    rig.bus.publish(event(2))
    wait_for_buffered(rig, 1)
    assert rig.bus.shutdown(5)
    assert rig.numbers() == [0, 1, 2]


def test_a_bus_with_linger_0_never_lingers(make_settings: MakeSettings) -> None:
    """``MONITORING_LINGER_MAX_MS=0``: what the log asks for is ignored."""
    rig, _ = lingering(make_settings, linger_max_ms=0)
    for number in range(1, 4):
        rig.bus.publish(event(number))
        wait_for_published(rig, number + 1)
    assert rig.bus.shutdown(5)


def test_a_batch_that_failed_does_not_linger(make_settings: MakeSettings) -> None:
    """During an outage the breaker alone says when the next attempt is due."""
    rig, clock = lingering(make_settings)
    rig.sender.failure = TransportError("gone")
    rig.bus.publish(event(1))
    wait_for_buffered(rig, 1)

    def has_failed() -> bool:
        clock.advance(0.05)  # again: the thread may begin to wait after the first
        return rig.bus.counters.failed_attempts > 0

    wait_until(has_failed, "the attempt")
    rig.sender.failure = None
    clock.advance(1)
    wait_for_published(rig, 2)
    assert rig.bus.shutdown(5)
