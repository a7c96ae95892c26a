"""The queues of taskiq-redis: their names, their depths, and how often a message was delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from taskiq import AckableMessage, InMemoryBroker
from taskiq_redis import ListQueueBroker, RedisStreamBroker

from otel_bridge.adapters.taskiq.brokers import (
    counting_deliveries,
    delivery_of,
    depth_of,
    has_depths,
    naming_deliveries,
    queues_of,
    stream_brokers,
)

pytestmark = pytest.mark.redis


@pytest.fixture
async def stream(redis_url: str) -> AsyncIterator[RedisStreamBroker]:
    broker = RedisStreamBroker(redis_url, consumer_id="0", idle_timeout=0)
    await broker.startup()
    yield broker
    await broker.shutdown()


def test_which_queues_a_broker_has(redis_url: str) -> None:
    """One, or those of a stream with additional ones; a broker in memory has none."""
    assert queues_of(ListQueueBroker(redis_url, queue_name="q")) == ["q"]
    several = RedisStreamBroker(redis_url, additional_streams={"high": ">"})
    assert queues_of(several) == ["taskiq", "high"]
    assert queues_of(InMemoryBroker()) == []
    assert has_depths(several)
    assert not has_depths(InMemoryBroker())
    assert stream_brokers() == [RedisStreamBroker]


async def test_the_depth_of_a_list(redis_url: str) -> None:
    """What waits in it; 0 for one that is not there."""
    broker = ListQueueBroker(redis_url)
    async with Redis(connection_pool=broker.connection_pool) as client:
        assert await depth_of(broker, "taskiq") == 0
        await client.lpush("taskiq", b"1", b"2")
        assert await depth_of(broker, "taskiq") == 2
    await broker.shutdown()


async def test_the_depth_of_a_stream(stream: RedisStreamBroker) -> None:
    """What its group has not delivered, also where Redis cannot say it; without a group all."""
    async with Redis(connection_pool=stream.connection_pool) as client:
        ids = [await client.xadd("taskiq", {b"data": b"1"}) for _ in range(4)]
        assert await depth_of(stream, "taskiq") == 4
        await client.xreadgroup("taskiq", "c", {"taskiq": ">"}, count=1)
        assert await depth_of(stream, "taskiq") == 3
        await client.xdel("taskiq", ids[2])
        (group,) = await client.xinfo_groups("taskiq")
        assert group["lag"] is None
        assert await depth_of(stream, "taskiq") == 2
        await client.xgroup_destroy("taskiq", "taskiq")
        assert await depth_of(stream, "taskiq") == 3


async def test_a_message_that_is_delivered_again(stream: RedisStreamBroker) -> None:
    """Its stream is known at once, and how often it was delivered before when it comes again."""
    name_ack = naming_deliveries(RedisStreamBroker._ack_generator)
    async with Redis(connection_pool=stream.connection_pool) as client:
        for _ in range(2):
            await client.xadd("taskiq", {b"data": b"1"})
        found: Any = await client.xreadgroup("taskiq", "dead", {"taskiq": ">"})
        ids = [entry_id for entry_id, _ in found[0][1]]
        await client.xclaim("taskiq", "taskiq", "other", 0, ids[:1])

    async def messages(broker: RedisStreamBroker) -> AsyncIterator[Any]:
        for entry_id in (ids[1], ids[0]):
            ack = name_ack(broker, id=entry_id, queue_name=b"taskiq")
            yield AckableMessage(data=b"1", ack=ack)
        yield b"a message of another broker"

    listen = counting_deliveries(messages)
    assert [delivery_of(message) async for message in listen(stream)] == [
        ("taskiq", 0),
        ("taskiq", 1),
        (None, 0),
    ]


def test_other_messages_have_no_delivery() -> None:
    """Bytes, and messages of other brokers."""

    async def ack() -> None:
        pass

    for message in (b"", None, AckableMessage(data=b"", ack=ack)):
        assert delivery_of(message) == (None, 0)
