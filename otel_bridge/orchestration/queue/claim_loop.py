"""
``run_claim_loop``: how a worker claims jobs and runs them, one after the other.

The coordinator's workers and the research runner's slots differ only in what they claim and in how
they run it. One ``SharedQueueGuard`` ends all of them once a queue is another program's too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from redis.exceptions import RedisError

from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.redis_retry import RedisRetry
from otel_bridge.orchestration.queue.task_queue import Claim
from otel_bridge.orchestration.queue.wake import WakeUpNotification, jittered

__all__ = ["IDLE_SEC", "SharedQueueGuard", "run_claim_loop", "until_stop"]

logger = logging.getLogger(__name__)

IDLE_SEC: Final = 1.0
"""How long an idle worker waits for a wake-up notification; a lost one delays a job by this."""


class SharedQueueGuard:
    """
    Ends the claiming of a process once a queue turns out to be another program's too.

    One for all claim loops of a process; on one event loop. A worker that went on would run between
    the other program's items, and that program would take jobs of ours. Never raises.

    Attributes:
        error: The item that was found first; None, as at first: none.
        tripped (asyncio.Event): Set with the first item.
    """

    def __init__(self) -> None:
        self.error: SharedQueueError | None = None
        self.tripped = asyncio.Event()

    def report(self, error: SharedQueueError) -> None:
        """Note the item that a claim has found and left in its queue; the first one is logged."""
        if self.error is None:
            self.error = error
            logger.error("no more jobs are claimed, running ones are finished: %s", error.problem)
        self.tripped.set()


async def run_claim_loop(
    claim: Callable[[int], Awaitable[Claim | None]],
    run_job: Callable[[Claim], Awaitable[None]],
    *,
    stop: asyncio.Event,
    queued: WakeUpNotification,
    redis_retry: RedisRetry,
    guard: SharedQueueGuard,
    idle_sec: float = IDLE_SEC,
) -> None:
    """
    Claim jobs and run them, one after the other, until ``stop`` is set or ``guard`` has tripped.

    Returns once the running job has ended, however long that takes. Errors of Redis and of jobs are
    logged and do not end the loop; cancelling it does.

    Args:
        claim: Takes the next job from its queue and returns the claim (one attempt at the job), or
            None while no job waits. Its argument
            is the number of jobs that this loop has claimed before.
        run_job: Runs one attempt at a job and records how it ended. If it raises, the error is
            logged, and the job runs again once its lease (the worker's right to it, 15 s by
            default) has expired.
        stop: Checked before each claim. To end an idle loop at once, notify ``queued`` too.
        queued: Notified when a job may have been queued.
        redis_retry: Logs outages of Redis. During one, the loop tries again about every second.
        guard: Given the item if ``claim`` raises ``SharedQueueError``; also ends this loop when
            another has tripped it.
        idle_sec: How long an idle loop waits for a notification before it claims again, in seconds,
            default 1, times a random 0.5 to 1.5.

    Raises:
        Exception: What else ``claim`` raises, other than ``redis.RedisError`` and ``OSError``.
    """
    claims = 0
    while not (stop.is_set() or guard.tripped.is_set()):
        seen = queued.count
        try:
            claimed = await claim(claims)
        except (RedisError, OSError) as error:
            redis_retry.failed(error)
            await asyncio.sleep(jittered(IDLE_SEC))
            continue
        except SharedQueueError as error:
            guard.report(error)
            queued.notify()  # so that idle loops end too
            return
        redis_retry.succeeded()
        if claimed is None:
            await queued.wait(seen, jittered(idle_sec))
            continue
        claims += 1
        try:
            await run_job(claimed)
        except Exception:
            # No error of a job may end the worker.
            logger.exception(
                "job %s: its attempt ended without a recorded outcome; it runs again when its "
                "lease expires",
                claimed.job_id,
            )


async def until_stop(
    stop: asyncio.Event, guard: SharedQueueGuard, loops: Iterable[asyncio.Task[Any]]
) -> None:
    """
    Return when ``stop`` is set, or when ``guard`` has tripped and then all loops have ended.

    Args:
        stop: Set from outside, by a signal.
        guard: Of these loops; without it they would wait for jobs for ever.
        loops: Tasks that claim jobs and run them; they are not cancelled.
    """
    events = [asyncio.create_task(event.wait()) for event in (stop, guard.tripped)]
    try:
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        pending = set(loops)
        while pending and not stop.is_set():
            ended, _ = await asyncio.wait(
                {*pending, events[0]}, return_when=asyncio.FIRST_COMPLETED
            )
            pending -= ended
    finally:
        for task in events:
            task.cancel()
