"""
``LostJobs``: ends of jobs that a worker's main process reports, because no other process can.

The process that ran the job is gone, or none has run it: it was revoked, has expired, or the worker
does not know it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import propagate

from otel_bridge.adapters.base import MESSAGE_KEY, framework, is_off, safely
from otel_bridge.adapters.celery.pool_table import Noted, PoolTable, key_of
from otel_bridge.adapters.runs import attempts_before, read_carrier, report_lost
from otel_bridge.events import semconv
from otel_bridge.spans.scope import SCOPE_KEY, Scope
from otel_bridge.spans.span_context_manager import one_line

with framework("celery"):
    from celery.exceptions import Reject, TimeLimitExceeded

__all__ = ["ATTEMPTS_KEY", "LostJobs", "attempt_of"]

ATTEMPTS_KEY: Final = "attempts"
"""
In a carrier: attempts made before, if that is more than Celery's ``retries``.

Celery does not count those that a lost worker or a visibility time-out ended.
"""
_MAX_RECEIVED: Final = 10_000
"""Jobs that a worker's main process remembers, at most; the oldest is forgotten first."""


def attempt_of(task: Any, retries: Any, carrier: Any, delivery: Mapping[str, Any] | None) -> int:
    """
    Return how many attempts were made before the one that a message starts; never raises.

    Args:
        task: The task that it names. With ``acks_late`` a message that the broker delivers again
            counts as a further attempt. Without, it is acknowledged before its job starts, so one
            that comes again was not started.
        retries: Celery's own count, of ``self.retry()`` and ``autoretry_for`` alone.
        carrier: The carrier (the dict that carries trace context with a job) of the message.
        delivery: The message's ``delivery_info``.
    """
    is_redelivered = bool((delivery or {}).get("redelivered"))
    is_again = is_redelivered and bool(getattr(task, "acks_late", False))
    before = attempts_before(read_carrier(carrier).get(ATTEMPTS_KEY))
    return max(attempts_before(retries), before) + is_again


class _Received(NamedTuple):
    """A job as a worker's main process received it."""

    name: str
    carrier: Any
    retry_count: int


@dataclass(slots=True)
class _Losing:
    """A job that the main process handles the loss of, and what it does with it."""

    task_id: str
    error: Any
    has_failed: bool = False
    is_queued_again: bool = False


