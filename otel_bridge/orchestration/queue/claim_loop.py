"""
``run_claim_loop``: how a worker claims jobs and runs them, one after the other.

The coordinator's workers and the research runner's slots differ only in what they claim and in how
they run it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from redis.exceptions import RedisError

from otel_bridge.orchestration.queue.redis_retry import RedisRetry
from otel_bridge.orchestration.queue.task_queue import Claim
from otel_bridge.orchestration.queue.wake import WakeUpNotification, jittered

__all__ = ["IDLE_SEC", "run_claim_loop"]

logger = logging.getLogger(__name__)

IDLE_SEC: Final = 1.0
"""How long an idle worker waits for a wake-up notification; a lost one delays a job by this."""


async def run_claim_loop(
    claim: Callable[[int], Awaitable[Claim | None]],
    run_job: Callable[[Claim], Awaitable[None]],
    *,
    stop: asyncio.Event,
    queued: WakeUpNotification,
    redis_retry: RedisRetry,
    idle_sec: float = IDLE_SEC,
) -> None:
    """
    Claim jobs and run them, one after the other, until ``stop`` is set.

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
        idle_sec: How long an idle loop waits for a notification before it claims again, in seconds,
            default 1, times a random 0.5 to 1.5.

    Raises:
        Exception: What ``claim`` raises, other than ``redis.RedisError`` and ``OSError``.
    """
    claims = 0
    while not stop.is_set():
        seen = queued.count
        try:
            claimed = await claim(claims)
        except (RedisError, OSError) as error:
            redis_retry.failed(error)
            await asyncio.sleep(jittered(IDLE_SEC))
            continue
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
