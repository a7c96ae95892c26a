"""Notifications between tasks of one event loop, and what is passed on from Redis."""

from __future__ import annotations

import asyncio

import pytest

from otel_bridge.cancellation import cancel
from otel_bridge.orchestration.queue.wake import (
    WakeUpNotification,
    WakeUpNotifications,
    jittered,
)
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.queue_clients import embedded


async def test_a_notification_before_the_wait_is_not_missed() -> None:
    """A notification that comes between reading the state and waiting ends the wait at once."""
    notification = WakeUpNotification()
    seen = notification.count
    notification.notify()
    async with asyncio.timeout(5):
        await notification.wait(seen, 60)


async def test_a_notification_wakes_all_waiting_tasks() -> None:
    """Several idle workers are woken by one notification."""
    notification = WakeUpNotification()
    waiting = [asyncio.create_task(notification.wait(notification.count, 60)) for _ in range(3)]
    await asyncio.wait(waiting, timeout=0)
    notification.notify()
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


async def test_without_a_notification_the_wait_ends_by_itself() -> None:
    """A lost notification delays a waiting task by its timeout at most."""
    notification = WakeUpNotification()
    async with asyncio.timeout(5):
        await notification.wait(notification.count, 0.01)
    assert notification.count == 0


@pytest.mark.parametrize(
    ("message", "queued", "ended"), [("queued", 1, 0), ("ended parent", 0, 1), ("ended ", 0, 1)]
)
async def test_messages_of_redis_are_passed_on_by_kind(
    message: str, queued: int, ended: int
) -> None:
    """A subscription notifies both kinds once, then each message notifies its own kind."""
    client = embedded()
    notifications = WakeUpNotifications(client)
    listening = asyncio.create_task(notifications.listen())
    try:
        async with asyncio.timeout(5):
            await notifications.queued.wait(0, 5)
            assert (notifications.queued.count, notifications.ended.count) == (1, 1)
            await client.publish(DEFAULT_KEYS.wake_channel, message)
            kind = notifications.queued if queued else notifications.ended
            await kind.wait(1, 5)
        assert (notifications.queued.count, notifications.ended.count) == (1 + queued, 1 + ended)
    finally:
        await cancel([listening])
        await client.aclose()


def test_a_jittered_time_is_near_the_given_one() -> None:
    """Waits of several processes differ, by half of the given time at most."""
    times = {jittered(2.0) for _ in range(100)}
    assert len(times) > 1
    assert min(times) >= 1.0
    assert max(times) <= 3.0
