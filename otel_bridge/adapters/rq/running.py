"""
``Running``: a job runs in a work-horse (RQ's process for one job) or in the worker itself.

The process that runs the job publishes its events. The worker publishes the end where that process
cannot, and all events of jobs in a ``SpawnWorker``, whose work-horses are new programs.

Source: rq 3.0 and 2.6.1 (``worker/base.py``, ``worker/worker_classes.py``; ``worker.py``).
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from rq.timeouts import JobTimeoutException
from rq.worker import SpawnWorker

from otel_bridge.adapters.base import is_off, safely
from otel_bridge.adapters.rq.job_metrics import counted, stop_metrics
from otel_bridge.adapters.rq.progress import read_progress
from otel_bridge.adapters.rq.records import STARTED_FIELD, Started, record_of, type_of
from otel_bridge.adapters.rq.shared_memory import SharedMemory, exit_reason
from otel_bridge.adapters.rq.spawned import (
    continue_run,
    is_shown_by_worker,
    read_outcome,
    status_of,
    store_started,
)
from otel_bridge.adapters.rq.workers import worker_id_of
from otel_bridge.adapters.runs import Run, Runs, report_lost
from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.forking import keep_incarnation
from otel_bridge.spans.span_context_manager import one_line
from otel_bridge.workers.heartbeat import WorkerHeartbeat

__all__ = ["Running"]

logger = logging.getLogger(__name__)

_FLUSH_SEC: Final = 2.0
"""How long a work-horse waits for the log before it exits, at most."""
_EXPORT_SEC: Final = 1.0
"""How long it then waits for an OTLP backend; a dead backend delays each job by this much."""


class Running:
    """
    Makes the wrappers of RQ's methods that run jobs; one for the adapter.

    Each wrapper passes arguments, results and exceptions through unchanged.

    Args:
        runs: The attempts that are open in this process.

    Attributes:
        heartbeat: That of this process's worker; None: no worker is shown.
        memory: What this process's worker shares with its work-horses; None: there is no worker.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.heartbeat: WorkerHeartbeat | None = None
        self.memory: SharedMemory | None = None
        self._current: Run | None = None
        """The attempt that this process runs, for threads of the job as well."""
        self._wait_status: tuple[str, int | None] | None = None
        """Id of the job whose work-horse ended too early, and what ``os.wait4`` returned."""

    def _open(self, job: Any, worker_id: str | None, *, is_inline: bool = False) -> Run:
        record = record_of(job)
        attempt = record.next_attempt()
        run = self._runs.open(
            job.id,
            type_of(job),
            self._linked(job) if attempt > record.attempt else record.carrier,
            retry_count=attempt,
            queue=job.origin,
            worker_id=worker_id,
            heartbeat=self.heartbeat,
            is_inline=is_inline,
        )
        span = f"{run.span.span_id:016x}"
        record.started = Started(record.run_id, attempt, span, worker_id or "")
        self._current = run
        return run

    @staticmethod
    def _linked(job: Any) -> dict[str, str]:
        """The carrier, with a link to the attempt before it, whose end no process has published."""
        record = record_of(job)
        parts = record.carrier.get("traceparent", "").split("-")
        if record.started is None or len(parts) != 4:
            return record.carrier
        previous = "-".join([parts[0], parts[1], record.started.span, parts[3]])
        return record.carrier | {semconv.CARRIER_PREVIOUS_ATTEMPT: previous}

    def running_in_place(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Queue.run_job``: with ``is_async=False`` the process that enqueues runs the job."""

        def run_job(queue: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return original(queue, job, *args, **kwargs)
            around = self._current
            run = self._open(job, None, is_inline=True)
            try:
                return original(queue, job, *args, **kwargs)
            except BaseException as error:
                run.error = error
                raise
            finally:
                self._runs.close(job.id)
                self._current = around

        return run_job

    # --- in the process that runs the job --------------------------------------------------------

    def performing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """
        For ``perform_job``.

        In a context of its own: a ``SimpleWorker`` runs all jobs in one thread, and what one of
        them, or another instrumentation, attaches to the context is not the next one's.
        """

        def perform_job(worker: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return original(worker, job, *args, **kwargs)
            context = contextvars.copy_context()
            if worker.is_horse and self.memory is None and is_shown_by_worker(job):
                context.run(continue_run, job)
                try:
                    return context.run(original, worker, job, *args, **kwargs)
                finally:
                    _flush()
            return context.run(self._perform, original, worker, job, *args, **kwargs)

        return perform_job

    def _perform(
        self, original: Callable[..., Any], worker: Any, job: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if worker.is_horse:
            stop_metrics()
        run = self._open(job, worker_id_of(worker))
        memory = self.memory if worker.is_horse else None
        if memory is not None:
            memory.started(run.span.span_id)
        is_left = False
        try:
            is_done = original(worker, job, *args, **kwargs)
            if not is_done and run.error is None:
                run.error = "the job failed"
            return is_done
        except BaseException as error:
            run.error = run.error or error
            if memory is not None:
                # Such as a faulty exception handler: whether the job is tried again is decided by
                # the worker, when it finds that the work-horse ended too early.
                is_left = True
                memory.failed(run.span.span_id, one_line(run.error))
            raise
        finally:
            self._current = None
            if not is_left:
                self._runs.close(job.id)
            if worker.is_horse:
                _flush()
            if memory is not None and not is_left:
                memory.started(0)

    def excepting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``handle_exception``, which gets what the job raised, or its callback after it."""

        def handle_exception(worker: Any, job: Any, *exc_info: Any) -> Any:
            run = self._runs.get(job.id)
            if run is not None and len(exc_info) > 1:
                run.error = exc_info[1]
                if isinstance(run.error, JobTimeoutException):
                    run.reason = "time_limit"
            return original(worker, job, *exc_info)

        return handle_exception

    def saving_meta(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Job.save_meta``: publishes ``meta["progress"]``, from any thread of the job."""

        def save_meta(job: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(job, *args, **kwargs)
            run = self._current
            if run is not None and run.task_id == job.id and isinstance(job.meta, dict):
                progress = read_progress(job.meta.get("progress"))
                if progress is not None:
                    run.span.progress(*progress)
            return result

        return save_meta

    def returning_retry(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``handle_job_retry``: the job returned a ``Retry``."""

        def handle_job_retry(
            worker: Any, job: Any, queue: Any, retry: Any, *args: Any, **kwargs: Any
        ) -> Any:
            run = self._runs.get(job.id)
            if job.number_of_retries and job.number_of_retries >= retry.max:
                if run is not None:
                    run.error = f"given up after {retry.max} retries"
            else:
                if run is not None:
                    run.error = "the job returned Retry"
                self._queue_again(job, run)
            return original(worker, job, queue, retry, *args, **kwargs)

        return handle_job_retry

    @staticmethod
    def _queue_again(job: Any, run: Run | None) -> None:
        record = record_of(job)
        record.attempt = record.last_attempt() + 1
        record.is_retry = True
        if run is not None:
            record.carrier = run.queue_again()

    # --- in the worker, or wherever a failure is found -------------------------------------------

    def failing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``handle_job_failure``, in the process that ran the job or in its worker."""

        def handle_job_failure(worker: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
            run = self._runs.get(job.id)
            is_stopped = getattr(worker, "_stopped_job_id", None) == job.id
            will_retry = bool(job.should_retry) and not is_stopped
            died = str(kwargs.get("exc_string") or "the work-horse died").strip(" ;\n")
            noted = self._wait_status
            if is_stopped:
                reason: str | None = "revoked"
            elif noted is not None and noted[0] == job.id:
                reason = exit_reason(job, noted[1])
            else:
                reason = None if run is not None else "worker_lost"
            if run is None and not worker.is_horse and not is_off():
                self._report(worker, job, died, reason, will_retry=will_retry)
            elif run is not None and reason is not None:
                run.reason = reason
                run.error = run.error or died
            if will_retry:
                self._queue_again(job, run)
            result = original(worker, job, *args, **kwargs)
            if run is None and worker.is_horse:
                _flush()
            return result

        return handle_job_failure

    def succeeding(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``handle_job_success``, the last call of a work-horse without an adapter at first."""

        def handle_job_success(worker: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(worker, job, *args, **kwargs)
            if worker.is_horse and self._runs.get(job.id) is None:
                _flush()
            return result

        return handle_job_success

    def _report(
        self, worker: Any, job: Any, error: str, reason: str | None, *, will_retry: bool
    ) -> None:
        record = record_of(job)
        span_id, own_error = (None, "") if self.memory is None else self.memory.read(job.id)
        attempt = record.next_attempt()
        report_lost(
            job.id,
            type_of(job),
            record.carrier,
            error=own_error or error,
            retry_count=attempt,
            worker_id=worker_id_of(worker),
            will_retry=will_retry,
            span_id=span_id,
            reason=None if own_error else reason,
        )
        record.started = Started(record.run_id, attempt, span_id or "", worker_id_of(worker))
        if self.memory is not None:
            self.memory.begin(job.id)

    @safely
    def _report_unnoticed(self, worker: Any, job: Any) -> None:
        """
        Report a job whose work-horse exited with 0 in the middle of it, as by ``os._exit(0)``.

        RQ finds it to be abandoned only in a clean-up, minutes later, and then fails or retries it.
        """
        if self.memory is None or self.memory.read(job.id)[0] is None:
            return
        if status_of(job) == "started":
            error = "the work-horse exited and left its job unfinished"
            self._report(worker, job, error, "worker_lost", will_retry=bool(job.should_retry))
            started = record_of(job).started
            assert started is not None  # _report has set it
            started.is_ended = True
            worker.connection.hset(job.key, STARTED_FIELD, started.to_text())

    def noting_exit(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``handle_work_horse_killed``, which RQ calls before the job is marked as failed."""

        def killed(worker: Any, job: Any, retpid: Any, ret_val: Any, *args: Any) -> Any:
            self._wait_status = (job.id, ret_val)
            return original(worker, job, retpid, ret_val, *args)

        return killed

    def executing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Worker.execute_job``, which makes a work-horse and waits for it."""

        def execute_job(worker: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return original(worker, job, *args, **kwargs)
            heartbeat, memory = self.heartbeat, self.memory
            self._wait_status = None
            if memory is not None:
                memory.begin(job.id)
            if heartbeat is not None:
                heartbeat.current_task_id = job.id
            try:
                if isinstance(worker, SpawnWorker):
                    context = contextvars.copy_context()
                    return context.run(self._spawn, original, worker, job, *args, **kwargs)
                with counted(job), keep_incarnation():
                    result = original(worker, job, *args, **kwargs)
                self._report_unnoticed(worker, job)
                return result
            finally:
                self._wait_status = None
                if memory is not None:
                    memory.end()
                if heartbeat is not None:
                    heartbeat.current_task_id = None

        return execute_job

    def _spawn(
        self, original: Callable[..., Any], worker: Any, job: Any, *args: Any, **kwargs: Any
    ) -> Any:
        started_at = datetime.now(UTC)
        run = self._open(job, worker_id_of(worker))
        try:
            store_started(worker, job)
            result = original(worker, job, *args, **kwargs)
            if run.error is None and not run.is_queued_again:
                read_outcome(job, run, started_at)
            return result
        except BaseException as error:
            run.error = run.error or error
            raise
        finally:
            self._current = None
            self._runs.close(job.id)


def _flush() -> None:
    """Send what is queued: a work-horse exits by ``os._exit()``, which does not run ``atexit``."""
    bridge = current_bridge()
    if bridge is not None:
        bridge.flush(_FLUSH_SEC)
        bridge.flush_exports(_EXPORT_SEC, with_metrics=False)
