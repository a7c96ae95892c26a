"""An arq application; ``arq tests.support.task_apps.arq_app.WorkerSettings``."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from arq import Retry, create_pool, func
from arq.connections import RedisSettings
from arq.jobs import Job

import otel_bridge
from otel_bridge.adapters.arq import ArqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

otel_bridge.configure(service_name="arq-app")
ArqAdapter().instrument()

QUEUE = "arq:queue"
settings = RedisSettings.from_dsn(bus_url())


async def add(ctx: dict[str, Any], x: int) -> int:
    return x + 1


async def boom(ctx: dict[str, Any]) -> None:
    raise ValueError("no such school")


async def flaky(ctx: dict[str, Any], marker: str) -> str:
    if is_first_time(marker):
        raise Retry
    return "done"


async def nap(ctx: dict[str, Any], gate: str) -> None:
    await asyncio.to_thread(wait_for, gate)


async def nest(ctx: dict[str, Any]) -> None:
    await ctx["redis"].enqueue_job("add", 1)


async def slow(ctx: dict[str, Any]) -> None:
    await asyncio.sleep(60)


class WorkerSettings:
    functions: ClassVar = [add, boom, flaky, nap, nest, func(slow, timeout=1)]
    redis_settings = settings
    max_jobs = 2
    allow_abort_jobs = True
    poll_delay = 0.05


async def submit(name: str, *args: Any) -> str:
    """Enqueue a job, put off for an hour by a name that ends so; its id."""
    name, _, is_late = name.partition("@")
    pool = await create_pool(settings)
    try:
        job = await pool.enqueue_job(name, *args, _defer_by=3600 if is_late else None)
        assert job is not None
        return str(job.job_id)
    finally:
        await pool.aclose()


async def revoke(task_id: str) -> None:
    """Abort a job."""
    pool = await create_pool(settings)
    try:
        await Job(task_id, pool).abort(timeout=20)
    finally:
        await pool.aclose()
