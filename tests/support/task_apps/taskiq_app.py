"""
A Taskiq application; ``taskiq worker tests.support.task_apps.taskiq_app:broker``.

Environment variables choose how it is set up: ``RIG_BROKER`` (list, stream), ``RIG_RETRY`` (simple,
smart), ``RIG_OTEL`` (before, after, as Taskiq's own instrumentor, or none), ``RIG_SETUP`` (module,
startup).
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

from taskiq import (
    Context,
    SimpleRetryMiddleware,
    TaskiqDepends,
    TaskiqEvents,
    TaskiqMessage,
    TaskiqMiddleware,
    TaskiqResult,
    TaskiqScheduler,
)
from taskiq.depends.progress_tracker import ProgressTracker
from taskiq.exceptions import NoResultError
from taskiq.kicker import AsyncKicker
from taskiq_pipelines import Pipeline, PipelineMiddleware
from taskiq_redis import (
    ListQueueBroker,
    ListRedisScheduleSource,
    RedisAsyncResultBackend,
    RedisStreamBroker,
)

import otel_bridge
from otel_bridge.adapters.taskiq import TaskiqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

IS_SET_UP_AT_STARTUP = os.environ.get("RIG_SETUP") == "startup"
QUEUE = "taskiq"
source = ListRedisScheduleSource(bus_url())


class Raising(TaskiqMiddleware):
    """Raises in the hook that a message's label names: ``before:pre_execute``."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def raise_if_named(self, message: TaskiqMessage, hook: str) -> None:
        if message.labels.get("raises_in") == f"{self.place}:{hook}":
            raise RuntimeError(f"{self.place} raises in {hook}")

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        self.raise_if_named(message, "pre_execute")
        return message

    def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        self.raise_if_named(message, "on_error")

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self.raise_if_named(message, "post_execute")

    def post_save(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self.raise_if_named(message, "post_save")


def set_up(state: object = None) -> None:
    otel_bridge.configure(service_name="taskiq-app")
    TaskiqAdapter().instrument()


def instrument_by_taskiq() -> None:
    from taskiq.instrumentation import TaskiqInstrumentor

    TaskiqInstrumentor().instrument()


def make_broker() -> Any:
    retry: TaskiqMiddleware = SimpleRetryMiddleware()
    if os.environ.get("RIG_RETRY") == "smart":
        from taskiq import SmartRetryMiddleware

        retry = SmartRetryMiddleware(default_delay=0.1, schedule_source=source)
    made: Any
    if os.environ.get("RIG_BROKER") == "stream":
        made = RedisStreamBroker(bus_url(), consumer_id="0", idle_timeout=1500, xread_block=100)
    else:
        made = ListQueueBroker(bus_url())
    made.add_middlewares(retry, PipelineMiddleware(), Raising("after"))
    first = Raising("before")
    first.set_broker(made)
    made.middlewares.insert(0, first)
    return made.with_result_backend(RedisAsyncResultBackend(bus_url(), result_ex_time=60))


if os.environ.get("RIG_OTEL") == "before":
    instrument_by_taskiq()
if not IS_SET_UP_AT_STARTUP:
    set_up()
if os.environ.get("RIG_OTEL") == "after":
    instrument_by_taskiq()
broker = make_broker()
if IS_SET_UP_AT_STARTUP:
    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, set_up)
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


@broker.task(task_name="own_timeout", timeout=60)
async def own_timeout() -> None:
    raise TimeoutError("the page took too long")


@broker.task(task_name="nest")
async def nest() -> None:
    await add.kiq(1)


@broker.task(task_name="once_more")
async def once_more(marker: str, context: Annotated[Context, TaskiqDepends()]) -> str:
    if is_first_time(marker):
        await context.requeue()
    return "done"


@broker.task(task_name="page")
async def page(number: int, context: Annotated[Context, TaskiqDepends()]) -> int:
    """Enqueues itself under its own id, with the labels of its message, until page 2."""
    if number < 2:
        kicker: Any = AsyncKicker("page", broker, dict(context.message.labels))
        await kicker.with_task_id(context.message.task_id).kiq(number + 1)
    return number


@broker.task(task_name="no_result")
async def no_result() -> None:
    raise NoResultError


@broker.task(task_name="unserialisable")
async def unserialisable() -> object:
    return lambda: None


@broker.task(task_name="reject")
async def reject(context: Annotated[Context, TaskiqDepends()]) -> None:
    context.reject()


@broker.task(task_name="leave")
async def leave() -> None:
    sys.exit(3)


@broker.task(task_name="steps")
async def steps() -> None:
    for done in range(5):
        otel_bridge.job_progress(done + 1, 5)


@broker.task(task_name="steps_in_thread")
def steps_in_thread(gate: str) -> None:
    otel_bridge.job_progress(3, 5)
    wait_for(gate)


@broker.task(task_name="tracked")
async def tracked(tracker: Annotated[ProgressTracker[Any], TaskiqDepends()]) -> None:
    await tracker.set_progress("STARTED", {"current": 2, "total": 4})


def pipeline() -> Pipeline[Any, Any]:
    """Three jobs one after another, of which the second one is a job for each item."""
    return Pipeline(broker, numbers).map(add, check_interval=0.05).call_next(count)


@broker.task(task_name="numbers")
async def numbers(to: int) -> list[int]:
    return list(range(to))


@broker.task(task_name="count")
async def count(items: list[int]) -> int:
    return len(items)


async def submit(name: str, *args: Any) -> str:
    """
    Enqueue a job; its id.

    ``add@once`` is scheduled for now, ``pipeline`` starts one, ``add!after:on_error`` names the
    hook that a middleware raises in, ``add~id`` has that id.
    """
    if IS_SET_UP_AT_STARTUP and not TaskiqAdapter().is_instrumented_by_opentelemetry:
        set_up()
    if name == "pipeline":
        return str((await pipeline().kiq(*args)).task_id)
    name, _, raises_in = name.partition("!")
    name, _, task_id = name.partition("~")
    name, _, is_scheduled = name.partition("@")
    task = broker.find_task(name)
    # A copy: in Taskiq 0.11 the labels of ``task.kicker()`` are those of every later message.
    kicker: Any = AsyncKicker(name, broker, {} if task is None else dict(task.labels))
    if raises_in:
        kicker = kicker.with_labels(raises_in=raises_in)
    if task_id:
        kicker = kicker.with_task_id(task_id)
    if is_scheduled:
        await kicker.schedule_by_time(source, datetime.now(UTC), *args)
        return name
    return str((await kicker.kiq(*args)).task_id)
