"""
Taskiq: ``TaskiqAdapter().instrument()`` before the broker is made.

A middleware at the end of every broker's list; a message's labels carry the context. A worker
process is one worker, whatever it runs at a time.

Source: taskiq 0.13 (``kicker.py``, ``receiver/receiver.py``, ``middlewares``).
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, ClassVar, Final

from otel_bridge.adapters.carrier import (
    CARRIER_KEY,
    Adapter,
    DepthSampler,
    Runs,
    framework,
    is_off,
    safely,
    start_worker,
    stop_worker,
    this_process,
)
from otel_bridge.blocks import Enqueue
from otel_bridge.heartbeat import WorkerHeartbeat
from otel_bridge.instrument import enqueue

with framework("taskiq"):
    from taskiq import AsyncBroker, TaskiqMessage, TaskiqMiddleware, TaskiqResult
    from taskiq.kicker import AsyncKicker

__all__ = ["TaskiqAdapter"]

_READ_SEC: Final = 5.0

_Sending = tuple[contextvars.Context, Enqueue, str]
_sending: ContextVar[list[_Sending] | None] = ContextVar("otel_bridge_taskiq", default=None)


class TaskiqAdapter(Adapter):
    """
    Makes the tasks, workers and queues of every broker visible that is made from now on.

    ``instrument(broker=...)`` follows one that exists already. What ``SimpleRetryMiddleware`` or
    ``SmartRetryMiddleware`` sends again is a retry.
    """

    requirement: ClassVar[str] = "taskiq >= 0.11.16"
    foreign_scopes: ClassVar[tuple[str, ...]] = (
        "taskiq",
        "opentelemetry.instrumentation.taskiq",
        "taskiq.middlewares.opentelemetry_middleware",
    )

    def _attach(self, broker: AsyncBroker | None = None, **kwargs: Any) -> None:
        self._runs = Runs()
        self._followed: list[tuple[AsyncBroker, TaskiqMiddleware]] = []
        self._patch_init(AsyncBroker, self._follow)
        self._patch(AsyncKicker, "kiq", self._kicking)
        for name in ("schedule_by_time", "schedule_by_cron", "schedule_by_interval"):
            if hasattr(AsyncKicker, name):
                self._patch(AsyncKicker, name, self._scheduling)
        if broker is not None:
            self._follow(broker)

    def _detach(self) -> None:
        for broker, middleware in self._followed:
            broker.middlewares.remove(middleware)
        self._followed = []

    @safely
    def _follow(self, broker: AsyncBroker) -> None:
        middleware = _Follower(self._runs)
        middleware.set_broker(broker)
        broker.middlewares.append(middleware)
        self._followed.append((broker, middleware))

    def _kicking(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def kiq(kicker: Any, *args: Any, **kwargs: Any) -> Any:
            opened: list[_Sending] = []
            token = _sending.set(opened)
            error: BaseException | None = None
            try:
                return await original(kicker, *args, **kwargs)
            except BaseException as found:
                error = found
                raise
            finally:
                _sending.reset(token)
                for context, block, task_id in opened:
                    if error is None:
                        block.queued(task_id)
                    context.run(block.__exit__, type(error) if error else None, error, None)

        return kiq

    def _scheduling(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def schedule(kicker: Any, *args: Any, **kwargs: Any) -> Any:
            run = self._runs.get(kicker.custom_task_id)
            if run is not None:
                kicker.with_labels(**{CARRIER_KEY: json.dumps(run.queue_again())})
            return await original(kicker, *args, **kwargs)

        return schedule


class _Follower(TaskiqMiddleware):
    def __init__(self, runs: Runs) -> None:
        super().__init__()
        self._runs = runs
        self._heartbeat: WorkerHeartbeat | None = None
        self._depths: DepthSampler | None = None

    async def startup(self) -> None:
        if not self.broker.is_worker_process:
            return
        self._heartbeat = start_worker(_worker_id(), {"framework": "taskiq"})
        loop = asyncio.get_running_loop()
        broker = self.broker

        def read(name: str) -> int:
            return asyncio.run_coroutine_threadsafe(_depth_of(broker, name), loop).result(_READ_SEC)

        name = getattr(broker, "queue_name", None)
        if name is not None and hasattr(broker, "connection_pool"):
            self._depths = DepthSampler(lambda: [name], read)
            self._depths.start()

    async def shutdown(self) -> None:
        if self._heartbeat is not None:
            await asyncio.to_thread(stop_worker, self._heartbeat, self._depths)
            self._heartbeat = None

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        self._send(message)
        return message

    @safely
    def _send(self, message: TaskiqMessage) -> None:
        run = self._runs.get(message.task_id)
        if run is not None:
            message.labels[CARRIER_KEY] = json.dumps(run.queue_again())
            return
        opened = _sending.get()
        if opened is None or is_off() or CARRIER_KEY in message.labels:
            return
        queue = message.labels.get("queue_name") or getattr(self.broker, "queue_name", None)
        block = enqueue(task_id=None, task_type=message.task_name, queue=queue)
        # A context of its own: what is opened here is closed in kiq()'s.
        context = contextvars.copy_context()
        carrier: dict[str, str] = context.run(block.__enter__)
        opened.append((context, block, message.task_id))
        message.labels[CARRIER_KEY] = json.dumps(carrier)

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        self._open(message)
        return message

    @safely
    def _open(self, message: TaskiqMessage) -> None:
        if is_off():
            return
        self._runs.open(
            message.task_id,
            message.task_name,
            message.labels.get(CARRIER_KEY),
            retry_count=int(message.labels.get("_retries", 0)),
            queue=message.labels.get("queue_name") or getattr(self.broker, "queue_name", None),
            worker_id=_worker_id(),
            heartbeat=self._heartbeat,
        )

    def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        run = self._runs.get(message.task_id)
        if run is not None:
            run.error = exception

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self._runs.close(message.task_id)


def _worker_id() -> str:
    return f"taskiq@{this_process()}"


async def _depth_of(broker: Any, name: str) -> int:
    from redis.asyncio import Redis

    async with Redis(connection_pool=broker.connection_pool) as client:
        kind = await client.type(name)
        if kind == b"stream":
            group = getattr(broker, "consumer_group_name", None)
            for found in await client.xinfo_groups(name):
                if found["name"] == (group or "").encode() and found.get("lag") is not None:
                    return int(found["lag"])
            return int(await client.xlen(name))
        return int(await client.llen(name))
