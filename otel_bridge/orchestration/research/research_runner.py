"""
``ResearchRunner``: claims research tasks with a lease and runs the orchestrator on each.

A research task is a job of its own queue, so everything the queue promises holds for it: a killed
process's task is claimed again, a stopping one gives its task back. The one that takes over goes
on in the same trace.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import propagate
from pydantic import ValidationError
from redis.exceptions import RedisError

from otel_bridge.cancellation import cancel
from otel_bridge.orchestration.queue.leases import (
    LeaseKeeper,
    LeaseLostError,
    StoppingError,
    guarded,
)
from otel_bridge.orchestration.queue.parallel_task_coordinator import ParallelTaskCoordinator
from otel_bridge.orchestration.queue.task_queue import Claim, JobUnreadableError, text
from otel_bridge.orchestration.queue.task_types import (
    QueuedJob,
    ResearchTaskRequest,
    field_error_sentence,
)
from otel_bridge.orchestration.queue.wake import jittered
from otel_bridge.orchestration.research.data_aggregation_orchestrator import (
    DataAggregationOrchestrator,
)
from otel_bridge.publish import redis_keys
from otel_bridge.spans.context_managers import research_task

__all__ = ["ResearchRunner"]

logger = logging.getLogger(__name__)

_IDLE_SEC: Final = 1.0
_STOP_TIMEOUT_SEC: Final = 10.0
_TRACE_FIELD: Final = "traceparent"
"""Of ``nexus:task_meta:{parent}``: the root span of the first run."""


class ResearchRunner:
    """
    Runs up to ``slots`` research tasks at a time.

    Args:
        coordinator: For its queue, hints and patience.
        orchestrator: Runs one research task.
        keeper: Renews the leases of this process.
        runner_id: Unique among running processes.
        slots: Research tasks at a time; further ones wait in the queue.
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
        self._coordinator = coordinator
        self._queue = coordinator.queue
        self._hints = coordinator.hints
        self._orchestrator = orchestrator
        self._keeper = keeper
        self._runner_id = runner_id
        self._slots = slots

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; research tasks under way are then given back at once."""
        slots = [
            asyncio.create_task(self._slot(f"{self._runner_id}-research-{number}", stop))
            for number in range(self._slots)
        ]
        try:
            await stop.wait()
            self._hints.queued.give()
            await asyncio.wait(slots, timeout=_STOP_TIMEOUT_SEC)
        finally:
            await cancel(slots)

    async def _slot(self, slot_id: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            seen = self._hints.queued.count
            try:
                claim = await self._queue.claim(slot_id, [redis_keys.RESEARCH_QUEUE])
            except (RedisError, OSError):
                await asyncio.sleep(jittered(_IDLE_SEC))
                continue
            if claim is None:
                await self._hints.queued.wait(seen, jittered(_IDLE_SEC))
                continue
            try:
                await self._run_claim(claim, stop)
            except Exception:
                # Its lease will run out and another attempt begin; the slot must live.
                logger.exception("research task %s could not be brought to an end", claim.job_id)

    async def _run_claim(self, claim: Claim, stop: asyncio.Event) -> None:
        patiently = self._coordinator.patiently
        try:
            task = claim.job()
            request = ResearchTaskRequest.model_validate(task.payload)
        except (JobUnreadableError, ValidationError) as error:
            reason = (
                field_error_sentence(error) if isinstance(error, ValidationError) else str(error)
            )
            with research_task(claim.job_id) as root:
                root.fail(reason)
            await patiently(lambda: self._queue.fail(claim, reason))
            return
        try:
            result = await guarded(self._keeper, claim, stop, self._in_trace(task, request))
        except StoppingError:
            await patiently(lambda: self._queue.release(claim))
        except LeaseLostError:
            logger.warning("research task %s was taken over by another process", task.id)
        except Exception as error:
            logger.warning("research task %s failed: %s", task.id, error)
            reason = f"{type(error).__name__}: {error}"
            await patiently(lambda: self._queue.fail(claim, reason))
        else:
            done = json.dumps(result)
            await patiently(lambda: self._queue.complete(claim, done))

    async def _in_trace(self, task: QueuedJob, request: ResearchTaskRequest) -> dict[str, object]:
        """Run it in the trace that its first attempt began, if there was one."""
        redis, meta_key = self._queue.redis, redis_keys.task_meta(task.id)
        earlier = await redis.hget(meta_key, _TRACE_FIELD)
        token = None
        if earlier:
            carrier = {_TRACE_FIELD: text(earlier)}
            token = otel_context.attach(propagate.extract(carrier))
        try:
            return await self._orchestrator.run(
                task.id, request, project_id=task.project_id, on_root=self._remember
            )
        finally:
            if token is not None:
                otel_context.detach(token)

    async def _remember(self, task_id: str) -> None:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        if _TRACE_FIELD in carrier:
            await self._queue.redis.hsetnx(
                redis_keys.task_meta(task_id), _TRACE_FIELD, carrier[_TRACE_FIELD]
            )
