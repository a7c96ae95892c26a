"""
Celery: call ``CeleryAdapter().instrument()`` in the module that creates the app.

It wraps ``Celery.send_task``, which every ``delay()``, ``apply_async()``, chain and retry calls;
everything else comes from Celery's signals. It works with every pool. With a prefork pool each pool
process is shown as a worker, else the node is.

Source: celery 5.7 (``app/base.py``, ``app/trace.py``, ``worker/request.py``).
"""

from __future__ import annotations

import inspect
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

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
from otel_bridge.spans.span_context_manager import one_line
from otel_bridge.workers.heartbeat import WorkerHeartbeat

with framework("celery"):
    # First: where Celery is missing, so is billiard, and Celery is the one to name.
    import celery.exceptions
    from billiard.process import current_process
    from celery import Celery, signals
    from celery.utils import uuid

try:
    from billiard.common import terminate_handler_fired
except ImportError:  # With an older billiard a job's own SystemExit ends its process as well.

    def terminate_handler_fired() -> bool:
        """Return whether a signal ends this process; always True with this older billiard."""
        return True


__all__ = ["CeleryAdapter"]

_MAX_RECEIVED: Final = 10_000
"""
Jobs that a worker's main process remembers, at most; the oldest is forgotten first.

It publishes the end of a job whose pool process was killed.
"""


