"""``otel_bridge_collector.log.awaited``: waiting for an entry of the log."""

from __future__ import annotations

import asyncio

from otel_bridge_collector.log.awaited import AwaitedPositions

from otel_bridge.publish.transports.base import LogEntry


async def test_a_position_is_waited_for() -> None:
    """All who wait for an entry go on when it was read; who waits for another one does not."""
    awaited = AwaitedPositions()
    waiting = [asyncio.create_task(awaited.wait("e:2", 20)) for _ in range(2)]
    other = asyncio.create_task(awaited.wait("e:3", 0.01))
    while len(awaited._events) < 2:
        await asyncio.sleep(0)
    awaited.note([LogEntry("e:1", b"{}"), LogEntry("e:2", b"{}")])
    assert await asyncio.gather(*waiting) == [True, True]
    assert not await other
    assert awaited._events == {}
