"""A Taskiq application; ``taskiq worker tests.support.task_apps.taskiq_app:broker``."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from taskiq import Context, SimpleRetryMiddleware, TaskiqDepends, TaskiqScheduler
from taskiq.exceptions import NoResultError
from taskiq.kicker import AsyncKicker
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource

import otel_bridge
from otel_bridge.adapters.taskiq import TaskiqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

otel_bridge.configure(service_name="taskiq-app")
TaskiqAdapter().instrument()

QUEUE = "taskiq"
broker = ListQueueBroker(bus_url()).with_middlewares(SimpleRetryMiddleware())
source = ListRedisScheduleSource(bus_url())
scheduler = TaskiqScheduler(broker, sources=[source])


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


@broker.task(task_name="once_more")
async def once_more(marker: str, context: Annotated[Context, TaskiqDepends()]) -> str:
    if is_first_time(marker):
        await context.requeue()
    return "done"


@broker.task(task_name="no_result")
async def no_result() -> None:
    raise NoResultError


async def submit(name: str, *args: Any) -> str:
    """Enqueue a job, or schedule it for now by a name that ends so; its id."""
    name, _, is_scheduled = name.partition("@")
    task = broker.find_task(name)
    kicker: Any = AsyncKicker(name, broker, {}) if task is None else task.kicker()
    if is_scheduled:
        await kicker.schedule_by_time(source, datetime.now(UTC), *args)
        return name
    return str((await kicker.kiq(*args)).task_id)
