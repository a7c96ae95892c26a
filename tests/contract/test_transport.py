"""What every transport promises: one suite over memory, Redis (two), Valkey and HTTP."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from otel_bridge.errors import PositionLostError
from otel_bridge.lines.line import encode_line
from otel_bridge.publish.redis_clients import aclose, connect_async
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports import open_receiver, open_sender
from otel_bridge.publish.transports.base import (
    LineStore,
    LogEntry,
    Outgoing,
    Receiver,
    SpanLines,
    SpanStack,
    position_after,
)
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.publish.transports.stack_reader import read_stack
from otel_bridge.settings import BridgeSettings
from tests.support.push_server import PushServer
from tests.support.redis_server import DATABASES, RedisServer

pytestmark = pytest.mark.redis

STREAM_MAX_EVENTS = 1000
_names = itertools.count()


@dataclass
class Log:
    """One empty log with its two ends."""

    sender: LineStore
    receiver: Receiver
    read_stack: Callable[[str], Awaitable[SpanStack | None]]
    read_lines: Callable[[str], Awaitable[Sequence[bytes]]]

    async def read_all(self, after: str | None = None) -> list[LogEntry]:
        """Everything after a position, in reads of up to 500."""
        position = await self.receiver.open() if after is None else after
        found: list[LogEntry] = []
        while entries := await self.receiver.read(position, wait_ms=0):
            found += entries
            position = entries[-1].position
        return found


@pytest.fixture(scope="module")
def oldest() -> Iterator[RedisServer]:
    with RedisServer(kind="oldest") as server:
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisServer]:
    with RedisServer(kind="valkey") as server:
        yield server


def new_settings(bus_url: str) -> BridgeSettings:
    # The contract is not about time: a busy machine may take long over an answer.
    return BridgeSettings(
        bus_url=bus_url, stream_max_events=STREAM_MAX_EVENTS, send_timeout_ms=10_000
    )


@pytest.fixture(params=["memory", "redis", "oldest", "valkey", "http"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    number = next(_names)
    server = None
    if request.param == "redis":
        receiver_url = sender_url = request.getfixturevalue("redis_url")
    elif request.param in ("oldest", "valkey"):
        port = request.getfixturevalue(request.param).port
        receiver_url = sender_url = f"redis://127.0.0.1:{port}/{number % DATABASES}"
    else:
        receiver_url = sender_url = f"memory://contract-{number}"
    if request.param == "http":
        server = PushServer(memory_log(f"contract-{number}", STREAM_MAX_EVENTS))
        sender_url = server.url
    settings = new_settings(sender_url)
    client = None if receiver_url.startswith("memory") else connect_async(receiver_url)
    made = Log(
        open_sender(sender_url, settings),
        open_receiver(receiver_url, settings),
        lambda span_id: read_stack(span_id, receiver_url, client, DEFAULT_KEYS),
        lambda span_id: read_lines(span_id, f"contract-{number}", client),
    )
    yield made
    if client is not None:
        await aclose(client)
    made.sender.close()
    await made.receiver.close()
    if server is not None:
        server.close()


async def read_lines(span_id: str, name: str, client: Any) -> Sequence[bytes]:
    """The log lines that are stored of a span."""
    if client is None:
        return memory_log(name).lines(span_id)
    found: list[bytes] = await client.lrange(DEFAULT_KEYS.lines(span_id), 0, -1)
    return found


def events(first: int, count: int, project_id: str | None = "p1") -> list[Outgoing]:
    """Encoded events numbered from ``first``."""
    return [
        Outgoing(
            json.dumps(
                {"event_type": "task_started", "task_id": str(number), "project_id": project_id},
                separators=(",", ":"),
            ).encode(),
            project_id,
        )
        for number in range(first, first + count)
    ]


def numbers(entries: Sequence[LogEntry]) -> list[int]:
    return [int(json.loads(entry.data)["task_id"]) for entry in entries]


async def test_appended_events_are_read_in_order_with_their_position_in_front(log: Log) -> None:
    """A reader gets the bytes that were sent, with the position spliced in front."""
    batch = events(1, 3)
    result = await asyncio.to_thread(log.sender.send, "a", 1, batch)
    entries = await log.read_all()
    assert [
        b'{"position":"' + entry.position.encode() + b'",' + sent.data[1:]
        for entry, sent in zip(entries, batch, strict=True)
    ] == [entry.data for entry in entries]
    assert (result.position, result.skipped, result.refused) == (entries[-1].position, 0, 0)


async def test_a_batch_sent_again_is_skipped(log: Log) -> None:
    """A batch whose answer was lost can be sent again without a duplicate."""
    first = await asyncio.to_thread(log.sender.send, "a", 1, events(1, 5))
    again = await asyncio.to_thread(log.sender.send, "a", 1, events(1, 5))
    assert (again.position, again.skipped) == (first.position, 5)
    assert numbers(await log.read_all()) == [1, 2, 3, 4, 5]


async def test_a_batch_held_in_part_is_completed(log: Log) -> None:
    """Of an overlapping batch only what the log does not hold is appended."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 3))
    result = await asyncio.to_thread(log.sender.send, "a", 2, events(2, 4))
    assert result.skipped == 2
    assert numbers(await log.read_all()) == [1, 2, 3, 4, 5]


