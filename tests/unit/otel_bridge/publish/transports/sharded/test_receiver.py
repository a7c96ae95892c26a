"""``otel_bridge.publish.transports.sharded.receiver``: reading all shards of a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.redis_clients import close, connect
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import TAGS, Layout
from otel_bridge.publish.shards.resharding import reshard
from otel_bridge.publish.transports.base import LogEntry
from otel_bridge.publish.transports.sharded import receiver as module
from otel_bridge.publish.transports.sharded.receiver import NoLayoutError, ShardedReceiver
from otel_bridge.settings import BridgeSettings

pytestmark = pytest.mark.redis

SHARDS = 3


class Log:
    """Shards whose entries have the ids that a test gives them, and a receiver."""

    def __init__(self, url: str) -> None:
        self.client: Any = connect(url)
        self.layout: Layout = reshard(self.client, DEFAULT_KEYS, SHARDS)
        self.receiver = ShardedReceiver(url, BridgeSettings())

    def now_ms(self) -> int:
        seconds, microseconds = self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def add(self, shard: int, entry_id: str) -> None:
        stream, meta = DEFAULT_KEYS.log_stream(TAGS[shard]), DEFAULT_KEYS.log_meta(TAGS[shard])
        self.client.hsetnx(meta, "first", entry_id)
        self.client.xadd(stream, {"e": f'{{"id":"{shard}:{entry_id}"}}'}, id=entry_id)

    def place(self, shard: int, entry_id: str) -> str:
        ms, _, seq = entry_id.partition("-")
        return f"{self.layout.epoch}:{ms}-{shard}-{seq}" if shard else self.text(entry_id)

    def text(self, place: str) -> str:
        return f"{self.layout.epoch}:{place}"

    async def lost(self, after: str) -> PositionLostError:
        """The loss that reading on from a position, where nothing new is, ends with."""
        try:
            while True:
                assert not await self.receiver.read(after, wait_ms=50)
        except PositionLostError as found:
            return found


async def read_all(url: str, position: str) -> list[str]:
    """The places of all entries after a position, as a second receiver reads them."""
    receiver = ShardedReceiver(url, BridgeSettings())
    found: list[str] = []
    try:
        while entries := await receiver.read(position, wait_ms=0):
            found += places(entries)
            position = entries[-1].position
    finally:
        await receiver.close()
    return found


@pytest.fixture
def opened(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    monkeypatch.setattr(module, "_CHECK_INTERVAL_SEC", 0.05)
    log = Log(redis_url)
    yield log
    close(log.client)


@pytest.fixture
async def log(opened: Log) -> AsyncIterator[Log]:
    yield opened
    await opened.receiver.close()


def places(entries: Sequence[LogEntry]) -> list[str]:
    return [entry.position.rpartition(":")[2] for entry in entries]


async def test_entries_come_in_one_order(log: Log) -> None:
    """By millisecond, shard and number, each with its position in its event; read_back reversed."""
    for shard, entry_id in ((2, "5-0"), (1, "5-1"), (1, "5-2"), (0, "5-9"), (2, "4-0"), (0, "6-0")):
        if entry_id != "4-0":
            log.add(shard, entry_id)
    position = await log.receiver.open()
    assert position == log.text("5-8")
    entries = await log.receiver.read(position)
    assert places(entries) == ["5-9", "5-1-1", "5-1-2", "5-2-0", "6-0"]
    assert entries[1].data == b'{"position":"%s","id":"1:5-1"}' % entries[1].position.encode()
    assert await log.receiver.last_position() == log.text("6-0")
    assert places(await log.receiver.read_back(10)) == places(entries)[::-1]
    before = await log.receiver.read_back(2, before=log.text("5-1-2"))
    assert places(before) == ["5-1-1", "5-9"]
    assert log.receiver.status.events == {0: 2, 1: 2, 2: 1}
    for at, entry in enumerate(entries):
        assert await log.receiver.read(entry.position, wait_ms=0) == entries[at + 1 :]


async def test_parts_and_small_limits(log: Log, redis_url: str) -> None:
    """However few entries a read returns, reads after one another return all in order."""
    for number in range(1, 200):
        log.add(number % SHARDS, f"{number // 5 + 1}-{number}")
    position = await log.receiver.open()
    whole = await read_all(redis_url, position)
    found: list[str] = []
    while entries := await log.receiver.read(position, limit=7, wait_ms=0):
        assert len(entries) <= 7
        found += places(entries)
        position = entries[-1].position
    assert found == whole
    assert len(set(found)) == 199


async def test_entries_wait_for_the_clock(log: Log) -> None:
    """An entry from a clock that is ahead waits, and one with an earlier id still comes first."""
    ahead = log.now_ms() + 150
    log.add(0, "5-0")
    log.add(1, f"{ahead}-0")
    position = (await log.receiver.read(await log.receiver.open()))[0].position
    assert await log.receiver.read(position, wait_ms=0) == []
    log.add(0, f"{ahead - 100}-0")
    found: list[str] = []
    while len(found) < 2:
        entries = await log.receiver.read(position)
        found += places(entries)
        position = entries[-1].position if entries else position
    assert found == [f"{ahead - 100}-0", f"{ahead}-1-0"]
    assert log.now_ms() > ahead


async def test_a_late_entry_is_given_out_with_a_gap(log: Log) -> None:
    """A clock that was set back: the event comes at the reader's position, and reading goes on."""
    log.add(0, "50-0")
    position = await log.receiver.open()
    (first,) = await log.receiver.read(position)
    log.add(1, "40-0")
    lost = await log.lost(first.position)
    assert (lost.reason, lost.shards) == ("clock", (1,))
    assert lost.continue_after == first.position
    assert list(lost.late) == [
        LogEntry(first.position, b'{"position":"%s","id":"1:40-0"}' % first.position.encode())
    ]
    assert log.receiver.status.late == 1
    log.add(1, "60-0")
    assert places(await log.receiver.read(first.position)) == ["60-1-0"]


