"""An arq application that has never heard of this product."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from tests.support.task_apps.work import bus_url


async def add(ctx: dict[str, Any], x: int) -> int:
    return x + 1


class WorkerSettings:
    functions: ClassVar = [add]
    redis_settings = RedisSettings.from_dsn(bus_url())


async def main() -> None:
    pool = await create_pool(WorkerSettings.redis_settings)
    await pool.enqueue_job("add", 1)
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(main())
