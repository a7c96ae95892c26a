"""
``ParallelTaskCoordinator``: submits jobs and runs workers; the queue keeps the promises.

Every event it causes comes from the public context managers, the same that a team puts around its
own coordinator. A worker never dies of a job: a type nobody handles, a payload nobody can read, a
result that is not JSON each end as ``task_failed`` with the reason.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from redis.exceptions import (
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from otel_bridge.bridge import current_bridge
from otel_bridge.cancellation import cancel
from otel_bridge.events.model import TaskStatus
from otel_bridge.orchestration.queue.errors import PermanentJobError
from otel_bridge.orchestration.queue.leases import (
    LeaseKeeper,
    LeaseLostError,
    StoppingError,
    guarded,
)
from otel_bridge.orchestration.queue.task_queue import (
    Claim,
    DeadJob,
    JobUnreadableError,
    Ownership,
    TaskQueue,
)
from otel_bridge.orchestration.queue.task_types import QUEUE_OF, JobHandler, QueuedJob
from otel_bridge.orchestration.queue.wake import WakeUpNotification, WakeUpNotifications, jittered
from otel_bridge.projects.resolver import ProjectIdResolver
from otel_bridge.publish import redis_keys
from otel_bridge.spans.context_managers import enqueue, job, research_task, worker
from otel_bridge.spans.work_spans import Job as SpanJob
from otel_bridge.workers.queue_depth import LoopCaller, QueueDepthSampler

__all__ = ["ParallelTaskCoordinator", "Throttle"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

Throttle = Callable[[QueuedJob], Awaitable[None]]
"""Waits until a job may run: a rate limit per provider or model. Its lease is renewed meanwhile."""

_IDLE_SEC: Final = 1.0
"""How long an idle worker trusts that it would have been told; lost hints cost this much."""
_MAINTAIN_SEC: Final = 1.0
_LOW_FIRST_EVERY: Final = 10
"""One claim in ten begins with the lowest priority, so that it moves under any load."""
_RETRY_CAP_SEC: Final = 30.0
_PATIENCE_SEC: Final = 60.0
_STOPPING_PATIENCE_SEC: Final = 2.0
_STOP_TIMEOUT_SEC: Final = 10.0
"""For workers that Redis does not answer; what they hold is left to lease expiry."""
_OUTAGE_CAP_SEC: Final = 2.0


class ParallelTaskCoordinator:
    """
    Workers on one event loop.

    Args:
        queue: Where jobs come from and results go.
        handlers: By task type.
        worker_ids: One worker each; unique among all workers of this Redis.
        keeper: Renews the leases of this process.
        hints: Somebody must run ``hints.listen()``; without it idle workers look once a second.
        resolver: Finds the project of a job that names none; None: such a job has none.
        throttle: Called with each job before its handler.
        depth_interval_sec: How often the queues' depth is published, by one process of all.
        grace_sec: How long a job may go on after ``stop`` before it is released.
        job_timeout_sec: A handler that runs longer has failed; None: no limit.
        retry_base_sec: Delay before the first retry, doubled each time up to 30 s, jittered.
        idle_sec: How long an idle worker waits for a hint before it looks by itself, jittered.
    """

    def __init__(
        self,
        queue: TaskQueue,
        handlers: Mapping[str, JobHandler],
        *,
        worker_ids: Sequence[int | str],
        keeper: LeaseKeeper,
        hints: WakeUpNotifications,
        resolver: ProjectIdResolver | None = None,
        throttle: Throttle | None = None,
        depth_interval_sec: float = 5.0,
        grace_sec: float = 5.0,
        job_timeout_sec: float | None = 300.0,
        retry_base_sec: float = 0.5,
        idle_sec: float = _IDLE_SEC,
    ) -> None:
        self.queue = queue
        self.hints = hints
        self._handlers = dict(handlers)
        self._worker_ids = list(worker_ids)
        self._keeper = keeper
        self._resolver = resolver
        self._throttle = throttle
        self._depth_interval_sec = depth_interval_sec
        self._grace_sec = grace_sec
        self._job_timeout_sec = job_timeout_sec
        self._retry_base_sec = retry_base_sec
        self._idle_sec = idle_sec
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        self._delayed = WakeUpNotification()
        self._is_redis_lost = False

    async def submit_tasks(self, jobs: Sequence[QueuedJob]) -> list[str]:
        """
        Queue jobs; those whose id is known already are left alone. Returns all ids, in order.

        Each new job gets its own ``enqueue`` span, whose trace context travels with it. Waits out
        a Redis outage of up to a minute.
        """
        known = await self.patiently(lambda: self.queue.known([task.id for task in jobs]))
        for task in jobs:
            if task.id in known:
                continue
            name = QUEUE_OF[task.priority]
            project_id = task.project_id or await self._project_id(task)
            with enqueue(
                task_id=task.id,
                task_type=task.type,
                queue=name,
                parent_task_id=task.parent_id,
                project_id=project_id,
                retry_count=task.retry_count,
            ) as carrier:
                changes = {"trace_context": dict(carrier), "project_id": project_id}
                submit = functools.partial(self.queue.submit, task.model_copy(update=changes))
                await self.patiently(submit)
        return [task.id for task in jobs]

    async def run(self, stop: asyncio.Event) -> None:
        """
        Work until ``stop`` is set, then let jobs finish or, after ``grace_sec``, release them.

        Returns when every worker has stopped. Cancelling it leaves jobs to lease expiry.
        """
        self._draining.clear()
        self._stopping.clear()
        services = [
            asyncio.create_task(self._repeated(self._maintain, self._delayed), name="maintain"),
        ]
        on_loop = LoopCaller(asyncio.get_running_loop())
        sampler = self._depth_sampler(on_loop)
        if sampler is not None:
            sampler.start()
        workers = [
            asyncio.create_task(self._worker(worker_id), name=f"worker-{worker_id}")
            for worker_id in self._worker_ids
        ]
        try:
            await stop.wait()
            self._draining.set()
            self.hints.queued.give()
            await _settled(workers, self._grace_sec)
            self._stopping.set()
            await _settled(workers, _STOP_TIMEOUT_SEC)
        finally:
            if sampler is not None:
                sampler.stop()
            await cancel([*workers, *services])
            await on_loop.aclose()

    async def patiently(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        """
        Await a Redis operation; while Redis is away, try again for a minute (2 s when stopping).

        Raises:
            RedisError: It is still away, or refuses the operation.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        delay_sec = 0.1
        while True:
            try:
                answer = await operation()
            except (RedisError, OSError) as error:
                is_refused = isinstance(error, ResponseError) and not _is_passing(error)
                patience = _STOPPING_PATIENCE_SEC if self._stopping.is_set() else _PATIENCE_SEC
                if is_refused or loop.time() > begun + patience:
                    raise
                self._redis_lost(error)
                await asyncio.sleep(jittered(delay_sec))
                delay_sec = min(2 * delay_sec, _OUTAGE_CAP_SEC)
            else:
                self._redis_found()
                return answer

    def _redis_lost(self, error: Exception) -> None:
        if not self._is_redis_lost:
            logger.warning("the queue's Redis cannot be used: %s; waiting", error)
        self._is_redis_lost = True

    def _redis_found(self) -> None:
        if self._is_redis_lost:
            logger.info("the queue's Redis is back")
        self._is_redis_lost = False

    async def _project_id(self, task: QueuedJob) -> str | None:
        if self._resolver is None:
            named = task.payload.get("project_id")
            return named if isinstance(named, str) else None
        return await self._resolver.resolve(task.payload, task.parent_id)

    # --- workers ---------------------------------------------------------------------------

    async def _worker(self, worker_id: int | str) -> None:
        async with worker(worker_id):
            claims = 0
            while not self._draining.is_set():
                seen = self.hints.queued.count
                try:
                    claim = await self.queue.claim(
                        str(worker_id), lowest_first=claims % _LOW_FIRST_EVERY == 9
                    )
                except (RedisError, OSError) as error:
                    self._redis_lost(error)
                    await asyncio.sleep(jittered(_IDLE_SEC))
                    continue
                self._redis_found()
                if claim is None:
                    await self.hints.queued.wait(seen, jittered(self._idle_sec))
                    continue
                claims += 1
                try:
                    await self._run_job(claim, worker_id)
                except Exception:
                    # Nothing a job does may end the worker; its lease will run out.
                    logger.exception("job %s could not be brought to an end", claim.job_id)

    async def _run_job(self, claim: Claim, worker_id: int | str) -> None:
        try:
            task = claim.job()
        except JobUnreadableError as error:
            await self._refuse(claim, worker_id, str(error))
            return
        with job(
            task_id=task.id,
            task_type=task.type,
            carrier=task.trace_context,
            worker_id=worker_id,
            retry_count=claim.retry_count,
            queue=claim.queue,
            parent_task_id=task.parent_id,
            project_id=task.project_id or await self._project_id(task),
        ) as span:
            try:
                result = await guarded(self._keeper, claim, self._stopping, self._attempt(task))
            except StoppingError as error:
                span.retry(f"released: {error}")
                await self._record(span, lambda: self.queue.release(claim))
            except LeaseLostError as error:
                span.retry(f"given up: {error}")
            except Exception as error:
                await self._record_failure(claim, task, span, error)
            else:
                owned = await self._record(span, lambda: self.queue.complete(claim, result))
                if owned is Ownership.SUPERSEDED:
                    span.retry("another attempt took over; this result is dropped")
                elif owned is Ownership.ENDED and await self._is_failed(task.id):
                    # ENDED alone may be our own success, recorded although its answer was lost.
                    span.fail("given up before this result came; it is dropped")

    async def _is_failed(self, job_id: str) -> bool:
        status = await self.patiently(lambda: self.queue.status(job_id))
        return status is TaskStatus.FAILED

    async def _record_failure(
        self, claim: Claim, task: QueuedJob, span: SpanJob, error: Exception
    ) -> None:
        reason = _described(error)
        if isinstance(error, PermanentJobError) or claim.retries >= task.max_retries:
            span.fail(error)
            await self._record(span, lambda: self.queue.fail(claim, reason))
            return
        span.retry(error)
        carrier = span.retry_carrier
        delay_sec = self._retry_delay_sec(claim.retries)
        await self._record(
            span,
            lambda: self.queue.retry(claim, reason, delay_sec=delay_sec, trace_context=carrier),
        )
        self._delayed.give()

    async def _record(
        self, span: SpanJob, operation: Callable[[], Awaitable[Ownership]]
    ) -> Ownership | None:
        """Write down how the attempt ended; None when Redis stayed away: the lease will run out."""
        try:
            return await self.patiently(operation)
        except (RedisError, OSError) as error:
            logger.exception("the outcome of a job could not be recorded; it will run again")
            span.retry(f"the outcome could not be recorded: {error}")
            return None

    def _retry_delay_sec(self, retries: int) -> float:
        return jittered(min(_RETRY_CAP_SEC, self._retry_base_sec * 2**retries))

    async def _attempt(self, task: QueuedJob) -> str:
        """Run the handler; its result as JSON."""
        handler = self._handlers.get(task.type)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise PermanentJobError(f"no handler for task type {task.type!r}; known: {known}")
        async with asyncio.timeout(self._job_timeout_sec):
            if self._throttle is not None:
                await self._throttle(task)
            result = await handler(task)
        try:
            return json.dumps(result, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise PermanentJobError(f"the result of {task.type} is not JSON: {error}") from error

    async def _refuse(self, claim: Claim, worker_id: int | str, reason: str) -> None:
        """Fail what cannot be read, in view."""
        with job(
            task_id=claim.job_id,
            task_type="unknown",
            worker_id=worker_id,
            retry_count=claim.retry_count,
            queue=claim.queue,
        ) as span:
            span.fail(reason)
            await self.patiently(lambda: self.queue.fail(claim, reason))

    # --- services --------------------------------------------------------------------------

    async def _repeated(
        self, once: Callable[[], Awaitable[float]], due: WakeUpNotification
    ) -> None:
        """Call again after as many seconds as it answers, or when due; outlive every mistake."""
        while True:
            seen = due.count
            try:
                wait_sec = await once()
            except (RedisError, OSError) as error:
                self._redis_lost(error)
                wait_sec = _IDLE_SEC
            except Exception:
                logger.exception("a service of the coordinator failed; it goes on")
                wait_sec = _MAINTAIN_SEC
            await due.wait(seen, wait_sec)

    async def _maintain(self) -> float:
        moved = await self.queue.maintain()
        for job_id in moved.requeued:
            logger.warning("job %s: its worker stopped answering; queued again", job_id)
        for dead in moved.dead:
            self._announce_dead(dead)
        due_sec = _MAINTAIN_SEC if moved.next_due_ms is None else moved.next_due_ms / 1000
        return min(jittered(_MAINTAIN_SEC), max(0.05, due_sec))

    def _announce_dead(self, dead: DeadJob) -> None:
        """The attempt's own span died with its worker: say here that the job has failed."""
        claim = dead.claim
        logger.error("job %s: %s", claim.job_id, dead.error)
        try:
            task = claim.job()
        except JobUnreadableError:
            task = QueuedJob(id=claim.job_id, type="unknown")
        if task.parent_id is None and "research_type" in task.payload:
            with research_task(
                task.id,
                title=str(task.payload.get("title")),
                project_id=task.project_id,
                task_type=task.type,
            ) as root:
                root.fail(dead.error)
            return
        with job(
            task_id=task.id,
            task_type=task.type,
            carrier=task.trace_context,
            worker_id=claim.worker_id,
            retry_count=claim.retry_count,
            parent_task_id=task.parent_id,
            project_id=task.project_id,
        ) as span:
            span.fail(dead.error)

    def _depth_sampler(self, on_loop: LoopCaller) -> QueueDepthSampler | None:
        """Samples the queues for all processes that share them; None while monitoring is off."""
        bridge = current_bridge()
        if bridge is None or bridge.bus is None:
            return None

        async def set_if_absent(key: str, ttl_ms: int) -> bool:
            return bool(await self.queue.redis.set(key, "1", nx=True, px=ttl_ms))

        return QueueDepthSampler(
            names=lambda: (*redis_keys.QUEUES, redis_keys.RESEARCH_QUEUE),
            read=lambda _: on_loop.call(self.queue.depths),
            set_if_absent=lambda key, ttl_ms: on_loop.call(set_if_absent, key, ttl_ms),
            locks_each_queue=False,
            may_block=True,
            timer=bridge.timer,
            bus=bridge.bus,
            otel_metrics=bridge.otel_metrics,
            interval_sec=self._depth_interval_sec,
        )

    async def status(self, job_id: str) -> TaskStatus | None:
        """Where a job stands; None when it is unknown or forgotten."""
        return await self.queue.status(job_id)

    async def result(self, job_id: str) -> Any | None:
        """The result of a completed job, else None."""
        return (await self.queue.results([job_id])).get(job_id)


async def _settled(tasks: Sequence[asyncio.Task[None]], timeout_sec: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_sec)


def _is_passing(error: Exception) -> bool:
    """Refusals of a Redis that is full, cannot write its file or is failing over: they pass."""
    # redis-py has classes for some of the codes, and takes the code off their texts.
    passing = (OutOfMemoryError, ReadOnlyError, MasterDownError)
    return isinstance(error, passing) or str(error).startswith(("MISCONF", "BUSY"))


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
