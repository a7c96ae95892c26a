"""
``CeleryAdapter``: makes the jobs, workers and queues of Celery visible.

It wraps ``Celery.send_task``, which every ``delay()``, ``apply_async()``, chain and retry calls,
what Celery calls around each job, and what a worker's main process does with jobs that are lost;
everything else comes from Celery's signals. It works with every pool. With a prefork pool each pool
process is shown as a worker, else the node is.

Source: celery 5.7 (``app/base.py``, ``app/trace.py``, ``worker/request.py``).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate

from otel_bridge.adapters.base import MESSAGE_KEY, Adapter, framework, is_off, safely, this_process
from otel_bridge.adapters.celery.lost import ATTEMPTS_KEY, LostJobs, attempt_of
from otel_bridge.adapters.celery.pool_table import key_of
from otel_bridge.adapters.celery.queues import progress_of, queue_of
from otel_bridge.adapters.celery.workers import CeleryWorker
from otel_bridge.adapters.runs import Run, Runs
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.span_context_manager import one_line

with framework("celery"):
    # First: where Celery is missing, so is billiard, and Celery is the one to name.
    import celery.app.trace
    from celery import Celery, Task, signals
    from celery.exceptions import Reject, Retry, SoftTimeLimitExceeded
    from celery.utils import uuid

try:
    from billiard.common import terminate_handler_fired
except ImportError:  # billiard before 4.3
    terminate_handler_fired = None

__all__ = ["CeleryAdapter"]

_REQUEST_MODULE: Final = "celery.worker.request"
"""Imported by workers alone: a producer does without it."""
_MAX_POSITIONAL: Final = 3
"""Arguments of ``send_task`` that Celery itself gives by position: name, args and kwargs."""
_GEVENT_REASONS: Final = {"GreenletExit": "revoked", "Timeout": "time_limit"}
"""What gevent raises in a job that is revoked or takes too long."""


@dataclass(slots=True)
class _Around:
    """What is around a job in its thread, which is back when the job is over."""

    context: otel_context.Context
    error: BaseException | None
    outer: _Around | None


@dataclass(slots=True)
class _Open:
    """An attempt that runs in this process."""

    run: Run
    retries: int
    retry_count: int


class CeleryAdapter(Adapter):
    """
    Makes the jobs, workers and queues of every Celery app in the process visible.

    Call ``CeleryAdapter().instrument()`` once, in the module that creates the app, so that both
    producers and workers run it; a second call does nothing but log a warning. ``uninstrument()``
    disconnects its signals. With a Celery older than 5.5 one error is logged and nothing is shown.
    What fails inside is logged; the jobs run all the same.

    A job belongs to the ``research_task()`` and ``phase()`` that enclose its ``delay()``, else to
    the enclosing job or trace. Its message alone says so, and no other instrumentation in the
    worker changes it; a message with only a ``traceparent`` belongs to that trace.
    ``raise self.retry()`` and ``autoretry_for`` are shown as retries, and so is a job that Celery
    queues again because its process was lost; ``self.replace()`` and a job that enqueues itself
    under its id as a further run. Time limits, killed pool processes, revoked, expired and refused
    jobs are failures with that reason. For the latter a worker remembers the last 10,000 jobs that
    it received; an older one that is killed is not shown as ended. The state ``PROGRESS`` of
    ``update_state()`` is shown as the job's progress. Heartbeats are sent every 10 s (by default)
    and queue depths every 5 s; a worker's shutdown waits up to 4 s to send the rest.
    """

    requirement: ClassVar[str] = "celery >= 5.5"
    duplicate_scopes: ClassVar[tuple[str, ...]] = ("opentelemetry.instrumentation.celery",)

    def _attach(self, **kwargs: Any) -> None:
        self._runs = Runs()
        self._open: dict[Run, _Open] = {}
        self._around: ContextVar[_Around | None] = ContextVar("around", default=None)
        self._sent: ContextVar[dict[str, Any] | None] = ContextVar("sent", default=None)
        self._lost = lost = LostJobs()
        self._worker = worker = CeleryWorker(lost, self._attach_to_requests)
        receivers: list[tuple[Any, Callable[..., None]]] = [
            (signals.before_task_publish, self._on_before_publish),
            (signals.task_received, lost.on_received),
            (signals.task_failure, self._on_failure),
            (signals.task_retry, self._on_retry),
            (signals.task_revoked, self._on_revoked),
            (signals.task_unknown, lost.on_unknown),
            (signals.task_rejected, lost.on_rejected),
            (signals.celeryd_init, worker.on_init),
            (signals.worker_init, worker.on_init),
            (signals.worker_process_init, worker.on_pool_process_init),
            (signals.worker_process_shutdown, worker.on_shutdown),
            (signals.worker_ready, worker.on_ready),
            (signals.worker_shutdown, worker.on_shutdown),
            # Celery calls the two functions wrapped below only if these have a receiver.
            (signals.task_prerun, self._on_nothing),
            (signals.task_postrun, self._on_nothing),
        ]
        self._receivers = [(signal, safely(receiver)) for signal, receiver in receivers]
        for signal, receiver in self._receivers:
            signal.connect(receiver, weak=False)
        self._patch(Celery, "send_task", self._sending)
        self._patch(Task, "update_state", self._updating)
        # Not the signals: what another instrumentation attaches before a job has to be below what
        # is attached here, and gone after it, in whichever order they were set up.
        self._patch(celery.app.trace, "send_prerun", self._starting)
        self._patch(celery.app.trace, "send_postrun", self._ending)
        self._is_attached_to_requests = False
        if _REQUEST_MODULE in sys.modules:
            self._attach_to_requests()
        safely(worker.start_late)()

    def _attach_to_requests(self) -> None:
        if not self._is_attached_to_requests:
            self._is_attached_to_requests = True
            from celery.worker.request import Request

            self._patch(Request, "on_failure", self._lost.losing)
            self._patch(Request, "on_timeout", self._lost.losing)
            self._patch(Request, "reject", self._lost.rejecting)

    def _detach(self) -> None:
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)

    def _on_nothing(self, **_: Any) -> None:
        """Do nothing."""

    def _opened(self, task_id: str) -> _Open | None:
        """The attempt that the caller runs in; else one that another thread runs."""
        run = self._runs.get(task_id)
        if run is not None:
            return self._open.get(run)
        found = [one for one in list(self._open.values()) if one.run.task_id == task_id]
        return found[-1] if found else None

    # --- sending -----------------------------------------------------------------------------

    def _sending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        names = [*inspect.signature(inspect.unwrap(original)).parameters][1:]

        def send_task(app: Any, *args: Any, **kwargs: Any) -> Any:
            if is_off() or not (args or "name" in kwargs):
                return original(app, *args, **kwargs)
            # Name and arguments stay by position, where another library may look for them.
            rest = dict(zip(names[_MAX_POSITIONAL:], args[_MAX_POSITIONAL:], strict=False))
            if len(args) - len(rest) > _MAX_POSITIONAL or rest.keys() & kwargs.keys():
                return original(app, *args, **kwargs)
            args = args[:_MAX_POSITIONAL]
            kwargs |= rest
            task_id = kwargs["task_id"] = kwargs.get("task_id") or uuid()
            headers = kwargs["headers"] = dict(kwargs.get("headers") or {})
            carrier = self._retry_carrier(task_id, kwargs.get("retries"))
            if carrier is not None:
                headers[MESSAGE_KEY] = carrier
                return original(app, *args, **kwargs)
            span = enqueue(task_id=None, task_type=args[0] if args else kwargs["name"])
            sent: dict[str, Any] = {"app": app}
            token = self._sent.set(sent)
            try:
                with span as carrier:
                    headers[MESSAGE_KEY] = carrier
                    result = original(app, *args, **kwargs)
                    eta = sent.get("eta")
                    meta = None if eta is None else {"eta": eta}
                    span.queued(task_id, queue=sent.get("queue"), meta=meta)
                    return result
            finally:
                self._sent.reset(token)

        return send_task

    def _retry_carrier(self, task_id: str, retries: Any) -> dict[str, str] | None:
        """The carrier of a job's next attempt; None for what is a job, or a run of one, by itself.

        Celery sends a retry with one more of ``retries``. ``self.replace()``, and a job that
        enqueues itself under its id, start from 0.
        """
        opened = self._opened(task_id)
        if opened is None:
            return self._lost.retry_carrier(task_id)
        if (retries or 0) <= opened.retries:
            return None
        return {**opened.run.queue_again(), ATTEMPTS_KEY: str(opened.retry_count + 1)}

    def _on_before_publish(
        self,
        exchange: str | None = None,
        routing_key: str | None = None,
        declare: Any = None,
        headers: Any = None,
        **_: Any,
    ) -> None:
        sent = self._sent.get()
        if sent is not None:
            sent["eta"] = (headers or {}).get("eta")
            sent["queue"] = queue_of(sent["app"], exchange, routing_key, declare or ())

    # --- running -----------------------------------------------------------------------------

    def _starting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def send_prerun(*args: Any, **kwargs: Any) -> Any:
            context, error = otel_context.get_current(), sys.exc_info()[1]
            self._around.set(_Around(context, error, self._around.get()))
            answers = original(*args, **kwargs)
            self._on_prerun(**kwargs)
            return answers

        return send_prerun

    def _ending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def send_postrun(*args: Any, **kwargs: Any) -> Any:
            around = self._around.get()
            self._on_postrun(around, **kwargs)
            try:
                return original(*args, **kwargs)
            finally:
                if around is not None:
                    self._around.set(around.outer)
                    if otel_context.get_current() is not around.context:
                        otel_context.attach(around.context)

        return send_postrun

    @safely
    def _on_prerun(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        if is_off():
            return
        request = task.request
        is_eager = bool(request.is_eager)
        if not is_eager:
            self._worker.start_with_job(task.app, request.hostname)
        carrier = _carrier_of(request)
        delivery: Mapping[str, Any] = request.delivery_info or {}
        retry_count = attempt_of(task, request.retries, carrier, delivery)
        worker_id = self._worker.id
        if worker_id is None and not is_eager:
            worker_id = f"celery@{this_process()}"
        run = self._runs.open(
            task_id,
            task.name,
            carrier,
            retry_count=retry_count,
            queue=queue_of(task.app, delivery.get("exchange"), delivery.get("routing_key")),
            worker_id=worker_id,
            heartbeat=self._worker.heartbeat,
            is_inline=is_eager,
        )
        self._open[run] = _Open(run, request.retries or 0, retry_count)
        table, place = self._lost.table, self._worker.place
        if table is not None and place is not None and not is_eager:
            table.started(place, key_of(task_id, carrier, retry_count), run.span.span_id)

    @safely
    def _on_postrun(
        self,
        around: _Around | None,
        task_id: str = "",
        task: Any = None,
        state: str | None = None,
        retval: Any = None,
        **_: Any,
    ) -> None:
        run = self._runs.get(task_id)
        if run is None:
            return
        error = sys.exc_info()[1]
        if around is not None and error is around.error:
            error = None
        is_noted = self._worker.place is not None and not task.request.is_eager
        table = self._lost.table if is_noted else None
        if isinstance(error, Reject):
            state, retval = "REJECTED", error
        if state == "REJECTED":
            run.is_queued_again = bool(getattr(retval, "requeue", False))
            run.error = "rejected by the task"
            run.reason = None if run.is_queued_again else "refused"
        elif error is not None and not isinstance(error, Exception):
            if is_noted and self._worker.is_watched:
                # The process ends: by a time limit, a revocation, a signal, or ``sys.exit()``. The
                # main process knows which, and whether the job runs again.
                if table is not None and not _is_terminated(error):
                    table.exits(one_line(error))
                return
            run.error = error
            run.reason = _GEVENT_REASONS.get(type(error).__name__)
        elif error is not None or state is None:
            # What Celery does after a job, such as ``on_failure`` or storing the result, has
            # failed; the job's own error counts if there is one.
            run.error = run.error or error or "ended by the worker"
        opened = self._open.pop(run, None)
        self._runs.close(task_id)
        if table is not None:
            table.ended()
        elif opened is not None and self._worker.place is None:
            self._lost.forget(task_id, opened.retry_count)

    def _updating(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def update_state(task: Any, *args: Any, **kwargs: Any) -> Any:
            self._on_state(task, *args, **kwargs)
            return original(task, *args, **kwargs)

        return update_state

    @safely
    def _on_state(
        self, task: Any, task_id: str | None = None, state: Any = None, meta: Any = None, **_: Any
    ) -> None:
        opened = self._opened(task_id or task.request.id or "")
        progress = progress_of(meta) if state == "PROGRESS" else None
        if opened is not None and progress is not None:
            opened.run.span.progress(*progress)

    def _on_failure(self, task_id: str = "", exception: Any = None, **_: Any) -> None:
        opened = self._opened(task_id)
        if opened is None:
            self._lost.on_failure(task_id, exception)
            return
        opened.run.error = exception
        if isinstance(exception, SoftTimeLimitExceeded):
            opened.run.reason = "time_limit"

    def _on_retry(self, request: Any = None, reason: Any = None, **_: Any) -> None:
        opened = self._opened(request.id)
        if opened is None:
            self._lost.on_retry(request.id)
            return
        opened.run.is_queued_again = True
        error = getattr(reason, "exc", None)
        opened.run.error = error or str(reason)
        if isinstance(reason, Retry) and getattr(error, "__traceback__", None) is None:
            # ``raise self.retry(exc=...)`` of an error that was not raised: where it was called.
            opened.run.stack = reason

    def _on_revoked(
        self, request: Any = None, terminated: bool = False, expired: bool = False, **_: Any
    ) -> None:
        opened = self._opened(request.id)
        if opened is not None and terminated:
            # Without pool processes, what runs reports its own end.
            opened.run.error = opened.run.reason = "revoked"
        else:
            self._lost.on_revoked(request, terminated, expired)


def _carrier_of(request: Any) -> Any:
    """Ours, or what another tracer's producer has put into the message's headers."""
    carrier = getattr(request, MESSAGE_KEY, None)
    if carrier:
        return carrier
    fields = propagate.get_global_textmap().fields
    return {field: getattr(request, field, None) for field in fields}


def _is_terminated(error: BaseException) -> bool:
    """Whether a signal from outside ends this process, and not the job itself."""
    if terminate_handler_fired is not None:
        return bool(terminate_handler_fired())
    # The handler of a billiard before 4.3 raises ``SystemExit(number of the signal - 256)``.
    code = error.code if isinstance(error, SystemExit) else None
    return isinstance(code, int) and -256 < code < -192
