"""
``TaskiqAdapter``: what a worker does; ``sending.py`` has what is sent.

Jobs are watched from outside of the middlewares: around the receiver's callback, and innermost
around the function. So the order of other middlewares, and what they raise, changes nothing. Each
worker process is one worker, however many tasks it runs at a time.

Source: taskiq 0.11.16 and 0.13 (``kicker.py``, ``receiver/receiver.py``, ``abc/broker.py``).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from opentelemetry import context as otel_context
from opentelemetry.context import attach

from otel_bridge.adapters.base import (
    Adapter,
    DepthSampler,
    framework,
    is_off,
    safely,
    start_worker,
    stop_worker,
    this_process,
)
from otel_bridge.adapters.runs import Runs, report_lost
from otel_bridge.adapters.taskiq.brokers import (
    counting_deliveries,
    delivery_of,
    depth_of,
    has_depths,
    naming_deliveries,
    queues_of,
    stream_brokers,
)
from otel_bridge.adapters.taskiq.delivery import Delivery, attempts_of, current_delivery
from otel_bridge.adapters.taskiq.sending import (
    MonitoringMiddleware,
    carrier_in,
    kicking,
    reporting_progress,
    requeueing,
    scheduling,
)
from otel_bridge.spans.span_context_manager import one_line
from otel_bridge.workers.heartbeat import WorkerHeartbeat
from otel_bridge.workers.queue_depth import LoopCaller

with framework("taskiq"):
    from taskiq import AsyncBroker, Context, TaskiqMessage, TaskiqMiddleware
    from taskiq.depends.progress_tracker import ProgressTracker
    from taskiq.kicker import AsyncKicker
    from taskiq.receiver import Receiver

__all__ = ["TaskiqAdapter"]


class _Worker:
    """A receiver that takes messages from its broker; ``heartbeat`` is None before configure()."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.heartbeat: WorkerHeartbeat | None = None
        self.depths: DepthSampler | None = None


