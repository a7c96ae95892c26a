"""
RQ: call ``RqAdapter().instrument()`` where jobs are enqueued and where the worker starts.

A job's ``meta`` carries the context. The work-horse (RQ's name for the process that is forked for
each job) publishes the job's events and flushes them before it exits. The worker itself sends the
heartbeats, and publishes the end of a job whose work-horse was killed.

Source: rq 3.0 (``queue.py``, ``worker/base.py``); the methods are the same in 2.6.1.
"""

from __future__ import annotations

import functools
import logging
import mmap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Final

from opentelemetry import context as otel_context
from opentelemetry import metrics, propagate
from opentelemetry.sdk.metrics import MeterProvider

from otel_bridge.adapters.base import (
    MESSAGE_KEY,
    Adapter,
    DepthSampler,
    framework,
    is_off,
    start_worker,
    stop_worker,
)
from otel_bridge.adapters.runs import Run, Runs, attempts_before, read_carrier, report_lost
from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.workers.heartbeat import WorkerHeartbeat

with framework("rq"):
    from rq import Queue
    from rq.job import Job as RqJob
    from rq.worker import BaseWorker, Worker

__all__ = ["RqAdapter"]

logger = logging.getLogger(__name__)

_ATTEMPT: Final = "otel_bridge_attempt"
_putting: ContextVar[str | None] = ContextVar("otel_bridge_rq_putting", default=None)
"""Id of the job that is being put into a queue."""
_FLUSH_SEC: Final = 2.0
"""How long a work-horse waits for the log before it exits, at most."""
_EXPORT_SEC: Final = 1.0
"""How long it then waits for an OTLP backend; a dead backend delays each job by this much."""


