"""
``Collector``: builds the parts of the service, starts them in order and stops them in reverse.

Nothing here knows HTTP; the routes call this class. The log is ``MONITORING_BUS_URL`` if that names
a Redis or memory, else ``REDIS_URL``, else memory, to which ``POST /v1/events`` appends. The
collector's own events (statistics, stalled jobs) go through an ``EventBus`` into the same log, and
come back through the reader like all others.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import redis.asyncio as redis_asyncio

from otel_bridge.cancellation import cancel
from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_clients import aclose, connect_async, is_redis
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.transports import open_receiver, open_sender
from otel_bridge.publish.transports.base import AppendResult, Outgoing, Receiver, SpanStack
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.publish.transports.redis_timeouts import tolerate_busy_loop
from otel_bridge.publish.transports.stack_reader import read_stack
from otel_bridge.settings import BridgeSettings
from otel_bridge_collector.cluster.connections.group import LocalGroup
from otel_bridge_collector.cluster.edge.answers import Answers
from otel_bridge_collector.cluster.edge.links import ClusterLinks, cluster_options
from otel_bridge_collector.cluster.shared_fold import ClusterOptions, SharedFold, make_fold
from otel_bridge_collector.leader.external import ExternalIngester
from otel_bridge_collector.leader.leader import Leader
from otel_bridge_collector.leader.linger import LingerSetter
from otel_bridge_collector.leader.stalled import StalledJobReporter
from otel_bridge_collector.leader.stats import StatsPublisher
from otel_bridge_collector.lines.service import LinesService
from otel_bridge_collector.log.decoding import decode_entries
from otel_bridge_collector.log.reader import Feed
from otel_bridge_collector.log.shards import shards_readiness
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.settings import CollectorSettings, log_url
from otel_bridge_collector.stream.hub import SWEEP_INTERVAL_SEC, TICK_INTERVAL_SEC, Hub
from otel_bridge_collector.stream.resume import Resumer
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.stream.snapshots import Snapshots
from otel_bridge_collector.stream.views_hub import ViewsHub

__all__ = ["START_TIMEOUT_SEC", "Collector", "log_url"]

logger = logging.getLogger(__name__)

START_TIMEOUT_SEC: Final = 30.0
_TIMEOUTS: Final = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
_EVALUATION_INTERVAL_SEC: Final = 1.0
"""Rates are sampled once a second; verdicts are also brought up to date when they are read."""


class Collector:
    """
    One collector: reads the event log, keeps the state, and serves it to its clients.

    Of all collectors of a log, one is the leader, which also publishes statistics and stalled jobs
    and appends external events. Use it on one event loop: ``start``, then ``stop`` at the end; it
    is not started again. An outage of the log is logged and never raised by ``start``.

    Args:
        settings: The collector's own settings, which hold its limits.
        bridge_settings: The log's URL, the limits of events and the heartbeat TTL.
        group: The processes of this machine that share the fold; default None: there are no others.
        cluster: How it takes part; default None: as the settings and the group say.
        clock: Source of the time.

    Attributes:
        fold: What events are folded into: one model, or this member's share of a cluster.
        snapshots: What ``/monitor/snapshot`` and the first message of a dashboard show.
        view_state: What views are computed from, as of at most a second ago; only to be read.
        lines: Log lines beside the log.
        linger: How long the leader asks publishers to collect events for a batch.
        answers: What clients ask of the whole state, of one collector or of several.
        cluster: The other members; None: there are none.
        channel_messages_refused: Pub/Sub messages of appended events that Redis' ACL denied; their
            events are in the log all the same.

    Raises:
        ConfigurationError: The log's URL cannot be used. Nothing connects before ``start``.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        bridge_settings: BridgeSettings,
        *,
        group: LocalGroup | None = None,
        cluster: ClusterOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.settings = settings
        url = log_url(bridge_settings)
        self.bridge_settings = bridge_settings.model_copy(update={"bus_url": url})
        self.clock = clock
        self.ring = ReplayRing("", settings.replay_max_events)
        self.redis_keys = RedisKeys(bridge_settings.key_prefix)
        collector_id = uuid.uuid4().hex[:12]
        options = cluster or cluster_options(settings, group, collector_id)
        self.fold = make_fold(collector_id, options, self.bridge_settings, self.ring, clock)
        self.cluster: ClusterLinks | None = None
        if isinstance(self.fold, SharedFold):
            self.cluster = ClusterLinks(
                collector_id,
                self.fold,
                group=group,
                token=settings.cluster_token.get_secret_value(),
                refresh=lambda: self.answers.refresh(),
                position=lambda: self.ring.last_position,
                queues=self.redis_keys.queues,
                clock=clock,
            )
        self.stats, self.model = self.fold.stats, self.fold.model
        self.view_state = self.fold.view_state
        self.snapshots = Snapshots(
            self.evaluated_model, self.ring, queues=self.redis_keys.queues, clock=clock
        )
        self.hub = Hub(
            self.ring,
            limit_bytes=settings.client_buffer_bytes,
            timeout_sec=settings.client_timeout_sec,
            make_snapshot=self.snapshots.json,
            fetch_snapshot=(
                None if self.cluster is None else lambda found: self.answers.snapshot(found)
            ),
            clock=clock,
        )
        max_bytes = bridge_settings.max_event_size_bytes
        self.views_hub = ViewsHub(
            refresh=lambda: self.answers.refresh(),
            window=lambda query, scope: self.answers.window(query, scope),
            watch=None if self.cluster is None else self.cluster.edge,
            position=lambda: self.ring.last_position,
            timeout_sec=settings.client_timeout_sec,
            clock=clock,
        )
        self.feed = Feed(
            self._open_receiver,
            model=self.fold.feed_model,
            ring=self.ring,
            hub=self.hub,
            max_event_bytes=max_bytes,
            clock=clock,
        )
        self.fold.connect(self.feed, self._open_receiver, max_bytes)
        self.resumer = Resumer(
            self._open_receiver,
            decode=partial(
                decode_entries,
                max_bytes=max_bytes,
                project_of=self.fold.project_of_past,
            ),
            wait_advance=self.feed.wait_advance,
            hub=self.hub,
            slow_after_sec=settings.client_timeout_sec,
        )
        self.bus = EventBus.connect(self.bridge_settings)
        self.redis: redis_asyncio.Redis | None = (
            connect_async(url, **_TIMEOUTS) if is_redis(url) else None
        )
        if self.redis is not None:
            tolerate_busy_loop(self.redis)
        self._sender = open_sender(url, self.bridge_settings)
        self._send_lock = asyncio.Lock()
        self.lines = LinesService(
            self.view_state.lines,
            url=url,
            redis=self.redis,
            keys=self.redis_keys,
            sender=self._sender,
            lock=self._send_lock,
            max_bytes=settings.lines_max_bytes,
            clock=clock,
        )
        self.answers = Answers(
            self.fold,
            self.cluster,
            snapshots=self.snapshots,
            ring=self.ring,
            lines=self.lines.poller,
            clock=clock,
        )
        self.stalled_reporter = StalledJobReporter(
            collector_id,
            action=settings.stalled_action,
            evaluate=lambda: self.fold.served_models(self.clock.time_ns() // 1000),
            publish=self.bus.publish,
            redis=self.redis,
            keys=self.redis_keys,
        )
        stats_publisher = StatsPublisher(
            interval_sec=settings.stats_interval_sec,
            evaluate=self.evaluated_model,
            publish=self.bus.publish,
            numbers=self.fold.numbers,
        )
        self.linger = LingerSetter(
            max_ms=self.bridge_settings.linger_max_ms,
            interval_sec=settings.stats_interval_sec,
            redis=self.redis,
            keys=self.redis_keys,
            events=lambda: int(self.feed.batch_events.total),
            position=lambda: self.ring.last_position,
        )
        self.leader = Leader(
            collector_id,
            interval_sec=settings.stats_interval_sec,
            duties=(
                stats_publisher.run_round,
                *(() if self.fold.is_shared else (self.stalled_reporter.run_round,)),
                self.lines.trimmer.run_round,
                self.linger.run_round,
            ),
            is_live=lambda: self.feed.is_live,
            redis=self.redis,
            lease_key=self.redis_keys.collector_leader,
        )
        self._ingester: ExternalIngester | None = None
        if self.redis is not None:
            self._ingester = ExternalIngester(
                self.feed.external,
                sender=RedisSender(url, self.bridge_settings),
                leading=self.leader.leading,
                reach=self.feed.wait_reach,
            )
        self.channel_messages_refused = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._is_running = False

    def _open_receiver(self) -> Receiver:
        return open_receiver(self.bridge_settings.bus_url, self.bridge_settings)

    async def start(self, timeout_sec: float = START_TIMEOUT_SEC) -> None:
        """
        Read the log from its beginning, then start the background tasks; only the first call does.

        These send events and views to clients, and do the leader's work, until ``stop``. A log that
        cannot be reached is logged, neither raised nor waited for: the reader goes on trying,
        without end, and ``/readyz`` shows that the log is not read.

        Args:
            timeout_sec: Longest wait until the whole log is read, default 30 s; reading goes on
                after it, without an error.
        """
        if self._is_running:
            return
        self._is_running = True
        if self.cluster is not None:
            await self.cluster.listen()
        await self.fold.join()
        if self.cluster is not None:
            await self.cluster.start()
        await self.feed.start(timeout_sec if await self._is_log_reachable() else 0.0)
        self.fold.start(self.stalled_reporter, lambda: self.feed.is_live)
        self.leader.start()
        if self._ingester is not None:
            self._ingester.start()
        self._tasks = [
            asyncio.create_task(self._call_every(SWEEP_INTERVAL_SEC, self.hub.sweep), name="sweep"),
            asyncio.create_task(self._call_every(TICK_INTERVAL_SEC, self.hub.tick), name="tick"),
            asyncio.create_task(
                self._call_every(_EVALUATION_INTERVAL_SEC, self.answers.refresh), name="evaluate"
            ),
            asyncio.create_task(self._show_views(), name="views"),
            asyncio.create_task(self.lines.poller.run(), name="lines"),
        ]

    async def _is_log_reachable(self) -> bool:
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
        """Close every client with 1012, stop the parts in reverse order, close the connections."""
        if not self._is_running:
            return
        self._is_running = False
        self.hub.close_all()
        self.views_hub.close_all()
        await cancel(self._tasks)
        if self._ingester is not None:
            await self._ingester.stop()
        await self.leader.stop()
        if self.cluster is not None:
            await self.cluster.stop()
        await self.fold.stop()
        await asyncio.to_thread(self.bus.shutdown, 1.0)
        await self.feed.stop()
        await self.resumer.close()
        self._sender.close()
        if self.redis is not None:
            await aclose(self.redis)

    async def _call_every(self, seconds: float, call: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                call()
            except Exception:
                logger.exception("a periodic call failed")

    def evaluated_model(self) -> Fold:
        """The model, with liveness evaluated as of now."""
        self.model.sweep(self.clock.time_ns() // 1000)
        return self.model

    async def _show_views(self) -> None:
        delay_sec = 0.0
        while True:
            await asyncio.sleep(delay_sec)
            try:
                delay_sec = self.views_hub.tick()
            except Exception:
                delay_sec = _EVALUATION_INTERVAL_SEC
                logger.exception("views could not be sent")

    async def append(
        self, producer_id: str, first_n: int, batch: Iterable[Outgoing]
    ) -> AppendResult:
        """
        Append a batch to the log, except what it holds already; one batch at a time, others wait.

        Async; the log is written in a thread.

        Args:
            producer_id: Unique name of the producer.
            first_n: The producer's number of the first event, from 1; the next events have the next
                numbers. The log skips numbers that it has of this producer.
            batch: At least one event; the callers limit the number (1,000) and the sizes.

        Returns:
            ``position`` of the log's end, and the numbers of events that were ``skipped`` and of
            Pub/Sub messages that Redis ``refused``.

        Raises:
            TransportRejectedError: The log rejects the batch; sending it again cannot help.
            TransportError: The log cannot be reached; the producer may send the batch again.
        """
        events = list(batch)
        async with self._send_lock:
            result = await asyncio.to_thread(self._sender.send, producer_id, first_n, events)
        self.channel_messages_refused += result.refused
        return result

    async def store_stacks(self, stacks: list[SpanStack]) -> int:
        """
        Store stacks of failures beside the log, in a thread; returns how many could not be (async).

        Raises:
            TransportError: The log cannot be reached; the sender may try again.
        """
        async with self._send_lock:
            return await asyncio.to_thread(self._sender.store_stacks, stacks)

    async def stack(self, span_id: str) -> SpanStack | None:
        """
        Read the stack stored for a failed span, 16 hex digits; None: none, or no longer (async).

        Raises:
            TransportError: The log cannot be reached.
        """
        return await read_stack(span_id, self.bridge_settings.bus_url, self.redis, self.redis_keys)

    def readiness(self) -> dict[str, Any]:
        """
        Return the fields of ``/readyz``; asks no other process and never raises.

        They are ``ready``; ``log``, ``read`` or why it is not read; ``append``, ``ok`` or what
        keeps this collector from appending to the log; ``position``, of the last event;
        ``clients``, the number of WebSockets of ``/ws/monitor``; ``leader``, whether this collector
        is it; ``reader_restarts``; and those of ``shards_readiness``. It is ready while the log can
        be read, unless a permission or a setting keeps it from appending, or all collectors on its
        port are leaving. A Redis that is out of memory leaves it ready: that passes, and meanwhile
        people want to see what it holds.
        """
        outage = self.bus.outage
        is_misconfigured = self.leader.needs_operator or (
            outage is not None and outage.needs_operator
        )
        is_leaving = self.cluster is not None and self.cluster.is_leaving
        found: dict[str, Any] = {
            "ready": self.feed.is_live and not is_misconfigured and not is_leaving,
            "log": self.feed.log_error or ("read" if self.feed.is_live else "catching up"),
            "append": (str(outage) if outage else None) or self.leader.failure or "ok",
            "position": self.ring.last_position,
            "clients": len(self.hub),
            "leader": self.leader.is_leader,
            "reader_restarts": self.feed.counters.restarts,
            **self.fold.readiness(),
            **({} if self.cluster is None else self.cluster.readiness()),
        }
        return found | shards_readiness(self.feed.shard_status)
