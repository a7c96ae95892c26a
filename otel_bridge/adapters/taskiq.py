"""
Taskiq: call ``TaskiqAdapter().instrument()`` before the broker is created.

It adds a middleware at the end of every broker's list. A message's labels carry the context. Each
worker process is one worker, however many tasks it runs at a time.

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
    framework,
    is_off,
    safely,
    start_worker,
    stop_worker,
    this_process,
)
from otel_bridge.adapters.runs import Runs, attempts_before, read_carrier, report_lost
from otel_bridge.events import semconv
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.scope import carrier_of, current_scope
from otel_bridge.spans.work_spans import Enqueue
from otel_bridge.workers.heartbeat import WorkerHeartbeat
from otel_bridge.workers.queue_depth import LoopCaller

with framework("taskiq"):
    from taskiq import AsyncBroker, Context, TaskiqMessage, TaskiqMiddleware, TaskiqResult
    from taskiq.exceptions import NoResultError
    from taskiq.kicker import AsyncKicker
    from taskiq.receiver import Receiver

__all__ = ["TaskiqAdapter"]

_SCHEDULER_KEY: Final = f"{MESSAGE_KEY}_around"
"""
Label of a scheduled task with the carrier of the work that scheduled it.

The scheduler, another process, creates the enqueue span from it when it sends the task.
"""

_OpenSpan = tuple[contextvars.Context, Enqueue, str]
"""Context in which an enqueue span was opened, the span, and the task's id."""
_open_spans: ContextVar[list[_OpenSpan] | None] = ContextVar("otel_bridge_taskiq", default=None)
"""Enqueue spans that ``pre_send`` opened during the current ``kiq()``, which closes them."""
_started: ContextVar[list[str] | None] = ContextVar("otel_bridge_taskiq_started", default=None)
"""Ids of tasks that started while the receiver processes the current message: none or one."""


