"""
What watching a coordinator costs: jobs a second with ``CoordinatorInstrumentor`` and without.

``python -m tests.benchmarks instrumentor``; rounds of bare and watched alternate over one real
Redis, rows are medians of the ratio of neighbours.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import redis.asyncio as redis_asyncio
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.bridge import configure
from otel_bridge.instrumentor import CoordinatorInstrumentor
from tests.support.plain_coordinators import StrictCoordinator, StrictTask, TaskType
from tests.support.redis_server import RedisServer

JOBS = 300
ROUNDS = 9


async def _seconds(url: str, work_sec: float) -> float:
    """One worker's time for all jobs."""
    client = redis_asyncio.Redis.from_url(url)

    async def handler(payload: dict[str, Any]) -> int:
        if work_sec:
            await asyncio.sleep(work_sec)
        return int(payload["n"])

    coordinator = StrictCoordinator(client, handler)
    tasks = [
        StrictTask(id=f"job{n}", type=TaskType.SEARCH, payload={"n": n}, parent_task_id="parent")
        for n in range(JOBS)
    ]
    begun = time.perf_counter()
    await coordinator.submit_tasks(tasks)
    working = asyncio.ensure_future(coordinator.run(1))
    while len(coordinator.seen) < JOBS:
        await asyncio.sleep(0.002)
    elapsed = time.perf_counter() - begun
    coordinator.running = False
    await working
    await client.aclose()
    return elapsed


def _ratio(server: RedisServer, work_sec: float) -> float:
    ratios = []
    instrumentor = CoordinatorInstrumentor()
    for _ in range(ROUNDS):
        bare = asyncio.run(_seconds(server.url, work_sec))
        instrumentor.instrument(coordinator_class=StrictCoordinator)
        ratios.append(asyncio.run(_seconds(server.url, work_sec)) / bare)
        instrumentor.uninstrument()
    return statistics.median(ratios)


def main() -> None:
    """Print the rows."""
    print("CoordinatorInstrumentor: time of a job, watched / bare")
    with RedisServer() as server:
        bridge = configure(
            tracer_provider=TracerProvider(), bus_url=server.url, redis_url=server.url
        )
        for work_sec in (0.0, 0.005, 0.02):
            what = f"a job of {work_sec * 1000:g} ms beside its 4 to 5 Redis commands"
            print(f"  {what:<66} {_ratio(server, work_sec):>12.3f}  goal <= 1.05", flush=True)
        bridge.shutdown()


if __name__ == "__main__":
    main()
