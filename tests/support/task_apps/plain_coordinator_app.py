"""A coordinator of a team's own, run by itself; the environment names it to the instrumentation."""

from __future__ import annotations

import asyncio
import os

from redis.asyncio import Redis

from tests.support.plain_coordinators import StrictCoordinator, StrictTask, TaskType


async def handle(payload: dict[str, object]) -> dict[str, object]:
    return payload


async def main() -> None:
    client = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
    coordinator = StrictCoordinator(client, handle)
    job = StrictTask(id="job-1", type=TaskType.SEARCH, payload={"a": 1}, parent_task_id="r-1")
    await coordinator.submit_tasks([job])
    work = asyncio.create_task(coordinator._worker(1))
    while await client.get("nexus:task:job-1:status") != "completed":
        await asyncio.sleep(0.01)
    coordinator.running = False
    await work
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main())
