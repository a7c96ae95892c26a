"""
Taskiq: ``TaskiqAdapter().instrument()`` before the broker is made.

A middleware at the end of every broker's list; a message's labels carry the context. A worker
process is one worker, whatever it runs at a time.

Source: taskiq 0.13 (``kicker.py``, ``receiver/receiver.py``, ``middlewares``).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, ClassVar, Final

from opentelemetry import propagate
from opentelemetry.context import attach

from otel_bridge.adapters.base import (
    MESSAGE_KEY,
    Adapter,
    DepthSampler,
    Runs,
    framework,
    is_off,
    read_carrier,
    report_lost,
    safely,
    start_worker,
    stop_worker,
    this_process,
)
from otel_bridge.events import semconv
from otel_bridge.spans.blocks import Enqueue
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.scope import carrier_of, current_scope
from otel_bridge.workers.heartbeat import WorkerHeartbeat

with framework("taskiq"):
    from taskiq import AsyncBroker, Context, TaskiqMessage, TaskiqMiddleware, TaskiqResult
    from taskiq.exceptions import NoResultError
    from taskiq.kicker import AsyncKicker
    from taskiq.receiver import Receiver

__all__ = ["TaskiqAdapter"]

_READ_SEC: Final = 5.0
_AROUND_KEY: Final = f"{MESSAGE_KEY}_around"
"""Label of a task that is scheduled: what was around it then, for the scheduler that sends it."""

_Sending = tuple[contextvars.Context, Enqueue, str]
_sending: ContextVar[list[_Sending] | None] = ContextVar("otel_bridge_taskiq", default=None)
_begun: ContextVar[list[str] | None] = ContextVar("otel_bridge_taskiq_begun", default=None)
"""Of the message that a receiver has in hand: its task, once it begins."""


class TaskiqAdapter(Adapter):
    """
    Makes the tasks, workers and queues of every broker visible that is made from now on.

    ``instrument(broker=...)`` follows one that exists already. What ``SimpleRetryMiddleware``,
    ``SmartRetryMiddleware`` or ``Context.requeue()`` sends again is a retry. What is scheduled for
    one time belongs to the work around its scheduling; a task of every Monday is its own.
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
                once = name == "schedule_by_time"
                self._patch(AsyncKicker, name, functools.partial(self._scheduling, once))
        self._patch(Context, "requeue", self._requeueing)
        self._patch(Receiver, "callback", _receiving)
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

    def _scheduling(
        self, once: bool, original: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        async def schedule(kicker: Any, *args: Any, **kwargs: Any) -> Any:
            run = self._runs.get(kicker.custom_task_id)
            if run is not None:
                kicker.with_labels(**{MESSAGE_KEY: json.dumps(run.queue_again())})
            around = carrier_of(current_scope()) if once and run is None and not is_off() else {}
            if not around:
                return await original(kicker, *args, **kwargs)
            labels = kicker.labels
            kicker.labels = {**labels, _AROUND_KEY: json.dumps(around)}
            try:
                return await original(kicker, *args, **kwargs)
            finally:
                kicker.labels = labels

        return schedule

    def _requeueing(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def requeue(context: Context) -> Any:
            run = self._runs.get(context.message.task_id)
            if run is None:
                return await original(context)
            context.message.labels[MESSAGE_KEY] = json.dumps(run.queue_again())
            run.error = "requeued by the task"
            try:
                return await original(context)
            except NoResultError:
                raise
            except BaseException:
                # The broker did not take it: what the task makes of that is its end.
                run.is_queued_again, run.error = False, None
                raise

        return requeue


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
            message.labels[MESSAGE_KEY] = json.dumps(run.queue_again())
            return
        opened = _sending.get()
        if opened is None or is_off() or MESSAGE_KEY in message.labels:
            return
        queue = message.labels.get("queue_name") or getattr(self.broker, "queue_name", None)
        around = read_carrier(message.labels.pop(_AROUND_KEY, None))
        (message.labels_types or {}).pop(_AROUND_KEY, None)
        block = enqueue(
            task_id=None,
            task_type=message.task_name,
            queue=queue,
            parent_task_id=around.get(semconv.CARRIER_PARENT_TASK_ID),
            project_id=around.get(semconv.CARRIER_PROJECT_ID),
            phase=around.get(semconv.CARRIER_PHASE),
        )
        # A context of its own: what is opened here is closed in kiq()'s.
        context = contextvars.copy_context()
        if around:
            context.run(attach, propagate.extract(around))
        carrier: dict[str, str] = context.run(block.__enter__)
        opened.append((context, block, message.task_id))
        message.labels[MESSAGE_KEY] = json.dumps(carrier)

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        self._open(message)
        return message

    @safely
    def _open(self, message: TaskiqMessage) -> None:
        begun = _begun.get()
        if begun is not None:
            begun.append(message.task_id)
        if is_off():
            return
        self._runs.open(
            message.task_id,
            message.task_name,
            # A scheduler that knows nothing of us sends what was around alone.
            message.labels.get(MESSAGE_KEY) or message.labels.get(_AROUND_KEY),
            retry_count=int(message.labels.get("_retries", 0)),
            queue=message.labels.get("queue_name") or getattr(self.broker, "queue_name", None),
            worker_id=_worker_id(),
            heartbeat=self._heartbeat,
        )

    def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        run = self._runs.get(message.task_id)
        if run is not None and not isinstance(exception, NoResultError):
            # That one only says that there is no result to keep.
            run.error = exception

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self._runs.close(message.task_id)


def _receiving(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def callback(receiver: Receiver, message: Any, *args: Any, **kwargs: Any) -> Any:
        begun: list[str] = []
        token = _begun.set(begun)
        try:
            return await original(receiver, message, *args, **kwargs)
        finally:
            _begun.reset(token)
            if not begun:
                _report_unknown(receiver.broker, getattr(message, "data", message))

    return callback


@safely
def _report_unknown(broker: AsyncBroker, data: bytes) -> None:
    """Tell of a message that the worker passed over: nobody else will."""
    try:
        message = broker.formatter.loads(message=data)
    except Exception:  # Whatever the formatter raises; the receiver has logged it.
        return
    if broker.find_task(message.task_name) is None:
        report_lost(
            message.task_id,
            message.task_name,
            message.labels.get(MESSAGE_KEY),
            reason=f"no worker knows a task {message.task_name!r}",
            retry_count=0,
            worker_id=None,
        )


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