class CeleryAdapter(Adapter):
    """
    Makes the jobs, workers and queues of every Celery app in the process visible.

    Call ``CeleryAdapter().instrument()`` once, in the module that creates the app, so that both
    producers and workers run it; a second call does nothing but log a warning. ``uninstrument()``
    disconnects its signals. With a Celery older than 5.5 one error is logged and nothing is shown.
    What fails inside is logged; the jobs run all the same.

    A job belongs to the ``research_task()`` and ``phase()`` that enclose its ``delay()``, else to
    the enclosing job or trace. ``raise self.retry()`` and ``autoretry_for`` are shown as retries;
    time limits and killed pool processes as failures. For the latter a worker remembers the last
    10,000 jobs that it received; an older one that is killed is not shown as ended. Heartbeats are
    sent every 10 s (by default) and queue depths every 5 s; a worker's shutdown waits up to 4 s to
    send the rest.
    """

    requirement: ClassVar[str] = "celery >= 5.5"
    duplicate_scopes: ClassVar[tuple[str, ...]] = ("opentelemetry.instrumentation.celery",)

    def _attach(self, **kwargs: Any) -> None:
        self._runs = Runs()
        self._received: OrderedDict[str, tuple[str, Any, int]] = OrderedDict()
        self._heartbeat: WorkerHeartbeat | None = None
        self._worker_id: str | None = None
        self._is_pool_process = False
        self._depths: DepthSampler | None = None
        self._receivers: list[tuple[Any, Callable[..., None]]] = [
            (signals.task_received, self._on_received),
            (signals.task_prerun, self._on_prerun),
            (signals.task_failure, self._on_failure),
            (signals.task_retry, self._on_retry),
            (signals.task_revoked, self._on_revoked),
            (signals.task_unknown, self._on_unknown),
            (signals.task_postrun, self._on_postrun),
            (signals.worker_process_init, self._on_process_init),
            (signals.worker_process_shutdown, self._on_shutdown),
            (signals.worker_ready, self._on_ready),
            (signals.worker_shutdown, self._on_shutdown),
        ]
        self._receivers = [(signal, safely(receiver)) for signal, receiver in self._receivers]
        for signal, receiver in self._receivers:
            signal.connect(receiver, weak=False)
        self._patch(Celery, "send_task", self._sending)

    def _detach(self) -> None:
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)

    # --- sending -----------------------------------------------------------------------------

    def _sending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        def send_task(*args: Any, **kwargs: Any) -> Any:
            if is_off():
                return original(*args, **kwargs)
            given = signature.bind(*args, **kwargs)
            task_id = given.arguments["task_id"] = given.arguments.get("task_id") or uuid()
            options = given.arguments.setdefault("options", {})
            headers = options["headers"] = dict(options.get("headers") or {})
            run = self._runs.get(task_id)
            if run is not None:
                headers[MESSAGE_KEY] = run.queue_again()
                return original(*given.args, **given.kwargs)
            app, name = given.arguments["self"], given.arguments["name"]
            span = enqueue(task_id=None, task_type=name, queue=_queue_of(app, options))
            with span as carrier:
                headers[MESSAGE_KEY] = carrier
                result = original(*given.args, **given.kwargs)
                span.queued(task_id)
                return result

        return send_task

    # --- running -----------------------------------------------------------------------------

    def _on_received(self, request: Any = None, **_: Any) -> None:
        self._remember(request.id, request.name, request.request_dict)

    def _on_prerun(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        if is_off():
            return
        request = task.request
        self._runs.open(
            task_id,
            task.name,
            getattr(request, MESSAGE_KEY, None),
            retry_count=attempts_before(request.retries),
            queue=(request.delivery_info or {}).get("routing_key"),
            worker_id=self._worker_id or f"celery@{this_process()}",
            heartbeat=self._heartbeat,
            is_inline=bool(request.is_eager),
        )

    def _on_failure(self, task_id: str = "", exception: Any = None, **_: Any) -> None:
        run = self._runs.get(task_id)
        if run is not None:
            run.error = exception
            return
        if isinstance(exception, celery.exceptions.Reject):
            # The pool process has published this end; since 5.7 the main process gets it as well.
            return
        # No run is open here, so this is the main process: a time limit or a signal from outside
        # has killed the pool process.
        self._report(task_id, one_line(exception))

    def _on_revoked(self, request: Any = None, expired: bool = False, **_: Any) -> None:
        run = self._runs.get(request.id)
        if run is not None:
            # With the threads or solo pool, this is the thread that runs the job.
            run.error = "revoked"
            return
        self._remember(request.id, request.task, vars(request))
        self._report(request.id, "expired before it began" if expired else "revoked")

    def _on_unknown(self, id: str = "", name: str = "", message: Any = None, **_: Any) -> None:
        self._remember(id, name, message.headers)
        self._report(id, f"no worker knows a task {name!r}")

    def _remember(self, task_id: str, name: str, headers: Mapping[str, Any]) -> None:
        retries = attempts_before(headers.get("retries"))
        self._received[task_id] = (name, headers.get(MESSAGE_KEY), retries)
        if len(self._received) > _MAX_RECEIVED:
            self._received.popitem(last=False)

    def _report(self, task_id: str, reason: str) -> None:
        found = self._received.pop(task_id, None)
        if found is not None:
            name, carrier, retries = found
            report_lost(task_id, name, carrier, error=reason, retry_count=retries, worker_id=None)

    def _on_retry(self, request: Any = None, reason: Any = None, **_: Any) -> None:
        run = self._runs.get(request.id)
        if run is not None:
            run.is_queued_again = True
            run.error = getattr(reason, "exc", None) or str(reason)

    def _on_postrun(
        self, task_id: str = "", state: str | None = None, retval: Any = None, **_: Any
    ) -> None:
        run = self._runs.get(task_id)
        if run is not None and state == "REJECTED":
            run.is_queued_again = bool(getattr(retval, "requeue", False))
            run.error = "rejected by the task"
        elif run is not None and state is None and run.error is None:
            # The state is None only for a BaseException that is no Exception, such as SystemExit.
            if self._is_pool_process and terminate_handler_fired():
                # A time limit, a revocation or a signal from outside ends this process; the main
                # process knows which, and publishes the end.
                return
            run.error = sys.exc_info()[1] or "ended by the worker"
        self._runs.close(task_id)

    # --- workers -----------------------------------------------------------------------------

    def _on_process_init(self, sender: Any = None, **_: Any) -> None:
        self._is_pool_process = True
        index = getattr(current_process(), "index", None)
        self._start_worker(str(sender) if index is None else f"{sender}:{index + 1}")

    def _on_ready(self, sender: Any = None, **_: Any) -> None:
        app = sender.app
        is_prefork = "prefork" in type(sender.pool).__module__
        if self._heartbeat is None and not is_prefork:
            self._start_worker(str(sender.hostname))
        self._depths = DepthSampler(
            lambda: list(app.amqp.queues.consume_from), lambda name: _depth_of(app, name)
        )
        self._depths.start()

    def _start_worker(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._heartbeat = start_worker(worker_id, {"framework": "celery"})

    def _on_shutdown(self, **_: Any) -> None:
        stop_worker(self._heartbeat, self._depths)
        self._heartbeat = None


def _queue_of(app: Celery, options: dict[str, Any]) -> str | None:
    queue = options.get("queue") or options.get("routing_key")
    queue = getattr(queue, "name", queue)
    return str(queue or app.conf.task_default_queue)


def _depth_of(app: Celery, name: str) -> int:
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        try:
            return int(channel.queue_declare(queue=name, passive=True).message_count)
        except connection.channel_errors:
            # Redis deletes an empty list, so a queue that does not exist is empty.
            return 0
