"""
``TaskQueue``: jobs on Redis that are not lost, each move one Lua script.

Promise: at-least-once execution, exactly-once recorded completion. A claim takes a lease by the
server's clock and a fencing number (``attempt``, never reused); completing, failing, retrying and
releasing compare both, so a worker that was stopped for a minute and wakes up cannot overwrite
what another has done since. Status, result and group change in the same script as the move.

Keys carry no hash tag: a single Redis or Sentinel, not Cluster. After an asynchronous failover the
last acknowledged writes may be gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib import resources
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from redis.asyncio import Redis

from otel_bridge.events.model import TaskStatus
from otel_bridge.orchestration.queue.task_types import QUEUE_OF, TERMINAL_STATUSES, QueuedJob
from otel_bridge.publish import redis_keys

__all__ = [
    "Claim",
    "DeadJob",
    "JobUnreadableError",
    "Maintenance",
    "Ownership",
    "Progress",
    "Submission",
    "TaskQueue",
    "lua_source",
]

DEFAULT_LEASE_SEC: Final = 15.0
DEFAULT_CRASH_BUDGET: Final = 3
DEFAULT_RESULT_TTL_SEC: Final = 24 * 3600
MAX_ERROR_CHARS: Final = 2000
_MAINTAIN_LIMIT: Final = 100
"""Jobs moved per call: a script blocks Redis, and 100 take about a millisecond."""
_SUSPECT_SPACING_MS: Final = 250
"""Between jobs that one crash hit; without it a poison job took its neighbours to the dead list."""


class JobUnreadableError(ValueError):
    """Raised when what a queue holds is not a job; says why."""


class Ownership(IntEnum):
    """What a compare-and-set found."""

    OWNED = 1
    ENDED = 0
    """The job had ended already: nothing was changed."""
    SUPERSEDED = -1
    """The lease ran out and another attempt began: nothing was changed."""


class Submission(NamedTuple):
    """What became of ``submit``."""

    job_id: str
    """The job's own id, or that of the earlier job with the same dedupe key."""
    is_new: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt at one job, held by one worker until its lease runs out."""

    job_id: str
    worker_id: str
    attempt: int
    """The fencing number; grows with every claim."""
    queue: str
    data: str
    """The job as JSON; empty when the producer wrote none."""
    retries: int
    """Earlier attempts whose handler failed."""
    crashes: int
    """Earlier attempts whose worker stopped answering."""

    @property
    def retry_count(self) -> int:
        """Attempts before this one that count; a released attempt does not."""
        return self.retries + self.crashes

    def job(self) -> QueuedJob:
        """
        Read the job.

        Raises:
            JobUnreadableError: There is none, or it is not one.
        """
        if not self.data:
            raise JobUnreadableError(f"no job under {redis_keys.task_data(self.job_id)}")
        try:
            job = QueuedJob.model_validate_json(self.data)
        except (ValidationError, RecursionError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            where = ".".join(str(p) for p in first["loc"]) if first else ""
            what = first["msg"] if first else "nested too deeply"
            raise JobUnreadableError(f"not a job: {where + ': ' if where else ''}{what}") from None
        return job.model_copy(update={"id": self.job_id, "retry_count": self.retry_count})


class DeadJob(NamedTuple):
    """A job given up on because workers kept dying over it."""

    claim: Claim
    error: str


class Maintenance(NamedTuple):
    """What one round of ``maintain`` moved."""

    promoted: int
    requeued: tuple[str, ...]
    dead: tuple[DeadJob, ...]
    next_due_ms: int | None
    """Until the next delayed retry; None when there is none."""


class Progress(NamedTuple):
    """Where the jobs of a group stand."""

    completed: int = 0
    failed: int = 0
    pending: int = 0
    """Everything that has not ended: waiting, running or between attempts."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.pending == 0


def lua_source(name: str) -> str:
    """A script with the prelude in front of it."""
    folder = resources.files("otel_bridge.orchestration.queue") / "lua"
    prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
    return prelude + (folder / f"{name}.lua").read_text(encoding="utf-8")


