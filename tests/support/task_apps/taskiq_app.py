"""A Taskiq application; ``taskiq worker tests.support.task_apps.taskiq_app:broker``."""

from __future__ import annotations

import asyncio
from typing import Any

from taskiq import SimpleRetryMiddleware
from taskiq_redis import ListQueueBroker

import otel_bridge
from otel_bridge.adapters.taskiq import TaskiqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

otel_bridge.configure(service_name="taskiq-app")
TaskiqAdapter().instrument()

QUEUE = "taskiq"
broker = ListQueueBroker(bus_url()).with_middlewares(SimpleRetryMiddleware())


@broker.task(task_name="add")
async def add(x: int) -> int:
    return x + 1


@broker.task(task_name="boom")
async def boom() -> None:
    raise ValueError("no such school")


@broker.task(task_name="flaky", retry_on_error=True, max_retries=3)
async def flaky(marker: str) -> str:
    if is_first_time(marker):
        raise ConnectionError("try again")
    return "done"


@broker.task(task_name="nap")
async def nap(gate: str) -> None:
    await asyncio.to_thread(wait_for, gate)


@broker.task(task_name="slow", timeout=1)
async def slow() -> None:
    await asyncio.sleep(60)


@broker.task(task_name="nest")
async def nest() -> None:
    await add.kiq(1)


async def submit(name: str, *args: Any) -> str:
    """Enqueue a job; its id."""
    found = broker.find_task(name)
    assert found is not None
    task = await found.kiq(*args)
    return str(task.task_id)
