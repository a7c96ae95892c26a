"""
Dramatiq: call ``DramatiqAdapter().instrument()`` before the broker is created, or after it is set.

It wraps four methods of each broker: ``enqueue``, ``flush``, ``emit_before`` and ``emit_after``,
which call the hooks of all middleware. A middleware of our own would be one among them: another one
before it could skip a message unseen, and the order of both would decide what is known. A message's
options carry the context.

Source: dramatiq 1.18 and 2.2 (``broker.py``, ``worker.py``, ``middleware/``).
"""

from __future__ import annotations

import functools
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
from otel_bridge.adapters.dramatiq.messages import (
    ATTEMPT,
    DELAYED,
    Delivery,
    delivery_of,
    describe_delay,
    is_being_sent,
    is_redis,
    reason_of,
    report_unstarted,
    revert_queue_again,
    sending,
    waiting_in,
    with_carrier,
    within,
)
from otel_bridge.adapters.runs import Runs, read_carrier
from otel_bridge.events import semconv
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.scope import current_scope
from otel_bridge.spans.span_context_manager import safe_str
from otel_bridge.workers.heartbeat import WorkerHeartbeat

with framework("dramatiq"):
    from dramatiq import broker as dramatiq_broker
    from dramatiq.broker import Broker
    from dramatiq.common import dq_name
    from dramatiq.middleware import SkipMessage

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
    shutdown to send the rest. ``configure()`` may come as late as in ``before_worker_boot`` or
    ``after_worker_boot`` of a middleware. What fails inside is logged, and the message is processed
    without being shown.

    A message that an actor or other code enqueues again is a further run of the job, one that the
    ``Retries`` middleware enqueues after an error a further attempt. A message that a middleware
    skips before its actor is called has failed without having started, with the reason ``expired``
    (``max_age``) or ``refused``. The first 10,000 jobs that wait in a queue of Redis when it is
    flushed are shown as revoked. A delayed message waits in the queue ``<name>.DQ``.
    """

    requirement: ClassVar[str] = "dramatiq >= 1.18"
    duplicate_scopes: ClassVar[tuple[str, ...]] = ("opentelemetry.instrumentation.dramatiq",)

    def _attach(self, **kwargs: Any) -> None:
        self._runs = Runs()
        self._brokers: list[_BrokerHooks] = []
        self._patch_init(Broker, self._instrument_broker)
        if dramatiq_broker.global_broker is not None:
            self._instrument_broker(dramatiq_broker.global_broker)

    def _detach(self) -> None:
        for hooks in self._brokers:
            hooks.detach()
        self._brokers = []

    @safely
    def _instrument_broker(self, broker: Broker) -> None:
        hooks = _BrokerHooks(broker, self._runs)
        hooks.attach()
        self._brokers.append(hooks)


class _BrokerHooks:
    """What one broker is wrapped with."""

    def __init__(self, broker: Broker, runs: Runs) -> None:
        self._broker: Any = broker
        self._runs = runs
        self._wrapped: dict[str, Any] = {}
        self._worker: Any = None
        self._heartbeat: WorkerHeartbeat | None = None
        self._depths: DepthSampler | None = None

    def attach(self) -> None:
        """Wrap the methods of this one object."""
        for name, wrap in (
            ("enqueue", self._wrap_enqueue),
            ("flush", self._wrap_flush),
            ("emit_before", self._wrap_emit_before),
            ("emit_after", self._wrap_emit_after),
        ):
            original = getattr(self._broker, name)
            self._wrapped[name] = functools.wraps(original)(wrap(original))
            setattr(self._broker, name, self._wrapped[name])

    def detach(self) -> None:
        """Remove the wrappers, unless other code has replaced them."""
        for name, wrapped in self._wrapped.items():
            if vars(self._broker).get(name) is wrapped:
                delattr(self._broker, name)

    # --- enqueueing --------------------------------------------------------------------------

    def _wrap_enqueue(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def enqueue_message(message: Any, *args: Any, **kwargs: Any) -> Any:
            # A broker that hands a message on to another broker enqueues it once.
            if is_off() or is_being_sent(message):
                return original(message, *args, **kwargs)
            delay = kwargs.get("delay")
            is_delayed = delay is not None or message.options.get("eta") is not None
            again = self._carrier_of_known(message, is_delayed)
            if again is not None:
                try:
                    return original(with_carrier(message, again), *args, **kwargs)
                except BaseException:
                    # The broker has not taken it: this attempt was the last one.
                    revert_queue_again(message)
                    raise
            queue = message.queue_name if delay is None else dq_name(message.queue_name)
            before = read_carrier(message.options.get(MESSAGE_KEY))
            if current_scope().parent_task_id is not None:
                before = {}  # the code around says whose the job is
            span = enqueue(
                task_id=None,
                task_type=message.actor_name,
                queue=queue,
                parent_task_id=before.get(semconv.CARRIER_PARENT_TASK_ID),
                project_id=before.get(semconv.CARRIER_PROJECT_ID),
                phase=before.get(semconv.CARRIER_PHASE),
            )
            with sending(message), within(before), span as carrier:
                carrier[ATTEMPT] = "0"
                if is_delayed:
                    carrier[DELAYED] = "1"
                    describe_delay(delay, message.options.get("eta"))
                result = original(with_carrier(message, carrier), *args, **kwargs)
                span.queued(message.message_id)
                return result

        return enqueue_message

    def _carrier_of_known(self, message: Any, is_delayed: bool) -> dict[str, str] | None:
        """The carrier of a message that stays the same run; None for the first or a further run."""
        carrier = read_carrier(message.options.get(MESSAGE_KEY))
        delivery = delivery_of(message)
        if delivery is None:
            if DELAYED not in carrier or is_delayed:
                return None
            # A worker moves a delayed message that is due to its queue.
        elif delivery.run is None:
            # Put off by a middleware before it began.
            delivery.is_queued_again = True
        elif delivery.error is not None:
            delivery.is_queued_again = True
            carrier = delivery.run.queue_again()
            carrier[ATTEMPT] = str(delivery.attempt + 1)
        else:
            return None
        carrier.pop(DELAYED, None)
        if is_delayed:
            carrier[DELAYED] = "1"
        return carrier

    # --- a flushed queue ---------------------------------------------------------------------

    def _wrap_flush(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def flush(queue_name: str, *args: Any, **kwargs: Any) -> Any:
            waiting = [] if is_off() else waiting_in(self._broker, queue_name)
            result = original(queue_name, *args, **kwargs)
            for message in waiting:
                report_unstarted(message, "the queue was flushed", "revoked")
            return result

        return flush

    # --- the hooks of all middleware ---------------------------------------------------------

    def _wrap_emit_before(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def emit_before(signal: str, *args: Any, **kwargs: Any) -> Any:
            if signal != "process_message" or not args or is_off():
                result = original(signal, *args, **kwargs)
                if signal == "worker_boot" and args:
                    # Before its threads run jobs, which no heartbeat would show.
                    self._worker = args[0]
                    self._start_worker()
                return result
            delivery = Delivery.begin(args[0])
            try:
                result = original(signal, *args, **kwargs)
            except BaseException as error:
                delivery.refusal = error
                raise
            if not delivery.message.failed:
                self._open(delivery)
            return result

        return emit_before

    def _wrap_emit_after(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def emit_after(signal: str, *args: Any, **kwargs: Any) -> Any:
            if signal in ("process_message", "skip_message") and args:
                return self._emit_after_message(original, signal, *args, **kwargs)
            try:
                return original(signal, *args, **kwargs)
            finally:
                if signal == "worker_boot":
                    self._start_worker()
                elif signal == "worker_shutdown":
                    # before_worker_shutdown is too early: jobs then have up to ten minutes to
                    # end, during which heartbeats must go on.
                    self._stop_worker()
                elif signal == "nack" and args:
                    self._report_unknown(args[0])

        return emit_after

    def _emit_after_message(
        self, original: Callable[..., Any], signal: str, message: Any, *args: Any, **kwargs: Any
    ) -> Any:
        delivery = delivery_of(message)
        if delivery is None:
            return original(signal, message, *args, **kwargs)
        exception = kwargs.get("exception")
        delivery.error = exception
        delivery.is_skipped = signal == "skip_message"
        try:
            result = original(signal, message, *args, **kwargs)
        except BaseException:
            if exception is not None or delivery.is_skipped:
                self._close(delivery)
            # Else a time limit has hit the hooks: the worker calls them again, with the exception.
            raise
        self._close(delivery)
        return result

    # --- one attempt -------------------------------------------------------------------------

    @safely
    def _open(self, delivery: Delivery) -> None:
        if self._heartbeat is None:
            self._start_worker()
        message = delivery.message
        delivery.run = self._runs.open(
            message.message_id,
            message.actor_name,
            message.options.get(MESSAGE_KEY),
            retry_count=delivery.attempt,
            queue=message.queue_name,
            worker_id=_worker_id(),
            heartbeat=self._heartbeat,
        )

    def _close(self, delivery: Delivery) -> None:
        try:
            self._end(delivery)
        finally:
            delivery.finish()

    @safely
    def _end(self, delivery: Delivery) -> None:
        message, run, error = delivery.message, delivery.run, delivery.error
        if run is not None:
            run.error, run.reason = error, reason_of(error)
            if delivery.is_skipped:
                run.error, run.reason = "the actor skipped the message", "refused"
            elif error is None and message.failed:
                run.error = "a middleware rejected the message"
            self._runs.close(message.message_id)
            return
        error = error or delivery.refusal
        if delivery.is_queued_again and isinstance(error, SkipMessage):
            return  # it waits on, in another place
        text = "a middleware rejected the message"
        if error is not None:
            what = "skipped" if isinstance(error, SkipMessage) else type(error).__name__
            text = f"{what}: {safe_str(error)}".removesuffix(": ")
        reason = reason_of(error) or "refused"
        report_unstarted(message, text, reason, will_retry=delivery.is_queued_again)

    def _report_unknown(self, message: Any) -> None:
        if message.actor_name not in self._broker.actors and not is_off():
            # A message of an unknown actor is rejected before the other hooks run.
            report_unstarted(message, f"no worker knows an actor {message.actor_name!r}", "refused")

    # --- the worker --------------------------------------------------------------------------

    @safely
    def _start_worker(self) -> None:
        worker = self._worker
        if worker is None or self._heartbeat is not None:
            return
        queues = sorted(worker.consumer_whitelist or _queues_of(self._broker))
        names = [each for queue in queues for each in (queue, dq_name(queue))]
        self._heartbeat = start_worker(_worker_id(), {"framework": "dramatiq", "queues": names})
        if self._heartbeat is not None:
            self._depths = DepthSampler(self._depth_names, self._read_depth)
            self._depths.start()

    @safely
    def _stop_worker(self) -> None:
        heartbeat, depths = self._heartbeat, self._depths
        self._worker = self._heartbeat = self._depths = None
        stop_worker(heartbeat, depths)

    def _depth_names(self) -> list[str]:
        return [each for name in sorted(_queues_of(self._broker)) for each in (name, dq_name(name))]

    def _read_depth(self, name: str) -> int:
        broker, is_delay_queue = self._broker, name.endswith(".DQ")
        if is_redis(broker):
            key = f"{broker.namespace}:{name}"
            if is_delay_queue:
                # A worker holds up to 1,000 delayed messages a thread in its memory.
                return int(broker.client.hlen(f"{key}.msgs"))
            # do_qsize() would also count running and delayed messages.
            return int(broker.client.llen(key))
        if hasattr(broker, "get_queue_message_counts"):
            counts = broker.get_queue_message_counts(name.removesuffix(".DQ"))
            return int(counts[1 if is_delay_queue else 0])
        return int(broker.queues[name].qsize())


def _worker_id() -> str:
    return f"dramatiq@{this_process()}"


def _queues_of(broker: Any) -> set[str]:
    return {name for name in broker.get_declared_queues() if not name.endswith(".DQ")}