class TaskiqAdapter(Adapter):
    """
    Makes the tasks, workers and queues of every Taskiq broker visible.

    Call ``TaskiqAdapter().instrument()`` once, in each process that sends tasks or runs a worker; a
    second call does nothing but log a warning. Brokers that are created from then on are
    instrumented until ``uninstrument()``; ``instrument(broker=...)`` instruments one that exists
    already. With a Taskiq older than 0.11.16 one error is logged and nothing is shown.

    A task is shown as a retry if ``SimpleRetryMiddleware``, ``SmartRetryMiddleware`` or
    ``Context.requeue()`` sends it again. A task that is scheduled for one time belongs to the work
    that scheduled it; a recurring task belongs to no other work. A worker sends a heartbeat every
    10 s (by default) and, if its broker is one of taskiq-redis, the queue's depth every 5 s; its
    shutdown waits up to 4 s to send the rest. What fails inside is logged, and the task runs
    without being shown.
    """

    requirement: ClassVar[str] = "taskiq >= 0.11.16"
    duplicate_scopes: ClassVar[tuple[str, ...]] = (
        "taskiq",
        "opentelemetry.instrumentation.taskiq",
        "taskiq.middlewares.opentelemetry_middleware",
    )

    def _attach(self, broker: AsyncBroker | None = None, **kwargs: Any) -> None:
        self._runs = Runs()
        self._instrumented: list[tuple[AsyncBroker, TaskiqMiddleware]] = []
        self._patch_init(AsyncBroker, self._instrument_broker)
        self._patch(AsyncKicker, "kiq", self._kicking)
        for name in ("schedule_by_time", "schedule_by_cron", "schedule_by_interval"):
            if hasattr(AsyncKicker, name):
                is_once = name == "schedule_by_time"
                self._patch(AsyncKicker, name, functools.partial(self._scheduling, is_once))
        self._patch(Context, "requeue", self._requeueing)
        self._patch(Receiver, "callback", _receiving)
        if broker is not None:
            self._instrument_broker(broker)

    def _detach(self) -> None:
        for broker, middleware in self._instrumented:
            broker.middlewares.remove(middleware)
        self._instrumented = []

    @safely
    def _instrument_broker(self, broker: AsyncBroker) -> None:
        middleware = _MonitoringMiddleware(self._runs)
        middleware.set_broker(broker)
        broker.middlewares.append(middleware)
        self._instrumented.append((broker, middleware))

    def _kicking(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def kiq(kicker: Any, *args: Any, **kwargs: Any) -> Any:
            opened: list[_OpenSpan] = []
            token = _open_spans.set(opened)
            error: BaseException | None = None
            try:
                return await original(kicker, *args, **kwargs)
            except BaseException as raised:
                error = raised
                raise
            finally:
                _open_spans.reset(token)
                for context, span, task_id in opened:
                    if error is None:
                        span.queued(task_id)
                    context.run(span.__exit__, type(error) if error else None, error, None)

        return kiq

    def _scheduling(
        self, is_once: bool, original: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        async def schedule(kicker: Any, *args: Any, **kwargs: Any) -> Any:
            run = self._runs.get(kicker.custom_task_id)
            if run is not None:
                kicker.with_labels(**{MESSAGE_KEY: json.dumps(run.queue_again())})
            has_carrier = is_once and run is None and not is_off()
            carrier = carrier_of(current_scope()) if has_carrier else {}
            if not carrier:
                return await original(kicker, *args, **kwargs)
            labels = kicker.labels
            kicker.labels = {**labels, _SCHEDULER_KEY: json.dumps(carrier)}
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
                # The broker did not take it, so the job ends as the task does.
                run.is_queued_again, run.error = False, None
                raise

        return requeue


class _MonitoringMiddleware(TaskiqMiddleware):
    def __init__(self, runs: Runs) -> None:
        super().__init__()
        self._runs = runs
        self._heartbeat: WorkerHeartbeat | None = None
        self._depths: DepthSampler | None = None

    async def startup(self) -> None:
        if not self.broker.is_worker_process:
            return
        self._heartbeat = start_worker(_worker_id(), {"framework": "taskiq"})
        broker = self.broker
        on_loop = LoopCaller(asyncio.get_running_loop())
        queue = getattr(broker, "queue_name", None)
        if queue is not None and hasattr(broker, "connection_pool"):
            self._depths = DepthSampler(
                lambda: [queue], lambda name: on_loop.call(_depth_of, broker, name)
            )
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
        opened = _open_spans.get()
        if opened is None or is_off() or MESSAGE_KEY in message.labels:
            return
        queue = message.labels.get("queue_name") or getattr(self.broker, "queue_name", None)
        scheduled_by = read_carrier(message.labels.pop(_SCHEDULER_KEY, None))
        (message.labels_types or {}).pop(_SCHEDULER_KEY, None)
        span = enqueue(
            task_id=None,
            task_type=message.task_name,
            queue=queue,
            parent_task_id=scheduled_by.get(semconv.CARRIER_PARENT_TASK_ID),
            project_id=scheduled_by.get(semconv.CARRIER_PROJECT_ID),
            phase=scheduled_by.get(semconv.CARRIER_PHASE),
        )
        # Opened in a copy of the context, because kiq(), which closes it, may run in another one.
        context = contextvars.copy_context()
        if scheduled_by:
            context.run(attach, propagate.extract(scheduled_by))
        carrier: dict[str, str] = context.run(span.__enter__)
        opened.append((context, span, message.task_id))
        message.labels[MESSAGE_KEY] = json.dumps(carrier)

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        self._open(message)
        return message

    @safely
    def _open(self, message: TaskiqMessage) -> None:
        started = _started.get()
        if started is not None:
            started.append(message.task_id)
        if is_off():
            return
        self._runs.open(
            message.task_id,
            message.task_name,
            # A scheduler process without this adapter sends only the label of the scheduling work.
            message.labels.get(MESSAGE_KEY) or message.labels.get(_SCHEDULER_KEY),
            retry_count=attempts_before(message.labels.get("_retries")),
            queue=message.labels.get("queue_name") or getattr(self.broker, "queue_name", None),
            worker_id=_worker_id(),
            heartbeat=self._heartbeat,
        )

    def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        run = self._runs.get(message.task_id)
        if run is not None and not isinstance(exception, NoResultError):
            # NoResultError is no failure: it only means that there is no result to keep.
            run.error = exception

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self._runs.close(message.task_id)


def _receiving(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def callback(receiver: Receiver, message: Any, *args: Any, **kwargs: Any) -> Any:
        started: list[str] = []
        token = _started.set(started)
        try:
            return await original(receiver, message, *args, **kwargs)
        finally:
            _started.reset(token)
            if not started:
                _report_unknown(receiver.broker, getattr(message, "data", message))

    return callback


@safely
def _report_unknown(broker: AsyncBroker, data: bytes) -> None:
    """Publish the end of a job whose task is not registered; the receiver only logs it."""
    try:
        message = broker.formatter.loads(message=data)
    except Exception:  # Any formatter may raise anything; the receiver has logged it.
        return
    if broker.find_task(message.task_name) is None:
        report_lost(
            message.task_id,
            message.task_name,
            message.labels.get(MESSAGE_KEY),
            error=f"no worker knows a task {message.task_name!r}",
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
