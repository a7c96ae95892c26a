"""The two places where events wait: nothing lost uncounted, nothing in flight dropped."""

from __future__ import annotations

import sys
import threading
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.publish.buffer import ENTRY_OVERHEAD_BYTES, EventQueue, SendBuffer


class Event(NamedTuple):
    number: int
    data: bytes = b"x" * 50


def put(intake: EventQueue, item: object) -> None:
    intake.append(item)
    next(intake.counter)


def test_intake_gives_items_in_order() -> None:
    """Items leave in the order they came, a limited number at a time."""
    intake = EventQueue(10)
    for number in range(5):
        put(intake, number)
    assert (intake.take(3), intake.take(9), intake.take(1)) == ([0, 1, 2], [3, 4], [])


def test_intake_drops_the_oldest_and_counts() -> None:
    """A full intake lets the oldest go for each that comes."""
    intake = EventQueue(3)
    for number in range(10):
        put(intake, number)
    assert intake.measure() == (10, 7)
    assert intake.take(10) == [7, 8, 9]


def test_intake_counts_exactly_with_many_threads() -> None:
    """What came is what was taken, dropped or left, with eight threads putting and one taking."""
    intake = EventQueue(100)
    per_thread = 5000

    def put_all() -> None:
        for _ in range(per_thread):
            put(intake, None)

    threads = [threading.Thread(target=put_all) for _ in range(8)]
    taken = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += len(intake.take(64))
        intake.measure()
    appended, dropped = intake.measure()
    assert appended == 8 * per_thread
    assert taken + dropped + len(intake) == appended


def test_what_is_being_taken_does_not_count_as_dropped() -> None:
    """Who measures while the drain thread takes sees no drop where nothing was dropped."""
    intake = EventQueue(1_000_000)
    is_over = threading.Event()

    def drain() -> None:
        while not is_over.is_set():
            intake.take(2048)

    def fill() -> None:
        for number in range(100_000):
            put(intake, number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        drainer = threading.Thread(target=drain)
        fillers = [threading.Thread(target=fill) for _ in range(3)]
        for thread in (drainer, *fillers):
            thread.start()
        while any(thread.is_alive() for thread in fillers):
            intake.measure()
        is_over.set()
        drainer.join()
    finally:
        sys.setswitchinterval(interval)
    assert intake.measure() == (300_000, 0)


def test_intake_starts_anew_for_who_holds_it() -> None:
    """After a reset nothing is there or counted, and the same two callables go on."""
    intake = EventQueue(3)
    for number in range(5):
        put(intake, number)
    intake.measure()
    intake.reset()
    assert (len(intake), intake.measure()) == (0, (0, 0))
    put(intake, "child")
    assert (intake.measure(), intake.take(9)) == ((1, 0), ["child"])


@given(st.lists(st.integers(-1, 30), max_size=60), st.integers(1, 8))
def test_intake_accounts_for_everything(steps: list[int], bound: int) -> None:
    """After any puts (-1) and takes, came == taken + dropped + there, and order is kept."""
    intake, came, taken = EventQueue(bound), 0, []
    for step in steps:
        if step < 0:
            put(intake, came)
            came += 1
        else:
            taken += intake.take(step)
        appended, dropped = intake.measure()
        assert (appended, dropped) == (came, came - len(taken) - len(intake))
    assert taken == sorted(taken)


def outbox_of(count: int, max_events: int = 100, max_bytes: int = 10**6) -> SendBuffer[Event]:
    outbox: SendBuffer[Event] = SendBuffer(max_events, max_bytes)
    for number in range(1, count + 1):
        outbox.add(Event(number))
    return outbox


def test_a_batch_stays_the_same_until_settled() -> None:
    """The batch in flight is sent again unchanged, whatever comes behind it."""
    outbox = outbox_of(5)
    batch = outbox.form_batch(2)
    outbox.add(Event(6))
    assert outbox.form_batch(4) is batch
    assert ([event.number for event in batch], outbox.first_n) == ([1, 2], 1)
    outbox.settle_batch()
    assert [event.number for event in outbox.form_batch(9)] == [3, 4, 5, 6]
    assert outbox.first_n == 3


def test_a_full_outbox_drops_the_oldest_not_in_flight() -> None:
    """Over the bound the oldest waiting event goes; the batch in flight stays."""
    outbox = outbox_of(4, max_events=4)
    outbox.form_batch(2)
    for number in (5, 6, 7):
        outbox.add(Event(number))
    assert outbox.dropped == 3
    assert [event.number for event in outbox.batch] == [1, 2]
    outbox.settle_batch()
    assert [event.number for event in outbox.form_batch(9)] == [6, 7]


def test_dropping_leaves_no_hole_in_the_numbers() -> None:
    """Numbers are given when a batch is formed, so dropped events have none."""
    outbox = outbox_of(10, max_events=3)
    assert ([event.number for event in outbox.form_batch(9)], outbox.first_n) == ([8, 9, 10], 1)


def test_bytes_are_bounded_too() -> None:
    """Large events are dropped by their size long before their number."""
    outbox: SendBuffer[Event] = SendBuffer(1000, 10_000)
    for number in range(20):
        outbox.add(Event(number, b"x" * 2000))
    assert len(outbox) == 10_000 // (2000 + ENTRY_OVERHEAD_BYTES)
    assert outbox.size_bytes <= 10_000


def test_abandoning_counts_everything_as_dropped() -> None:
    """What is left at the end is dropped, the batch in flight too."""
    outbox = outbox_of(5)
    outbox.form_batch(2)
    assert (outbox.abandon(), outbox.dropped, len(outbox), outbox.size_bytes) == (5, 5, 0, 0)


@given(
    st.lists(st.tuples(st.sampled_from("afs"), st.integers(1, 400)), max_size=60),
    st.integers(1, 6),
    st.integers(400, 2000),
)
def test_an_outbox_accounts_for_everything(
    steps: list[tuple[str, int]], max_events: int, max_bytes: int
) -> None:
    """After any steps the bounds hold, the numbers have no holes and nothing is lost uncounted."""
    outbox: SendBuffer[Event] = SendBuffer(max_events, max_bytes)
    sent: list[tuple[int, int]] = []
    added = 0
    for step, size in steps:
        if step == "a":
            outbox.add(Event(added, b"x" * size))
            added += 1
        elif step == "f":
            outbox.form_batch(size)
        else:
            sent += [(outbox.first_n + i, e.number) for i, e in enumerate(outbox.batch)]
            outbox.settle_batch()
        assert added == len(sent) + outbox.dropped + len(outbox)
        assert outbox.settled == len(sent) + outbox.dropped
        in_flight = len(outbox.batch)
        assert len(outbox) <= max(max_events, in_flight)
        assert len(outbox) == in_flight or outbox.size_bytes <= max_bytes
    assert [n for n, _ in sent] == list(range(1, len(sent) + 1))
    assert [number for _, number in sent] == sorted(number for _, number in sent)
