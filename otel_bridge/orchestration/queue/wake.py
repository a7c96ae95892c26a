"""
``WakeUpNotifications``: Redis Pub/Sub wakes idle workers and waiting orchestrators.

A notification may be lost, so each waiter also has a timeout, after which it looks by itself. One
subscription serves a whole process, which therefore need not poll.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from otel_bridge.orchestration.queue.task_queue import text
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys

__all__ = ["WakeUpNotification", "WakeUpNotifications", "jittered"]

logger = logging.getLogger(__name__)

_LISTEN_SEC: Final = 5.0
_RECONNECT_SEC: Final = 1.0


def jittered(seconds: float) -> float:
    """Return a random time from 0.5 to 1.5 times ``seconds``, so that processes spread out."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing


class WakeUpNotification:
    """
    A notification that several tasks of one event loop may wait for; their number is not limited.

    Read ``count`` before you look at the state, and pass it to ``wait``: a notification that comes
    in between then ends the wait at once. Use it on one event loop only. No method raises.

    Attributes:
        count: How many times it was notified.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake all waiting tasks. Call it on their event loop; it never waits."""
        self.count += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seen: int, timeout_sec: float) -> None:
        """Return once ``count`` differs from ``seen``, or after ``timeout_sec`` seconds."""
        if self.count != seen or timeout_sec <= 0:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait({future}, timeout=timeout_sec)
        finally:
            self._waiting.discard(future)
            future.cancel()


class WakeUpNotifications:
    """
    Receives, over Redis Pub/Sub, that a job was queued or has ended, and wakes those who wait.

    Create one for each process and run ``listen()`` as a task; without it nothing is received, and
    waiters go on after their timeouts. The scripts of ``TaskQueue`` publish the notifications. An
    outage of Redis is logged once, and ``listen()`` subscribes again about every second; a
    notification that is lost meanwhile costs a wait, never a job.

    Args:
        redis: The queue's Redis; one connection of its pool serves the subscription.
        keys: Name the channel; default ``nexus:wake``.

    Attributes:
        queued (WakeUpNotification): A job may be waiting in some queue.
        ended (WakeUpNotification): A job has ended.
    """

    def __init__(self, redis: Redis, keys: RedisKeys = DEFAULT_KEYS) -> None:
        self._redis = redis
        self._channel = keys.wake_channel
        self.queued = WakeUpNotification()
        self.ended = WakeUpNotification()

    async def listen(self) -> None:
        """Subscribe and pass notifications on until cancelled; subscribes again after an outage."""
        is_failing = False
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    while True:
                        found = await subscription.get_message(timeout=_LISTEN_SEC)
                        if found is None:
                            continue
                        # The confirmation of the subscription counts as a notification of both
                        # kinds, since those before it were missed.
                        self._pass_on(text(found["data"]))
                        if is_failing:
                            logger.info("wake-up notifications are received again")
                            is_failing = False
            except (RedisError, OSError) as error:
                if not is_failing:
                    logger.warning(
                        "no wake-up notifications are received: %s; workers poll until they are",
                        failure_reason(error),
                    )
                is_failing = True
                await asyncio.sleep(jittered(_RECONNECT_SEC))

    def _pass_on(self, message: str) -> None:
        if not message.startswith("ended"):
            self.queued.notify()
        if message != "queued":
            self.ended.notify()
