"""The two places where events wait: every loss is counted, nothing in flight is dropped."""

from __future__ import annotations

import sys
import threading
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.publish.buffer import (
    ENTRY_OVERHEAD_BYTES,
    EventQueue,
    FlushRequest,
    Linger,
    SendBuffer,
)


class Event(NamedTuple):
    number: int
    data: bytes = b"x" * 50


def put(queue: EventQueue, item: object) -> None:
    queue.append(item)
    next(queue.counter)


def test_a_queue_gives_items_in_order() -> None:
    """Items leave in the order they came, a limited number at a time."""
    queue = EventQueue(10)
    for number in range(5):
        put(queue, number)
    assert (queue.take(3), queue.take(9), queue.take(1)) == ([0, 1, 2], [3, 4], [])


def test_a_queue_drops_the_oldest_and_counts() -> None:
    """A full queue drops its oldest item for each new one."""
    queue = EventQueue(3)
    for number in range(10):
        put(queue, number)
    assert queue.measure() == (10, 7)
    assert queue.take(10) == [7, 8, 9]


def test_a_queue_counts_exactly_with_many_threads() -> None:
    """Items added are items taken, dropped or left, with eight threads adding and one taking."""
    queue = EventQueue(100)
    per_thread = 5000

    def put_all() -> None:
        for _ in range(per_thread):
            put(queue, None)

    threads = [threading.Thread(target=put_all) for _ in range(8)]
    taken = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += len(queue.take(64))
        queue.measure()
    appended, dropped = queue.measure()
    assert appended == 8 * per_thread
    assert taken + dropped + len(queue) == appended


