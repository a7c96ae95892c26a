"""
Dramatiq: call ``DramatiqAdapter().instrument()`` before the broker is created, or after it is set.

It adds the first middleware of the list. Dramatiq calls the ``after_`` hooks in reverse order, so
this one runs last and knows whether the ``Retries`` middleware has queued the message again. A
message's options carry the context.

Source: dramatiq 2.2 (``broker.py``, ``worker.py``, ``middleware/retries.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

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
from otel_bridge.adapters.runs import Runs, attempts_before, report_lost
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.workers.heartbeat import WorkerHeartbeat

with framework("dramatiq"):
    from dramatiq import broker as dramatiq_broker
    from dramatiq.broker import Broker
    from dramatiq.middleware import Middleware

__all__ = ["DramatiqAdapter"]


class DramatiqAdapter(Adapter):
    """
    Makes the messages, workers and queues of every Dramatiq broker visible.

    Call ``DramatiqAdapter().instrument()`` once, in each process that sends messages or runs a
    worker; a second call does nothing but log a warning. Brokers that are created from then on are
    instrumented until ``uninstrument()``, and so is the one that ``dramatiq.set_broker()`` has
    already set. With a Dramatiq older than 1.18 one error is logged and nothing is shown.

    Each process of the ``dramatiq`` command is one worker, however many threads it has. It sends a
    heartbeat every 10 s (by default) and queue depths every 5 s, and waits up to 4 s at its
    shutdown to send the rest. What fails inside is logged, and the message is processed without
    being shown.
    """

    requirement: ClassVar[str] = "dramatiq >= 1.18"
    duplicate_scopes: ClassVar[tuple[str, ...]] = ("opentelemetry.instrumentation.dramatiq",)

    def _attach(self, **kwargs: Any) -> None:
        self._runs = Runs()
        self._instrumented: list[tuple[Broker, Middleware]] = []
        self._patch_init(Broker, self._instrument_broker)
        if dramatiq_broker.global_broker is not None:
            self._instrument_broker(dramatiq_broker.global_broker)

    def _detach(self) -> None:
        for broker, middleware in self._instrumented:
            broker.middleware.remove(middleware)
            del broker.enqueue
        self._instrumented = []

    @safely
    def _instrument_broker(self, broker: Broker) -> None:
        middleware = _MonitoringMiddleware(self._runs)
        broker.middleware.insert(0, middleware)
        broker.enqueue = self._enqueueing(broker.enqueue)  # type: ignore[method-assign]
        self._instrumented.append((broker, middleware))

    def _enqueueing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def put(message: Any, *args: Any, **kwargs: Any) -> Any:
            run = self._runs.get(message.message_id)
            if run is not None:
                message.options[MESSAGE_KEY] = run.queue_again()
            if is_off() or MESSAGE_KEY in message.options:
                # A retry, or a delayed message that is due and moves to its queue.
                return original(message, *args, **kwargs)
            span = enqueue(task_id=None, task_type=message.actor_name, queue=message.queue_name)
            with span as carrier:
                message.options[MESSAGE_KEY] = carrier
                result = original(message, *args, **kwargs)
                span.queued(message.message_id)
                return result

        return put


class _MonitoringMiddleware(Middleware):
    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._heartbeat: WorkerHeartbeat | None = None
        self._depths: DepthSampler | None = None

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        # after_worker_boot is too late: its threads already run jobs by then, which no heartbeat
        # would show.
        if self._heartbeat is None:
            self._heartbeat = start_worker(_worker_id(), {"framework": "dramatiq"})
        self._depths = DepthSampler(
            lambda: sorted(broker.get_declared_queues()), lambda name: _depth_of(broker, name)
        )
        self._depths.start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        # before_worker_shutdown is too early: jobs then have up to ten minutes to end, during
        # which heartbeats must go on.
        stop_worker(self._heartbeat, self._depths)
        self._heartbeat = None

    def before_process_message(self, broker: Broker, message: Any) -> None:
        self._open(message)

    @safely
    def _open(self, message: Any) -> None:
        if is_off():
            return
        self._runs.open(
            message.message_id,
            message.actor_name,
            message.options.get(MESSAGE_KEY),
            retry_count=attempts_before(message.options.get("retries")),
            queue=message.queue_name,
            worker_id=_worker_id(),
            heartbeat=self._heartbeat,
        )

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        run = self._runs.get(message.message_id)
        if run is not None:
            run.error = exception
        self._runs.close(message.message_id)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        run = self._runs.get(message.message_id)
        if run is not None:
            run.error = "skipped: a middleware refused the message"
        self._runs.close(message.message_id)

    def after_nack(self, broker: Broker, message: Any) -> None:
        if message.actor_name not in broker.actors and not is_off():
            # A message of an unknown actor is rejected before the other hooks run.
            report_lost(
                message.message_id,
                message.actor_name,
                message.options.get(MESSAGE_KEY),
                error=f"no worker knows an actor {message.actor_name!r}",
                retry_count=attempts_before(message.options.get("retries")),
                worker_id=None,
            )


def _worker_id() -> str:
    return f"dramatiq@{this_process()}"


def _depth_of(broker: Any, name: str) -> int:
    if hasattr(broker, "namespace") and hasattr(broker, "client"):
        # do_qsize() would also count running and delayed messages.
        return int(broker.client.llen(f"{broker.namespace}:{name}"))
    if hasattr(broker, "get_queue_message_counts"):
        return int(broker.get_queue_message_counts(name)[0])
    return int(broker.queues[name].qsize())
