"""Hints between tasks of one loop."""

from __future__ import annotations

import asyncio

from otel_bridge.orchestration.queue.wake import WakeUpNotification


async def test_a_hint_given_before_waiting_is_not_missed() -> None:
    """What came between the look and the wait ends the wait at once."""
    hint = WakeUpNotification()
    seen = hint.count
    hint.give()
    async with asyncio.timeout(5):
        await hint.wait(seen, 60)


async def test_a_hint_wakes_everybody_who_waits() -> None:
    """Several idle workers are woken by one hint."""
    hint = WakeUpNotification()
    waiting = [asyncio.create_task(hint.wait(hint.count, 60)) for _ in range(3)]
    await asyncio.wait(waiting, timeout=0)
    hint.give()
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


async def test_without_a_hint_the_wait_ends_by_itself() -> None:
    """A lost hint costs the time that was given, not more."""
    hint = WakeUpNotification()
    async with asyncio.timeout(5):
        await hint.wait(hint.count, 0.01)
    assert hint.count == 0