def text(value: object) -> str:
    """A Redis answer as text, whether or not the client decodes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class TaskQueue:
    """
    The queues, leases and results of one Redis.

    Args:
        redis: Decoding answers or not; fakeredis works too.
        lease_sec: A worker silent for this long loses its job. Renewed at a third of it.
        crash_budget: Workers that may die over a job before it goes to the dead list.
        result_ttl_sec: How long status, result and error of an ended job are kept.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        lease_sec: float = DEFAULT_LEASE_SEC,
        crash_budget: int = DEFAULT_CRASH_BUDGET,
        result_ttl_sec: int = DEFAULT_RESULT_TTL_SEC,
    ) -> None:
        self.redis = redis
        self.lease_sec = lease_sec
        self.crash_budget = crash_budget
        self.result_ttl_sec = result_ttl_sec
        self._submit = redis.register_script(lua_source("submit"))
        self._claim = redis.register_script(lua_source("claim"))
        self._finish = redis.register_script(lua_source("finish"))
        self._retry = redis.register_script(lua_source("retry"))
        self._release = redis.register_script(lua_source("release"))
        self._maintain = redis.register_script(lua_source("maintain"))

    async def submit(
        self,
        job: QueuedJob,
        *,
        queue: str | None = None,
        dedupe_key: str | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Submission:
        """
        Queue a job once; a known id, or dedupe key (for ``result_ttl_sec``), is not queued again.

        Args:
            job: Its id is the primary dedupe key.
            queue: Default: by the job's priority.
            dedupe_key: A second identity, when ids are random.
            meta: Written to ``nexus:task_meta:{job.id}``; for research tasks.
        """
        pairs = [part for pair in (meta or {}).items() for part in pair]
        answer = await self._submit(
            keys=[queue or QUEUE_OF[job.priority]],
            args=[
                job.id,
                job.model_dump_json(),
                job.parent_id or "",
                dedupe_key or "",
                self.result_ttl_sec,
                *pairs,
            ],
        )
        return Submission(text(answer[0]), int(answer[1]) == 1)

    async def claim(
        self,
        worker_id: str,
        queues: Sequence[str] = redis_keys.QUEUES,
        *,
        lowest_first: bool = False,
    ) -> Claim | None:
        """
        Take the next job, or None when every queue is empty; never waits.

        Args:
            worker_id: Unique among running workers.
            queues: In claiming order; the first with a job wins.
            lowest_first: Look from the other end: one claim in ten, so that low priority moves.
        """
        order = list(reversed(queues)) if lowest_first else list(queues)
        answer = await self._claim(keys=order, args=[worker_id, int(self.lease_sec * 1000)])
        if not answer:
            return None
        job_id, attempt, queue, data, retries, crashes = (text(part) for part in answer)
        return Claim(job_id, worker_id, int(attempt), queue, data, int(retries), int(crashes))

    async def complete(self, claim: Claim, result_json: str) -> Ownership:
        """Record the result, once."""
        return await self._end(claim, TaskStatus.COMPLETED, result_json)

    async def fail(self, claim: Claim, error: str) -> Ownership:
        """Record the failure, once, and put the id on the dead list."""
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
        Give the job back for another attempt after ``delay_sec``; charges one retry.

        Args:
            claim: The attempt that failed.
            error: Shown until the job ends.
            delay_sec: At least this long; promoted by the next ``maintain`` after it.
            trace_context: What the next attempt finds in the job; it links to this one.
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
        """Give the job back at the head of its queue; charges nothing."""
        answer = await self._release(args=[claim.job_id, claim.worker_id, claim.attempt])
        return Ownership(int(answer))

    async def maintain(self) -> Maintenance:
        """Promote due retries and take back jobs whose lease ran out; any process may call it."""
        promoted, requeued, dead, wait_ms = await self._maintain(
            keys=[redis_keys.QUEUE_NORMAL],
            args=[self.crash_budget, self.result_ttl_sec, _MAINTAIN_LIMIT, _SUSPECT_SPACING_MS],
        )
        rows = [[text(part) for part in dead[at : at + 5]] for at in range(0, len(dead), 5)]
        return Maintenance(
            promoted=int(promoted),
            requeued=tuple(text(job_id) for job_id in requeued),
            dead=tuple(
                DeadJob(Claim(job_id, worker, 0, "", data, 0, int(crashes)), error)
                for job_id, worker, crashes, error, data in rows
            ),
            next_due_ms=None if int(wait_ms) < 0 else int(wait_ms),
        )

    async def status(self, job_id: str) -> TaskStatus | None:
        """Where a job stands; None when it is unknown or forgotten."""
        value = await self.redis.get(redis_keys.task_status(job_id))
        return None if value is None else TaskStatus(text(value))

    async def error(self, job_id: str) -> str | None:
        """The last error of a job; None when there was none."""
        value = await self.redis.get(redis_keys.task_error(job_id))
        return None if value is None else text(value)

    async def results(self, job_ids: Sequence[str]) -> dict[str, Any]:
        """Results of those jobs that completed, by id, in one round trip."""
        if not job_ids:
            return {}
        values = await self.redis.mget([redis_keys.task_result(job_id) for job_id in job_ids])
        return {
            job_id: json.loads(value)
            for job_id, value in zip(job_ids, values, strict=True)
            if value is not None
        }

    async def known(self, job_ids: Sequence[str]) -> set[str]:
        """Which of these ids have been submitted, in one round trip."""
        if not job_ids:
            return set()
        values = await self.redis.mget([redis_keys.task_status(job_id) for job_id in job_ids])
        pairs = zip(job_ids, values, strict=True)
        return {job_id for job_id, value in pairs if value is not None}

    async def progress(self, parent_task_id: str, prefix: str = "") -> Progress:
        """
        Count the jobs of ``nexus:task_group:{parent}`` in one pipeline.

        Args:
            parent_task_id: The research task.
            prefix: Only ids that begin with it: one phase's jobs.
        """
        members = await self.redis.smembers(redis_keys.task_group(parent_task_id))
        job_ids = [job_id for job_id in map(text, members) if job_id.startswith(prefix)]
        pipeline = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.get(redis_keys.task_status(job_id))
        statuses = [text(value) for value in await pipeline.execute() if value is not None]
        completed = statuses.count(TaskStatus.COMPLETED)
        failed = statuses.count(TaskStatus.FAILED)
        return Progress(completed, failed, len(job_ids) - completed - failed)

    async def depths(self) -> dict[str, int]:
        """Jobs waiting, by the queue's full name."""
        names = (*redis_keys.QUEUES, redis_keys.RESEARCH_QUEUE)
        pipeline = self.redis.pipeline(transaction=False)
        for name in names:
            pipeline.llen(name)
        return dict(zip(names, map(int, await pipeline.execute()), strict=True))


assert frozenset({"completed", "failed"}) == TERMINAL_STATUSES, "prelude.lua knows these two"
