"""``slim``: a queue and an event that behave as asyncio's do, and are small."""

from __future__ import annotations

import asyncio
import tracemalloc

from otel_bridge_collector.stream.slim import SlimEvent, SlimQueue

from otel_bridge.cancellation import cancel


async def test_items_come_in_order_also_to_a_task_that_waits() -> None:
    """What is put before and while a task waits is got once, oldest first."""
    queue: SlimQueue[int] = SlimQueue()
    assert queue.empty()
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert [await queue.get(), await queue.get(), queue.empty()] == [1, 2, True]
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put_nowait(3)
    queue.put_nowait(4)
    assert [await getting, await queue.get(), queue.empty()] == [3, 4, True]


async def test_a_task_that_is_cancelled_takes_nothing() -> None:
    """Its item is for the next one that gets."""
    queue: SlimQueue[int] = SlimQueue()
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    await cancel([getting])
    queue.put_nowait(1)
    assert await queue.get() == 1


async def test_an_event_lets_all_that_wait_go_on() -> None:
    """It is set at first; after ``clear`` tasks wait until ``set``, but for a cancelled one."""
    event = SlimEvent()
    assert event.is_set()
    assert await event.wait()
    event.clear()
    assert not event.is_set()
    waiting = [asyncio.create_task(event.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    await cancel(waiting[:1])
    event.set()
    assert await asyncio.gather(*waiting[1:]) == [True, True]


async def test_an_idle_pair_takes_a_tenth_of_asyncio_s() -> None:
    """Memory of a thousand queues and events, of both kinds."""

    def cost(make: type, other: type) -> int:
        tracemalloc.start()
        kept = [(make(), other()) for _ in range(1000)]
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(kept) == 1000
        return size

    assert cost(SlimQueue, SlimEvent) * 10 < cost(asyncio.Queue, asyncio.Event)