async def test_producers_do_not_skip_each_other(log: Log) -> None:
    """Two producers with the same numbers both get through."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 2))
    result = await asyncio.to_thread(log.sender.send, "b", 1, events(11, 2))
    assert result.skipped == 0
    assert numbers(await log.read_all()) == [1, 2, 11, 12]


async def test_a_closed_sender_opens_again(log: Log) -> None:
    """Closing releases the connection and no more: the next batch opens another."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 1))
    log.sender.close()
    await asyncio.to_thread(log.sender.send, "a", 2, events(2, 1))
    assert numbers(await log.read_all()) == [1, 2]


async def test_a_waiting_reader_is_woken(log: Log) -> None:
    """A read of an empty log returns as soon as something is appended."""
    position = await log.receiver.open()
    reading = asyncio.create_task(log.receiver.read(position, wait_ms=20_000))
    done, _ = await asyncio.wait([reading], timeout=0.05)
    assert not done
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 1))
    assert numbers(await asyncio.wait_for(reading, 10)) == [1]


async def test_a_read_of_nothing_ends(log: Log) -> None:
    """With nothing appended a read returns empty, at once when told not to wait."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 1))
    last = await log.receiver.last_position()
    assert list(await log.receiver.read(last, wait_ms=0)) == []
    assert list(await log.receiver.read(last, wait_ms=30)) == []


async def test_a_read_returns_at_most_its_limit(log: Log) -> None:
    """``limit`` bounds a read, and the next one goes on from there."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 10))
    first = await log.receiver.read(await log.receiver.open(), limit=4)
    assert numbers(first) == [1, 2, 3, 4]
    assert numbers(await log.read_all(first[-1].position)) == [5, 6, 7, 8, 9, 10]