class RqAdapter(Adapter):
    """
    Makes the jobs, workers and queues of RQ visible.

    Call ``RqAdapter().instrument()`` once, in each process that enqueues jobs or runs a worker; a
    second call does nothing but log a warning, and ``uninstrument()`` restores RQ's classes. With
    an RQ older than 2.6.1 one error is logged and nothing is shown.

    While the event log (the Redis or the collector that events are sent to) or the OTLP backend is
    unreachable, the end of each job waits up to 3 s (2 s and 1 s) in its work-horse (RQ's process
    for one job), and a worker's end up to 4 s. What a work-horse has not sent then is lost. Other
    errors of ours are logged, and the job runs without being shown. Heartbeats are sent every 10 s
    (by default), queue depths every 5 s.

    ``Retry``, given to ``enqueue()`` or returned by a job, is shown as a retry; a job that is
    requeued or has a ``Repeat`` runs again under its id, as another run of it. Jobs that are
    stopped on request, cancelled or deleted before they start, or whose work-horse dies are shown
    as failures. A job whose ``meta`` is no dict is not linked to the work that enqueued it. The
    work-horses of a ``SpawnWorker`` are new programs, which only ``opentelemetry-instrument``
    instruments.
    """

    requirement: ClassVar[str] = "rq >= 2.6.1"
    duplicate_scopes: ClassVar[tuple[str, ...]] = ("opentelemetry.instrumentation.rq",)

    def _attach(self, **kwargs: Any) -> None:
        self._runs = Runs()
        self._heartbeat: WorkerHeartbeat | None = None
        self._forked_span = mmap.mmap(-1, 8)
        """The span of the job that the work-horse runs. Its worker reads it when the work-horse was
        killed: the memory is shared by the fork. Zeros: no job was started."""
        for name in ("enqueue_job", "_enqueue_job", "schedule_job"):
            self._patch(Queue, name, self._enqueueing)
        self._patch(Queue, "run_job", self._running_in_place)
        for name, reason in (("cancel", "cancelled"), ("delete", "deleted before it began")):
            self._patch(RqJob, name, functools.partial(_cancelling, reason))
        self._patch(BaseWorker, "work", self._working)
        self._patch(BaseWorker, "perform_job", self._performing)
        self._patch(BaseWorker, "handle_exception", self._excepting)
        self._patch(BaseWorker, "handle_job_failure", self._failing)
        self._patch(BaseWorker, "handle_job_retry", self._returning_retry)
        self._patch(Worker, "execute_job", self._executing)

    # --- enqueueing --------------------------------------------------------------------------

    def _enqueueing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def put(queue: Queue, job: RqJob, *args: Any, **kwargs: Any) -> Any:
            meta = job.meta
            if is_off() or not isinstance(meta, dict) or _putting.get() == job.id:
                return original(queue, job, *args, **kwargs)
            if MESSAGE_KEY in meta and not self._is_run_again(job):
                return original(queue, job, *args, **kwargs)
            meta.pop(_ATTEMPT, None)
            # A further run belongs to the work that the first one belonged to.
            before = read_carrier(meta.get(MESSAGE_KEY))
            span = enqueue(
                task_id=None,
                task_type=_type_of(job),
                queue=queue.name,
                parent_task_id=before.get(semconv.CARRIER_PARENT_TASK_ID),
                project_id=before.get(semconv.CARRIER_PROJECT_ID),
                phase=before.get(semconv.CARRIER_PHASE),
            )
            # enqueue_job() calls _enqueue_job(), which is wrapped as well.
            token = _putting.set(job.id)
            try:
                with _child_of(before), span as carrier:
                    meta[MESSAGE_KEY] = carrier
                    result = original(queue, job, *args, **kwargs)
                    span.queued(job.id)
                    return result
            finally:
                _putting.reset(token)

        return put

    def _is_run_again(self, job: RqJob) -> bool:
        """
        Whether a job that has run is put into a queue for another run: requeued, or a ``Repeat``.

        Not if it is a retry, or a scheduled or dependent job that moves to its queue.
        """
        run = self._runs.get(job.id)
        if run is not None:
            return not run.is_queued_again
        return job.get_status(refresh=False) in _ENDED

    def _running_in_place(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Queue(is_async=False)``: the process that enqueues a job runs it, not a worker."""

        def run_job(queue: Queue, job: RqJob, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return original(queue, job, *args, **kwargs)
            run = self._open(job, worker_id=None, is_inline=True)
            try:
                return original(queue, job, *args, **kwargs)
            except BaseException as error:
                run.error = error
                raise
            finally:
                self._runs.close(job.id)

        return run_job

    def _open(
        self,
        job: RqJob,
        *,
        worker_id: str | None,
        heartbeat: WorkerHeartbeat | None = None,
        is_inline: bool = False,
    ) -> Run:
        return self._runs.open(
            job.id,
            _type_of(job),
            _meta_of(job).get(MESSAGE_KEY),
            retry_count=_attempt_of(job),
            queue=job.origin,
            worker_id=worker_id,
            heartbeat=heartbeat,
            is_inline=is_inline,
        )

    # --- running: in the work-horse -----------------------------------------------------------

    def _performing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def perform_job(worker: BaseWorker, job: RqJob, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return original(worker, job, *args, **kwargs)
            if worker.is_horse:
                _stop_metrics()
            run = self._open(job, worker_id=worker.name, heartbeat=self._heartbeat)
            self._forked_span[:] = run.span.span_id.to_bytes(8, "big")
            try:
                is_done = original(worker, job, *args, **kwargs)
                if not is_done and run.error is None:
                    run.error = "the job failed"
                return is_done
            except BaseException as error:
                run.error = error
                raise
            finally:
                self._runs.close(job.id)
                bridge = current_bridge()
                if worker.is_horse and bridge is not None:
                    # The work-horse exits by os._exit(), which does not run atexit.
                    bridge.flush(_FLUSH_SEC)
                    bridge.flush_exports(_EXPORT_SEC, with_metrics=False)

        return perform_job

    def _excepting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def handle_exception(worker: BaseWorker, job: RqJob, *exc_info: Any) -> Any:
            run = self._runs.get(job.id)
            if run is not None and len(exc_info) > 1:
                run.error = exc_info[1]
            return original(worker, job, *exc_info)

        return handle_exception

    def _failing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def handle_job_failure(worker: BaseWorker, job: RqJob, *args: Any, **kwargs: Any) -> Any:
            run = self._runs.get(job.id)
            is_stopped = getattr(worker, "_stopped_job_id", None) == job.id
            will_retry = bool(job.should_retry) and not is_stopped
            attempt = _attempt_of(job)
            meta = _meta_of(job)
            if run is None and not is_off():
                # This is the worker: its work-horse died and could not end the job's span.
                report_lost(
                    job.id,
                    _type_of(job),
                    meta.get(MESSAGE_KEY),
                    error=str(kwargs.get("exc_string") or "the work-horse died").strip(),
                    retry_count=attempt,
                    worker_id=worker.name,
                    will_retry=will_retry,
                    span_id=self._forked_span[:].hex() if any(self._forked_span) else None,
                )
            if will_retry:
                meta[_ATTEMPT] = attempt + 1
                if run is not None:
                    meta[MESSAGE_KEY] = run.queue_again()
            return original(worker, job, *args, **kwargs)

        return handle_job_failure

    def _returning_retry(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def handle_job_retry(
            worker: BaseWorker, job: RqJob, queue: Queue, retry: Any, *args: Any, **kwargs: Any
        ) -> Any:
            run = self._runs.get(job.id)
            if run is not None:
                if job.number_of_retries and job.number_of_retries >= retry.max:
                    run.error = f"given up after {retry.max} retries"
                elif isinstance(job.meta, dict):
                    run.error = "the job returned Retry"
                    job.meta[_ATTEMPT] = _attempt_of(job) + 1
                    job.meta[MESSAGE_KEY] = run.queue_again()
            return original(worker, job, queue, retry, *args, **kwargs)

        return handle_job_retry

    # --- the worker --------------------------------------------------------------------------

    def _working(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def work(worker: BaseWorker, *args: Any, **kwargs: Any) -> Any:
            heartbeat = self._heartbeat = start_worker(worker.name, {"framework": "rq"})
            queues = {queue.name: queue for queue in worker.queues}
            depths = DepthSampler(lambda: list(queues), lambda name: int(queues[name].count))
            depths.start()
            try:
                return original(worker, *args, **kwargs)
            finally:
                stop_worker(heartbeat, depths)
                self._heartbeat = None

        return work

    def _executing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def execute_job(worker: BaseWorker, job: RqJob, *args: Any, **kwargs: Any) -> Any:
            heartbeat = self._heartbeat
            self._forked_span[:] = bytes(8)
            if heartbeat is not None:
                heartbeat.current_task_id = job.id
            try:
                with _counted(job):
                    return original(worker, job, *args, **kwargs)
            finally:
                if heartbeat is not None:
                    heartbeat.current_task_id = None

        return execute_job


@contextmanager
def _child_of(carrier: dict[str, str]) -> Iterator[None]:
    """
    Make the span of a carrier, if there is one, the parent of spans that start in the block.

    An error of the configured propagator is logged, and the block runs in the current context.
    """
    context = otel_context.get_current()
    try:
        context = propagate.extract(carrier, context)
    except Exception:
        logger.exception("otel-bridge could not read the trace context of a carrier")
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


def _cancelling(reason: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Publish the end of a job that is cancelled or deleted while it waits; no worker gets it."""

    def cancel(job: RqJob, pipeline: Any = None, *args: Any, **kwargs: Any) -> Any:
        meta = _meta_of(job)
        # Not with a pipeline: it may never be executed, and RQ itself uses one to delete each job
        # whose result is not kept.
        if is_off() or pipeline is not None or MESSAGE_KEY not in meta:
            return original(job, pipeline, *args, **kwargs)
        is_waiting = _status_of(job) in _WAITING
        result = original(job, pipeline, *args, **kwargs)
        if is_waiting:
            report_lost(
                job.id,
                _type_of(job),
                meta[MESSAGE_KEY],
                error=reason,
                retry_count=_attempt_of(job),
                worker_id=None,
            )
        return result

    return cancel


def _stop_metrics() -> None:
    """Record no metrics in a work-horse, which exits before they are read; its worker counts."""
    bridge = current_bridge()
    if bridge is not None:
        bridge.otel_metrics = None


@contextmanager
def _counted(job: RqJob) -> Iterator[None]:
    """
    Count a job in the worker, while its work-horse runs it.

    Costs one Redis command, for the job's outcome; without a meter provider nothing is counted.
    """
    bridge = current_bridge()
    otel_metrics = bridge.otel_metrics if bridge is not None else None
    if otel_metrics is None or not isinstance(metrics.get_meter_provider(), MeterProvider):
        yield
        return
    task_type = _type_of(job)
    started_at = time.monotonic()
    otel_metrics.job_started(task_type, job.origin)
    try:
        yield
    finally:
        outcome = _OUTCOMES.get(_status_of(job), "completed")
        seconds = time.monotonic() - started_at
        otel_metrics.job_ended(task_type, job.origin, outcome, None, seconds)


def _status_of(job: RqJob) -> str | None:
    try:
        return job.get_status()
    except Exception:  # Redis is unreachable, or the job succeeded and was deleted.
        return None


_OUTCOMES: Final[dict[str | None, str]] = {
    "failed": "failed",
    "stopped": "failed",
    "queued": "retrying",
    "scheduled": "retrying",
}


_ENDED: Final = ("finished", "failed", "stopped", "canceled")
_WAITING: Final = ("queued", "deferred", "scheduled", "rate_limited", "ready_to_enqueue")


def _meta_of(job: RqJob) -> dict[str, Any]:
    """The job's ``meta``; an empty dict if a user has set it to something else."""
    return job.meta if isinstance(job.meta, dict) else {}


def _type_of(job: RqJob) -> str:
    try:
        return str(job.func_name)
    except Exception:  # RQ raises several types for a job whose data it cannot read.
        return "job"


def _attempt_of(job: RqJob) -> int:
    return attempts_before(_meta_of(job).get(_ATTEMPT))
