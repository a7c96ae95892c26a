"""A coordinator with everything it needs, and a way to wait for what it does."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from otel_bridge.cancellation import cancel
from otel_bridge.events import semconv
from otel_bridge.orchestration.queue.leases import LeaseKeeper, synchronous_client
from otel_bridge.orchestration.queue.lua_scripts import lua_source
from otel_bridge.orchestration.queue.parallel_task_coordinator import ParallelTaskCoordinator
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import TERMINAL_STATUSES, JobHandler
from otel_bridge.orchestration.queue.wake import WakeUpNotifications
from otel_bridge.projects.resolver import ProjectIdResolver
from otel_bridge.publish.redis_keys import DEFAULT_KEYS

__all__ = ["ended", "eventually", "expire_lease", "job_spans", "running"]

DEADLINE_SEC = 30.0


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, timeout_sec: float = DEADLINE_SEC
) -> None:
    """Return as soon as the condition holds; fail with ``what`` when it does not in time."""
    deadline = asyncio.get_running_loop().time() + timeout_sec
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in {timeout_sec:g} s: {what}"
        await asyncio.sleep(0.01)


async def expire_lease(client: Redis, job_id: str) -> None:
    """Let a lease run out and take the job back, at once: no renewal can come in between."""
    async with client.pipeline(transaction=True) as transaction:
        transaction.zadd(DEFAULT_KEYS.leases, {job_id: 0})
        transaction.eval(lua_source("maintain"), 1, DEFAULT_KEYS.queue("normal"), 3, 3600, 100, 0)
        _, (_, requeued, _, _) = await transaction.execute()
    assert [job_id] == requeued


async def ended(coordinator: ParallelTaskCoordinator, *job_ids: str) -> None:
    """Return when all these jobs have completed or failed."""

    async def all_ended() -> bool:
        statuses = [
            await coordinator.redis_retry.call(functools.partial(coordinator.status, job_id))
            for job_id in job_ids
        ]
        return all(status in TERMINAL_STATUSES for status in statuses)

    await eventually(all_ended, f"{job_ids} ended")


@asynccontextmanager
async def running(
    client: Redis,
    handlers: Mapping[str, JobHandler],
    *,
    workers: int = 2,
    lease_sec: float = 15.0,
    max_deliveries: int = 3,
    prefix: str = "w",
    stop: asyncio.Event | None = None,
    **options: Any,
) -> AsyncIterator[ParallelTaskCoordinator]:
    """A coordinator at work while the block is open; stopped in good order after it."""
    queue = TaskQueue(client, lease_sec=lease_sec, max_deliveries=max_deliveries)
    keeper = LeaseKeeper(synchronous_client(client), lease_sec)
    notifications = WakeUpNotifications(client)
    coordinator = ParallelTaskCoordinator(
        queue,
        handlers,
        worker_ids=[f"{prefix}{number}" for number in range(workers)],
        keeper=keeper,
        notifications=notifications,
        resolver=ProjectIdResolver(client),
        **{"retry_base_sec": 0.01, **options},
    )
    stop = stop or asyncio.Event()
    listening = asyncio.create_task(notifications.listen())
    working = asyncio.create_task(coordinator.run(stop))
    try:
        yield coordinator
    finally:
        stop.set()
        await working
        await cancel([listening])
        await asyncio.to_thread(keeper.close)


def job_spans(exporter: InMemorySpanExporter, task_id: str) -> list[ReadableSpan]:
    """The ended attempts at one job, in order."""
    return [
        span
        for span in exporter.get_finished_spans()
        if (span.attributes or {}).get(semconv.SPAN_KIND) == semconv.KIND_JOB
        and (span.attributes or {}).get(semconv.TASK_ID) == task_id
    ]
