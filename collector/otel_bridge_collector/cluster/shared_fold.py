"""
``SharedFold``: what a collector has instead of one model, if it shares the fold with others.

It puts the parts together: membership, states, router and rebuilder, in the order in which they
start. A collector without a cluster has none of this.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import redis.asyncio as redis_asyncio

from otel_bridge.cancellation import cancel
from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish.redis_clients import REDIS_ERRORS, aclose, connect_async, is_redis
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.transports.base import Receiver
from otel_bridge.publish.transports.redis_timeouts import tolerate_busy_loop
from otel_bridge.settings import BridgeSettings
from otel_bridge_collector.cluster.membership import Membership
from otel_bridge_collector.cluster.one_fold import OneFold
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.rebuild import Rebuilder
from otel_bridge_collector.cluster.routing import Router
from otel_bridge_collector.cluster.states import States
from otel_bridge_collector.leader.stalled import StalledJobReporter
from otel_bridge_collector.leader.stats import Numbers
from otel_bridge_collector.log.reader import Feed
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.views.catalog import CATALOG, Query
from otel_bridge_collector.views.listing import GoneError, Scope, Window
from otel_bridge_collector.views.state import ViewState

__all__ = ["ClusterOptions", "SharedFold", "make_fold"]

logger = logging.getLogger(__name__)

_JOINED_SEC: Final = 1.0
_MAX_JOINED: Final = 10_000
_TIMEOUT_SEC: Final = 1.0
"""Of an answer of Redis: an entry is renewed each 0.5 s and holds for 2."""


class ClusterOptions(NamedTuple):
    """
    How a collector takes part in a cluster; a record.

    Attributes:
        address: Where the other members reach it: a URL, or the path of a Unix socket.
        expected: How many members start together, this one included; it waits 2 s for them.
        group: Part of the names of its keys: members of one group are a cluster of their own.
            Default: empty, all that share the log.
        cpu: Returns what this process uses of a core, to be shown; None: it is not known.
    """

    address: str
    expected: int = 1
    group: str = ""
    cpu: Callable[[], float | None] = lambda: None


def make_fold(
    own_id: str,
    cluster: ClusterOptions | None,
    settings: BridgeSettings,
    ring: ReplayRing,
    clock: Clock,
) -> OneFold | SharedFold:
    """Return what a collector folds into: all of it, or a share; a log in memory has one reader."""
    url, ttl_sec = settings.bus_url, settings.heartbeat_ttl_sec
    keys = RedisKeys(settings.key_prefix)
    if cluster is None or not is_redis(url):
        return OneFold(queues=keys.queues, ring=ring, heartbeat_ttl_sec=ttl_sec, clock=clock)
    return SharedFold(
        own_id,
        cluster,
        url=url,
        keys=keys,
        ring=ring,
        heartbeat_ttl_sec=ttl_sec,
        clock=clock,
    )


class SharedFold:
    """
    One member's share of the fold. For the collector's event loop.

    ``join`` before the feed starts, ``start`` after it, ``stop`` at the end.

    Args:
        own_id: Unique among the members.
        options: Of this member.
        url: Of the log, which is in Redis.
        keys, ring, heartbeat_ttl_sec, clock: As of the collector.

    Attributes:
        membership, states, router: The parts.
        rebuilder: Fills and drops states; None before ``connect``.
        merge_numbers: Asks all members for their numbers; set by what asks for views. None: the
            statistics are not published.
        stats, model, feed_model, view_state, project_of_past: As of ``OneFold``; the model and the
            view state have no tasks, the feed's model is the router.
    """

    is_shared: Final = True

    def __init__(
        self,
        own_id: str,
        options: ClusterOptions,
        *,
        url: str,
        keys: RedisKeys,
        ring: ReplayRing,
        heartbeat_ttl_sec: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._redis: redis_asyncio.Redis = connect_async(
            url, socket_timeout=_TIMEOUT_SEC, socket_connect_timeout=_TIMEOUT_SEC
        )
        tolerate_busy_loop(self._redis)
        members = RedisKeys(f"{keys.prefix}:{{0}}:{options.group}") if options.group else keys
        self.membership = Membership(
            own_id, options.address, redis=self._redis, keys=members, cpu=options.cpu
        )
        self.states = States(
            queues=keys.queues, ring=ring, heartbeat_ttl_sec=heartbeat_ttl_sec, clock=clock
        )
        self.router = self.feed_model = Router(self.states, ring)
        self.stats = self.router.stats
        self.view_state = self.states.front
        self.model = self.view_state.model
        self.project_of_past = self.router.project_of_past
        self.rebuilder: Rebuilder | None = None
        self._expected = options.expected
        self._clock = clock
        self._joined_key = keys.collectors_joined
        self.merge_numbers: Callable[[], Awaitable[Numbers | None]] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def connect(
        self, feed: Feed, open_receiver: Callable[[], Receiver], max_event_bytes: int
    ) -> None:
        """Make the rebuilder, which needs the feed that folds into the router."""
        self.rebuilder = Rebuilder(
            states=self.states,
            membership=self.membership,
            router=self.router,
            feed=feed,
            open_receiver=open_receiver,
            max_event_bytes=max_event_bytes,
            clock=self._clock,
        )

    # --- life ------------------------------------------------------------------------------------

    async def join(self) -> None:
        """Become a member, and make the states that the feed fills when it reads the log."""
        await self.membership.start(self._expected)
        await self._learn_joined()
        if self.rebuilder is not None:
            self.rebuilder.open_first()

    def start(self, reporter: StalledJobReporter, is_live: Callable[[], bool]) -> None:
        """
        Gain and lose partitions from now on, and report what is stalled in those that are served.

        Args:
            reporter: Of this collector; it evaluates ``served_models``.
            is_live: Whether the feed reads the log.
        """
        if self.rebuilder is not None:
            self.rebuilder.start()
        self._tasks = [
            asyncio.create_task(reporter.run_rounds(is_live), name="stalled"),
            asyncio.create_task(self._write_all_joined(), name="joined"),
        ]

    async def stop(self) -> None:
        """Leave the cluster, so that the others take over at once."""
        await cancel(self._tasks)
        if self.rebuilder is not None:
            await self.rebuilder.stop()
        await self.membership.stop()
        await aclose(self._redis)

    async def numbers(self) -> Numbers | None:
        """Return the numbers of all members together; None: they are not known now."""
        return None if self.merge_numbers is None else await self.merge_numbers()

    # --- what the log may have lost --------------------------------------------------------------

    async def _learn_joined(self) -> None:
        """Read which tasks share a trace, as the members know that were there before."""
        try:
            found: Any = await self._redis.zrange(self._joined_key, 0, -1)
        except (*REDIS_ERRORS, TimeoutError) as error:
            logger.warning("tasks that share a trace are not known: %s", failure_reason(error))
            return
        for pair in found:
            try:
                task_id, other_id = json.loads(pair)
            except ValueError:
                continue
            if isinstance(task_id, str) and isinstance(other_id, str):
                self.router.tasks.join(task_id, other_id)
        self.router.tasks.joined.clear()

    async def _write_all_joined(self) -> None:
        while True:
            await asyncio.sleep(_JOINED_SEC)
            await self.write_joined()

    async def write_joined(self) -> None:
        """Write which tasks share a trace, if there is news; after an error the next call does."""
        joined = self.router.tasks.joined
        if not joined:
            return
        now_ms, count = self._clock.time_ns() // 1_000_000, len(joined)
        pairs = {json.dumps(pair): now_ms for pair in joined}
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zadd(self._joined_key, pairs)
                pipe.zremrangebyrank(self._joined_key, 0, -_MAX_JOINED - 1)
                await pipe.execute()
        except (*REDIS_ERRORS, TimeoutError) as error:
            logger.debug("tasks that share a trace are not written: %s", failure_reason(error))
            return
        del joined[:count]

    # --- what it holds ---------------------------------------------------------------------------

    def refresh(self, now: int) -> None:
        """Bring all states up to date at ``now``, microseconds, as ``ViewState.refresh`` does."""
        self.states.refresh(now)
        if self.rebuilder is not None:
            self.rebuilder.note_late_moves()

    def models(self) -> Sequence[Fold]:
        """Return the models of all partitions that are held, ready or not."""
        return [state.model for state in self.states.held.values()]

    def served_models(self, now: int) -> Sequence[Fold]:
        """
        Return the models of the partitions that this member serves, evaluated at ``now``.

        Empty while its entry is not renewed: others may have taken over what it holds.
        """
        if not self.membership.is_current:
            return ()
        return [state.model for state in self.served_states(now)]

    def served_states(self, now: int) -> Sequence[ViewState]:
        """Return the states of the partitions that this member serves, refreshed at ``now``."""
        membership = self.membership
        self.refresh(now)
        return [
            state.view_state
            for number, state in self.states.held.items()
            if state.is_ready and membership.server_of(number) == membership.own_id
        ]

    def window(self, query: Query, scope: Scope) -> Window:
        """
        Compute a view from the partitions held here alone, as of the latest refresh.

        Raises:
            GoneError: None of them knows what it shows.
        """
        parts = self.states.parts(query, scope, range(PARTITIONS))
        if not parts:
            raise GoneError
        return CATALOG[query.view].merge(parts, query.params)

    def partition_counts(self) -> dict[str, int]:
        """Return how many partitions this member holds ``ready``, and how many ``rebuilding``."""
        held = self.states.held.values()
        ready = sum(state.is_ready for state in held)
        return {"ready": ready, "rebuilding": len(held) - ready}

    def readiness(self) -> dict[str, Any]:
        """Return what ``/readyz`` says of the cluster: members, partitions, and what is missing."""
        membership = self.membership
        return {
            "members": len(membership.members),
            "membership": membership.failure or "ok",
            "leaving": membership.is_leaving,
            "partitions": self.partition_counts(),
            "partitions_missing": sorted(membership.missing()),
        }
