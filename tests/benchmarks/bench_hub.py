"""
The collector's inside: reading the log, and what a tick costs as clients and filters grow.

``python -m tests.benchmarks hub``; needs a redis-server. The sinks of the scaling rows take bytes
and keep nothing, so the rows are the hub's own cost.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import redis.asyncio as redis_asyncio
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.ring import Entry, ReplayRing
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.close_codes import CloseCode
from otel_bridge_collector.wire.filters import EventFilter

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports import open_receiver
from otel_bridge.settings import BridgeSettings
from tests.benchmarks.bench_fanout import EVENT
from tests.support.redis_server import RedisServer

EVENTS = 50_000
TICKS = 300
PER_TICK = 8
ROUNDS = 5


def _row(what: str, value: str, goal: str = "") -> None:
    print(f"  {what:<66} {value:>14}  {goal}", flush=True)


class NullSink:
    def write(self, frames: bytes) -> None:
        pass

    def buffered_bytes(self) -> int:
        return 0

    def close(self, code: CloseCode) -> None:
        pass


def _fill(server: RedisServer) -> BridgeSettings:
    settings = BridgeSettings(bus_url=server.url, buffer_max_events=2 * EVENTS)
    bus = EventBus.connect(settings)
    for number in range(EVENTS):
        bus.publish(
            MonitoringEvent(
                event_type=MonitoringEventType.TASK_COMPLETED,
                project_id="proj_1",
                parent_task_id="6ba529d4",
                task_id=str(number),
                task_type="data_aggregation_search",
                duration_ms=12.5,
            )
        )
    assert bus.shutdown(60)
    return settings


async def _read_log(settings: BridgeSettings) -> float:
    """Events a second out of the stream."""
    receiver = open_receiver(settings.bus_url, settings)
    # From the log's beginning, as a collector that starts does.
    cursor = await receiver.open()
    begun, seen = time.perf_counter(), 0
    while seen < EVENTS:
        entries = await receiver.read(cursor)
        assert entries, f"the log held {seen} of {EVENTS} events"
        seen += len(entries)
        cursor = entries[-1][0]
    elapsed = time.perf_counter() - begun
    await receiver.close()
    return seen / elapsed


async def _read_channel(server: RedisServer, payload: bytes) -> float:
    """Messages a second through redis-py's asyncio Pub/Sub, published by pipelines."""
    reading = redis_asyncio.Redis.from_url(server.url)
    writing = redis_asyncio.Redis.from_url(server.url)
    channel = reading.pubsub()
    await channel.subscribe("bench")
    await channel.get_message(timeout=5)

    async def write() -> None:
        for _ in range(EVENTS // 500):
            pipeline = writing.pipeline(transaction=False)
            for _ in range(500):
                pipeline.publish("bench", payload)
            await pipeline.execute()

    writer = asyncio.create_task(write())
    begun, seen = time.perf_counter(), 0
    while seen < EVENTS:
        if await channel.get_message(ignore_subscribe_messages=True, timeout=5) is not None:
            seen += 1
    elapsed = time.perf_counter() - begun
    await writer
    await channel.aclose()  # type: ignore[no-untyped-call]
    await reading.aclose()
    await writing.aclose()
    return seen / elapsed


def _reader() -> None:
    print("reading, events/s in one process")
    with RedisServer() as server:
        settings = _fill(server)
        log, channel = [], []
        for _ in range(3):
            log.append(asyncio.run(_read_log(settings)))
            channel.append(asyncio.run(_read_channel(server, EVENT.encode())))
    _row("the log, XREAD", f"{statistics.median(log):,.0f}")
    _row(
        "the log / redis-py asyncio Pub/Sub",
        f"{statistics.median(log) / statistics.median(channel):.1f}",
    )


def _tick_us(clients: int, filters: int) -> float:
    ring = ReplayRing("", 20_000)
    hub = Hub(
        ring,
        limit_bytes=1 << 22,
        timeout_sec=8,
        make_snapshot=lambda _: b"{}",
    )
    for number in range(clients):
        wanted = (
            EventFilter()
            if filters == 1
            else EventFilter.parse({"project_id": f"proj_{number % filters}"})
        )
        hub.join(ClientSession(NullSink(), wanted))
    data = EVENT.encode()
    begun = time.perf_counter()
    for tick in range(TICKS):
        entries = [
            Entry(None, data, "task_completed", f"proj_{(tick + n) % filters}")
            for n in range(PER_TICK)
        ]
        for entry in entries:
            ring.append(entry)
        hub.broadcast(entries)
    return (time.perf_counter() - begun) / TICKS * 1e6


def _scaling() -> None:
    print(f"a tick of {PER_TICK} events, microseconds of the hub")
    for clients, filters in ((10, 1), (100, 1), (1000, 1), (1000, 10), (1000, 100)):
        cost = statistics.median(_tick_us(clients, filters) for _ in range(ROUNDS))
        _row(f"{clients} clients, {filters} distinct filters", f"{cost:,.0f}")


def main() -> None:
    """Print the rows."""
    _reader()
    _scaling()


if __name__ == "__main__":
    main()