class TaskiqAdapter(Adapter):
    """
    Makes the tasks, workers and queues of every Taskiq broker visible.

    Call ``TaskiqAdapter().instrument()`` once, in each process that sends tasks or runs a worker; a
    second call does nothing but log a warning. Brokers are instrumented when they are created, and
    those that exist already when they send or receive their next message, until ``uninstrument()``;
    ``instrument(broker=...)`` instruments one at once. It may be called at ``WORKER_STARTUP``, and
    so may ``configure()``. With a Taskiq older than 0.11.16 one error is logged, and nothing shown.

    A task is shown as a retry if ``SimpleRetryMiddleware``, ``SmartRetryMiddleware`` or
    ``Context.requeue()`` sends it again, as failed also if its result cannot be stored or another
    middleware raises before that. A task that is scheduled for one time belongs to the work that
    scheduled it; a recurring task belongs to no other work; the steps of a pipeline belong to the
    work that started it. ``ProgressTracker`` reports the job's progress if its ``meta`` is a
    mapping with ``done`` (or ``current``) and perhaps ``total``. A worker sends a heartbeat every
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
        self._backends: list[tuple[Any, dict[str, Any]]] = []
        self._workers: dict[Receiver, _Worker] = {}
        self._patch_init(AsyncBroker, self._instrument_broker)
        self._patch(AsyncBroker, "shutdown", self._shutting_down)
        self._patch(AsyncKicker, "kiq", functools.partial(kicking, self._instrument_broker))
        for name in ("schedule_by_time", "schedule_by_cron", "schedule_by_interval"):
            if hasattr(AsyncKicker, name):
                is_once = name == "schedule_by_time"
                self._patch(AsyncKicker, name, functools.partial(scheduling, is_once))
        self._patch(Context, "requeue", requeueing)
        self._patch(ProgressTracker, "set_progress", reporting_progress)
        self._patch(Receiver, "runner", self._listening)
        self._patch(Receiver, "callback", self._receiving)
        self._patch(Receiver, "run_task", self._running)
        for stream in stream_brokers():
            self._patch(stream, "_ack_generator", naming_deliveries)
            self._patch(stream, "listen", counting_deliveries)
        if broker is not None:
            self._instrument_broker(broker)

    def _detach(self) -> None:
        for broker, middleware in self._instrumented:
            if middleware in broker.middlewares:
                broker.middlewares.remove(middleware)
        for backend, own in self._backends:
            vars(backend).pop("set_result", None)
            vars(backend).update(own)
        self._instrumented, self._backends = [], []

    @safely
    def _instrument_broker(self, broker: AsyncBroker) -> None:
        if any(isinstance(each, MonitoringMiddleware) for each in broker.middlewares):
            return
        middleware = MonitoringMiddleware()
        middleware.set_broker(broker)
        broker.middlewares.append(middleware)
        self._instrumented.append((broker, middleware))

    # --- working -----------------------------------------------------------------------------

    def _listening(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        # The receiver looks ``runner`` up after the broker's startup, so that instrument() and
        # configure() may be called there.
        async def runner(receiver: Receiver, *args: Any, **kwargs: Any) -> Any:
            number = len(self._workers) + 1
            suffix = "" if number == 1 else f"#{number}"
            self._workers[receiver] = _Worker(f"taskiq@{this_process()}{suffix}")
            self._watch(receiver)
            try:
                return await original(receiver, *args, **kwargs)
            finally:
                self._stop(receiver)

        return runner

    @safely
    def _watch(self, receiver: Receiver) -> None:
        """Instrument what the receiver uses, and start its heartbeat once there is a bridge."""
        broker = receiver.broker
        self._instrument_broker(broker)
        self._watch_backend(broker.result_backend)
        worker = self._workers.get(receiver)
        if worker is None or worker.heartbeat is not None:
            return
        meta = {"framework": "taskiq", "queues": queues_of(broker)}
        worker.heartbeat = start_worker(worker.worker_id, meta)
        if worker.heartbeat is not None and has_depths(broker):
            on_loop = LoopCaller(asyncio.get_running_loop())
            worker.depths = DepthSampler(
                lambda: queues_of(broker), lambda name: on_loop.call(depth_of, broker, name)
            )
            worker.depths.start()

    @safely
    def _stop(self, receiver: Receiver) -> None:
        worker = self._workers.pop(receiver, None)
        if worker is None:
            return
        if worker.depths is not None:
            worker.depths.stop()
        if worker.heartbeat is not None:
            worker.heartbeat.stop()

    def _shutting_down(
        self, original: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        async def shutdown(broker: AsyncBroker, *args: Any, **kwargs: Any) -> Any:
            try:
                return await original(broker, *args, **kwargs)
            finally:
                if broker.is_worker_process and not is_off():
                    for receiver in [each for each in self._workers if each.broker is broker]:
                        self._stop(receiver)
                    # Its process ends without atexit; what is queued would be lost.
                    await asyncio.to_thread(stop_worker, None)

        return shutdown

    # --- running -----------------------------------------------------------------------------

    def _receiving(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def callback(receiver: Receiver, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return await original(receiver, *args, **kwargs)
            self._watch(receiver)
            delivery = Delivery(receiver, kwargs.get("message", args[0] if args else None))
            around = otel_context.get_current()
            token = current_delivery.set(delivery)
            try:
                return await original(receiver, *args, **kwargs)
            except BaseException as error:
                delivery.raised = error
                raise
            finally:
                current_delivery.reset(token)
                self._end(delivery)
                # A broker in memory may run the job in the task that sent it, and a middleware
                # that attaches a context and raises before it detaches it would leave it there.
                if otel_context.get_current() is not around:
                    attach(around)

        return callback

    def _running(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run_task(
            receiver: Receiver, target: Any, message: TaskiqMessage, *args: Any, **kwargs: Any
        ) -> Any:
            delivery = current_delivery.get()
            if delivery is None or delivery.run is not None:
                return await original(receiver, target, message, *args, **kwargs)
            self._start(delivery, message)
            target = delivery.observing(target, message.task_name)
            result = await original(receiver, target, message, *args, **kwargs)
            delivery.ended(result)
            return result

        return run_task

    @safely
    def _start(self, delivery: Delivery, message: TaskiqMessage) -> None:
        labels = message.labels
        broker = delivery.receiver.broker
        worker = self._workers.get(delivery.receiver)
        stream, deliveries_before = delivery_of(delivery.message)
        run = self._runs.open(
            message.task_id,
            message.task_name,
            carrier_in(labels),
            retry_count=attempts_of(labels, deliveries_before),
            queue=stream or labels.get("queue_name") or getattr(broker, "queue_name", None),
            worker_id=None if worker is None else worker.worker_id,
            heartbeat=None if worker is None else worker.heartbeat,
            is_inline=worker is None,
        )
        delivery.started(run, message)

    @safely
    def _end(self, delivery: Delivery) -> None:
        if delivery.run is None:
            self._report_not_started(delivery)
        elif delivery.run.is_open:
            delivery.set_outcome()
            self._runs.close(delivery.task_id)

    def _report_not_started(self, delivery: Delivery) -> None:
        """Publish the end of a job that did not run: unknown, or stopped by a middleware."""
        broker = delivery.receiver.broker
        try:
            data = getattr(delivery.message, "data", delivery.message)
            message = broker.formatter.loads(message=data)
        except Exception:  # Any formatter may raise anything; the receiver has logged it.
            return
        if broker.find_task(message.task_name) is None:
            error = f"no worker knows a task {message.task_name!r}"
        elif isinstance(delivery.raised, Exception):
            error = one_line(delivery.raised)
        else:
            return
        labels = message.labels
        report_lost(
            message.task_id,
            message.task_name,
            carrier_in(labels),
            error=error,
            retry_count=attempts_of(labels, delivery_of(delivery.message)[1]),
            worker_id=None,
            reason="refused",
        )

    @safely
    def _watch_backend(self, backend: Any) -> None:
        """End an attempt when its result is stored; on each object, for a class may override it."""
        if any(each is backend for each, _ in self._backends):
            return
        original = backend.set_result
        own = {key: value for key, value in vars(backend).items() if key == "set_result"}

        @functools.wraps(original)
        async def set_result(*args: Any, **kwargs: Any) -> Any:
            delivery = current_delivery.get()
            task_id = kwargs.get("task_id", args[0] if args else None)
            if delivery is None or not delivery.is_to_be_stored(task_id):
                return await original(*args, **kwargs)
            try:
                stored = await original(*args, **kwargs)
            except BaseException as error:
                delivery.store_error = error
                raise
            self._end(delivery)
            return stored

        backend.set_result = set_result
        self._backends.append((backend, own))
