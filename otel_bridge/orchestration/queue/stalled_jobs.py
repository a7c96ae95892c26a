"""
What an observer of the queue may do to a job whose worker stopped answering: requeue it or fail it.

The collector's leader calls both, with a worker id that it read from events. Any publisher can
write such an event, about any job, so each script first checks in Redis that the job still has the
status ``processing`` and, if it has a lease, that the lease names this worker. Check and change are
one script. They work without a lease too, for a third-party coordinator that uses the same keys.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from otel_bridge.orchestration.queue.lua_scripts import lua_source
from otel_bridge.orchestration.queue.task_queue import DEFAULT_RESULT_TTL_SEC
from otel_bridge.orchestration.queue.task_types import Priority, queue_of
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys

__all__ = ["fail_stalled", "requeue_stalled"]


async def requeue_stalled(
    redis: Redis, job_id: str, worker_id: str, *, keys: RedisKeys = DEFAULT_KEYS
) -> bool:
    """
    Let a job whose worker stopped answering be claimed again.

    Returns whether the job was still this worker's; if not, nothing is changed, so a second call
    does no harm. A lease (the worker's right to the job until a time) expires now:
    ``TaskQueue.maintain`` requeues the job and counts the crash; after 3 of them it fails instead.
    A job without a lease returns to the head of the queue that its lease hash names, or else of the
    normal-priority queue.

    Args:
        redis: The queue's Redis. Its own time-outs bound the wait.
        job_id: Id of the job.
        worker_id: The worker that stopped answering.
        keys: Name the keys of the queue; default prefix ``nexus``.

    Raises:
        redis.RedisError: Redis is unreachable, or denies a command.
    """
    client: Any = redis
    script, queue = lua_source("requeue_stalled", keys), queue_of(Priority.NORMAL, keys)
    return bool(await client.eval(script, 1, queue, job_id, worker_id))


async def fail_stalled(
    redis: Redis, job_id: str, worker_id: str, error: str, *, keys: RedisKeys = DEFAULT_KEYS
) -> bool:
    """
    End a job whose worker stopped answering as failed.

    Returns whether the job was still this worker's; if not, nothing is changed. Its status and
    ``error`` are kept for a day, and its id goes to the dead-letter queue (the list
    ``<prefix>:dead`` of the last 10,000 jobs that were given up).

    Args:
        redis: The queue's Redis. Its own time-outs bound the wait.
        job_id: Id of the job.
        worker_id: The worker that stopped answering.
        error: Why the job failed, for people; of any length.
        keys: Name the keys of the queue; default prefix ``nexus``.

    Raises:
        redis.RedisError: Redis is unreachable, or denies a command.
    """
    client: Any = redis
    script = lua_source("fail_stalled", keys)
    return bool(await client.eval(script, 0, job_id, worker_id, error, DEFAULT_RESULT_TTL_SEC))