async def test_reading_resumes_after_any_position(log: Log) -> None:
    """After every position exactly the rest follows."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 20))
    entries = await log.read_all()
    for index, entry in enumerate(entries, start=1):
        assert numbers(await log.read_all(entry.position)) == list(range(index + 1, 21))


async def test_the_last_position_of_an_empty_log_is_before_its_first_event(log: Log) -> None:
    """Who starts at the end of an empty log misses nothing."""
    last = await log.receiver.last_position()
    assert last == await log.receiver.open()
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 2))
    assert numbers(await log.read_all(last)) == [1, 2]
    assert await log.receiver.last_position() != last


@pytest.mark.parametrize("limit", [499, 500, 600])
async def test_a_full_first_batch_after_an_empty_log_is_no_gap(log: Log, limit: int) -> None:
    """A reader that found the log empty reads its first events, also as many as it may take."""
    position = await log.receiver.open()
    for first in (1, 201, 401):
        await asyncio.to_thread(log.sender.send, "a", first, events(first, 200))
    entries = await log.receiver.read(position, limit=limit)
    assert numbers(entries) == list(range(1, limit + 1))
    assert numbers(await log.read_all(entries[-1].position)) == list(range(limit + 1, 601))


async def test_a_trimmed_position_is_lost(log: Log) -> None:
    """A reader older than the log's first entry is told, never moved on silently."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 1))
    (old,) = await log.read_all()
    before = await log.receiver.open()
    for first in range(2, 3002, 500):
        await asyncio.to_thread(log.sender.send, "a", first, events(first, 500))
    for position in (old.position, before):
        with pytest.raises(PositionLostError) as caught:
            await log.receiver.read(position, wait_ms=0)
        assert caught.value.reason == "trimmed"
    kept = numbers(await log.read_all())
    assert kept == list(range(kept[0], 3002))
    assert STREAM_MAX_EVENTS <= len(kept) <= STREAM_MAX_EVENTS + 200


async def test_a_reader_trimmed_while_it_reads_is_told(log: Log) -> None:
    """A slow reader overtaken by the bound gets an error from its next read, not a jump."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 500))
    position = await log.receiver.open()
    entries = await log.receiver.read(position, limit=10)
    for first in range(501, 3001, 500):
        await asyncio.to_thread(log.sender.send, "a", first, events(first, 500))
    with pytest.raises(PositionLostError) as caught:
        await log.receiver.read(entries[-1].position)
    assert caught.value.reason == "trimmed"


async def test_a_position_of_another_log_is_lost(log: Log) -> None:
    """A position with another epoch is refused, not guessed at."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 1))
    position = await log.receiver.last_position()
    other = "00000000" + position[position.index(":") :]
    with pytest.raises(PositionLostError) as caught:
        await log.receiver.read(other, wait_ms=0)
    assert caught.value.reason == "epoch"


@pytest.mark.parametrize(
    "position", ["", "x", ":", ":1", "1-1", "abc:", "abc:-", "abc:x-y", "a:1²"]
)
async def test_a_malformed_position_is_lost(log: Log, position: str) -> None:
    """What is no position is refused as such."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 1))
    with pytest.raises(PositionLostError) as caught:
        await log.receiver.read(position, wait_ms=0)
    assert caught.value.reason == "malformed"


async def test_reading_back_gives_the_newest_first(log: Log) -> None:
    """``read_back`` pages from the end, without the entry it starts before, or with it."""
    await asyncio.to_thread(log.sender.send, "a", 1, events(1, 10))
    newest = await log.receiver.read_back(3)
    assert numbers(newest) == [10, 9, 8]
    older = await log.receiver.read_back(3, before=newest[-1].position)
    assert numbers(older) == [7, 6, 5]
    upto = position_after(older[-1].position)
    assert numbers(await log.receiver.read_back(2, before=upto)) == [5, 4]
    assert numbers(await log.receiver.read_back(100)) == list(range(10, 0, -1))


async def test_reading_back_an_empty_log_gives_nothing(log: Log) -> None:
    """An empty log has no newest entries."""
    assert list(await log.receiver.read_back(5)) == []


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 6), st.integers(0, 4)), max_size=12)
)
async def test_any_resending_appends_each_event_once_in_order(
    log: Log, sends: list[tuple[str, int, int]]
) -> None:
    """However batches are cut and repeated, each producer's events are there once, in order."""
    run = next(_names)
    position = await log.receiver.last_position()
    acknowledged = {"a": 0, "b": 0}
    for producer, count, back in sends:
        first = max(1, acknowledged[producer] + 1 - back)
        await asyncio.to_thread(
            log.sender.send, f"{producer}{run}", first, events(first, count, producer)
        )
        acknowledged[producer] = max(acknowledged[producer], first + count - 1)
    found: dict[str, list[int]] = {"a": [], "b": []}
    for entry in await log.read_all(position):
        event = json.loads(entry.data)
        found[event["project_id"]].append(int(event["task_id"]))
    assert found == {name: list(range(1, last + 1)) for name, last in acknowledged.items()}


