"""
``Leader``: elects one collector of several, and runs its rounds of duties.

The election is a lease in Redis: the key ``<prefix>:collector:leader``, set with NX and PX and
renewed by its holder. When the leader dies, the next collector takes over within the TTL, 5 to 6 s.
Should two collectors lead for a moment, ``task_stalled`` events still appear once: their ids are
derived from the job, and claimed in Redis before they are published. With the log in memory there
is one collector and no election.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import redis.asyncio as redis_asyncio

from otel_bridge.cancellation import cancel
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge.publish.redis_failures import failure_reason, needs_operator

__all__ = ["Leader"]

logger = logging.getLogger(__name__)

_MAX_ELECTION_SEC: Final = 2.0
"""Longest time between two elections: the events of external publishers wait for the leader."""
_MIN_LEASE_SEC: Final = 5.0

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
    Leads while it holds a lease (a Redis key that expires), and runs the duties every interval.

    The collector makes one for its event loop and calls ``start`` and ``stop`` once each. There is
    an election in each interval, and at least every 2 s. The lease lasts three times as long as the
    time between two, and at least 5 s.

    Args:
        collector_id: Value of the lease; unique among the collectors, which is not checked.
        interval_sec: Time between two rounds of the duties; 2 s by default in the service.
        duties: Called in this order in each round of the leader. If one raises, the rest of the
            round is left out; the next round tries again.
        is_live: Whether this collector reads the log; one that does not cannot lead, because all
            workers would look dead to it.
        redis: Holds the lease; None: the log is in memory and this is the only collector. While it
            cannot be reached, this collector does not lead: ``failure`` says why, one warning is
            logged, and the next election tries again. Other errors of a duty are logged too; none
            is raised.
        lease_key: Redis key of the lease.

    Attributes:
        leading: Set while this collector leads, as far as its last election knows; not set at
            first.
        failure: Why Redis did not let it renew the lease, or a duty run, last time; None: it did,
            or nothing was tried yet.
        needs_operator: Whether that stays until a permission or the URL is changed; False at first.
    """

    def __init__(
        self,
        collector_id: str,
        *,
        interval_sec: float,
        duties: Sequence[Callable[[], Awaitable[None]]],
        is_live: Callable[[], bool],
        redis: redis_asyncio.Redis | None,
        lease_key: str,
    ) -> None:
        self.leading = asyncio.Event()
        self.failure: str | None = None
        self.needs_operator = False
        self._id = collector_id
        self._interval_sec = interval_sec
        self._duties = duties
        self._is_live = is_live
        self._redis: Any = redis
        self._lease_key = lease_key
        self._election_sec = min(interval_sec, _MAX_ELECTION_SEC)
        self._lease_ms = int(1000 * max(_MIN_LEASE_SEC, 3 * self._election_sec))
        self._task: asyncio.Task[None] | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this collector leads, as far as its last election knows."""
        return self.leading.is_set()

    def start(self) -> None:
        """
        Start the elections in a task: with Redis at once, else after the time between two (2 s).

        The duties first run after one interval. Call it once, which is not checked.

        Raises:
            RuntimeError: No event loop runs.
        """
        self._task = asyncio.create_task(self._run(), name="leader")

    async def stop(self) -> None:
        """
        End the rounds and release the lease, so that another collector can lead at once (async).

        A duty in progress is cancelled and waited for, at most 10 s. If Redis cannot be reached,
        the lease expires by itself, after 5 to 6 s. It does not lead after this. May be called
        without ``start``.

        Raises:
            asyncio.CancelledError: The caller was cancelled meanwhile.
        """
        if self._task is not None:
            await cancel([self._task])
        if self.is_leader and self._redis is not None:
            try:
                await self._redis.eval(_RELEASE, 1, self._lease_key, self._id)
            except REDIS_ERRORS:
                logger.debug("the leader's lease was not released; it expires by itself")
        self.leading.clear()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        if self._redis is not None:
            await self._elect(is_due=False)
        due_at = loop.time() + self._interval_sec
        while True:
            await asyncio.sleep(self._election_sec)
            is_due = loop.time() > due_at - self._election_sec / 2
            if is_due:
                due_at = loop.time() + self._interval_sec
            await self._elect(is_due=is_due)

    async def _elect(self, *, is_due: bool) -> None:
        try:
            if self._is_live() and await self._hold_lease():
                self.leading.set()
                for duty in self._duties if is_due else ():
                    await duty()
            else:
                self.leading.clear()
        except (*REDIS_ERRORS, TimeoutError) as error:
            self.leading.clear()
            reason = failure_reason(error)
            if self.failure is None:
                logger.warning("this collector cannot lead, Redis failed: %s", reason)
            self.failure, self.needs_operator = reason, needs_operator(error)
        except Exception:
            logger.exception("a round of the leader failed")
        else:
            self.failure, self.needs_operator = None, False

    async def _hold_lease(self) -> bool:
        if self._redis is None:
            return True
        held = await self._redis.eval(_RENEW, 1, self._lease_key, self._id, self._lease_ms)
        return bool(held)
