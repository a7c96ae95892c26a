"""No-op jobs of Taskiq."""

from __future__ import annotations

from taskiq_redis import ListQueueBroker

from tests.benchmarks.noop_apps.watching import BROKER_URL, watch

watch("taskiq.TaskiqAdapter")

broker = ListQueueBroker(BROKER_URL)


@broker.task(task_name="noop")
async def noop(number: int) -> None:
    pass


async def enqueue(count: int) -> None:
    await broker.startup()
    for number in range(count):
        await noop.kiq(number)
    await broker.shutdown()
