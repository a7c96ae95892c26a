"""The parts of a collector that concern log lines, put together."""

from __future__ import annotations

import asyncio

from otel_bridge_collector.lines.service import LinesService
from otel_bridge_collector.lines.table import LinesTable

from otel_bridge.clock import SYSTEM_CLOCK
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import SpanLines, SpanStack
from otel_bridge.publish.transports.memory import MemorySender, memory_log

SPAN = "a" * 16


async def test_what_is_stored_is_shown_to_those_who_watch() -> None:
    """Lines and stacks go through the sender of the log, and come back by the poller."""
    log = memory_log("lines-service")
    service = LinesService(
        LinesTable(),
        url="memory://lines-service",
        redis=None,
        keys=DEFAULT_KEYS,
        sender=MemorySender(log),
        lock=asyncio.Lock(),
        max_bytes=1,
        clock=SYSTEM_CLOCK,
    )
    held = service.table.watch(SPAN)
    assert await service.store_lines([SpanLines(SPAN, [b'[1,20,"app","text",1]'])]) == 0
    await service.poller.read()
    assert [line.text for line in held.lines] == ["text"]
    assert await service.store_stacks([SpanStack(SPAN, "stack")]) == 0
    assert log.stack(SPAN) == SpanStack(SPAN, "stack")
