"""``otel_bridge.publish.transports.sharded.log_receiver``: from one stream to shards and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.redis_clients import close, connect
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import TAGS
from otel_bridge.publish.shards.resharding import reshard
from otel_bridge.publish.transports.base import LogEntry, Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.publish.transports.sharded import receiver as sharded_receiver
from otel_bridge.publish.transports.sharded.log_receiver import RedisLogReceiver
from otel_bridge.settings import BridgeSettings
from tests.support.sharded_load import producer_on

pytestmark = pytest.mark.redis

EVENT = Outgoing(b'{"event_type":"x"}', None)


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    found = connect(redis_url)
    yield found
    close(found)


@pytest.fixture
def sender(redis_url: str) -> Iterator[RedisSender]:
    found = RedisSender(redis_url, BridgeSettings(send_timeout_ms=10_000))
    yield found
    found.close()


async def read(receiver: RedisLogReceiver, after: str, count: int) -> list[LogEntry]:
    found: list[LogEntry] = []
    while len(found) < count:
        entries = await receiver.read(found[-1].position if found else after)
        found += entries
    return found


def is_sharded(receiver: RedisLogReceiver) -> bool:
    return receiver.shard_status is not None


async def test_a_reader_follows_growth_and_shrinking(
    redis_url: str, client: Any, sender: RedisSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    From one stream to three shards and back, no event is missing and no position is lost.

    Shard 0 keeps the text of its positions. Once the shards out of use are gone, the log is one
    stream again.
    """
    monkeypatch.setattr(sharded_receiver, "_CHECK_INTERVAL_SEC", 0.05)
    receiver = RedisLogReceiver(redis_url, BridgeSettings())
    producers = [producer_on(shard, 3) for shard in range(3)]
    sender.send(producers[0], 1, [EVENT])
    start = await receiver.open()
    (first,) = await read(receiver, start, 1)
    assert not is_sharded(receiver)
    reshard(client, DEFAULT_KEYS, 3)
    sent = {sender.send(name, 2, [EVENT]).position for name in producers}
    found = await read(receiver, first.position, 3)
    assert {entry.position for entry in found} == sent
    assert is_sharded(receiver)
    assert await receiver.read(start, limit=1) == [first]
    assert [entry.position for entry in await receiver.read_back(9)] == [
        entry.position for entry in [first, *found][::-1]
    ]
    reshard(client, DEFAULT_KEYS, 1)
    last = found[-1].position
    sender.send(producers[1], 3, [EVENT])
    (after,) = await read(receiver, last, 1)
    assert await receiver.last_position() == after.position
    client.delete(DEFAULT_KEYS.log_stream(TAGS[1]), DEFAULT_KEYS.log_stream(TAGS[2]))
    while is_sharded(receiver):
        assert await receiver.read(after.position, wait_ms=20) == []
    sender.send(producers[0], 3, [EVENT])
    (newest,) = await read(receiver, after.position, 1)
    assert not is_sharded(receiver)
    with pytest.raises(PositionLostError) as lost:
        await receiver.read(next(each for each in sorted(sent) if each.count("-") == 2))
    assert lost.value.reason == "trimmed"
    assert [each.position for each in await receiver.read_back(1)] == [newest.position]
    await receiver.close()


async def test_a_position_of_a_shard_in_a_log_without_shards(
    redis_url: str, sender: RedisSender
) -> None:
    """It is of another log, and no reason to look for shards for ever."""
    receiver = RedisLogReceiver(redis_url, BridgeSettings())
    epoch = sender.send("p", 1, [EVENT]).position.partition(":")[0]
    for text in (f"{epoch}:5-1-0", "nothing"):
        with pytest.raises(PositionLostError):
            await receiver.read(text)
        with pytest.raises(PositionLostError):
            await receiver.read_back(1, before=text)
    await receiver.close()


async def test_an_unreachable_redis() -> None:
    """Each method raises an error, and may be called again."""
    receiver = RedisLogReceiver("redis://127.0.0.1:1/0", BridgeSettings())
    for _ in range(2):
        with pytest.raises(TransportError):
            await receiver.open()
        with pytest.raises(TransportError):
            await receiver.read("e:1-1")
    await receiver.close()
