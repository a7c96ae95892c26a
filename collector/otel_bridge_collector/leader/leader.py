"""
``Leader``: the duties that one collector does for all: global stats and stalled jobs.

A lease in Redis (``nexus:collector:leader``, SET NX PX, renewed by its holder) elects it; when it
dies the next takes over within the TTL. Should two believe for a moment that they lead, stalled
events still appear once: their ids are derived, and claimed in Redis before they are published.
With the log in memory there is one collector and no election.

What happens to a stalled job is ``MONITORING_STALLED_ACTION``: ``report`` only tells; ``requeue``
puts it back at the head of its queue (one with a lease of the reference coordinator: by ending the
lease, so that the coordinator's own accounting of crashes holds); ``fail`` ends it as failed and
puts it on the dead list. Both act only while the job's status is still ``processing``.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import redis.asyncio as redis_asyncio

from otel_bridge.cancellation import cancel
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.orchestration.queue.stalled_jobs import fail_stalled, requeue_stalled
from otel_bridge.publish import redis_keys
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.records import JobRecord
from otel_bridge_collector.model.old.snapshot import global_stats
from otel_bridge_collector.model.old.stalled import (
    find_stalled,
    stalled_event,
    stalled_failure_event,
)
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.settings import CollectorSettings

__all__ = ["Leader"]

logger = logging.getLogger(__name__)

_MIN_LEASE_SEC: Final = 5.0
_IDLE_INTERVAL_SEC: Final = 5.0
"""With nothing new, stats are told no more often, so that an idle log keeps its past for days."""
_MAX_TOLD: Final = 10_000
_CLAIM_SEC: Final = 24 * 3600

_RENEW: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Leader:
    """
    Publishes what one collector says for all.

    Args:
        settings: Interval and stalled action.
        heartbeat_ttl_sec: Silence after which a worker is gone.
        stats: Read only.
        make_judge: The state as of now.
        publish: Queues one event for the log.
        is_live: Whether the log is read; nobody leads blind.
        redis: For the lease; None: the log is in memory and this is the only collector.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        *,
        heartbeat_ttl_sec: float,
        stats: RollingStats,
        make_judge: Callable[[], Judge],
        publish: Callable[[MonitoringEvent], object],
        is_live: Callable[[], bool],
        redis: redis_asyncio.Redis | None,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.is_leader = False
        self.stalled = 0
        """Jobs told stalled since the start."""
        self._settings = settings
        self._ttl_sec = heartbeat_ttl_sec
        self._stats = stats
        self._make_judge = make_judge
        self._publish = publish
        self._is_live = is_live
        self._redis: Any = redis
        self._lease_ms = int(1000 * max(_MIN_LEASE_SEC, 3 * settings.stats_interval_sec))
        self._is_failing = False
        self._told: OrderedDict[str, None] = OrderedDict()
        self._told_events = -1
        self._quiet_until = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to lead or to wait for it."""
        self._task = asyncio.create_task(self._run(), name="leader")

    async def stop(self) -> None:
        """Stop, and let the next one lead at once."""
        if self._task is not None:
            await cancel([self._task])
        if self.is_leader and self._redis is not None:
            try:
                await self._redis.eval(_RELEASE, 1, redis_keys.COLLECTOR_LEADER, self.id)
            except REDIS_ERRORS:
                logger.debug("the lease is left to run out")
        self.is_leader = False

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.stats_interval_sec)
            try:
                self.is_leader = self._is_live() and await self._hold_lease()
                if self.is_leader:
                    await self._publish_stats()
                    await self._tell_stalled()
            except (*REDIS_ERRORS, TimeoutError) as error:
                self.is_leader = False
                if not self._is_failing:
                    logger.warning("no leader's lease: %s", type(error).__name__)
                self._is_failing = True
            except Exception:
                logger.exception("a round of the leader failed")
            else:
                self._is_failing = False

    async def _hold_lease(self) -> bool:
        if self._redis is None:
            return True
        held = await self._redis.eval(
            _RENEW, 1, redis_keys.COLLECTOR_LEADER, self.id, self._lease_ms
        )
        return bool(held)

    async def _publish_stats(self) -> None:
        judge = self._make_judge()
        now = asyncio.get_running_loop().time()
        if self._stats.events_in == self._told_events and now < self._quiet_until:
            return
        self._told_events = self._stats.events_in
        self._quiet_until = now + max(self._settings.stats_interval_sec, _IDLE_INTERVAL_SEC) - 0.1
        projects = self._stats.active_projects(judge.now)
        for project_id in (None, *projects):
            numbers = global_stats(judge, self._stats, project_id)
            self._publish(
                MonitoringEvent(
                    event_type=MonitoringEventType.STATS_SNAPSHOT,
                    project_id=project_id,
                    meta=numbers.model_dump(mode="json"),
                )
            )
            # A round over 1,000 projects is 1.2 s of work; clients must not wait for it.
            await asyncio.sleep(0)

    async def _tell_stalled(self) -> None:
        judge = self._make_judge()
        for job in find_stalled(judge, self._ttl_sec):
            event = stalled_event(job, judge.now)
            # Until it comes back through the feed, or another leader told it.
            if event.event_id in self._told or not await self._claim(job, event.event_id):
                continue
            self._told[event.event_id] = None
            if len(self._told) > _MAX_TOLD:
                self._told.popitem(last=False)
            self.stalled += 1
            self._publish(event)
            if self._settings.stalled_action != "report" and self._redis is not None:
                await self._act(job, judge.now)

    async def _claim(self, job: JobRecord, event_id: str) -> bool:
        """Whether this collector is to tell; no, if the worker's heartbeat key lives or one did."""
        if self._redis is None:
            return True
        if await self._redis.exists(redis_keys.worker_heartbeat(str(job.worker_id))):
            return False
        key = redis_keys.collector_stalled(event_id)
        return bool(await self._redis.set(key, self.id, nx=True, ex=_CLAIM_SEC))

    async def _act(self, job: JobRecord, now: int) -> None:
        job_id, worker_id = job.task_id, str(job.worker_id)
        if self._settings.stalled_action == "requeue":
            done = await requeue_stalled(self._redis, job_id, worker_id)
        else:
            failure = stalled_failure_event(job, now)
            done = await fail_stalled(self._redis, job_id, worker_id, failure.error or "")
            if done:
                self._publish(failure)
        logger.warning(
            "stalled job %s: %s", job.task_id, self._settings.stalled_action if done else "left"
        )
