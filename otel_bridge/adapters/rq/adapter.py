"""
``RqAdapter``: call its ``instrument()`` where jobs are enqueued and where the worker starts.

The work is done in the modules beside this one; here is which method of RQ each of them wraps.

Source: rq 3.0; the methods are the same in 2.6.1 unless a comment says otherwise.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ClassVar

from otel_bridge.adapters.base import (
    Adapter,
    DepthSampler,
    framework,
    is_off,
    safely,
    start_worker,
    stop_worker,
)

with framework("rq"):
    from rq import Queue
    from rq.job import Job, get_current_job
    from rq.registry import DeferredJobRegistry, StartedJobRegistry
    from rq.worker import BaseWorker, Worker

from otel_bridge.adapters.rq.endings import Endings
from otel_bridge.adapters.rq.enqueueing import Enqueueing
from otel_bridge.adapters.rq.running import Running
from otel_bridge.adapters.rq.shared_memory import SharedMemory
from otel_bridge.adapters.rq.spawned import join_run
from otel_bridge.adapters.rq.workers import worker_id_of
from otel_bridge.adapters.runs import Runs
from otel_bridge.bridge import current_bridge

__all__ = ["RqAdapter"]

logger = logging.getLogger(__name__)


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
    stopped on request, cancelled or deleted before they start, emptied out of their queue, expired,
    or whose work-horse dies are shown as failures, and so is a job that waits for a failed one.
    What RQ's own clean-up does with the jobs of a dead worker is shown where it runs, in another
    worker. ``job.meta["progress"]``, saved by ``job.save_meta()``, is the job's progress: 0 to 100,
    a float from 0 to 1, or a dict of ``done`` (or ``current``) and ``total``.

    The worker of a ``SpawnWorker`` publishes the start and end of its jobs, because their
    work-horses are new programs; progress in them is not shown.
    """

    requirement: ClassVar[str] = "rq >= 2.6.1"
    duplicate_scopes: ClassVar[tuple[str, ...]] = ("opentelemetry.instrumentation.rq",)

    def _attach(self, **kwargs: Any) -> None:
        job = get_current_job()
        if job is not None and not join_run(job):
            logger.warning(
                "otel-bridge: RqAdapter().instrument() was called while a job runs, so this job and"
                " its worker are not shown; call configure() and instrument() before the worker"
                " starts: in the program that calls Worker.work(), or in the module of"
                " 'rq worker -c'"
            )
        runs = Runs()
        self._depths: DepthSampler | None = None
        self._running = Running(runs)
        self._attach_enqueueing(Enqueueing(runs))
        self._attach_endings(Endings(runs))
        self._attach_running()

    def _attach_enqueueing(self, enqueueing: Enqueueing) -> None:
        self._patch(Queue, "enqueue_job", functools.partial(enqueueing.putting, is_public=True))
        for name in ("_enqueue_job", "schedule_job", "_enqueue_rate_limited_job"):
            if hasattr(Queue, name):  # the last one is in 3.0 only
                self._patch(Queue, name, enqueueing.putting)
        self._patch(Queue, "enqueue_many", enqueueing.putting_many)
        self._patch(Queue, "create_job", enqueueing.creating)
        self._patch(Job, "to_dict", enqueueing.storing)
        self._patch(Job, "restore", enqueueing.restoring)
        self._patch(Job, "cleanup", enqueueing.expiring)
        self._patch(Job, "prepare_for_execution", enqueueing.preparing)

    def _attach_endings(self, endings: Endings) -> None:
        error = "AbandonedJobError: its worker has not been heard of"
        self._patch(
            StartedJobRegistry,
            "cleanup",
            functools.partial(endings.cleaning, reason="worker_lost", error=error),
        )
        error = "expired: it waited for another job for longer than its ttl"
        self._patch(  # in 2.6.1 only it does something
            DeferredJobRegistry,
            "cleanup",
            functools.partial(endings.cleaning, reason="expired", error=error),
        )
        self._patch(Job, "retry", endings.retrying)
        self._patch(Job, "_handle_failure", endings.giving_up)
        for name, error in (("cancel", "cancelled"), ("delete", "deleted before it started")):
            self._patch(Job, name, functools.partial(endings.cancelling, error=error))
        self._patch(Job, "refresh", endings.refreshing)
        self._patch(Queue, "empty", endings.emptying)
        self._patch(Queue, "delete", endings.deleting_queue)
        self._patch(Queue, "enqueue_dependents", endings.releasing)
        self._patch(BaseWorker, "dequeue_job_and_maintain_ttl", endings.dequeuing)

    def _attach_running(self) -> None:
        running = self._running
        self._patch(Queue, "run_job", running.running_in_place)
        self._patch(Job, "save_meta", running.saving_meta)
        self._patch(BaseWorker, "perform_job", running.performing)
        self._patch(BaseWorker, "handle_exception", running.excepting)
        self._patch(BaseWorker, "handle_job_failure", running.failing)
        self._patch(BaseWorker, "handle_job_success", running.succeeding)
        self._patch(BaseWorker, "handle_job_retry", running.returning_retry)
        self._patch(BaseWorker, "handle_work_horse_killed", running.noting_exit)
        self._patch(Worker, "execute_job", running.executing)
        self._patch(BaseWorker, "bootstrap", self._starting)
        self._patch(BaseWorker, "work", self._working)

    # --- the worker --------------------------------------------------------------------------

    def _starting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """After ``bootstrap``: RQ refuses a worker whose name another living one has."""

        def bootstrap(worker: BaseWorker, *args: Any, **kwargs: Any) -> Any:
            result = original(worker, *args, **kwargs)
            if current_bridge() is None:
                logger.warning(
                    "otel-bridge: this RQ worker is not shown, because configure() was not called"
                    " before Worker.work(); call it in the program that starts the worker, or in"
                    " the module of 'rq worker -c'"
                )
            if not is_off():
                self._start(worker)
            return result

        return bootstrap

    @safely
    def _start(self, worker: BaseWorker) -> None:
        queues = {queue.name: queue for queue in worker.queues}
        meta = {"framework": "rq", "queues": list(queues)}
        running = self._running
        running.memory = SharedMemory()
        running.heartbeat = start_worker(worker_id_of(worker), meta)
        self._depths = DepthSampler(lambda: list(queues), lambda name: int(queues[name].count))
        self._depths.start()

    def _working(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def work(worker: BaseWorker, *args: Any, **kwargs: Any) -> Any:
            running = self._running
            try:
                return original(worker, *args, **kwargs)
            finally:
                if running.memory is not None and not worker.is_horse:
                    stop_worker(running.heartbeat, self._depths)
                    running.heartbeat = running.memory = None

        return work
