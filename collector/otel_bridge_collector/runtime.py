"""
``Collector``: builds the parts, starts them in order, stops them in reverse.

Nothing here knows HTTP: routes call it. Its log is ``REDIS_URL`` (or a Redis bus URL), else memory,
where ``POST /v1/events`` appends. What the collector publishes itself (stats, stalled jobs) goes
through a bus of its own into the same log, and comes back through the feed like everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import pydantic_core
import redis.asyncio as redis_asyncio

from otel_bridge.cancellation import cancel
from otel_bridge.clock import SYSTEM_CLOCK, Clock, iso_utc
from otel_bridge.events.model import MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_clients import aclose, connect_async, is_redis
from otel_bridge.publish.transports import open_receiver, open_sender
from otel_bridge.publish.transports.base import AppendResult, Outgoing, Receiver
from otel_bridge.settings import BridgeSettings
from otel_bridge_collector.leader.leader import Leader
from otel_bridge_collector.log.decoding import decode_entries
from otel_bridge_collector.log.reader import Feed
from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.limited_stats import limited_stats
from otel_bridge_collector.model.old.snapshot import (
    failure_groups,
    global_stats,
    queue_depths,
    task_cards,
    worker_states,
)
from otel_bridge_collector.model.old.state import LiveState
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.stream.hub import SWEEP_INTERVAL_SEC, TICK_INTERVAL_SEC, Hub
from otel_bridge_collector.stream.resume import Resumer
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter
from otel_bridge_collector.wire.messages import SnapshotMessage

__all__ = ["START_TIMEOUT_SEC", "Collector", "log_url"]

logger = logging.getLogger(__name__)

MEMORY_URL: Final = "memory://collector"
START_TIMEOUT_SEC: Final = 30.0
_SNAPSHOT_EVENTS: Final = 200
_SNAPSHOT_EVENT_BYTES: Final = 512 * 1024
_LEADER_TIMEOUT_SEC: Final = 2.0
_MAX_SCAN_EVENTS: Final = 20_000
_SCAN_CHUNK: Final = 1000


def log_url(settings: BridgeSettings) -> str:
    """The URL of the log that a collector with these settings reads."""
    if is_redis(settings.bus_url) or settings.bus_url.startswith("memory://"):
        return settings.bus_url
    return settings.redis_url or MEMORY_URL


class Collector:
    """
    One collector.

    Args:
        settings: Its own knobs.
        bridge_settings: The log's URL, limits and the heartbeat TTL.
        clock: Tests pass their own.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        bridge_settings: BridgeSettings,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.settings = settings
        url = log_url(bridge_settings)
        self.bridge_settings = bridge_settings.model_copy(update={"bus_url": url})
        self.clock = clock
        self.state = LiveState()
        self.stats = RollingStats()
        self.ring = ReplayRing("", settings.replay_max_events)
        self.hub = Hub(
            self.ring,
            limit_bytes=settings.client_buffer_bytes,
            timeout_sec=settings.client_timeout_sec,
            make_snapshot=self.snapshot_json,
            clock=clock,
        )
        max_bytes = bridge_settings.max_event_size_bytes
        self.feed = Feed(
            self._open_receiver,
            state=self.state,
            stats=self.stats,
            ring=self.ring,
            hub=self.hub,
            max_event_bytes=max_bytes,
            clock=clock,
        )
        self.resumer = Resumer(
            self._open_receiver,
            decode=partial(decode_entries, max_bytes=max_bytes),
            wait_advance=self.feed.wait_advance,
            hub=self.hub,
            slow_after_sec=settings.client_timeout_sec,
        )
        self.bus = EventBus.connect(self.bridge_settings)
        self.redis = self._connect_redis(url)
        self.leader = Leader(
            settings,
            heartbeat_ttl_sec=bridge_settings.heartbeat_ttl_sec,
            stats=self.stats,
            make_judge=self.judge,
            publish=self.bus.publish,
            is_live=lambda: self.feed.is_live,
            redis=self.redis,
        )
        self._sender = open_sender(url, self.bridge_settings)
        self._send_lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_running = False
        self._cached: dict[EventFilter, tuple[tuple[int, str, int], bytes]] = {}

    def _open_receiver(self) -> Receiver:
        return open_receiver(self.bridge_settings.bus_url, self.bridge_settings)

    @staticmethod
    def _connect_redis(url: str) -> redis_asyncio.Redis | None:
        if url.startswith("memory://"):
            return None
        found: redis_asyncio.Redis = connect_async(
            url,
            socket_timeout=_LEADER_TIMEOUT_SEC,
            socket_connect_timeout=_LEADER_TIMEOUT_SEC,
        )
        return found

    # --- life ------------------------------------------------------------------------------------

    async def start(self, timeout_sec: float = START_TIMEOUT_SEC) -> None:
        """
        Read the log's past, then serve. A log that cannot be reached is tried again for ever.

        Args:
            timeout_sec: Longest wait for the past; then it starts without (``/readyz`` says so).
        """
        if self._is_running:
            return
        self._is_running = True
        await self.feed.start(timeout_sec if await self._is_log_there() else 0.0)
        self.leader.start()
        self._tasks = [
            asyncio.create_task(self._every(SWEEP_INTERVAL_SEC, self.hub.sweep), name="sweep"),
            asyncio.create_task(self._every(TICK_INTERVAL_SEC, self.hub.tick), name="tick"),
        ]

    async def _is_log_there(self) -> bool:
        receiver = self._open_receiver()
        try:
            await receiver.open()
        except Exception as error:
            logger.warning("the log cannot be reached: %s", error)
            return False
        finally:
            await receiver.close()
        return True

    async def stop(self) -> None:
        """Close every client with 1012, stop the parts in reverse, release the connections."""
        if not self._is_running:
            return
        self._is_running = False
        self.hub.close_all()
        await cancel(self._tasks)
        await self.leader.stop()
        await asyncio.to_thread(self.bus.shutdown, 1.0)
        await self.feed.stop()
        await self.resumer.close()
        self._sender.close()
        if self.redis is not None:
            await aclose(self.redis)

    async def _every(self, seconds: float, call: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                call()
            except Exception:
                logger.exception("a periodic call of the hub failed")

    # --- what routes ask -------------------------------------------------------------------------

    def judge(self) -> Judge:
        """The rules, as of now."""
        now = self.clock.time_ns() // 1000
        return Judge(self.state, now, self.bridge_settings.heartbeat_ttl_sec)

    def snapshot(self, wanted: EventFilter = ALL_EVENTS) -> SnapshotMessage:
        """Everything a client with this filter may see, true at the ring's newest entry."""
        judge = self.judge()
        is_limited = wanted.projects is not None
        return SnapshotMessage(
            position=self.ring.last_position,
            server_time=iso_utc(judge.now * 1000),
            tasks=task_cards(judge, wanted),
            workers=worker_states(judge, wanted),
            queues=[] if is_limited else queue_depths(self.state),
            failures=failure_groups(self.state, wanted),
            stats=(
                limited_stats(judge, self.stats, wanted)
                if is_limited
                else global_stats(judge, self.stats, wanted.project_id)
            ),
            events=[pydantic_core.from_json(data) for data in self._newest(wanted)],
        )

    def _newest(self, wanted: EventFilter) -> list[bytes]:
        found: list[bytes] = []
        size = 0
        for entry in self.ring.newest():
            is_global_stats = (
                entry.event_type == MonitoringEventType.STATS_SNAPSHOT
                and entry.parent_task_id is None
            )  # every few seconds, and in ``stats`` anyway
            if not is_global_stats and wanted.matches(entry):
                size += len(entry.data)
                if len(found) == _SNAPSHOT_EVENTS or size > _SNAPSHOT_EVENT_BYTES:
                    break
                found.append(entry.data)
        return found[::-1]

    def snapshot_json(self, wanted: EventFilter) -> bytes:
        """``snapshot`` as JSON; made once for all who ask with one filter at one moment."""
        # The position too: it changes without an event when the log is started over.
        half_second = self.clock.time_ns() // 500_000_000
        moment = (self.ring.last_index, self.ring.last_position, half_second)
        cached = self._cached.get(wanted)
        if cached is None or cached[0] != moment:
            if len(self._cached) > 64:
                self._cached.clear()
            cached = (moment, self.snapshot(wanted).model_dump_json().encode())
            self._cached[wanted] = cached
        return cached[1]

    async def recent(
        self, wanted: EventFilter, *, limit: int, before: str | None
    ) -> tuple[list[bytes], str | None]:
        """
        Events from the log, newest first.

        Args:
            wanted: Which.
            limit: At most so many.
            before: Only older than this position.

        Returns:
            The events' JSON, and the position to go on before; None at the log's beginning. At
            most 20,000 events are looked through: a rare filter may give few and a position.

        Raises:
            PositionLostError: ``before`` belongs to another log.
            TransportError: The log cannot be reached.
        """
        found: list[bytes] = []
        scanned = 0
        while scanned < _MAX_SCAN_EVENTS:
            entries, oldest = await self.resumer.read_back(_SCAN_CHUNK, before)
            if oldest is None:
                return found, None
            for entry in entries:
                if wanted.matches(entry):
                    found.append(entry.data)
                    if len(found) == limit:
                        return found, entry.position
            before = oldest
            scanned += _SCAN_CHUNK
        return found, before

    async def append(
        self, producer_id: str, first_n: int, batch: Iterable[Outgoing]
    ) -> AppendResult:
        """
        Append a pushed batch to the log, what it holds already excepted.

        Raises:
            TransportError: The log cannot be reached; the producer may send it again.
        """
        events = list(batch)
        async with self._send_lock:
            return await asyncio.to_thread(self._sender.send, producer_id, first_n, events)

    def readiness(self) -> dict[str, Any]:
        """Whether events flow, and why not."""
        return {
            "ready": self.feed.is_live,
            "log": self.feed.trouble or ("read" if self.feed.is_live else "catching up"),
            "position": self.ring.last_position,
            "clients": len(self.hub),
            "leader": self.leader.is_leader,
            "reader_restarts": self.feed.counters.restarts,
        }
