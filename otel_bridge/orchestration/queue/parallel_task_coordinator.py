"""
``ParallelTaskCoordinator``: submits jobs and runs workers; ``TaskQueue`` gives the guarantees.

Its events come from the public context managers, which a team also puts around a coordinator of its
own. No job ends a worker: a type without a handler, an unreadable payload and a result that is not
JSON each end the job as ``task_failed`` with the reason.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from otel_bridge.bridge import current_bridge
from otel_bridge.cancellation import cancel
from otel_bridge.events.model import TaskStatus
from otel_bridge.orchestration.queue.claim_loop import (
    IDLE_SEC,
    SharedQueueGuard,
    run_claim_loop,
    until_stop,
)
from otel_bridge.orchestration.queue.errors import PermanentJobError
from otel_bridge.orchestration.queue.leases import (
    LeaseKeeper,
    LeaseLostError,
    StoppingError,
    run_with_lease,
)
from otel_bridge.orchestration.queue.redis_retry import RedisRetry
from otel_bridge.orchestration.queue.task_queue import (
    Claim,
    DeadLetter,
    JobUnreadableError,
    Ownership,
    TaskQueue,
)
from otel_bridge.orchestration.queue.task_types import JobHandler, QueuedJob, queue_of
from otel_bridge.orchestration.queue.wake import WakeUpNotification, WakeUpNotifications, jittered
from otel_bridge.projects.resolver import ProjectIdResolver
from otel_bridge.spans.context_managers import enqueue, job, research_task, worker
from otel_bridge.spans.job import Job as SpanJob
from otel_bridge.spans.span_context_manager import one_line
from otel_bridge.workers.queue_depth import LoopCaller, QueueDepthSampler

__all__ = ["ParallelTaskCoordinator", "Throttle"]

logger = logging.getLogger(__name__)

Throttle = Callable[[QueuedJob], Awaitable[None]]
"""
Waits until a job may run, e.g. for a rate limit; the job's lease is renewed meanwhile.

