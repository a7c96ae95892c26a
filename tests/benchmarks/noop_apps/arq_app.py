"""No-op jobs of arq."""

from __future__ import annotations

from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from tests.benchmarks.noop_apps.watching import BROKER_URL, watch

watch("arq.ArqAdapter")


async def noop(ctx: dict[str, Any], number: int) -> None:
    pass


class WorkerSettings:
    functions: ClassVar = [noop]
    redis_settings = RedisSettings.from_dsn(BROKER_URL)
    keep_result = 0
    poll_delay = 0.05


async def enqueue(count: int) -> None:
    pool = await create_pool(WorkerSettings.redis_settings)
    for number in range(count):
        await pool.enqueue_job("noop", number)
    await pool.aclose()
