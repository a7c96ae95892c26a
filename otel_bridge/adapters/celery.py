"""
Celery: ``CeleryAdapter().instrument()`` in the module that makes the app.

Wraps ``Celery.send_task``, through which every ``delay()``, ``apply_async()``, chain and retry
goes; the rest comes from Celery's signals. Works with every pool; a pool process is a worker.

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
    Runs,
    framework,
    is_off,
    report_lost,
    safely,
    start_worker,
    stop_worker,
    this_process,
)
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.span_block import one_line
from otel_bridge.workers.heartbeat import WorkerHeartbeat

with framework("celery"):
    from billiard.process import current_process
    from celery import Celery, signals
    from celery.exceptions import Reject
    from celery.utils import uuid

try:
    from billiard.common import terminate_handler_fired
except ImportError:  # An older one: there a job's own SystemExit ends its process like a signal.

    def terminate_handler_fired() -> bool:
        """Whether this process was told to end."""
        return True


__all__ = ["CeleryAdapter"]

_MAX_RECEIVED: Final = 10_000
"""Jobs remembered by a worker's main process, to tell of those whose pool process dies."""


class CeleryAdapter(Adapter):
    """
    Makes the jobs, workers and queues of every Celery app of the process visible.

    Jobs belong to the ``research_task()`` and ``phase()`` around their ``delay()``, else to the
    job or trace around it. ``raise self.retry()`` and ``autoretry_for`` are retries; time limits
    and killed pool processes are failures.
    """

    requirement: ClassVar[str] = "celery >= 5.5"
    foreign_scopes: ClassVar[tuple[str, ...]] = ("opentelemetry.instrumentation.celery",)

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
            block = enqueue(task_id=None, task_type=name, queue=_queue_of(app, options))
            with block as carrier:
                headers[MESSAGE_KEY] = carrier
                result = original(*given.args, **given.kwargs)
                block.queued(task_id)
                return result

        return send_task

    # --- running -----------------------------------------------------------------------------

    def _on_received(self, request: Any = None, **_: Any) -> None:
        self._note(request.id, request.name, request.request_dict)

    def _on_prerun(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        if is_off():
            return
        request = task.request
        self._runs.open(
            task_id,
            task.name,
            getattr(request, MESSAGE_KEY, None),
            retry_count=_retries(request.retries),
            queue=(request.delivery_info or {}).get("routing_key"),
            worker_id=self._worker_id or f"celery@{this_process()}",
            heartbeat=self._heartbeat,
        )

    def _on_failure(self, task_id: str = "", exception: Any = None, **_: Any) -> None:
        run = self._runs.get(task_id)
        if run is not None:
            run.error = exception
            return
        if isinstance(exception, Reject):
            # The job's own process has told of it; since 5.7 this is said as well.
            return
        # Its pool process was killed, by a time limit or from outside; this is the main one.
        self._report(task_id, one_line(exception))

    def _on_revoked(self, request: Any = None, expired: bool = False, **_: Any) -> None:
        run = self._runs.get(request.id)
        if run is not None:
            # A pool of threads or none: this is the job's own thread.
            run.error = "revoked"
            return
        self._note(request.id, request.task, vars(request))
        self._report(request.id, "expired before it began" if expired else "revoked")

    def _on_unknown(self, id: str = "", name: str = "", message: Any = None, **_: Any) -> None:
        self._note(id, name, message.headers)
        self._report(id, f"no worker knows a task {name!r}")

    def _note(self, task_id: str, name: str, headers: Mapping[str, Any]) -> None:
        self._received[task_id] = (name, headers.get(MESSAGE_KEY), _retries(headers.get("retries")))
        if len(self._received) > _MAX_RECEIVED:
            self._received.popitem(last=False)

    def _report(self, task_id: str, reason: str) -> None:
        found = self._received.pop(task_id, None)
        if found is not None:
            name, carrier, retries = found
            report_lost(task_id, name, carrier, reason=reason, retry_count=retries, worker_id=None)

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
            # Only what is no Exception comes here without a state.
            if self._is_pool_process and terminate_handler_fired():
                # By a time limit, a revocation or from outside: the main process says which.
                return
            run.error = sys.exc_info()[1] or "ended by the worker"
        self._runs.close(task_id)

    # --- workers -----------------------------------------------------------------------------

    def _on_process_init(self, sender: Any = None, **_: Any) -> None:
        self._is_pool_process = True
        index = getattr(current_process(), "index", None)
        self._begin(str(sender) if index is None else f"{sender}:{index + 1}")

    def _on_ready(self, sender: Any = None, **_: Any) -> None:
        app = sender.app
        is_prefork = "prefork" in type(sender.pool).__module__
        if self._heartbeat is None and not is_prefork:
            self._begin(str(sender.hostname))
        self._depths = DepthSampler(
            lambda: list(app.amqp.queues.consume_from), lambda name: _depth_of(app, name)
        )
        self._depths.start()

    def _begin(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._heartbeat = start_worker(worker_id, {"framework": "celery"})

    def _on_shutdown(self, **_: Any) -> None:
        stop_worker(self._heartbeat, self._depths)
        self._heartbeat = None


def _retries(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


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
            # Redis keeps no empty lists.
            return 0