What it raises fails the attempt as if the handler had raised it; it counts towards the job timeout.
"""

_MAINTAIN_SEC: Final = 1.0
_LOWEST_FIRST_EVERY: Final = 10
"""One claim in ten begins with the lowest priority, so that its jobs run under any load."""
_MAX_RETRY_DELAY_SEC: Final = 30.0
_STOP_TIMEOUT_SEC: Final = 10.0
"""For workers whose Redis does not answer; the leases of their jobs then expire."""


class ParallelTaskCoordinator:
    """
    Queues jobs, and runs them on workers of one event loop.

    ``run_workers`` creates it. ``submit_tasks`` works without ``run``; ``run`` works until its stop
    event is set. A handler that raises is retried with a delay, ``max_retries`` times (2 by
    default); a job of a type without a handler, and a ``PermanentJobError``, fail at once.

    Args:
        queue: Holds the jobs and their results.
        handlers: Async functions that run one attempt at a job, by task type. A result that is not
            JSON fails the job.
        worker_ids: One worker for each; unique among all workers of this Redis. No limit.
        keeper: Renews the leases (the rights to claimed jobs) of this process.
        notifications: Wakes idle workers while the caller runs ``notifications.listen()``; without
            it they look for jobs once a second.
        resolver: Finds the project of a job that names none; None: the job's own payload decides.
        throttle: Async function that is awaited with each job before its handler, to wait for a
            rate limit. What it raises fails the attempt; its time counts. None: no waiting.
        depth_interval_sec: Between two samples of the queue depths by one of all processes, 5 s.
        grace_sec: How long a job may go on after ``stop`` before it is released, default 5 s.
        job_timeout_sec: A handler that runs longer, default 300 s, has failed; None: no limit.
        retry_base_sec: Delay before the first retry, default 0.5 s; doubles up to 30 s, times a
            random 0.5 to 1.5.
        idle_sec: How long an idle worker waits until it looks again, default 1 s, times the same.

    Attributes:
        queue: The ``TaskQueue`` with the jobs and their results.
        notifications: Those of this process, about queued and ended jobs.
        redis_retry: Repeats Redis operations during an outage; for callers of this Redis too.
        guard: Its ``error`` says why ``run`` has returned by itself: another program's item.
    """

    def __init__(
        self,
        queue: TaskQueue,
        handlers: Mapping[str, JobHandler],
        *,
        worker_ids: Sequence[int | str],
        keeper: LeaseKeeper,
        notifications: WakeUpNotifications,
        resolver: ProjectIdResolver | None = None,
        throttle: Throttle | None = None,
        depth_interval_sec: float = 5.0,
        grace_sec: float = 5.0,
        job_timeout_sec: float | None = 300.0,
        retry_base_sec: float = 0.5,
        idle_sec: float = IDLE_SEC,
    ) -> None:
        self.queue = queue
        self.notifications = notifications
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
        self.redis_retry = RedisRetry(self._stopping)
        self.guard = SharedQueueGuard()

    async def submit_tasks(self, jobs: Sequence[QueuedJob]) -> list[str]:
        """
        Queue jobs, except those whose id is known already; return all ids, in order.

        Each new job gets an ``enqueue`` span of its own, whose trace context travels with it. Waits
        while Redis is unavailable; the jobs before the one that fails then stay queued. No limit.

        Raises:
            redis.RedisError, OSError: Redis was unavailable for over a minute, or refuses a job.
            ValueError: A payload is not JSON.
            SharedQueueError: The queue has an item of another program.
        """
        known = await self.redis_retry.call(lambda: self.queue.known([task.id for task in jobs]))
        for task in jobs:
            if task.id in known:
                continue
            name = queue_of(task.priority, self.queue.keys)
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
                await self.redis_retry.call(submit)
        return [task.id for task in jobs]

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run workers until ``stop`` is set; return when all have stopped. May be called again then.

        Their jobs may then end or, after ``grace_sec`` (5 s), are released; a worker that Redis
        does not answer is cancelled 10 s later. It also returns, after its jobs, if a queue holds
        an item of another program, which stays there: see ``guard.error``. If it is cancelled, jobs
        stay claimed until their leases expire. Errors of jobs and of Redis are logged, not raised.
        """
        self._draining.clear()
        self._stopping.clear()
        maintaining = asyncio.create_task(self._maintain(), name="maintain")
        on_loop = LoopCaller(asyncio.get_running_loop())
        sampler = self._depth_sampler(on_loop)
        if sampler is not None:
            sampler.start()
        workers = [
            asyncio.create_task(self._worker(worker_id), name=f"worker-{worker_id}")
            for worker_id in self._worker_ids
        ]
        try:
            await until_stop(stop, self.guard, workers)
            self._draining.set()
            self.notifications.queued.notify()
            await _wait_for(workers, self._grace_sec)
            self._stopping.set()
            await _wait_for(workers, _STOP_TIMEOUT_SEC)
        finally:
            if sampler is not None:
                sampler.stop()
            await cancel([*workers, maintaining])
            await on_loop.aclose()

    async def _project_id(self, task: QueuedJob) -> str | None:
        if self._resolver is None:
            named = task.payload.get("project_id")
            return named if isinstance(named, str) else None
        return await self._resolver.resolve(task.payload, task.parent_id)

    # --- workers ---------------------------------------------------------------------------

    async def _worker(self, worker_id: int | str) -> None:
        async def claim(claims: int) -> Claim | None:
            lowest_first = claims % _LOWEST_FIRST_EVERY == _LOWEST_FIRST_EVERY - 1
            return await self.queue.claim(str(worker_id), lowest_first=lowest_first)

        async with worker(worker_id):
            await run_claim_loop(
                claim,
                lambda claimed: self._run_job(claimed, worker_id),
                stop=self._draining,
                queued=self.notifications.queued,
                redis_retry=self.redis_retry,
                guard=self.guard,
                idle_sec=self._idle_sec,
            )

    async def _run_job(self, claim: Claim, worker_id: int | str) -> None:
        try:
            task = claim.job()
        except JobUnreadableError as error:
            await self._fail_unreadable(claim, worker_id, str(error))
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
                work = self._attempt(task)
                result = await run_with_lease(self._keeper, claim, self._stopping, work)
            except StoppingError as error:
                span.retry(f"released: {error}")
                await self._record(span, lambda: self.queue.release(claim))
            except LeaseLostError as error:
                span.retry(f"abandoned: {error}")
            except Exception as error:
                await self._record_failure(claim, task, span, error)
            else:
                owned = await self._record(span, lambda: self.queue.complete(claim, result))
                if owned is Ownership.SUPERSEDED:
                    span.retry("another attempt took over; this result is discarded")
                elif owned is Ownership.ENDED and await self._is_failed(task.id):
                    # ENDED without a failure is this attempt's own success: it was recorded before
                    # although the answer of Redis was lost.
                    span.fail("the job was failed before this result came; it is discarded")

    async def _is_failed(self, job_id: str) -> bool:
        status = await self.redis_retry.call(lambda: self.queue.status(job_id))
        return status is TaskStatus.FAILED

    async def _record_failure(
        self, claim: Claim, task: QueuedJob, span: SpanJob, error: Exception
    ) -> None:
        reason = one_line(error)
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
        self._delayed.notify()

    async def _record(
        self, span: SpanJob, operation: Callable[[], Awaitable[Ownership]]
    ) -> Ownership | None:
        """Record how the attempt ended; None if Redis is unavailable, so that the lease expires."""
        try:
            return await self.redis_retry.call(operation)
        except (RedisError, OSError) as error:
            logger.exception("the outcome of a job could not be recorded; it will run again")
            span.retry(f"the outcome could not be recorded: {error}")
            return None

    def _retry_delay_sec(self, retries: int) -> float:
        return jittered(min(_MAX_RETRY_DELAY_SEC, self._retry_base_sec * 2**retries))

    async def _attempt(self, task: QueuedJob) -> str:
        """Run the job's handler and return its result as JSON."""
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

    async def _fail_unreadable(self, claim: Claim, worker_id: int | str, reason: str) -> None:
        """Fail a job that cannot be read, with a span so that the live view shows it."""
        with job(
            task_id=claim.job_id,
            task_type="unknown",
            worker_id=worker_id,
            retry_count=claim.retry_count,
            queue=claim.queue,
        ) as span:
            span.fail(reason)
            await self.redis_retry.call(lambda: self.queue.fail(claim, reason))

    # --- maintenance -----------------------------------------------------------------------

    async def _maintain(self) -> None:
        """Maintain the queue until cancelled: about once a second, and when a retry is due."""
        while True:
            seen = self._delayed.count
            try:
                wait_sec = await self._maintain_once()
            except (RedisError, OSError) as error:
                self.redis_retry.failed(error)
                wait_sec = IDLE_SEC
            except Exception:
                logger.exception("a round of the queue's maintenance failed")
                wait_sec = _MAINTAIN_SEC
            await self._delayed.wait(seen, wait_sec)

    async def _maintain_once(self) -> float:
        """Return after how many seconds the next round is due."""
        moved = await self.queue.maintain()
        for job_id in moved.requeued:
            logger.warning("job %s: its worker stopped answering; it is queued again", job_id)
        for letter in moved.dead_letters:
            self._publish_dead_letter(letter)
        due_sec = _MAINTAIN_SEC if moved.next_due_ms is None else moved.next_due_ms / 1000
        return min(jittered(_MAINTAIN_SEC), max(0.05, due_sec))

    def _publish_dead_letter(self, letter: DeadLetter) -> None:
        """Publish the failure of a job whose own span was lost with its worker."""
        claim = letter.claim
        logger.error("job %s: %s", claim.job_id, letter.error)
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
                root.fail(letter.error)
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
            span.fail(letter.error)

    def _depth_sampler(self, on_loop: LoopCaller) -> QueueDepthSampler | None:
        """Samples the queues for all processes that share them; None while monitoring is off."""
        bridge = current_bridge()
        if bridge is None or bridge.bus is None:
            return None

        async def set_if_absent(key: str, ttl_ms: int) -> bool:
            return bool(await self.queue.redis.set(key, "1", nx=True, px=ttl_ms))

        return QueueDepthSampler(
            names=lambda: self.queue.queue_names,
            read=lambda _: on_loop.call(self.queue.depths),
            set_if_absent=lambda key, ttl_ms: on_loop.call(set_if_absent, key, ttl_ms),
            keys=self.queue.keys,
            locks_each_queue=False,
            may_block=True,
            timer=bridge.timer,
            bus=bridge.bus,
            otel_metrics=bridge.otel_metrics,
            interval_sec=self._depth_interval_sec,
        )

    async def status(self, job_id: str) -> TaskStatus | None:
        """Return a job's status; None if unknown or expired; raises ``redis.RedisError``."""
        return await self.queue.status(job_id)

    async def result(self, job_id: str) -> Any | None:
        """Return a completed job's decoded result, else None; raises ``redis.RedisError``."""
        return (await self.queue.results([job_id])).get(job_id)


async def _wait_for(tasks: Sequence[asyncio.Task[None]], timeout_sec: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_sec)
