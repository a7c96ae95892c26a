"""
The Redis brokers of taskiq-redis: their queues, how many jobs wait, how often one was delivered.

A stream gives a message of a worker that was killed to another worker, with nothing in the message
that says so. Redis counts the deliveries; they are read for messages that come a second time only.

Source: taskiq-redis 1.0 to 1.2 (``redis_broker.py``); Redis 7, XPENDING and XINFO GROUPS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from otel_bridge.spans.span_context_manager import safe_str
from otel_bridge.suppression import suppress_instrumentation

__all__ = [
    "counting_deliveries",
    "delivery_of",
    "depth_of",
    "has_depths",
    "naming_deliveries",
    "queues_of",
    "stream_brokers",
]

logger = logging.getLogger(__name__)

_XPENDING_TIMEOUT_SEC: Final = 1.0
_MAX_COUNTED: Final = 1000
"""Entries counted one by one where Redis does not know a group's lag; each is transferred whole."""
_DELIVERY: Final = "otel_bridge_delivery"
"""Attribute of a message's ``ack`` function: its stream's name, its id, deliveries before it."""


def queues_of(broker: Any) -> list[str]:
    """
    Return the full names of the queues that a worker of this broker takes from.

    Never raises. One for a list, or several for a stream with ``additional_streams``; empty for a
    broker that has no ``queue_name``, such as one that is not of taskiq-redis.

    Args:
        broker: Any broker of Taskiq.
    """
    name = getattr(broker, "queue_name", None)
    if name is None:
        return []
    further = getattr(broker, "additional_streams", None)
    return [safe_str(name), *(safe_str(each) for each in further or ())]


def has_depths(broker: Any) -> bool:
    """Return whether ``depth_of`` can read this broker: one Redis, by a connection pool."""
    return bool(queues_of(broker)) and hasattr(broker, "connection_pool")


async def depth_of(broker: Any, name: str) -> int:
    """
    Count the jobs that wait in a queue of a Redis broker; 0 for one that does not exist.

    Of a stream those that its consumer group has not delivered yet; without a group all entries.
    Where Redis does not know that number, they are counted, up to 1,000.

    Args:
        broker: One for which ``has_depths`` is true.
        name: Full name of the list or stream.

    Raises:
        redis.RedisError: Redis cannot be reached, or refuses the command.
    """
    from redis.asyncio import Redis

    async with Redis(connection_pool=broker.connection_pool) as client:
        kind: Any = await client.type(name)
        if kind not in (b"stream", "stream"):
            waiting: Any = client.llen(name)
            return int(await waiting)
        group = safe_str(getattr(broker, "consumer_group_name", ""))
        for found in await client.xinfo_groups(name):
            if _text(found["name"]) != group:
                continue
            if found.get("lag") is not None:
                return int(found["lag"])
            after = f"({_text(found['last-delivered-id'])}"
            entries: Any = await client.xrange(name, min=after, count=_MAX_COUNTED)
            return len(entries)
        return int(await client.xlen(name))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


# --- deliveries ----------------------------------------------------------------------------------


def stream_brokers() -> list[Any]:
    """Return the classes whose deliveries can be counted; empty without taskiq-redis 1.0."""
    try:
        from taskiq_redis import RedisStreamBroker
    except ImportError:
        return []
    return [RedisStreamBroker] if hasattr(RedisStreamBroker, "_ack_generator") else []


def delivery_of(message: Any) -> tuple[str | None, int]:
    """
    Return the stream that a message came from, and how often it was delivered before; never raises.

    Args:
        message: What a receiver was given: bytes, or a message with an ``ack`` function. None and 0
            for anything but a message of a broker whose methods ``naming_deliveries`` and
            ``counting_deliveries`` wrap.
    """
    found = getattr(getattr(message, "ack", None), _DELIVERY, None)
    return (found[0], found[2]) if isinstance(found, tuple) else (None, 0)


def naming_deliveries(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a stream broker's ``_ack_generator``: the function it returns knows stream and id."""

    def ack_generator(broker: Any, id: Any, queue_name: Any, *args: Any, **kwargs: Any) -> Any:
        ack = original(broker, id, queue_name, *args, **kwargs)
        with contextlib.suppress(Exception):
            setattr(ack, _DELIVERY, (_text(queue_name), _text(id), 0))
        return ack

    return ack_generator


def counting_deliveries(original: Callable[..., Any]) -> Callable[..., Any]:
    """
    Wrap a stream broker's ``listen``: a message that was delivered before comes with the number.

    New messages of a stream come in the order of their ids. One whose id is not above the highest
    so far was delivered before, and Redis is asked how often, for 1 s at most. The first message of
    a process is asked for too if it is older than the broker's ``idle_timeout``.
    """

    async def listen(broker: Any) -> AsyncGenerator[Any, None]:
        highest: dict[str, tuple[int, int]] = {}
        async with contextlib.aclosing(original(broker)) as messages:
            async for message in messages:
                try:
                    await _count(broker, message, highest)
                except Exception as error:
                    logger.warning("the deliveries of a message cannot be counted: %s", error)
                yield message

    return listen


async def _count(broker: Any, message: Any, highest: dict[str, tuple[int, int]]) -> None:
    ack = getattr(message, "ack", None)
    named = getattr(ack, _DELIVERY, None)
    if named is None:
        return  # a subclass makes its own ``ack``
    queue, entry_id, _ = named
    milliseconds, _, number = entry_id.partition("-")
    place = int(milliseconds), int(number)
    before = highest.get(queue)
    if before is None:
        is_old = time.time() * 1000 - place[0] >= broker.idle_timeout
    else:
        is_old = place <= before
    if before is None or place > before:
        highest[queue] = place
    if is_old:
        with suppress_instrumentation():
            asked = _deliveries(broker, queue, entry_id)
            found = await asyncio.wait_for(asked, _XPENDING_TIMEOUT_SEC)
        setattr(ack, _DELIVERY, (queue, entry_id, max(0, found - 1)))


async def _deliveries(broker: Any, queue: str, entry_id: str) -> int:
    from redis.asyncio import Redis

    async with Redis(connection_pool=broker.connection_pool) as client:
        found = await client.xpending_range(
            queue, broker.consumer_group_name, min=entry_id, max=entry_id, count=1
        )
        return int(found[0]["times_delivered"]) if found else 1
