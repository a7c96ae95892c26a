"""
Collectors that read a log of several shards, and clients that hop between them.

The proof of a sharded log is that a client which changes from one collector to another at any
moment, and resumes by its last position, has each event once; and that all collectors agree on the
order. Senders, receivers, feeds, rings, resumers and hubs are the real ones, in one process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Self

from otel_bridge_collector.log.decoding import decode_entries
from otel_bridge_collector.log.reader import Feed
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.resume import Resumer
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.filters import ALL_EVENTS

from otel_bridge.errors import PositionLostError
from otel_bridge.publish.redis_clients import close, connect
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import Layout
from otel_bridge.publish.shards.resharding import reshard
from otel_bridge.publish.transports.base import LogEntry
from otel_bridge.publish.transports.sharded.log_receiver import RedisLogReceiver
from otel_bridge.settings import BridgeSettings
from tests.support.sharded_load import Producer
from tests.support.sinks import RecordingSink

__all__ = [
    "Hopping",
    "HoppingClient",
    "PacedReceiver",
    "ShardCollector",
    "names_in",
    "prove_no_hole_and_no_double",
    "set_shards",
]

LOST_ANSWERS: Final = 0.3
"""Part of the batches that are sent again although they are in the log."""


def set_shards(url: str, count: int) -> Layout:
    """What ``otel-bridge shards N`` does."""
    client = connect(url)
    try:
        return reshard(client, DEFAULT_KEYS, count)
    finally:
        close(client)


class PacedReceiver:
    """A receiver that reads so many entries at a time, and pauses between its reads."""

    def __init__(self, receiver: RedisLogReceiver, limit: int, pause_sec: float, seed: int) -> None:
        self.receiver = receiver
        self._limit = limit
        self._pause_sec = pause_sec
        self._random = random.Random(seed)

    async def open(self) -> str:
        return await self.receiver.open()

    async def last_position(self) -> str:
        return await self.receiver.last_position()

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        await asyncio.sleep(self._random.uniform(0, self._pause_sec))
        return await self.receiver.read(after, limit=min(limit, self._limit), wait_ms=wait_ms)

    async def read_back(self, limit: int, *, before: str | None = None) -> Sequence[LogEntry]:
        return await self.receiver.read_back(limit, before=before)

    def external_messages(self) -> AsyncIterator[bytes]:
        return self.receiver.external_messages()

    async def close(self) -> None:
        await self.receiver.close()


class ShardCollector:
    """
    The part of a collector between the log and its clients, with a small ring.

    Args:
        url: Of the log.
        limit: Entries that it reads at a time.
        pause_sec: Longest pause between its reads.
        ring_events: How many events its ring holds.
        seed: Of its pauses.
    """

    def __init__(
        self, url: str, limit: int, *, pause_sec: float = 0.0, ring_events: int = 300, seed: int = 0
    ) -> None:
        settings = BridgeSettings(redis_url=url)
        self.receivers: list[RedisLogReceiver] = []

        def open_receiver() -> PacedReceiver:
            self.receivers.append(RedisLogReceiver(url, settings))
            return PacedReceiver(self.receivers[-1], limit, pause_sec, seed)

        self.hub = Hub(
            ReplayRing("", ring_events),
            limit_bytes=10**9,
            timeout_sec=60,
            make_snapshot=lambda event_filter: b"{}",
        )
        self.feed = Feed(
            open_receiver, model=Fold(), ring=self.hub.ring, hub=self.hub, max_event_bytes=8192
        )
        self.resumer = Resumer(
            open_receiver,
            decode=partial(decode_entries, max_bytes=8192),
            wait_advance=self.feed.wait_advance,
            hub=self.hub,
            slow_after_sec=60,
        )
        self._watcher = RecordingSink()

    async def start(self) -> None:
        self.hub.join(ClientSession(self._watcher, ALL_EVENTS))
        assert await self.feed.start(20)

    @property
    def count(self) -> int:
        """How many events it has given out; cheap, unlike ``order``."""
        return self.hub.ring.last_index

    def order(self) -> list[str]:
        """The events in the order in which this collector gave them out since it was live."""
        return names_in(self._watcher)

    def gaps(self) -> list[tuple[str, list[int]]]:
        """Reason and shards of the gaps that all its clients got, without that of its start."""
        return gaps_in(self._watcher)[1:]

    async def stop(self) -> None:
        await self.feed.stop()
        await self.resumer.close()


def names_in(sink: RecordingSink) -> list[str]:
    """The events that a client got."""
    return [message["task_id"] for message in sink.messages() if "event_type" in message]


def gaps_in(sink: RecordingSink) -> list[tuple[str, list[int]]]:
    """The gaps that a client got."""
    return [
        (message["reason"], message.get("shards", []))
        for message in sink.messages()
        if message.get("type") == "gap"
    ]


class HoppingClient:
    """
    Resumes at one collector, leaves it, resumes at another by the last position that it got.

    Attributes:
        runs: The events that it got, in their order; each gap ends a run.
        gaps: The gaps that it got.
        hops: How often it resumed.
    """

    def __init__(self, collectors: Sequence[ShardCollector], position: str, seed: int) -> None:
        self.runs: list[list[str]] = [[]]
        self.gaps: list[tuple[str, list[int]]] = []
        self.hops = 0
        self._collectors = collectors
        self._position = position
        self._random = random.Random(seed)

    async def run(self, until: asyncio.Event, longest_sec: float = 0.1) -> None:
        """Hop until an event is set; then stay until it has all that its collector has read."""
        while not until.is_set():
            await self._visit(self._random.choice(self._collectors), longest_sec)
        await self._visit(self._random.choice(self._collectors), 0.0)

    async def _visit(self, collector: ShardCollector, longest_sec: float) -> None:
        sink = RecordingSink()
        session = ClientSession(sink, ALL_EVENTS)
        self.hops += 1
        try:
            await collector.resumer.join(session, self._position)
        except PositionLostError as lost:
            self.gaps.append((lost.reason, list(lost.shards)))
            self.runs.append([])
            self._position = collector.hub.ring.last_position
            return
        await asyncio.sleep(self._random.uniform(0, longest_sec))
        collector.hub.leave(session)
        for message in sink.messages():
            if "event_type" in message:
                self.runs[-1].append(message["task_id"])
            else:
                self.gaps.append((message["reason"], message.get("shards", [])))
                self.runs.append([])
            self._position = message["position"]


class Hopping:
    """
    Producers, two collectors of different pace, and six clients that hop; for ``async with``.

    Args:
        url: Of a log, empty or not.
        producers: How many.
        longest_sec: How long a client stays at a collector, at most.

    Attributes:
        producers: Some of whose answers get lost.
        collectors: One reads 500 entries at a time, one 37 with pauses.
        clients: Those that hop.
    """

    def __init__(self, url: str, *, producers: int = 3, longest_sec: float = 0.05) -> None:
        self.producers = [
            Producer(url, f"p{number}", lost=LOST_ANSWERS) for number in range(producers)
        ]
        self.collectors = [
            ShardCollector(url, 500, seed=1),
            ShardCollector(url, 37, pause_sec=0.05, seed=2),
        ]
        self.clients: list[HoppingClient] = []
        self._longest_sec = longest_sec
        self._is_over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for collector in self.collectors:
            await collector.start()
        position = self.collectors[0].hub.ring.last_position
        self.clients = [HoppingClient(self.collectors, position, seed) for seed in range(6)]
        for producer in self.producers:
            producer.start()
        self._tasks = [
            asyncio.create_task(client.run(self._is_over, self._longest_sec))
            for client in self.clients
        ]
        return self

    async def more(self, count: int, timeout_sec: float = 60) -> None:
        """Return when each producer has sent so many more events."""
        goals = [producer.sent + count for producer in self.producers]
        async with asyncio.timeout(timeout_sec):
            while any(p.sent < goal for p, goal in zip(self.producers, goals, strict=True)):
                await asyncio.sleep(0.005)

    async def finish(self, timeout_sec: float = 120) -> list[str]:
        """
        Stop the producers, and the clients once both collectors have read everything.

        Returns:
            The events that were acknowledged, sorted.
        """
        for producer in self.producers:
            await asyncio.to_thread(producer.stop)
        sent = sorted(
            f"{producer.producer_id}-{number}"
            for producer in self.producers
            for number in range(1, producer.sent + 1)
        )
        async with asyncio.timeout(timeout_sec):
            while any(one.count < len(sent) for one in self.collectors):
                await asyncio.sleep(0.02)
            self._is_over.set()
            await asyncio.gather(*self._tasks)
        return sent

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for producer in self.producers:
            await asyncio.to_thread(producer.stop)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for collector in self.collectors:
            await collector.stop()


def prove_no_hole_and_no_double(stage: Hopping, sent: Sequence[str]) -> None:
    """Both collectors have all events in one order, and so has each client that hopped."""
    first, second = (collector.order() for collector in stage.collectors)
    assert sorted(first) == list(sent)
    assert first == second
    for client in stage.clients:
        assert client.gaps == []
        assert client.runs == [first]
        assert client.hops > 1
    assert sum(producer.repeats for producer in stage.producers) > 0
