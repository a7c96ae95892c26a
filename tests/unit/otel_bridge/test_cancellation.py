"""Ending tasks that do not hear the first time."""

from __future__ import annotations

import asyncio

from otel_bridge.cancellation import cancel


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    """A library that swallows cancellations delays the end, it does not prevent it."""
    heard = 0

    async def deaf() -> None:
        nonlocal heard
        while heard < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1

    task = asyncio.create_task(deaf())
    await asyncio.wait({task}, timeout=0)
    await cancel([task])
    assert (task.done(), heard) == (True, 3)


async def test_a_task_that_never_ends_is_left_behind() -> None:
    """Stopping takes bounded time whatever a handler does."""
    may_end = asyncio.Event()

    async def stubborn() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn())
    await asyncio.wait({task}, timeout=0)
    await cancel([task], 0.01)
    assert not task.done()
    may_end.set()
    await task


async def test_what_a_task_raises_meanwhile_is_dropped() -> None:
    """An error on the way out is not the stopping one's."""

    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("on the way out")

    task = asyncio.create_task(fails())
    await asyncio.wait({task}, timeout=0)
    await cancel([task])
    assert isinstance(task.exception(), ValueError)
