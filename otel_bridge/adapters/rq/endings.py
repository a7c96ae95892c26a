"""
``Endings``: ends of jobs that no process of their own reports.

RQ's clean-up finds jobs whose worker is gone, a user cancels or deletes jobs or empties a queue, a
job expires while it waits, or the job that it depends on fails.

Source: rq 3.0 and 2.6.1 (``registry.py``, ``queue.py``, ``job.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final

from rq.exceptions import NoSuchJobError

from otel_bridge.adapters.base import is_off, safely
from otel_bridge.adapters.rq.pipelines import after_execute
from otel_bridge.adapters.rq.records import copy_key, read_copy, record_of, type_of
from otel_bridge.adapters.rq.spawned import status_of
from otel_bridge.adapters.runs import Runs, report_lost

__all__ = ["Endings"]

logger = logging.getLogger(__name__)

_WAITING: Final = ("queued", "deferred", "scheduled", "rate_limited", "ready_to_enqueue")
_MAX_EMPTIED: Final = 10_000
"""Jobs of an emptied queue that are reported one by one; the collector finds the others to be gone
by the depth of their queue."""
_CHUNK: Final = 500

_cleaning: ContextVar[list[tuple[Any, bool]] | None] = ContextVar(
    "otel_bridge_rq_cleaning", default=None
)
"""While RQ cleans a registry: its abandoned jobs, and whether each is tried again."""
_dequeuing: ContextVar[bool] = ContextVar("otel_bridge_rq_dequeuing", default=False)


class Endings:
    """
    Makes the wrappers of RQ's methods that end jobs from outside; one for the adapter.

    Each wrapper passes arguments, results and exceptions through unchanged.

    Args:
        runs: The attempts that are open in this process.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    # --- RQ's clean-up ---------------------------------------------------------------------------

    def cleaning(
        self, original: Callable[..., Any], *, reason: str, error: str
    ) -> Callable[..., Any]:
        """For ``cleanup`` of a registry; publishes once RQ's transaction was executed."""

        def cleanup(registry: Any, *args: Any, **kwargs: Any) -> Any:
            found: list[tuple[Any, bool]] = []
            token = _cleaning.set(found)
            try:
                result = original(registry, *args, **kwargs)
            finally:
                _cleaning.reset(token)
            for job, will_retry in found:
                _report(job, error, reason, will_retry=will_retry)
            return result

        return cleanup

    def retrying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Job.retry``, which the clean-up calls for abandoned jobs with retries left."""

        def retry(job: Any, *args: Any, **kwargs: Any) -> Any:
            found = _cleaning.get()
            if found is not None and not is_off():
                if not _has_ended(job):
                    found.append((job, True))
                record = record_of(job)
                record.attempt = record.last_attempt() + 1
                record.is_retry = True
            return original(job, *args, **kwargs)

        return retry

    def giving_up(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Job._handle_failure``, which the clean-up calls for the other jobs."""

        def handle_failure(job: Any, *args: Any, **kwargs: Any) -> Any:
            found = _cleaning.get()
            if found is not None and not is_off() and not _has_ended(job):
                found.append((job, False))
            return original(job, *args, **kwargs)

        return handle_failure

    # --- cancelled, deleted, emptied -------------------------------------------------------------

    def cancelling(self, original: Callable[..., Any], *, error: str) -> Callable[..., Any]:
        """For ``Job.cancel`` and ``Job.delete``: a job that waits will never run."""

        def cancel(job: Any, pipeline: Any = None, *args: Any, **kwargs: Any) -> Any:
            # RQ deletes a job whose result is not kept, in the process that has run it.
            if is_off() or self._runs.get(job.id) is not None or not record_of(job).carrier:
                return original(job, pipeline, *args, **kwargs)
            is_waiting = status_of(job) in _WAITING
            dependents = _deferred_for(job) if is_waiting else []
            result = original(job, pipeline, *args, **kwargs)

            def report() -> None:
                if is_waiting:
                    _report(job, error, "revoked")
                    _report_never(job, "will not run", _still_deferred(dependents))

            if pipeline is None:
                report()
            else:
                after_execute(pipeline, report, lambda: None)
            return result

        return cancel

    def emptying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Queue.empty``: the jobs that are gone after it."""

        def empty(queue: Any, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return original(queue, *args, **kwargs)
            jobs = _jobs_in(queue)
            result = original(queue, *args, **kwargs)
            _report_gone(queue, jobs)
            return result

        return empty

    def deleting_queue(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Queue.delete``, which calls ``empty()`` unless the jobs are to be kept."""

        def delete(queue: Any, *args: Any, **kwargs: Any) -> Any:
            with_jobs = args[0] if args else kwargs.get("delete_jobs", True)
            if is_off() or with_jobs:
                return original(queue, *args, **kwargs)
            jobs = _jobs_in(queue)
            result = original(queue, *args, **kwargs)
            for job in jobs:
                _report(job, "its queue was deleted", "revoked")
            return result

        return delete

    # --- dependencies and expiry -----------------------------------------------------------------

    def releasing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Queue.enqueue_dependents``: what still waits for a failed job will never run."""

        def enqueue_dependents(queue: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(queue, job, *args, **kwargs)
            if not is_off() and job.get_status(refresh=False) in ("failed", "stopped"):
                _report_dependents(job)
            return result

        return enqueue_dependents

    def dequeuing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``dequeue_job_and_maintain_ttl``, which passes over jobs that do not exist."""

        def dequeue(worker: Any, *args: Any, **kwargs: Any) -> Any:
            token = _dequeuing.set(not is_off())
            try:
                return original(worker, *args, **kwargs)
            finally:
                _dequeuing.reset(token)

        return dequeue

    def refreshing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Job.refresh``: a job that a worker takes from its queue may have expired."""

        def refresh(job: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(job, *args, **kwargs)
            except NoSuchJobError:
                if _dequeuing.get():
                    _report_expired(job)
                raise

        return refresh


def _has_ended(job: Any) -> bool:
    """Whether the last attempt reported its end: 2.6.1 cleans up what has succeeded as well."""
    started, ended = job.started_at, job.ended_at
    return started is not None and ended is not None and ended >= started


@safely
def _report(job: Any, error: str, reason: str, *, will_retry: bool = False) -> None:
    record = record_of(job)
    started = record.started if record.has_started else None
    if not record.carrier and started is None:
        return  # it was never shown
    if started is not None and started.is_ended:
        return
    report_lost(
        job.id,
        type_of(job),
        record.carrier,
        error=error,
        retry_count=record.last_attempt(),
        worker_id=(started.worker or None) if started else None,
        will_retry=will_retry,
        span_id=(started.span or None) if started else None,
        reason=reason,
    )


@safely
def _report_dependents(job: Any) -> None:
    """
    Report the jobs that wait for one that has failed, and what waits for those.

    RQ leaves them deferred for ever. If the job is requeued and succeeds, they run after all, and
    their start is newer than this end.
    """
    is_failed = job.get_status(refresh=False) == "failed"
    dependents = [
        each for each in _deferred_for(job) if not (is_failed and each.allow_dependency_failures)
    ]
    _report_never(job, "failed" if is_failed else "was stopped", dependents)


@safely
def _report_never(job: Any, words: str, dependents: list[Any]) -> None:
    seen = {job.id}
    waiting = [(job.id, words, each) for each in dependents]
    while waiting:
        parent_id, words, each = waiting.pop()
        if each.id not in seen:
            seen.add(each.id)
            _report(each, f"not run: job {parent_id}, which it depends on, {words}", "refused")
            waiting += [(each.id, "will not run", one) for one in _deferred_for(each)]


def _deferred_for(job: Any) -> list[Any]:
    """The jobs that wait for a job; none if Redis cannot say so."""
    try:
        ids = job.dependent_ids
        found = type(job).fetch_many(ids, job.connection, job.serializer) if ids else []
    except Exception:
        logger.exception("otel-bridge could not read the jobs that wait for %s", job.id)
        return []
    return [each for each in found if each and each.get_status(refresh=False) == "deferred"]


def _still_deferred(jobs: list[Any]) -> list[Any]:
    return [job for job in jobs if status_of(job) == "deferred"]


@safely
def _report_expired(job: Any) -> None:
    key = copy_key(job)
    value = job.connection.get(key)
    if value is None or not job.connection.delete(key):
        return  # never stored, or another worker reports it
    record, task_type = read_copy(value)
    report_lost(
        job.id,
        task_type,
        record.carrier,
        error="expired: it waited in its queue for longer than its ttl",
        retry_count=record.attempt,
        worker_id=None,
        reason="expired",
    )


def _jobs_in(queue: Any) -> list[Any]:
    try:
        ids = queue.get_job_ids(0, _MAX_EMPTIED)
        jobs = [
            job
            for chunk in _chunks(ids)
            for job in queue.job_class.fetch_many(chunk, queue.connection, queue.serializer)
        ]
    except Exception:
        logger.exception("otel-bridge could not read the jobs of the queue %s", queue.name)
        return []
    return [job for job in jobs if job is not None]


@safely
def _report_gone(queue: Any, jobs: list[Any]) -> None:
    """A worker may have taken some of them before the queue was emptied: those still exist."""
    for chunk in _chunks(jobs):
        with queue.connection.pipeline(transaction=False) as pipeline:
            for job in chunk:
                pipeline.exists(job.key)
            exists = pipeline.execute()
        for job, is_there in zip(chunk, exists, strict=True):
            if not is_there:
                _report(job, "its queue was emptied", "revoked")


def _chunks(items: list[Any]) -> Iterable[list[Any]]:
    return (items[at : at + _CHUNK] for at in range(0, len(items), _CHUNK))
