"""
``TaskQueue``: a queue on Redis that loses no jobs; each change of a job's state is one Lua script.

It guarantees that each job runs at least once and that its completion is recorded exactly once. A
claim takes a lease, measured by the server's clock, and a fencing token (``attempt``), which is
never reused. Completing, failing, retrying and releasing compare worker and token, so a worker that
was suspended for a minute cannot overwrite what another attempt has recorded since. Status, result
and group of a job change in the same script as its place in the queues.

The keys have no hash tag, so the queue works on a single Redis or with Sentinel, not on a Cluster.
An asynchronous failover may lose the last acknowledged writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from otel_bridge.events.model import TaskStatus
from otel_bridge.orchestration.queue.claims import (
    Claim,
    DeadLetter,
    JobUnreadableError,
    Maintenance,
    Ownership,
    Progress,
    Submission,
)
from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.lua_scripts import lua_source
from otel_bridge.orchestration.queue.task_types import (
    TERMINAL_STATUSES,
    Priority,
    QueuedJob,
    queue_of,
)
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys

__all__ = [
    "Claim",
    "DeadLetter",
    "JobUnreadableError",
    "Maintenance",
    "Ownership",
    "Progress",
    "Submission",
    "TaskQueue",
]

DEFAULT_LEASE_SEC: Final = 15.0
DEFAULT_MAX_DELIVERIES: Final = 3
DEFAULT_RESULT_TTL_SEC: Final = 24 * 3600
MAX_ERROR_CHARS: Final = 2000
_MAINTAIN_LIMIT: Final = 100
"""Jobs moved per call: a script blocks Redis, and moving 100 jobs takes about a millisecond."""
_REQUEUE_SPACING_MS: Final = 250
"""
Time between the jobs of one crashed process when they are queued again.

