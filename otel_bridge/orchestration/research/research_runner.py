"""
``ResearchRunner``: claims research tasks with a lease and runs the orchestrator on each.

A research task is a job in a queue of its own, so the guarantees of ``TaskQueue`` hold for it: the
task of a killed process is claimed again, and a stopping process releases its tasks. The process
that takes over continues in the same trace.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import propagate
from pydantic import ValidationError

from otel_bridge.cancellation import cancel
from otel_bridge.orchestration.queue.claim_loop import run_claim_loop, until_stop
from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.leases import (
    LeaseKeeper,
    LeaseLostError,
    StoppingError,
    run_with_lease,
)
from otel_bridge.orchestration.queue.parallel_task_coordinator import ParallelTaskCoordinator
from otel_bridge.orchestration.queue.task_queue import Claim, JobUnreadableError, text
from otel_bridge.orchestration.queue.task_types import (
    QueuedJob,
    ResearchTaskRequest,
    field_error_sentence,
)
from otel_bridge.orchestration.research.data_aggregation_orchestrator import (
    DataAggregationOrchestrator,
)
from otel_bridge.spans.context_managers import research_task

__all__ = ["ResearchRunner"]

logger = logging.getLogger(__name__)

_STOP_TIMEOUT_SEC: Final = 10.0
_TRACE_FIELD: Final = "traceparent"
"""Field of ``<prefix>:task_meta:{parent}`` that holds the root span of the task's first run."""


class ResearchRunner:
    """
    Claims research tasks from their queue and runs the orchestrator on each.

    ``run_workers`` creates one for each process; ``run`` works until its stop event is set. A task
    whose orchestrator raises has failed, and is not retried. There is no time limit for a task; one
    whose process stops answering runs again in another, and fails after the third time.

    Args:
        coordinator: Its queue, wake-up notifications and retries of Redis operations are used.
        orchestrator: Runs one research task.
        keeper: Renews the leases (the rights to claimed tasks) of this process.
        runner_id: Unique among running processes.
        slots: Number of research tasks at the same time, default 4; further ones wait in the queue.
    """

    def __init__(
        self,
        coordinator: ParallelTaskCoordinator,
        orchestrator: DataAggregationOrchestrator,
        *,
        keeper: LeaseKeeper,
        runner_id: str,
        slots: int = 4,
    ) -> None:
        self._queue = coordinator.queue
        self._queued = coordinator.notifications.queued
        self._redis_retry = coordinator.redis_retry
        self._guard = coordinator.guard
        self._orchestrator = orchestrator
        self._keeper = keeper
        self._runner_id = runner_id
        self._slots = slots

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run research tasks until ``stop`` is set; unfinished ones are then released at once.

        An outage of Redis, or a task that fails, is logged and does not end it. An item of another
        program in a queue does, in the same way, as the workers then run no more jobs.

        Args:
            stop: Ends it within about 10 s; tasks not released by then run again once their leases
                have expired (15 s by default).
        """
        ending = asyncio.Event()
        slots = [
            asyncio.create_task(self._slot(f"{self._runner_id}-research-{number}", ending))
            for number in range(self._slots)
        ]
        try:
            await until_stop(stop, self._guard, [])
            ending.set()
            self._queued.notify()
            await asyncio.wait(slots, timeout=_STOP_TIMEOUT_SEC)
        finally:
            await cancel(slots)

    async def _slot(self, slot_id: str, stop: asyncio.Event) -> None:
        await run_claim_loop(
            lambda _: self._queue.claim(slot_id, [self._queue.keys.research_queue]),
            lambda claim: self._run_claim(claim, stop),
            stop=stop,
            queued=self._queued,
            redis_retry=self._redis_retry,
            guard=self._guard,
        )

    async def _run_claim(self, claim: Claim, stop: asyncio.Event) -> None:
        try:
            task = claim.job()
            request = ResearchTaskRequest.model_validate(task.payload)
        except (JobUnreadableError, ValidationError) as error:
            reason = (
                field_error_sentence(error) if isinstance(error, ValidationError) else str(error)
            )
            with research_task(claim.job_id) as root:
                root.fail(reason)
            await self._redis_retry.call(lambda: self._queue.fail(claim, reason))
            return
        try:
            work = self._in_trace(task, request)
            result = await run_with_lease(self._keeper, claim, stop, work)
        except (StoppingError, SharedQueueError) as error:
            if isinstance(error, SharedQueueError):
                self._guard.report(error)
            await self._redis_retry.call(lambda: self._queue.release(claim))
        except LeaseLostError:
            logger.warning("research task %s was taken over by another process", task.id)
        except Exception as error:
            logger.warning("research task %s failed: %s", task.id, error)
            reason = f"{type(error).__name__}: {error}"
            await self._redis_retry.call(lambda: self._queue.fail(claim, reason))
        else:
            result_json = json.dumps(result)
            await self._redis_retry.call(lambda: self._queue.complete(claim, result_json))

    async def _in_trace(self, task: QueuedJob, request: ResearchTaskRequest) -> dict[str, object]:
        """Run the orchestrator in the trace of the task's first attempt, if this is a later one."""
        earlier = await self._queue.redis.hget(self._queue.keys.task_meta(task.id), _TRACE_FIELD)
        token = None
        if earlier:
            carrier = {_TRACE_FIELD: text(earlier)}
            token = otel_context.attach(propagate.extract(carrier))
        try:
            return await self._orchestrator.run(
                task.id, request, project_id=task.project_id, on_root=self._store_trace
            )
        finally:
            if token is not None:
                otel_context.detach(token)

    async def _store_trace(self, task_id: str) -> None:
        """Store the current span as the trace of the task, unless an earlier attempt did."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        if _TRACE_FIELD in carrier:
            await self._queue.redis.hsetnx(
                self._queue.keys.task_meta(task_id), _TRACE_FIELD, carrier[_TRACE_FIELD]
            )
