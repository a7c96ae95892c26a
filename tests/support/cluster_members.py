"""Collectors of one cluster, in one event loop, with real connections between them."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from otel_bridge_collector.cluster.connections.group import LocalGroup
from otel_bridge_collector.cluster.edge.links import ClusterLinks
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.settings import BridgeSettings

__all__ = ["append", "cluster_of", "links_of", "until"]

_producers = itertools.count()


async def until(condition: Callable[[], object], what: str, timeout_sec: float = 20) -> None:
    """Wait until the condition holds, with a deadline."""
    try:
        async with asyncio.timeout(timeout_sec):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not in {timeout_sec:g} s: {what}") from None


def links_of(collector: Collector) -> ClusterLinks:
    """Its connections."""
    assert collector.cluster is not None
    return collector.cluster


async def append(collector: Collector, *events: dict[str, Any]) -> str:
    """Append events to the log; return the position of the last."""
    batch = []
    for fields in events:
        fields = {
            "event_id": str(uuid.uuid4()),
            "ts": "2026-11-29T10:00:00Z",
            "event_type": "task_started",
            **fields,
        }
        batch.append(Outgoing(json.dumps(fields).encode(), fields.get("project_id")))
    result = await collector.append(f"members-{next(_producers)}", 1, batch)
    return result.position


async def _stop(collector: Collector) -> None:
    await collector.stop()


@asynccontextmanager
async def cluster_of(
    redis_url: str, count: int, **settings: Any
) -> AsyncIterator[Sequence[Collector]]:
    """Start so many members; they serve all partitions, and are connected."""
    bridge = BridgeSettings(bus_url=redis_url, redis_url=redis_url)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        name = uuid.uuid4().hex[:8]
        members = [
            Collector(
                CollectorSettings(stats_interval_sec=3600, **settings),
                bridge,
                group=LocalGroup(directory, name, count, number),
            )
            for number in range(count)
        ]
        for member in members:
            stack.push_async_callback(_stop, member)
        await asyncio.gather(*(member.start() for member in members))
        edges = [links_of(member).edge for member in members]
        await until(lambda: not any(edge.partial for edge in edges), "a whole cluster")
        await until(
            lambda: (
                all(len(edge.clients) == count - 1 for edge in edges)
                and all(client.is_open for edge in edges for client in edge.clients.values())
            ),
            "connections between all members",
        )
        yield members