async def test_a_lost_shard_is_a_gap_of_that_shard(log: Log) -> None:
    """The reader goes on behind it; who resumes from before it gets the same gap."""
    for shard in range(SHARDS):
        log.add(shard, f"5-{shard}")
    position = await log.receiver.open()
    entries = await log.receiver.read(position)
    last = entries[-1].position
    stream, meta = DEFAULT_KEYS.log_stream(TAGS[1]), DEFAULT_KEYS.log_meta(TAGS[1])
    log.client.delete(stream, meta)
    log.client.hset(meta, "epoch", "another")
    lost = await log.lost(last)
    assert (lost.reason, lost.shards) == ("epoch", (1,))
    assert lost.continue_after is not None
    now = log.now_ms()
    log.add(1, f"{now}-0")
    log.add(2, f"{now}-0")
    found = await log.receiver.read(lost.continue_after)
    assert places(found) == [f"{now}-1-0", f"{now}-2-0"]
    with pytest.raises(PositionLostError) as resumed:
        await log.receiver.read(last)
    assert (resumed.value.reason, resumed.value.shards) == ("epoch", (1,))
    assert await log.receiver.read(found[0].position) == found[1:]


async def test_a_trimmed_shard_is_a_gap_of_that_shard(log: Log, redis_url: str) -> None:
    """What was trimmed before it was read is missing in that shard alone."""
    for number in range(1, 6):
        log.add(0, f"5-{number}")
        log.add(1, f"5-{number}")
    position = await log.receiver.open()
    (first,) = await log.receiver.read(position, limit=1)
    assert places([first]) == ["5-1"]
    log.client.xtrim(DEFAULT_KEYS.log_stream(TAGS[1]), maxlen=2, approximate=False)
    with pytest.raises(PositionLostError) as lost:
        await read_all(redis_url, first.position)
    assert (lost.value.reason, lost.value.shards) == ("trimmed", (1,))
    # From its start the log is what it still has.
    found = await log.receiver.read(await log.receiver.open())
    assert places(found) == ["5-1", "5-2", "5-3", "5-4", "5-5", "5-1-4", "5-1-5"]


async def test_another_log_and_no_layout(log: Log) -> None:
    """A position of another log is lost as a whole; without a layout the log is one stream."""
    log.add(0, "5-0")
    await log.receiver.open()
    for text, reason in (("other:5-0", "epoch"), ("5-0", "malformed")):
        with pytest.raises(PositionLostError) as lost:
            await log.receiver.read(text)
        assert (lost.value.reason, lost.value.shards) == (reason, ())
    with pytest.raises(PositionLostError, match="epoch"):
        await log.receiver.read_back(1, before="other:5-0")
    log.client.hset(DEFAULT_KEYS.log_layout(), "n", "9")
    with pytest.raises(TransportError, match="n=9 is not between 1 and 8"):
        await log.receiver.open()
    log.client.delete(DEFAULT_KEYS.log_layout())
    for call in (log.receiver.open, log.receiver.last_position):
        with pytest.raises(NoLayoutError):
            await call()