def with_stack(number: int, text: str, project_id: str | None = "p1") -> Outgoing:
    (event,) = events(number, 1, project_id)
    return event._replace(stack=SpanStack(f"{number:016x}", text, project_id))


async def test_a_stack_is_stored_beside_its_event(log: Log) -> None:
    """It can be read once the event is in the log; the event itself is as it was sent."""
    text = "ValueError: é\n  shop/orders.py:1 buy\n" + "x" * 4000
    batch = [*events(1, 2), with_stack(3, text), with_stack(4, "other", None)]
    result = await asyncio.to_thread(log.sender.send, "a", 1, batch)
    assert (result.skipped, result.unstored) == (0, 0)
    assert numbers(await log.read_all()) == [1, 2, 3, 4]
    assert await log.read_stack(f"{3:016x}") == SpanStack(f"{3:016x}", text, "p1")
    assert await log.read_stack(f"{4:016x}") == SpanStack(f"{4:016x}", "other", None)
    assert await log.read_stack(f"{1:016x}") is None


async def test_a_batch_that_is_sent_again_keeps_its_stacks(log: Log) -> None:
    """After a lost answer nothing is stored twice, refused or lost."""
    batch = [with_stack(1, "text")]
    for skipped in (0, 1):
        result = await asyncio.to_thread(log.sender.send, "a", 1, batch)
        assert (result.skipped, result.unstored) == (skipped, 0)
    assert await log.read_stack(f"{1:016x}") == SpanStack(f"{1:016x}", "text", "p1")


async def test_a_stack_of_another_project_is_not_replaced(log: Log) -> None:
    """No client may change what a project's readers see of a span; the event is in the log."""
    await asyncio.to_thread(log.sender.send, "a", 1, [with_stack(1, "first")])
    result = await asyncio.to_thread(log.sender.send, "b", 1, [with_stack(1, "forged", "p2")])
    assert result.unstored == 1
    assert numbers(await log.read_all()) == [1, 1]
    assert await log.read_stack(f"{1:016x}") == SpanStack(f"{1:016x}", "first", "p1")


async def test_log_lines_are_added_and_the_last_200_are_kept(log: Log) -> None:
    """Each node has its own; what is added comes after what there was, byte for byte."""
    lines = [encode_line(1, 20, "shop", f"é {n}\n", n) for n in range(1, 302)]
    first, second = f"{1:016x}", f"{2:016x}"
    batch = [SpanLines(first, lines[:2], "p1"), SpanLines(second, lines[:1])]
    assert await asyncio.to_thread(log.sender.store_lines, batch) == 0
    assert await log.read_lines(first) == lines[:2]
    batch = [SpanLines(first, lines[2:], "p1", is_due=False), SpanLines(second, [], None, "failed")]
    assert await asyncio.to_thread(log.sender.store_lines, batch) == 0
    assert await log.read_lines(first) == lines[-200:]
    assert await log.read_lines(second) == lines[:1]
    assert await log.read_lines(f"{3:016x}") == []


async def test_stacks_are_stored_without_events_too(log: Log) -> None:
    """As the collector does for those that workers push; how many were refused is counted."""
    stacks = [SpanStack(f"{n:016x}", f"text {n}", "p1") for n in (1, 2)]
    assert await asyncio.to_thread(log.sender.store_stacks, stacks) == 0
    forged = [stacks[0]._replace(project_id="p2"), stacks[1]._replace(text="newer")]
    assert await asyncio.to_thread(log.sender.store_stacks, forged) == 1
    assert await log.read_stack(f"{1:016x}") == stacks[0]
    assert await log.read_stack(f"{2:016x}") == forged[1]
