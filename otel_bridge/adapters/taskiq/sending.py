"""
What is sent: ``kiq()``, schedules, retries, requeues, the steps of pipelines; and native progress.

A middleware at the end of each broker's list puts the carrier (the dict that carries trace context
with a job) into the labels of a message, as JSON text. Whose the message is was decided before: by
the context of ``kiq()``, or by the attempt that a middleware sends it for.

Source: taskiq 0.11.16 and 0.13 (``kicker.py``, ``context.py``, ``middlewares``).
"""

from __future__ import annotations

import contextvars
import json
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry.context import attach

from otel_bridge.adapters.base import MESSAGE_KEY, framework, is_off, safely
from otel_bridge.adapters.runs import Run, read_carrier
from otel_bridge.adapters.taskiq.delivery import current_delivery
from otel_bridge.events import semconv
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.scope import carrier_of, current_scope
from otel_bridge.spans.work_spans import Enqueue

with framework("taskiq"):
    from taskiq import Context, TaskiqMessage, TaskiqMiddleware, TaskiqResult
    from taskiq.exceptions import NoResultError

__all__ = [
    "MonitoringMiddleware",
    "carrier_in",
    "kicking",
    "reporting_progress",
    "requeueing",
    "scheduling",
]

_SCHEDULER_KEY: Final = f"{MESSAGE_KEY}_around"
"""
Label of a scheduled task with the carrier of the work that scheduled it.

The scheduler, another process, creates the enqueue span from it when it sends the task.
"""


class _Sending:
    """
    One ``kiq()``: what ``pre_send`` opened in it, to be closed when the broker has the message.

    ``around`` is the context that the new job belongs to: that of ``kiq()`` itself, not the one
    that other middlewares make current before ``pre_send``.
    """

    def __init__(self, around: otel_context.Context) -> None:
        self.around = around
        self.retried: Run | None = None
        self._opened: list[tuple[contextvars.Context, Enqueue, str]] = []

    def opened(self, context: contextvars.Context, span: Enqueue, task_id: str) -> None:
        self._opened.append((context, span, task_id))

    def end(self, error: BaseException | None) -> None:
        if error is None and self.retried is not None:
            self.retried.queue_again()
        for context, span, task_id in self._opened:
            if error is None:
                span.queued(task_id)
            context.run(span.__exit__, type(error) if error else None, error, None)


_sending: ContextVar[_Sending | None] = ContextVar("otel_bridge_taskiq_sending", default=None)


def carrier_in(labels: Mapping[str, Any]) -> Any:
    """Return the carrier in a message's labels, as JSON text; None: there is none."""
    # A scheduler process without this adapter sends only the label of the scheduling work.
    return labels.get(MESSAGE_KEY) or labels.get(_SCHEDULER_KEY)


