"""
``StalledJobReporter``: publishes ``task_stalled`` events, and acts on the jobs if configured to.

What happens to a stalled job is ``MONITORING_STALLED_ACTION``. ``report`` only publishes the event.
``requeue`` also puts the job back at the head of its queue; a job with a lease of the reference
coordinator gets its lease expired instead, so that the coordinator counts the crash towards the
job's max deliveries. ``fail`` also ends the job as failed and puts it on the dead-letter queue.
Both act only on jobs whose worker is gone, and while their status in Redis is ``processing``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import redis.asyncio as redis_asyncio
from redis.exceptions import ResponseError

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.redaction import MASK
from otel_bridge.orchestration.queue.stalled_jobs import fail_stalled, requeue_stalled
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge_collector.leader.stalled_events import (
    StalledJob,
    find_stalled,
    stalled_event,
    stalled_failure_event,
)
from otel_bridge_collector.model.fold import Fold

__all__ = ["StalledJobReporter"]

logger = logging.getLogger(__name__)

_MAX_REPORTED: Final = 10_000
_CLAIM_TTL_SEC: Final = 24 * 3600
_ROUND_SEC: Final = 2.0


class StalledJobReporter:
    """
    Reports each attempt of a stalled job once; the leader, one of all collectors, runs it.

    A stalled job is one whose worker is gone or silent. At most the newest 10,000 reports are
    remembered here; in Redis each has a claim for 24 h, a key that lets one collector alone report
    it. An action during which Redis failed is tried again by this collector, in its next round as
    leader. Use it on the model's event loop. Making one never raises, and it needs no closing.

    Args:
        collector_id: The value of its claims.
        action: ``report`` publishes an event. ``requeue`` also puts the job back into its queue,
            ``fail`` also ends it as failed, if its worker is gone. Without Redis: ``report``.
        evaluate: Gives the models, with what is stalled at the moment of the call: one, or those of
            the partitions that this member of a cluster serves.
        publish: Queues one event for the log.
        redis: Holds the claims and the jobs; None: this is the only collector.
        keys: Name the claims, the jobs and the workers' heartbeats.

    Attributes:
        reported: Stalled attempts that this collector has reported since its start.
    """

    def __init__(
        self,
        collector_id: str,
        *,
        action: Literal["report", "requeue", "fail"],
        evaluate: Callable[[], Iterable[Fold]],
        publish: Callable[[MonitoringEvent], object],
        redis: redis_asyncio.Redis | None,
        keys: RedisKeys,
    ) -> None:
        self.reported = 0
        self._id = collector_id
        self._action = action
        self._evaluate = evaluate
        self._publish = publish
        self._redis: Any = redis
        self._keys = keys
        self._reported_ids: OrderedDict[str, bool] = OrderedDict()
        """Event ids of the reports, each with whether its job is still to be acted on."""

    async def run_round(self) -> None:
        """
        Report the jobs that have stalled since the last round, and act on them; one call at a time.

        On the model's event loop. The number of jobs in a round is not limited.

        Raises:
            redis.RedisError, RedisClusterException, OSError: Redis cannot be reached, and the jobs
                left are for the next round; or it answered an action with an error, the first of
                which is raised after the other jobs. The next round tries the action again, without
                another report.
        """
        failure: ResponseError | None = None
        for model in self._evaluate():
            failure = await self._report_all(model) or failure
        if failure is not None:
            raise failure

    async def run_rounds(self, is_live: Callable[[], bool]) -> None:
        """
        Run a round each 2 s, without end: a member of a cluster reports what it serves.

        Errors are logged; the next round tries again.

        Args:
            is_live: Whether this collector reads the log; a round is left out while it does not.
        """
        while True:
            await asyncio.sleep(_ROUND_SEC)
            try:
                if is_live():
                    await self.run_round()
            except Exception as error:
                logger.warning("stalled jobs could not be reported: %s", failure_reason(error))

    async def _report_all(self, model: Fold) -> ResponseError | None:
        now = model.liveness.now
        failure: ResponseError | None = None
        for found in find_stalled(model):
            event = stalled_event(found, now)
            if event.event_id not in self._reported_ids:
                # The log may hold it already: another leader published it, or this one did.
                if model.knows(event.event_id) or not await self._claim(found, event.event_id):
                    continue
                self._report(event, found)
            if not self._reported_ids[event.event_id]:
                continue
            try:
                # A masked id finds neither the worker's heartbeat key nor its lease.
                is_shown = MASK not in str(found.worker_id)
                if found.is_worker_lost and is_shown and not await self._has_heartbeat(found):
                    await self._act(found, now)
                    self._reported_ids[event.event_id] = False
            except ResponseError as error:
                # It may be due to this job's keys alone, which must not keep the others waiting.
                failure = failure or error
        return failure

    async def _claim(self, found: StalledJob, event_id: str) -> bool:
        """
        Whether this collector is the one to report the job.

        False if the lost worker has a heartbeat key, or if another collector has claimed the event.
        """
        if self._redis is None:
            return True
        if found.is_worker_lost and await self._has_heartbeat(found):
            return False
        key = self._keys.collector_stalled(event_id)
        return bool(await self._redis.set(key, self._id, nx=True, ex=_CLAIM_TTL_SEC))

    async def _has_heartbeat(self, found: StalledJob) -> bool:
        """Whether a lost worker's heartbeat key exists in Redis, not that of a later life of it."""
        if found.is_worker_back:
            return False
        return bool(await self._redis.exists(self._keys.worker_heartbeat(str(found.worker_id))))

    def _report(self, event: MonitoringEvent, found: StalledJob) -> None:
        is_due = self._action != "report" and self._redis is not None and found.is_worker_lost
        self._reported_ids[event.event_id] = is_due
        if len(self._reported_ids) > _MAX_REPORTED:
            self._reported_ids.popitem(last=False)
        self.reported += 1
        self._publish(event)

    async def _act(self, found: StalledJob, now: int) -> None:
        job_id, worker_id = found.job.id, str(found.worker_id)
        if self._action == "requeue":
            is_done = await requeue_stalled(self._redis, job_id, worker_id, keys=self._keys)
        else:
            failure = stalled_failure_event(found, now)
            error = failure.error or ""
            is_done = await fail_stalled(self._redis, job_id, worker_id, error, keys=self._keys)
            if is_done:
                self._publish(failure)
        if is_done:
            logger.warning("stalled job %s: %s done", job_id, self._action)
        else:
            logger.warning(
                "stalled job %s left as it is: worker %s no longer runs it", job_id, worker_id
            )