def test_what_is_being_taken_does_not_count_as_dropped() -> None:
    """A thread that measures while another takes sees no drop where nothing was dropped."""
    queue = EventQueue(1_000_000)
    is_over = threading.Event()

    def drain() -> None:
        while not is_over.is_set():
            queue.take(2048)

    def fill() -> None:
        for number in range(100_000):
            put(queue, number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        drainer = threading.Thread(target=drain)
        fillers = [threading.Thread(target=fill) for _ in range(3)]
        for thread in (drainer, *fillers):
            thread.start()
        while any(thread.is_alive() for thread in fillers):
            queue.measure()
        is_over.set()
        drainer.join()
    finally:
        sys.setswitchinterval(interval)
    assert queue.measure() == (300_000, 0)


def test_a_queue_is_usable_after_a_reset() -> None:
    """After a reset the queue is empty and counts from 0, with the same two callables."""
    queue = EventQueue(3)
    for number in range(5):
        put(queue, number)
    queue.measure()
    queue.reset()
    assert (len(queue), queue.measure()) == (0, (0, 0))
    put(queue, "child")
    assert (queue.measure(), queue.take(9)) == ((1, 0), ["child"])


@given(st.lists(st.integers(-1, 30), max_size=60), st.integers(1, 8))
def test_a_queue_accounts_for_everything(steps: list[int], bound: int) -> None:
    """After any puts (-1) and takes, added == taken + dropped + waiting, and order is kept."""
    queue, added, taken = EventQueue(bound), 0, []
    for step in steps:
        if step < 0:
            put(queue, added)
            added += 1
        else:
            taken += queue.take(step)
        appended, dropped = queue.measure()
        assert (appended, dropped) == (added, added - len(taken) - len(queue))
    assert taken == sorted(taken)


def buffer_of(count: int, max_events: int = 100, max_bytes: int = 10**6) -> SendBuffer[Event]:
    buffer: SendBuffer[Event] = SendBuffer(max_events, max_bytes)
    for number in range(1, count + 1):
        buffer.add(Event(number))
    return buffer


def test_a_batch_stays_the_same_until_completed() -> None:
    """The batch in flight stays unchanged when further events are added."""
    buffer = buffer_of(5)
    batch = buffer.form_batch(2)
    buffer.add(Event(6))
    assert buffer.form_batch(4) is batch
    assert ([event.number for event in batch], buffer.first_n) == ([1, 2], 1)
    buffer.complete_batch()
    assert [event.number for event in buffer.form_batch(9)] == [3, 4, 5, 6]
    assert buffer.first_n == 3


def test_a_full_buffer_drops_the_oldest_not_in_flight() -> None:
    """Over the bound the oldest waiting event is dropped; the batch in flight stays."""
    buffer = buffer_of(4, max_events=4)
    buffer.form_batch(2)
    for number in (5, 6, 7):
        buffer.add(Event(number))
    assert buffer.dropped == 3
    assert [event.number for event in buffer.batch] == [1, 2]
    buffer.complete_batch()
    assert [event.number for event in buffer.form_batch(9)] == [6, 7]


def test_dropping_leaves_no_hole_in_the_numbers() -> None:
    """Events are numbered when a batch is formed, so a dropped event has no number."""
    buffer = buffer_of(10, max_events=3)
    assert ([event.number for event in buffer.form_batch(9)], buffer.first_n) == ([8, 9, 10], 1)


def test_bytes_are_bounded_too() -> None:
    """Large events exceed the bound in bytes long before the bound in number."""
    buffer: SendBuffer[Event] = SendBuffer(1000, 10_000)
    for number in range(20):
        buffer.add(Event(number, b"x" * 2000))
    assert len(buffer) == 10_000 // (2000 + ENTRY_OVERHEAD_BYTES)
    assert buffer.size_bytes <= 10_000


def test_abandoning_counts_everything_as_dropped() -> None:
    """Abandoning drops all events, those of the batch in flight too."""
    buffer = buffer_of(5)
    buffer.form_batch(2)
    assert (buffer.abandon(), buffer.dropped, len(buffer), buffer.size_bytes) == (5, 5, 0, 0)


@given(
    st.lists(st.tuples(st.sampled_from("afs"), st.integers(1, 400)), max_size=60),
    st.integers(1, 6),
    st.integers(400, 2000),
)
def test_a_buffer_accounts_for_everything(
    steps: list[tuple[str, int]], max_events: int, max_bytes: int
) -> None:
    """After any steps the bounds hold, the numbers have no holes and every loss is counted."""
    buffer: SendBuffer[Event] = SendBuffer(max_events, max_bytes)
    sent: list[tuple[int, int]] = []
    added = 0
    for step, size in steps:
        if step == "a":
            buffer.add(Event(added, b"x" * size))
            added += 1
        elif step == "f":
            buffer.form_batch(size)
        else:
            sent += [(buffer.first_n + i, e.number) for i, e in enumerate(buffer.batch)]
            buffer.complete_batch()
        assert added == len(sent) + buffer.dropped + len(buffer)
        assert buffer.removed == len(sent) + buffer.dropped
        in_flight = len(buffer.batch)
        assert len(buffer) <= max(max_events, in_flight)
        assert len(buffer) == in_flight or buffer.size_bytes <= max_bytes
    assert [n for n, _ in sent] == list(range(1, len(sent) + 1))
    assert [number for _, number in sent] == sorted(number for _, number in sent)


def test_events_of_exactly_the_bound_in_bytes_are_kept() -> None:
    """At the bound in bytes nothing is dropped; one byte more and the oldest event is."""
    size = 50 + ENTRY_OVERHEAD_BYTES
    assert (len(buffer_of(3, max_bytes=3 * size)), len(buffer_of(3, max_bytes=3 * size - 1))) == (
        3,
        2,
    )


def test_losses_add_up() -> None:
    """Events dropped at the bound and abandoned ones, twice, are one sum."""
    buffer = buffer_of(3, max_events=2)
    assert (buffer.dropped, buffer.abandon(), buffer.dropped) == (1, 2, 3)
    buffer.add(Event(4))
    assert (buffer.abandon(), buffer.dropped, buffer.removed) == (1, 4, 4)


def test_a_flush_knows_how_many_events_were_added() -> None:
    """Events added so far count also those dropped and those sent."""
    buffer = buffer_of(5, max_events=3)
    buffer.form_batch(2)
    buffer.complete_batch()
    assert (buffer.added, buffer.removed) == (5, 4)


def test_a_flush_begins_with_its_target_alone() -> None:
    """A flush knows how many items it waits for; neither of its two steps is done yet."""
    request = FlushRequest(7)
    assert (request.target, request.buffer_target, request.done.is_set()) == (7, None, False)


def test_a_batch_is_worth_waiting_for_until_it_can_be_full() -> None:
    """Not once one is in flight, nor at half of a bound, where waiting could drop an event."""
    size = 50 + ENTRY_OVERHEAD_BYTES
    for limit, max_events, max_bytes, full_at in (
        (4, 100, 100 * size, 4),
        (256, 10, 100 * size, 5),
        (256, 100, 6 * size, 3),
        (1, 100, 100 * size, 1),
    ):
        buffer: SendBuffer[Event] = SendBuffer(max_events, max_bytes)
        for number in range(full_at - 1):
            buffer.add(Event(number))
            assert not buffer.has_batch(limit)
        buffer.add(Event(full_at))
        assert buffer.has_batch(limit)
    buffer = SendBuffer(100, 100 * size)
    buffer.add(Event(0))
    assert not buffer.has_batch(256)
    buffer.form_batch(256)
    assert buffer.has_batch(256)


def test_a_linger_counts_from_the_start_of_a_batch() -> None:
    """It includes the flush interval, which the events have waited already; each batch has one."""
    linger = Linger(50, 3)
    assert linger.wait_sec(0.0) == 0
    linger.end_batch()
    linger.note_reply(25, 0.0)
    assert linger.wait_sec(1.0) == pytest.approx(0.022)
    assert linger.wait_sec(1.02) == pytest.approx(0.002)
    assert linger.wait_sec(1.03) == 0
    linger.end_batch()
    assert linger.wait_sec(1.03) == pytest.approx(0.022)


@pytest.mark.parametrize(
    ("max_ms", "linger_ms", "expected"),
    [(50, 1_000_000, 0.047), (0, 50, 0), (50, 2, 0), (50, 0, 0), (50, -5, 0)],
)
def test_a_linger_is_bounded(max_ms: int, linger_ms: int, expected: float) -> None:
    """By the publisher's own setting; one below the flush interval changes nothing."""
    linger = Linger(max_ms, 3)
    linger.note_reply(linger_ms, 0.0)
    assert linger.wait_sec(0.0) == pytest.approx(expected)


def test_a_linger_is_forgotten_without_a_reply() -> None:
    """After 10 s it is not known whether it still holds, so a batch does not wait."""
    linger = Linger(50, 3)
    linger.note_reply(50, 0.0)
    assert linger.wait_sec(9.9) > 0
    linger.end_batch()
    assert linger.wait_sec(10.0) == 0