def kicking(
    instrument_broker: Callable[[Any], None], original: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    """
    Wrap ``AsyncKicker.kiq``: a job is enqueued when its broker has taken it.

    Args:
        instrument_broker: Called with the broker, which may be older than the adapter.
        original: The method.
    """

    async def kiq(kicker: Any, *args: Any, **kwargs: Any) -> Any:
        if is_off():
            return await original(kicker, *args, **kwargs)
        instrument_broker(kicker.broker)
        sending = _Sending(_around_sending())
        token = _sending.set(sending)
        error: BaseException | None = None
        try:
            return await original(kicker, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            _sending.reset(token)
            sending.end(error)

    return kiq


def scheduling(
    is_once: bool, original: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    """
    Wrap ``schedule_by_time`` and its like: the scheduler learns whose work it sends.

    Args:
        is_once: Whether the schedule is for one time. A recurring job belongs to no other work.
        original: The method.
    """

    async def schedule(kicker: Any, *args: Any, **kwargs: Any) -> Any:
        if is_off():
            return await original(kicker, *args, **kwargs)
        delivery = current_delivery.get()
        if delivery is not None and delivery.is_retrying(kicker.custom_task_id):
            assert delivery.run is not None
            kicker.with_labels(**{MESSAGE_KEY: json.dumps(delivery.run.span.retry_carrier)})
            scheduled = await original(kicker, *args, **kwargs)
            delivery.run.queue_again()
            return scheduled
        carrier = carrier_of(current_scope()) if is_once else {}
        labels = kicker.labels
        without = {key: value for key, value in labels.items() if key != MESSAGE_KEY}
        kicker.labels = {**without, _SCHEDULER_KEY: json.dumps(carrier)} if carrier else without
        try:
            return await original(kicker, *args, **kwargs)
        finally:
            kicker.labels = labels

    return schedule


def requeueing(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap ``Context.requeue``: the attempt ends as a retry, once the broker has the job again."""

    async def requeue(context: Context) -> Any:
        delivery = current_delivery.get()
        run = None if delivery is None else delivery.run
        if run is None or run.task_id != context.message.task_id:
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


class MonitoringMiddleware(TaskiqMiddleware):
    """Puts the carrier into the labels of what is sent; reads which error a middleware may hide."""

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        self._send(message)
        return message

    @safely
    def _send(self, message: TaskiqMessage) -> None:
        sending, delivery = _sending.get(), current_delivery.get()
        if sending is None or is_off():
            return
        if delivery is not None and delivery.is_retrying(message.task_id):
            assert delivery.run is not None
            message.labels[MESSAGE_KEY] = json.dumps(delivery.run.span.retry_carrier)
            sending.retried = delivery.run
            return
        if delivery is None and MESSAGE_KEY in message.labels:
            return  # a scheduler sends what a worker has put off for a retry
        queue = message.labels.get("queue_name") or getattr(self.broker, "queue_name", None)
        scheduled_by = read_carrier(message.labels.pop(_SCHEDULER_KEY, None))
        (message.labels_types or {}).pop(_SCHEDULER_KEY, None)
        # Opened in a copy of the context, because kiq(), which closes it, may run in another one.
        context = contextvars.copy_context()
        context.run(attach, sending.around)
        if scheduled_by:
            context.run(attach, propagate.extract(scheduled_by))
        span = context.run(
            enqueue,
            task_id=None,
            task_type=message.task_name,
            queue=queue,
            parent_task_id=scheduled_by.get(semconv.CARRIER_PARENT_TASK_ID),
            project_id=scheduled_by.get(semconv.CARRIER_PROJECT_ID),
            phase=scheduled_by.get(semconv.CARRIER_PHASE),
        )
        carrier: dict[str, str] = context.run(span.__enter__)
        sending.opened(context, span, message.task_id)
        message.labels[MESSAGE_KEY] = json.dumps(carrier)

    def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        # A retry middleware replaces ``result.error``; this one is what the task raised.
        delivery = current_delivery.get()
        if delivery is not None and delivery.error is None:
            delivery.error = exception


def _around_sending() -> otel_context.Context:
    """The context that a job which is sent now belongs to."""
    delivery = current_delivery.get()
    if delivery is None or delivery.context is None or delivery.is_function_running:
        return otel_context.get_current()
    # Sent by a middleware, such as the next step of a pipeline: other middlewares may have
    # detached, in any order, the context that the function ran in.
    return delivery.context


def reporting_progress(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap ``ProgressTracker.set_progress``: a ``meta`` with numbers is the job's progress."""

    async def set_progress(
        tracker: Any, state: Any, meta: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        _report_progress(tracker, meta)
        return await original(tracker, state, meta, *args, **kwargs)

    return set_progress


@safely
def _report_progress(tracker: Any, meta: Any) -> None:
    delivery = current_delivery.get()
    if delivery is None or delivery.run is None or not isinstance(meta, Mapping):
        return
    if delivery.task_id == tracker.context.message.task_id:
        done = meta.get("done", meta.get("current"))
        if isinstance(done, int):
            total = meta.get("total")
            delivery.run.span.progress(done, total if isinstance(total, int) else None)
