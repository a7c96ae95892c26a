"""
``WakeUpNotifications``: Pub/Sub wakes idle workers and waiting orchestrators; no polling.

A hint may be lost, so everybody who waits also gives a time after which to look for itself. One
subscription serves a process.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from otel_bridge.orchestration.queue.task_queue import text
from otel_bridge.publish import redis_keys

__all__ = ["WakeUpNotification", "WakeUpNotifications", "jittered"]

logger = logging.getLogger(__name__)

_LISTEN_SEC: Final = 5.0
_RECONNECT_SEC: Final = 1.0


def jittered(seconds: float) -> float:
    """Between half and one and a half times, so that processes do not march in step."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing


class WakeUpNotification:
    """
    Something happened; several tasks of one loop may wait for it.

    Read ``count`` before looking at the state, pass it to ``wait``: a hint that came in between
    is not missed.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def give(self) -> None:
        """Wake everybody who waits."""
        self.count += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seen: int, timeout_sec: float) -> None:
        """Return when a hint newer than ``seen`` was given, or after ``timeout_sec``."""
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
    The hints of one Redis.

    Attributes:
        queued: A job may be waiting in some queue.
        ended: A job has ended.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.queued = WakeUpNotification()
        self.ended = WakeUpNotification()

    async def listen(self) -> None:
        """Subscribe and pass on hints until cancelled; comes back by itself after an outage."""
        is_failing = False
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(redis_keys.WAKE_CHANNEL)
                    while True:
                        found = await subscription.get_message(timeout=_LISTEN_SEC)
                        if found is None:
                            continue
                        # Also the subscription's own confirmation: hints before it were missed.
                        self._pass_on(text(found["data"]))
                        if is_failing:
                            logger.info("wake-up hints are received again")
                            is_failing = False
            except (RedisError, OSError) as error:
                if not is_failing:
                    logger.warning("no wake-up hints: %s; workers look by themselves", error)
                is_failing = True
                await asyncio.sleep(jittered(_RECONNECT_SEC))

    def _pass_on(self, message: str) -> None:
        if not message.startswith("ended"):
            self.queued.give()
        if message != "queued":
            self.ended.give()