class LostJobs:
    """
    The jobs that a worker has received, whose end its main process reports if nothing else does.

    Remembers the last 10,000; an older one that is lost is not shown as ended. Each end is reported
    once. Its ``on_`` methods are receivers of Celery's signals. For the main process's own thread;
    nothing raises but what Celery's own functions raise.

    Attributes:
        table: What its pool processes note; None before it has any.
        node: The worker's name, of which its pool processes are numbered; None in a producer.
    """

    def __init__(self) -> None:
        self.table: PoolTable | None = None
        self.node: str | None = None
        self._received: OrderedDict[str, _Received] = OrderedDict()
        self._losing: ContextVar[_Losing | None] = ContextVar("losing", default=None)

    # --- what Celery's main process does with a job ----------------------------------------------

    def losing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """
        Wrap ``Request.on_failure`` and ``on_timeout``, which decide what becomes of a lost job.

        They send signals, queue it again, or both; its end is reported when they have decided.
        """

        def lose(request: Any, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return original(request, *args, **kwargs)
            losing = _Losing(request.id, _error_of(args))
            token = self._losing.set(losing)
            # What Celery enqueues meanwhile, such as error callbacks, belongs to the job's task.
            context = otel_context.attach(self._context_of(request.id))
            try:
                return original(request, *args, **kwargs)
            except BaseException:
                # Such as a result that cannot be stored: no signal comes then.
                losing.has_failed = True
                raise
            finally:
                otel_context.detach(context)
                self._losing.reset(token)
                self._report_lost(losing)

        return lose

    def rejecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``Request.reject``, by which a lost job goes back to its queue."""

        def reject(request: Any, *args: Any, **kwargs: Any) -> Any:
            losing = self._losing.get()
            requeue = args[0] if args else kwargs.get("requeue", False)
            if losing is not None and requeue and not request.acknowledged:
                losing.is_queued_again = True
            return original(request, *args, **kwargs)

        return reject

    def retry_carrier(self, task_id: str) -> dict[str, str] | None:
        """
        Return the carrier for the next attempt of a job that is being lost; else None.

        For ``retry_on_worker_lost``, with which the main process sends the retry.
        """
        losing, received = self._losing.get(), self._received.get(task_id)
        if losing is None or received is None or losing.task_id != task_id:
            return None
        losing.is_queued_again = True
        return {**read_carrier(received.carrier), ATTEMPTS_KEY: str(received.retry_count + 1)}

    @safely
    def _report_lost(self, losing: _Losing) -> None:
        error, will_retry = losing.error, losing.is_queued_again
        if not (will_retry or losing.has_failed):
            return
        reason = "worker_lost" if will_retry else "killed"
        if isinstance(error, TimeLimitExceeded):
            reason = "time_limit"
        text = one_line(error or "its process was lost")
        self._report(losing.task_id, text, reason, will_retry=will_retry)

    def _context_of(self, task_id: str) -> otel_context.Context:
        received = self._received.get(task_id)
        carrier = read_carrier(None if received is None else received.carrier)
        scope = Scope(
            parent_task_id=carrier.get(semconv.CARRIER_PARENT_TASK_ID),
            project_id=carrier.get(semconv.CARRIER_PROJECT_ID),
            phase=carrier.get(semconv.CARRIER_PHASE),
        )
        context = propagate.extract(carrier, otel_context.Context())
        return otel_context.set_value(SCOPE_KEY, scope, context)

    # --- signals ---------------------------------------------------------------------------------

    def on_received(self, request: Any = None, **_: Any) -> None:
        """A worker has taken a message."""
        headers = request.request_dict
        carrier = headers.get(MESSAGE_KEY)
        delivery = request.delivery_info
        retry_count = attempt_of(request.task, headers.get("retries"), carrier, delivery)
        self._remember(request.id, request.name, carrier, retry_count)

    def on_failure(self, task_id: str, error: Any) -> None:
        """A job has failed that does not run in this process."""
        losing = self._losing.get()
        # A pool process has published the end of a job that rejected itself; since 5.7 the main
        # process gets it as well.
        if losing is not None and losing.task_id == task_id and not isinstance(error, Reject):
            losing.has_failed, losing.error = True, error

    def on_retry(self, task_id: str) -> None:
        """A job that does not run in this process will run again."""
        if self._losing.get() is None:
            # The connection to the broker was lost, so it will deliver again what runs now.
            self._report(task_id, "cancelled by Celery", "worker_lost", will_retry=True)

    def on_revoked(self, request: Any, is_terminated: bool, is_expired: bool) -> None:
        """A job was revoked or has expired: before it began, unless it was terminated."""
        if request.id not in self._received:
            headers = vars(request)
            carrier = headers.get(MESSAGE_KEY)
            retry_count = attempt_of(None, headers.get("retries"), carrier, None)
            self._remember(request.id, request.task, carrier, retry_count)
        error, reason = "revoked", "revoked"
        if is_expired:
            error, reason = "expired before it began", "expired"
        self._report(request.id, error, reason, has_started=is_terminated)

    def on_unknown(self, id: str = "", name: str = "", message: Any = None, **_: Any) -> None:
        """The worker has no function of this name."""
        self._report_refused(id, name, message, f"no worker knows a task {name!r}")

    def on_rejected(self, message: Any = None, exc: Any = None, **_: Any) -> None:
        """The worker cannot read a message."""
        headers = message.headers or {}
        name, task_id = headers.get("task"), headers.get("id")
        if task_id and name:
            self._report_refused(task_id, name, message, one_line(exc or "rejected by the worker"))

    def _report_refused(self, task_id: str, name: str, message: Any, error: str) -> None:
        headers = message.headers or {}
        carrier = headers.get(MESSAGE_KEY)
        retry_count = attempt_of(None, headers.get("retries"), carrier, None)
        self._remember(task_id, name, carrier, retry_count)
        self._report(task_id, error, "refused", has_started=False)

    # --- what is remembered ----------------------------------------------------------------------

    def _remember(self, task_id: str, name: str, carrier: Any, retry_count: int) -> None:
        self._received[task_id] = _Received(name, carrier, retry_count)
        self._received.move_to_end(task_id)
        if len(self._received) > _MAX_RECEIVED:
            self._received.popitem(last=False)

    def forget(self, task_id: str, retry_count: int) -> None:
        """Forget an attempt whose end this very process reports, unless a newer one has come."""
        received = self._received.get(task_id)
        if received is not None and received.retry_count <= retry_count:
            self._received.pop(task_id, None)

    def _report(
        self,
        task_id: str,
        error: str,
        reason: str | None,
        *,
        will_retry: bool = False,
        has_started: bool = True,
    ) -> None:
        """Report an end, unless the job's own process has; what that noted takes precedence."""
        received = self._received.pop(task_id, None)
        if received is None:
            return
        noted: Noted | None = None
        if has_started and self.table is not None:
            key = key_of(task_id, received.carrier, received.retry_count)
            if self.table.has_ended(key):
                return
            noted = self.table.take(key)
        if noted is not None and noted.error and reason in ("killed", "worker_lost"):
            error, reason = noted.error, "worker_lost" if will_retry else None
        report_lost(
            task_id,
            received.name,
            received.carrier,
            error=error,
            retry_count=received.retry_count,
            worker_id=None if noted is None else f"{self.node}:{noted.place + 1}",
            will_retry=will_retry,
            span_id=None if noted is None else noted.span_id,
            reason=reason,
        )


def _error_of(args: tuple[Any, ...]) -> Any:
    """What ``Request.on_failure(exc_info)`` or ``on_timeout(soft, timeout)`` is called with."""
    if len(args) == 2 and isinstance(args[0], bool):
        return TimeLimitExceeded(args[1])
    error = getattr(args[0], "exception", None) if args else None
    return getattr(error, "exc", error)
