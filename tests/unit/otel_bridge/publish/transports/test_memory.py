"""The log in memory: its bound, its names, its waiting readers; ``tests/contract`` has the rest."""

from __future__ import annotations

import asyncio
import threading

import pytest

from otel_bridge.errors import PositionLostError
from otel_bridge.publish.transports import memory
from otel_bridge.publish.transports.base import AppendResult, Outgoing
from otel_bridge.publish.transports.memory import (
    DEFAULT_MAX_EVENTS,
    MemoryLog,
    MemoryReceiver,
    MemorySender,
    memory_log,
)


def events(count: int) -> list[Outgoing]:
    return [Outgoing(b'{"n":%d}' % number, None) for number in range(count)]


def test_positions_count_from_one_within_an_epoch() -> None:
    """A position is ``<epoch>:<seq>``; the epoch is 8 hex digits and differs between logs."""
    log, other = MemoryLog(), MemoryLog()
    assert log.first_position() == log.last_position() == f"{log.epoch}:0"
    result = log.append("p", 1, events(3))
    assert result == AppendResult(f"{log.epoch}:3", skipped=0, refused=0)
    assert [entry.position for entry in log.newest(9, None)] == [
        f"{log.epoch}:{number}" for number in (3, 2, 1)
    ]
    assert len(log.epoch) == 8
    assert int(log.epoch, 16) >= 0
    assert log.epoch != other.epoch


@pytest.mark.parametrize(("max_events", "slack"), [(100, 64), (3200, 200)])
def test_the_oldest_are_removed_in_blocks(max_events: int, slack: int) -> None:
    """A log holds up to a sixteenth more than its bound, at least 64; then exactly the bound."""
    log = MemoryLog(max_events)
    log.append("p", 1, events(max_events + slack))
    assert log.first_position() == f"{log.epoch}:0"
    log.append("p", max_events + slack + 1, events(1))
    assert len(log.newest(1_000_000, None)) == max_events
    assert log.first_position() == f"{log.epoch}:{slack + 1}"
    assert log.last_position() == f"{log.epoch}:{max_events + slack + 1}"


def test_a_removed_position_is_lost_and_the_next_is_not() -> None:
    """A reader continues from the position before the first entry, and from no earlier one."""
    log = MemoryLog(10)
    log.append("p", 1, events(200))
    assert [entry.position for entry in log.entries_after(log.first_position(), 1)] == [
        f"{log.epoch}:191"
    ]
    with pytest.raises(PositionLostError) as raised:
        log.entries_after(f"{log.epoch}:189", 1)
    assert raised.value.reason == "trimmed"
    with pytest.raises(PositionLostError) as raised:
        log.entries_after(f"{log.epoch}:201", 1)
    assert raised.value.reason == "epoch"


def test_paging_back_before_the_first_entry_gives_nothing() -> None:
    """``before`` may be a removed position; one of another log is lost."""
    log = MemoryLog(10)
    log.append("p", 1, events(200))
    assert log.newest(5, f"{log.epoch}:3") == []
    assert [entry.position for entry in log.newest(5, f"{log.epoch}:193")] == [
        f"{log.epoch}:192",
        f"{log.epoch}:191",
    ]
    with pytest.raises(PositionLostError):
        log.newest(5, "00000000:3")


def test_producers_are_remembered_by_their_last_append(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound the producer that was silent longest is forgotten, so it appends again."""
    monkeypatch.setattr(memory, "_MAX_PRODUCERS", 2)
    log = MemoryLog()
    for producer in ("a", "b", "a", "c"):
        log.append(producer, 1, events(1))
    assert [log.append(producer, 1, events(1)).skipped for producer in ("a", "c", "b")] == [1, 1, 0]


def test_a_name_is_one_log_with_the_bound_of_its_first_use() -> None:
    """Calls with one name give one log; another name another log with the default bound."""
    first = memory_log("test-memory-a", 50)
    assert memory_log("test-memory-a", 70) is first
    assert first.max_events == 50
    other = memory_log("test-memory-b")
    assert other is not first
    assert other.max_events == DEFAULT_MAX_EVENTS == 100_000


def test_many_threads_find_one_log() -> None:
    """A log that many threads ask for at once is created once."""
    found: list[MemoryLog] = []
    gate = threading.Barrier(8)

    def find() -> None:
        gate.wait(10)
        found.append(memory_log("test-memory-threads"))

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len({id(log) for log in found}) == 1


def test_readers_of_several_loops_are_woken() -> None:
    """One append wakes readers that wait on event loops of different threads."""
    log = MemoryLog()
    waiting = threading.Barrier(3)
    read: list[int] = []

    def run_reader() -> None:
        async def reader() -> None:
            receiver = MemoryReceiver(log)
            reading = asyncio.create_task(receiver.read(await receiver.open(), wait_ms=20_000))
            await asyncio.wait([reading], timeout=0)
            waiting.wait(10)
            read.append(len(await reading))

        asyncio.run(reader())

    threads = [threading.Thread(target=run_reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    MemorySender(log).send("p", 1, events(2))
    for thread in threads:
        thread.join(10)
    assert read == [2, 2]


def test_a_reader_whose_loop_was_closed_does_not_disturb() -> None:
    """Appending ignores a waiting reader whose event loop is closed."""
    log = MemoryLog()
    loop = asyncio.new_event_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    assert log.entries_after(log.last_position(), 10, waiter) == []
    loop.close()
    assert log.append("p", 1, events(1)).position == f"{log.epoch}:1"


async def test_a_reader_that_stops_waiting_leaves_nothing_behind() -> None:
    """After a time-out and after a cancellation the log keeps no waiter."""
    log = MemoryLog()
    receiver = MemoryReceiver(log)
    assert await receiver.read(await receiver.open(), wait_ms=0) == []
    reading = asyncio.create_task(receiver.read(await receiver.open(), wait_ms=20_000))
    await asyncio.wait([reading], timeout=0)
    assert len(log._waiters) == 1
    reading.cancel()
    await asyncio.wait([reading])
    assert log._waiters == set()


async def test_no_external_message_ever_arrives() -> None:
    """A log inside one process has no external publishers, whatever is appended."""
    log = MemoryLog()
    receiver = MemoryReceiver(log)
    first = asyncio.ensure_future(anext(receiver.external_messages()))
    await asyncio.wait([first], timeout=0)
    MemorySender(log).send("p", 1, events(1))
    done, _ = await asyncio.wait([first], timeout=0)
    assert not done
    first.cancel()
    await asyncio.wait([first])


async def test_both_ends_stay_usable_after_close() -> None:
    """There is no connection: closing a sender or a receiver changes nothing."""
    log = MemoryLog()
    sender, receiver = MemorySender(log), MemoryReceiver(log)
    sender.close()
    await receiver.close()
    sender.send("p", 1, events(1))
    assert len(await receiver.read_back(9)) == 1
