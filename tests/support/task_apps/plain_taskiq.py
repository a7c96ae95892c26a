"""A Taskiq application that has never heard of this product."""

from __future__ import annotations

import asyncio

from taskiq_redis import ListQueueBroker

from tests.support.task_apps.work import bus_url

broker = ListQueueBroker(bus_url())


@broker.task(task_name="add")
async def add(x: int) -> int:
    return x + 1


async def main() -> None:
    await broker.startup()
    await add.kiq(1)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
