"""
``Enqueueing``: a job is put into its queue, for a first run or for another one.

A job counts as enqueued when Redis has it: with a pipeline of the user's own that is when the
pipeline is executed. A job that RQ only moves (a retry, a scheduled or dependent job whose time has
come) is not enqueued again.

Source: rq 3.0 and 2.6.1 (``queue.py``, ``repeat.py``, ``scheduler.py``, ``registry.py``).
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace

from otel_bridge.adapters.base import is_off, safely
from otel_bridge.adapters.rq.pipelines import after_execute
from otel_bridge.adapters.rq.records import (
    FIELD,
    STARTED_FIELD,
    copy_key,
    read_fields,
    record_of,
    type_of,
)
from otel_bridge.adapters.runs import Runs
from otel_bridge.events import semconv
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.work_spans import Enqueue

__all__ = ["ENDED", "Enqueueing"]

logger = logging.getLogger(__name__)

ENDED: Final = ("finished", "failed", "stopped", "canceled")
"""Statuses of a job after which it runs again only if it is put into its queue again."""
_MOVING: Final = ("deferred", "scheduled", "ready_to_enqueue", "rate_limited", "created", None)
_KEEP_COPY_SEC: Final = 86_400
"""How long after its time to live an expired job is still known: until a worker comes to it."""

_putting: ContextVar[str | None] = ContextVar("otel_bridge_rq_putting", default=None)
"""Id of the job that is being put into a queue: ``enqueue_job()`` calls ``_enqueue_job()``."""
_many: ContextVar[list[_Held] | None] = ContextVar("otel_bridge_rq_many", default=None)
"""In ``enqueue_many()``: its jobs that wait for others, which no other method of RQ enqueues."""


class _Held:
    """One enqueueing that counts later: its span is open, but not the current one."""

    def __init__(self, queue: Any, job: Any) -> None:
        self._job = job
        self._record = record_of(job)
        self._before = dict(self._record.carrier), self._record.attempt
        # A context of its own, in which the span is entered now and left later.
        self._context = contextvars.copy_context()
        self._span = _span_of(queue, job)
        self._carrier = self._context.run(self._enter)
        self._record.carrier, self._record.attempt = self._carrier, 0

    def _enter(self) -> dict[str, str]:
        otel_context.attach(_context_of(self._before[0]))
        return self._span.__enter__()

    def commit(self) -> None:
        """The job is in its queue."""
        self._context.run(_note_delay, self._job)
        self._context.run(self._span.queued, self._job.id)
        self._context.run(self._span.__exit__, None, None, None)

    def drop(self) -> None:
        """It is not: without an id, the end of the span is no event."""
        if self._record.carrier is self._carrier:
            self._record.carrier, self._record.attempt = self._before
        self._context.run(self._span.__exit__, None, None, None)


class Enqueueing:
    """
    Makes the wrappers of RQ's methods that put jobs into queues; one for the adapter.

    Each wrapper passes arguments, results and exceptions through unchanged.

    Args:
        runs: The attempts that are open in this process.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def putting(
        self, original: Callable[..., Any], *, is_public: bool = False
    ) -> Callable[..., Any]:
        """
        For ``_enqueue_job`` and ``schedule_job``, with a pipeline or without; each takes a job.

        And for ``enqueue_job`` with ``is_public``: RQ itself calls it for new jobs alone, so a job
        that has been enqueued runs again.
        """
        names = list(inspect.signature(original).parameters)
        position = names.index("pipeline") - 2 if "pipeline" in names else len(names)

        def put(queue: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
            if is_off() or _putting.get() == job.id:
                return original(queue, job, *args, **kwargs)
            record = record_of(job)
            if record.carrier and not self._is_run_again(job, is_public):
                return original(queue, job, *args, **kwargs)
            pipeline = args[position] if len(args) > position else kwargs.get("pipeline")
            if pipeline is not None:
                call = functools.partial(original, queue, job, *args, **kwargs)
                return _put_later(pipeline, queue, job, call)
            before = dict(record.carrier), record.attempt
            span = _span_of(queue, job)
            token = _putting.set(job.id)
            try:
                with _child_of(before[0]), span as carrier:
                    record.carrier, record.attempt = carrier, 0
                    result = original(queue, job, *args, **kwargs)
                    _note_delay(job)
                    span.queued(job.id)
                    return result
            except BaseException:
                record.carrier, record.attempt = before
                raise
            finally:
                _putting.reset(token)

        return put

    def _is_run_again(self, job: Any, is_public: bool) -> bool:
        """
        Whether a job with a carrier is put into a queue for another run, as a requeued one.

        Not if it is a retry, or a scheduled or dependent job that moves to its queue.
        """
        run = self._runs.get(job.id)
        if run is not None:
            return not run.is_queued_again
        status = job.get_status(refresh=False)
        if record_of(job).is_retry:
            return False
        if status == "canceled":
            return True  # its end was published
        if status in ENDED:
            # A repeat in 2.6.1 is still "finished" when its time comes: its run waits already.
            record = record_of(job)
            return record.started is None or record.has_started
        return is_public and status not in _MOVING

    def putting_many(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``enqueue_many``, which only saves the jobs that wait for others."""

        def enqueue_many(queue: Any, job_datas: Any, *args: Any, **kwargs: Any) -> Any:
            pipeline = args[0] if args else kwargs.get("pipeline")
            held: list[_Held] = []
            token = _many.set(held)
            try:
                jobs = original(queue, job_datas, *args, **kwargs)
            except BaseException:
                for one in held:
                    one.drop()
                raise
            finally:
                _many.reset(token)
            for one in held:
                if pipeline is None:
                    one.commit()
                else:
                    after_execute(pipeline, one.commit, one.drop)
            return jobs

        return enqueue_many

    def creating(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``create_job``, inside ``enqueue_many``."""

        def create_job(queue: Any, *args: Any, **kwargs: Any) -> Any:
            job = original(queue, *args, **kwargs)
            held = _many.get()
            if held is not None and not is_off() and job.get_status(refresh=False) == "deferred":
                held.append(_Held(queue, job))
            return job

        return create_job

    # --- what is stored with the job -------------------------------------------------------------

    def storing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """
        For ``Job.to_dict``: what ``Job.save`` writes.

        With ``meta`` only: RQ saves a job that has ended without it, when a further run of the same
        id may be in its queue already.
        """

        def to_dict(job: Any, *args: Any, **kwargs: Any) -> Any:
            stored = original(job, *args, **kwargs)
            record = record_of(job)
            if record.carrier and (args[0] if args else kwargs.get("include_meta", True)):
                stored[FIELD] = record.to_text()
            return stored

        return to_dict

    def restoring(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Job.restore``: what ``Job.fetch`` and ``Job.refresh`` read."""

        def restore(job: Any, raw_data: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(job, raw_data, *args, **kwargs)
            read_fields(job, raw_data)
            return result

        return restore

    def expiring(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Job.cleanup``, which gives a job that is being enqueued its time to live."""

        def cleanup(job: Any, ttl: Any = None, pipeline: Any = None, *args: Any, **kw: Any) -> Any:
            if ttl and pipeline is not None and _putting.get() == job.id:
                _keep_copy(job, ttl, pipeline)
            return original(job, ttl, pipeline, *args, **kw)

        return cleanup

    def preparing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``Job.prepare_for_execution``: stores which attempt starts, in RQ's own pipeline."""

        def prepare(job: Any, worker_name: str, pipeline: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(job, worker_name, pipeline, *args, **kwargs)
            if self._runs.get(job.id) is not None:
                _store_started(job, pipeline)
            return result

        return prepare


def _put_later(pipeline: Any, queue: Any, job: Any, put: Callable[[], Any]) -> Any:
    held = _Held(queue, job)
    token = _putting.set(job.id)
    try:
        result = put()
    except BaseException:
        held.drop()
        raise
    finally:
        _putting.reset(token)
    after_execute(pipeline, held.commit, held.drop)
    return result


@safely
def _keep_copy(job: Any, ttl: Any, pipeline: Any) -> None:
    if int(ttl) > 0:
        text = record_of(job).to_text(type=type_of(job))
        pipeline.set(copy_key(job), text, ex=int(ttl) + _KEEP_COPY_SEC)


@safely
def _store_started(job: Any, pipeline: Any) -> None:
    started = record_of(job).started
    if started is not None:
        pipeline.hset(job.key, STARTED_FIELD, started.to_text())
    if job.ttl:
        pipeline.delete(copy_key(job))


def _span_of(queue: Any, job: Any) -> Enqueue:
    # A further run belongs to the work that the first one belonged to.
    before = record_of(job).carrier
    return enqueue(
        task_id=None,
        task_type=type_of(job),
        queue=queue.name,
        parent_task_id=before.get(semconv.CARRIER_PARENT_TASK_ID),
        project_id=before.get(semconv.CARRIER_PROJECT_ID),
        phase=before.get(semconv.CARRIER_PHASE),
    )


def _context_of(carrier: dict[str, str]) -> otel_context.Context:
    """The current context, with the span of a carrier, if there is one, as the current span."""
    context = otel_context.get_current()
    try:
        return propagate.extract(carrier, context)
    except Exception:  # the propagator is the application's
        logger.exception("otel-bridge could not read the trace context of a carrier")
        return context


@contextmanager
def _child_of(carrier: dict[str, str]) -> Iterator[None]:
    token = otel_context.attach(_context_of(carrier))
    try:
        yield
    finally:
        otel_context.detach(token)


@safely
def _note_delay(job: Any) -> None:
    """Say that a job is in no list yet, so that an empty queue does not mean it is lost."""
    status = job.get_status(refresh=False)
    if status in ("scheduled", "deferred", "rate_limited"):
        span = trace.get_current_span()
        span.set_attribute(f"{semconv.META_PREFIX}delay", str(getattr(status, "value", status)))
