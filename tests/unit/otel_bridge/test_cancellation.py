"""Cancelling tasks that lose or ignore a cancellation."""

from __future__ import annotations

import asyncio

from otel_bridge.cancellation import cancel


async def test_a_task_that_loses_a_cancellation_still_ends() -> None:
    """A library that swallows cancellations delays the end of the task but does not prevent it."""
    cancellations = 0

    async def losing() -> None:
        nonlocal cancellations
        while cancellations < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancellations += 1

    task = asyncio.create_task(losing())
    await asyncio.wait({task}, timeout=0)
    await cancel([task])
    assert (task.done(), cancellations) == (True, 3)


async def test_a_task_that_never_ends_is_left_behind() -> None:
    """Cancelling takes bounded time, also for a task that never ends."""
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


async def test_an_exception_of_a_cancelled_task_is_dropped() -> None:
    """An exception that a task raises while it ends does not reach the caller of ``cancel``."""

    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while it ends")

    task = asyncio.create_task(fails())
    await asyncio.wait({task}, timeout=0)
    await cancel([task])
    assert isinstance(task.exception(), ValueError)
