"""
``ResearchGateway``: queues research tasks and returns their state, for ``POST`` and ``GET /tasks``.

A research task is a job in the queue ``<prefix>:research_tasks``. A ``ResearchRunner`` claims it
with a lease, so another process continues it if its own is killed.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from redis.asyncio import Redis

from otel_bridge.clock import SYSTEM_CLOCK, Clock, iso_utc
from otel_bridge.orchestration.queue.task_queue import TaskQueue, text
from otel_bridge.orchestration.queue.task_types import QueuedJob, ResearchTaskRequest
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys

__all__ = ["ResearchGateway"]


class ResearchGateway:
    """
    Submits research tasks to the queue and reads their state; for ``POST`` and ``GET /tasks``.

    A ``ResearchRunner``, in this or another process, runs what is submitted. It has nothing to
    start or close; its async methods wait as long as the client ``redis`` does, and raise
    ``redis.RedisError`` when Redis cannot be used. The number of waiting tasks is not limited.

    Args:
        redis: The Redis that the workers use, or the embedded one.
        keys: Name the queue, as for the workers; default prefix ``nexus``.
        clock: Gives the time for ``created_at``.
    """

    def __init__(
        self, redis: Redis, *, keys: RedisKeys = DEFAULT_KEYS, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._queue = TaskQueue(redis, keys=keys)
        self._clock = clock

    async def submit(self, request: ResearchTaskRequest) -> str:
        """
        Queue a research task; return its new id (12 hex digits) without waiting for it to run.

        The number of waiting tasks is not limited. Waits for Redis as long as the client's
        time-outs.

        Args:
            request: What to research, already validated. Two equal requests are two tasks.

        Raises:
            redis.RedisError: Redis is unreachable; the task may have been queued all the same.
            SharedQueueError: A queue of research tasks or jobs has an item of another program at
                one of its ends; nothing was queued.
        """
        task_id = uuid.uuid4().hex[:12]
        meta = {
            "title": request.title,
            "research_type": request.research_type,
            "created_at": iso_utc(self._clock.time_ns()),
        }
        if request.project_id is not None:
            meta["project_id"] = request.project_id
        if request.user_id is not None:
            meta["user_id"] = request.user_id
        job = QueuedJob(
            id=task_id,
            type=request.research_type,
            payload=request.model_dump(mode="json"),
            max_retries=0,
            project_id=request.project_id,
        )
        await self._queue.submit(
            job,
            queue=self._keys.research_queue,
            meta=meta,
            later_queues=self._keys.queues,
        )
        return task_id

    async def get(self, task_id: str) -> dict[str, Any] | None:
        """
        Return the state of a research task; takes two round trips to Redis.

        Args:
            task_id: As returned by ``submit``.

        Returns:
            ``task_id title research_type project_id created_at status error result counts``.
            ``result`` is None until the task has completed; it then has ``csv_path`` and the
            numbers of each phase. ``counts`` are those of the task's jobs so far:
            ``{completed, failed, pending}``. None if the task is unknown, if the id is that of a
            job, or if the task ended over a day ago.

        Raises:
            redis.RedisError: Redis is unreachable.
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(self._keys.task_status(task_id))
        pipeline.hgetall(self._keys.task_meta(task_id))
        pipeline.get(self._keys.task_result(task_id))
        pipeline.get(self._keys.task_error(task_id))
        status, raw_meta, result, error = await pipeline.execute()
        meta = {text(name): text(value) for name, value in raw_meta.items()}
        if status is None or "research_type" not in meta:
            return None
        progress = await self._queue.progress(task_id)
        return {
            "task_id": task_id,
            "title": meta.get("title"),
            "research_type": meta["research_type"],
            "project_id": meta.get("project_id"),
            "created_at": meta.get("created_at"),
            "status": text(status),
            "error": None if error is None else text(error),
            "result": None if result is None else json.loads(result),
            "counts": progress._asdict(),
        }