Without it, a job that kills its process took the jobs beside it to the dead-letter queue.
"""


def text(value: object) -> str:
    """Return a value from Redis as text, whether or not the client decodes answers."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class TaskQueue:
    """
    Keeps jobs, leases and results in one Redis, for producers, workers and observers alike.

    It has nothing to start or close. Its async methods wait as long as the client ``redis`` does,
    repeat nothing, and raise ``redis.RedisError`` when Redis cannot be used. A Cluster will not do.
    The number of waiting jobs is not limited.

    Args:
        redis: May decode answers or not; fakeredis works too.
        keys: Name everything that the queue stores; default prefix ``nexus``.
        lease_sec: A worker that does not renew its lease for so long, default 15, loses its job.
        max_deliveries: A job goes to the dead-letter queue (``<prefix>:dead``) when this many
            workers, default 3, stopped answering while running it.
        result_ttl_sec: For how long an ended job's state is kept; default 86,400, a day.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        keys: RedisKeys = DEFAULT_KEYS,
        lease_sec: float = DEFAULT_LEASE_SEC,
        max_deliveries: int = DEFAULT_MAX_DELIVERIES,
        result_ttl_sec: int = DEFAULT_RESULT_TTL_SEC,
    ) -> None:
        self.redis = redis
        self.keys = keys
        self.lease_sec = lease_sec
        self.max_deliveries = max_deliveries
        self.result_ttl_sec = result_ttl_sec
        self._submit = redis.register_script(lua_source("submit", keys))
        self._claim = redis.register_script(lua_source("claim", keys))
        self._finish = redis.register_script(lua_source("finish", keys))
        self._retry = redis.register_script(lua_source("retry", keys))
        self._release = redis.register_script(lua_source("release", keys))
        self._maintain = redis.register_script(lua_source("maintain", keys))

    async def submit(
        self,
        job: QueuedJob,
        *,
        queue: str | None = None,
        dedupe_key: str | None = None,
        meta: Mapping[str, str] | None = None,
        later_queues: Sequence[str] = (),
    ) -> Submission:
        """
        Queue a job unless its id or dedupe key is known; return its id and whether it was queued.

        Raises ``redis.RedisError`` when Redis cannot be used, ``ValueError`` if the job is no JSON,
        and ``SharedQueueError`` if an end of a queue has an item of another program; then nothing
        is queued.

        Args:
            job: Not queued again while the status of a job with its id is kept (a day after its
                end).
            queue: Full name; default: the queue of the job's priority.
            dedupe_key: Identifies the job when ids are random; remembered for ``result_ttl_sec``.
            meta: Stored in the hash ``<prefix>:task_meta:{job.id}``; for research tasks.
            later_queues: Full names of further queues to check, in which this job will put others.
        """
        pairs = [part for pair in (meta or {}).items() for part in pair]
        answer = await self._submit(
            keys=[queue or queue_of(job.priority, self.keys), *later_queues],
            args=[
                job.id,
                job.model_dump_json(),
                job.parent_id or "",
                dedupe_key or "",
                self.result_ttl_sec,
                *pairs,
            ],
        )
        if len(answer) == 3:
            raise SharedQueueError(text(answer[0]), text(answer[1]))
        return Submission(text(answer[0]), int(answer[1]) == 1)

    async def claim(
        self,
        worker_id: str,
        queues: Sequence[str] | None = None,
        *,
        lowest_first: bool = False,
    ) -> Claim | None:
        """
        Claim the next job for ``lease_sec`` (15 s); without waiting, None if all queues are empty.

        A ``Claim`` is one attempt at the job, with its id and data. Raises ``redis.RedisError``,
        and ``SharedQueueError`` if the next item is another program's: it stays where it is.

        Args:
            worker_id: Unique among running workers.
            queues: Full names, in the order in which they are tried; default: by priority.
            lowest_first: Try them in reverse; done in one claim of ten, so that low ones run too.
        """
        order = list(self.keys.queues if queues is None else queues)
        if lowest_first:
            order.reverse()
        answer = await self._claim(keys=order, args=[worker_id, int(self.lease_sec * 1000)])
        if not answer:
            return None
        if len(answer) == 2:
            raise SharedQueueError(text(answer[0]), text(answer[1]))
        job_id, attempt, queue, data, retries, crashes = (text(part) for part in answer)
        return Claim(job_id, worker_id, int(attempt), queue, data, int(retries), int(crashes))

    async def complete(self, claim: Claim, result_json: str) -> Ownership:
        """Record the job's result (JSON text) if the answer, an ``Ownership``, is ``OWNED``."""
        return await self._end(claim, TaskStatus.COMPLETED, result_json)

    async def fail(self, claim: Claim, error: str) -> Ownership:
        """
        Record the job's failure, and put its id on the dead-letter queue, which keeps 10,000.

        Returns ``OWNED``, or if nothing changed ``ENDED`` or ``SUPERSEDED`` (by another attempt).
        ``error`` is truncated to 2,000 characters. Raises ``redis.RedisError``.
        """
        return await self._end(claim, TaskStatus.FAILED, error[:MAX_ERROR_CHARS])

    async def _end(self, claim: Claim, status: TaskStatus, value: str) -> Ownership:
        try:
            parent = claim.job().parent_id or ""
        except JobUnreadableError:
            parent = ""
        answer = await self._finish(
            args=[
                claim.job_id,
                claim.worker_id,
                claim.attempt,
                status.value,
                value,
                self.result_ttl_sec,
                parent,
            ]
        )
        return Ownership(int(answer))

    async def retry(
        self, claim: Claim, error: str, *, delay_sec: float, trace_context: Mapping[str, str]
    ) -> Ownership:
        """
        Return the job for another attempt after ``delay_sec``; counts one retry, without a limit.

        Returns ``OWNED``, or if nothing changed ``ENDED`` or ``SUPERSEDED`` (by another attempt).
        Raises ``redis.RedisError``, and ``JobUnreadableError`` if the claim's data is no job.

        Args:
            claim: The attempt that failed.
            error: Kept, to 2,000 characters, until the job completes or fails with another one.
            delay_sec: Least delay; the first ``maintain`` after it queues the job.
            trace_context: Stored, so that the next attempt's span links to this one.
        """
        job = claim.job().model_copy(update={"trace_context": dict(trace_context)})
        answer = await self._retry(
            args=[
                claim.job_id,
                claim.worker_id,
                claim.attempt,
                max(0, int(delay_sec * 1000)),
                error[:MAX_ERROR_CHARS],
                job.model_dump_json(),
            ]
        )
        return Ownership(int(answer))

    async def release(self, claim: Claim) -> Ownership:
        """Return a claimed job to the head of its queue, without counting a retry or a crash."""
        answer = await self._release(args=[claim.job_id, claim.worker_id, claim.attempt])
        return Ownership(int(answer))

    async def maintain(self) -> Maintenance:
        """
        Queue due retries and take back jobs with expired leases, up to 100 of each.

        Returns what it moved and the ms until the next retry. For any process, also several at the
        same time. Raises ``redis.RedisError``.
        """
        promoted, requeued, letters, wait_ms = await self._maintain(
            keys=[queue_of(Priority.NORMAL, self.keys)],
            args=[self.max_deliveries, self.result_ttl_sec, _MAINTAIN_LIMIT, _REQUEUE_SPACING_MS],
        )
        rows = [[text(part) for part in letters[at : at + 5]] for at in range(0, len(letters), 5)]
        return Maintenance(
            promoted=int(promoted),
            requeued=tuple(text(job_id) for job_id in requeued),
            dead_letters=tuple(
                DeadLetter(Claim(job_id, worker, 0, "", data, 0, int(crashes)), error)
                for job_id, worker, crashes, error, data in rows
            ),
            next_due_ms=None if int(wait_ms) < 0 else int(wait_ms),
        )

    async def status(self, job_id: str) -> TaskStatus | None:
        """Return the status of a job; None if the job is unknown or its keys have expired."""
        value = await self.redis.get(self.keys.task_status(job_id))
        return None if value is None else TaskStatus(text(value))

    async def error(self, job_id: str) -> str | None:
        """Return a job's last error; None if there is none, or the job is unknown or expired."""
        value = await self.redis.get(self.keys.task_error(job_id))
        return None if value is None else text(value)

    async def results(self, job_ids: Sequence[str]) -> dict[str, Any]:
        """Return the decoded results of those jobs that completed, by id; takes one round trip."""
        if not job_ids:
            return {}
        values = await self.redis.mget([self.keys.task_result(job_id) for job_id in job_ids])
        return {
            job_id: json.loads(value)
            for job_id, value in zip(job_ids, values, strict=True)
            if value is not None
        }

    async def known(self, job_ids: Sequence[str]) -> set[str]:
        """Return which of these ids have been submitted and not expired; takes one round trip."""
        if not job_ids:
            return set()
        values = await self.redis.mget([self.keys.task_status(job_id) for job_id in job_ids])
        pairs = zip(job_ids, values, strict=True)
        return {job_id for job_id, value in pairs if value is not None}

    async def progress(self, parent_task_id: str, prefix: str = "") -> Progress:
        """
        Count a research task's jobs: completed, failed and pending (those that have not ended).

        A job that ended over a day ago is not counted. Raises ``redis.RedisError``.

        Args:
            parent_task_id: The research task.
            prefix: Count only jobs whose id starts with it, e.g. those of one phase.
        """
        members = await self.redis.smembers(self.keys.task_group(parent_task_id))
        job_ids = [job_id for job_id in map(text, members) if job_id.startswith(prefix)]
        pipeline = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.get(self.keys.task_status(job_id))
        statuses = [text(value) for value in await pipeline.execute() if value is not None]
        completed = statuses.count(TaskStatus.COMPLETED)
        failed = statuses.count(TaskStatus.FAILED)
        # Not ``len(job_ids)``: a task resumed after a day may not queue all of them again.
        return Progress(completed, failed, len(statuses) - completed - failed)

    @property
    def queue_names(self) -> tuple[str, ...]:
        """Full names of all queues: of jobs by priority, then of research tasks."""
        return (*self.keys.queues, self.keys.research_queue)

    async def depths(self) -> dict[str, int]:
        """Return how many jobs wait in each queue, by the queue's full name."""
        names = self.queue_names
        pipeline = self.redis.pipeline(transaction=False)
        for name in names:
            pipeline.llen(name)
        return dict(zip(names, map(int, await pipeline.execute()), strict=True))


assert frozenset({"completed", "failed"}) == TERMINAL_STATUSES, "prelude.lua has these two"
