"""
``Delivery``: one message while a Taskiq receiver processes it, and how its job ended.

The receiver calls middlewares around the function, in an order that the application chose, and any
of them may raise. So the end of a job is not read in a middleware: it is decided once, from the
outside, when the result is stored or the receiver is done with the message.

Source: taskiq 0.11.16 and 0.13 (``receiver/receiver.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context as otel_context

from otel_bridge.adapters.base import framework
from otel_bridge.adapters.runs import Run, attempts_before
from otel_bridge.spans.span_context_manager import one_line

with framework("taskiq"):
    from taskiq.exceptions import NoResultError, TaskRejectedError

__all__ = ["Delivery", "attempts_of", "current_delivery"]

current_delivery: Final[ContextVar[Delivery | None]] = ContextVar(
    "otel_bridge_taskiq_delivery", default=None
)
"""The message that the receiver processes in the current asyncio task, innermost last."""


def attempts_of(labels: Any, deliveries_before: int = 0) -> int:
    """
    Return how many attempts were made before the one that a message asks for; never raises.

    Args:
        labels: Those of the message: retries by a middleware and requeues by the job are counted
            apart by Taskiq. What is no number counts as 0.
        deliveries_before: How often the broker gave this message to a worker before.
    """
    return (
        attempts_before(labels.get("_retries"))
        + attempts_before(labels.get("X-Taskiq-requeue"))
        + deliveries_before
    )


class Delivery:
    """
    One message from its arrival at a receiver until the receiver is done with it; checks nothing.

    Created by the adapter around ``Receiver.callback``; it is one attempt at a job at most.

    Args:
        receiver: The receiver that processes it.
        message: As the broker gave it: bytes, or a message with an ``ack`` function.

    Attributes:
        run: The attempt; None until every ``pre_execute`` has returned.
        task_id: Id of the job; None before ``started``.
        context: The OpenTelemetry context of the attempt, for what is enqueued after it.
        is_function_running: What is enqueued now comes from the job itself, not from a middleware.
        error: What the function raised, or what Taskiq reports instead; None: nothing.
        raised: What left the receiver's ``callback`` or a middleware; None: nothing.
        store_error: Why the result was not stored; None: it was, or was not to be.
    """

    def __init__(self, receiver: Any, message: Any) -> None:
        self.receiver = receiver
        self.message = message
        self.run: Run | None = None
        self.task_id: str | None = None
        self.context: otel_context.Context | None = None
        self.is_function_running = False
        self.error: BaseException | None = None
        self.raised: BaseException | None = None
        self.store_error: BaseException | None = None
        self._function_error: BaseException | None = None
        self._timeout_sec: Any = None
        self._started_at = 0.0
        self._has_result = False

    def started(self, run: Run, message: Any) -> None:
        """Record that the function is called next; ``message`` is the parsed one."""
        self.run = run
        self.task_id = message.task_id
        self.context = otel_context.get_current()
        self._timeout_sec = message.labels.get("timeout")
        self._started_at = time.monotonic()

    def ended(self, result: Any) -> None:
        """Record the result that the receiver made of the function's end."""
        self._has_result = True
        if self.error is None and result.error is not None:
            self.error = result.error

    def is_to_be_stored(self, task_id: Any) -> bool:
        """Whether a result that is stored now, for a job of this id, is that of this attempt."""
        return self._has_result and task_id == self.task_id

    def is_retrying(self, task_id: Any) -> bool:
        """Whether a job of this id that is sent now is the next attempt at this one."""
        run = self.run
        is_own = run is not None and run.is_open and task_id == self.task_id
        return is_own and not self.is_function_running

    def set_outcome(self) -> None:
        """Set how the attempt ended, from what was recorded; call it before the attempt's end."""
        run = self.run
        if run is None or run.error is not None:
            return  # the job has said so itself, such as by requeue()
        found = self._found()
        if found is None:
            return
        if self._is_time_limit(found):
            run.reason = "time_limit"
            run.error = f"TimeoutError: time limit of {self._timeout_sec} s exceeded"
        elif isinstance(found, TaskRejectedError):
            run.reason, run.error = "refused", found
        elif isinstance(found, GeneratorExit | KeyboardInterrupt) and found is self.raised:
            run.reason, run.error = "worker_lost", "the worker was shut down while it ran"
        elif found is self.store_error:
            run.error, run.stack = f"the result could not be stored: {one_line(found)}", found
        else:
            run.error = found

    def _found(self) -> BaseException | None:
        """What made the attempt fail; None: nothing did."""
        for error in (self.error, self._function_error):
            # NoResultError is no failure: it only means that there is no result to keep.
            if error is not None and not isinstance(error, NoResultError):
                return error
        return self.store_error or self.raised

    def _is_time_limit(self, found: BaseException) -> bool:
        if self._timeout_sec is None or not isinstance(
            found, TimeoutError | asyncio.CancelledError
        ):
            return False
        # A function that raises TimeoutError itself has not been cancelled.
        is_own = isinstance(self._function_error, TimeoutError)
        with contextlib.suppress(TypeError, ValueError):
            return not is_own and time.monotonic() - self._started_at >= float(self._timeout_sec)
        return False

    def observing(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """
        Wrap a task's function, so that its error and what it enqueues are known as its own.

        A function that is not ``async`` runs in the attempt's context, which a thread of Taskiq
        0.11 does not have. One that runs in another process is returned as it is.

        Args:
            function: The task's function.
            name: The task's name.
        """
        is_async = inspect.iscoroutinefunction(function)
        if not is_async and isinstance(self.receiver.executor, ProcessPoolExecutor):
            return function
        if name not in self.receiver.known_tasks:
            # The receiver reads the signature of a function that it does not know yet.
            with contextlib.suppress(Exception):
                self.receiver._prepare_task(name, function)
        if is_async:
            return self._observing_async(function)
        context = contextvars.copy_context()

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return context.run(function, *args, **kwargs)

        return call

    def _observing_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.is_function_running = True
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                self._function_error = error
                raise
            finally:
                self.is_function_running = False

        return call
