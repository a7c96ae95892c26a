"""
arq: call ``ArqAdapter().instrument()`` where jobs are enqueued and where the worker starts.

The context travels inside the serialized job, under a key that arq does not read, so a worker
without this adapter can run the job. Whatever arq's ``run_job`` does with a job, its end is decided
around it: a hook that raises or a result that cannot be stored changes what becomes of the job.

Source: arq 0.25 to 0.28 (``connections.py``, ``jobs.py``, ``worker.py``).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import pickle
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, cast

from otel_bridge.adapters.arq.attempt import Attempt
from otel_bridge.adapters.arq.depth import depth_of
from otel_bridge.adapters.arq.expiring import KEPT_KEY, CarrierKeys
from otel_bridge.adapters.base import (
    MESSAGE_KEY,
    Adapter,
    DepthSampler,
    framework,
    is_off,
    safely,
    start_worker,
    this_process,
)
from otel_bridge.adapters.runs import Runs, report_lost
from otel_bridge.spans.context_managers import enqueue
from otel_bridge.spans.span_context_manager import safe_str
from otel_bridge.workers.heartbeat import WorkerHeartbeat
from otel_bridge.workers.queue_depth import LoopCaller

with framework("arq"):
    import arq.connections
    import arq.worker
    from arq.connections import ArqRedis
    from arq.worker import Worker

__all__ = ["ArqAdapter"]

logger = logging.getLogger(__name__)


class _Watched:
    """
    One ``arq.Worker``: ``heartbeat`` is None before ``configure()``.

    It has stopped when its main loop is over and the last of its ``running`` jobs has ended.
    """

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.heartbeat: WorkerHeartbeat | None = None
        self.depths: DepthSampler | None = None
        self.running = 0
        self.is_over = False


_sent: ContextVar[dict[str, Any] | None] = ContextVar("otel_bridge_arq_sent", default=None)
"""What is added to the job that the current ``enqueue_job`` serializes."""
_attempt: ContextVar[Attempt | None] = ContextVar("otel_bridge_arq_attempt", default=None)


class ArqAdapter(Adapter):
    """
    Makes the jobs, workers and queues of arq visible.

    Call ``ArqAdapter().instrument()`` once, in each process that enqueues jobs or runs a worker;
    the jobs that an ``arq.Worker`` starts from then on are shown, also if the worker was created
    or started before: it and ``configure()`` may be called in ``on_startup``. A second call does
    nothing but log a warning, and ``uninstrument()`` restores arq's classes. With an arq older than
    0.25 one error is logged and nothing is shown.

    Each worker sends a heartbeat every 10 s (by default), and the depth of its queue is read at
    once and every 5 s. ``raise Retry()``, jobs that the worker's shutdown cancels and hooks that
    raise before arq has recorded a job's end are shown as retries; timeouts, aborts, expired jobs,
    exceeded ``max_tries`` and results that cannot be serialized as failures. A job with
    ``_expires`` has its carrier in a key beside it, since arq's own is gone when it has expired.
    What fails inside is logged, and the job runs without being shown; no call waits for the log
    that the events go to.
    """

    requirement: ClassVar[str] = "arq >= 0.25"

    def _attach(self, **kwargs: Any) -> None:
        self._runs = Runs()
        self._workers: dict[Worker, _Watched] = {}
        self._carriers = CarrierKeys()
        self._patch(ArqRedis, "enqueue_job", self._enqueueing)
        self._patch(arq.connections, "serialize_job", _serializing)
        self._patch(arq.worker, "deserialize_job_raw", _deserializing)
        self._patch(arq.worker, "serialize_result", _recording_result)
        self._patch(Worker, "main", self._working)
        self._patch(Worker, "heart_beat", self._polling)
        self._patch(Worker, "run_job", self._running)
        self._patch(Worker, "finish_job", _finishing)
        self._patch(Worker, "finish_failed_job", _failing)

    # --- enqueueing --------------------------------------------------------------------------

    def _enqueueing(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def enqueue_job(pool: ArqRedis, function: str, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return await original(pool, function, *args, **kwargs)
            job_id = kwargs["_job_id"] = kwargs.get("_job_id") or uuid.uuid4().hex
            queue = kwargs.get("_queue_name") or pool.default_queue_name
            span = enqueue(task_id=None, task_type=function, queue=queue)
            with span as carrier:
                keeps_for_ms = self._carriers.keeps_for_ms(pool, kwargs)
                kept = {} if keeps_for_ms is None else {KEPT_KEY: True}
                token = _sent.set({MESSAGE_KEY: carrier, **kept})
                try:
                    job = await original(pool, function, *args, **kwargs)
                finally:
                    _sent.reset(token)
                if job is not None:
                    # None means that a job with this id was there already; it stays as it is.
                    span.queued(job_id)
            if job is not None and keeps_for_ms is not None:
                await self._carriers.keep(pool, job_id, function, carrier, keeps_for_ms)
            return job

        return enqueue_job

    # --- working -----------------------------------------------------------------------------

    def _working(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def main(owner: Worker) -> Any:
            self._watch(owner, is_in_main=True)
            try:
                return await original(owner)
            finally:
                self._end_main(owner)

        return main

    def _polling(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        # At each poll of the queue, for main() may have begun before instrument() or configure().
        async def poll(owner: Worker) -> Any:
            self._watch(owner)
            return await original(owner)

        return poll

    @safely
    def _watch(self, owner: Worker, is_in_main: bool = False) -> None:
        """Start the worker's heartbeat once there is a bridge, and its depths once it can read."""
        if is_off():
            return
        watched = self._workers.get(owner)
        if watched is None:
            number = len(self._workers) + 1
            suffix = "" if number == 1 else f"#{number}"
            watched = self._workers[owner] = _Watched(f"arq@{this_process()}{suffix}")
            if not is_in_main and owner.main_task is not None:
                owner.main_task.add_done_callback(lambda _: self._end_main(owner))
        if watched.heartbeat is None:
            meta = {"framework": "arq", "queues": [owner.queue_name]}
            watched.heartbeat = start_worker(watched.worker_id, meta)
        if watched.heartbeat is None or watched.depths is not None or owner._pool is None:
            return

        on_loop = LoopCaller(asyncio.get_running_loop())
        watched.depths = DepthSampler(
            lambda: [owner.queue_name], lambda name: on_loop.call(depth_of, owner.pool, name)
        )
        watched.depths.start()

    @safely
    def _end_main(self, owner: Worker) -> None:
        watched = self._workers.get(owner)
        if watched is not None:
            watched.is_over = True
            self._stop_if_idle(owner, watched)

    def _stop_if_idle(self, owner: Worker, watched: _Watched) -> None:
        # Jobs that the shutdown cancels end after main(): their ends come before the worker's.
        if not watched.is_over or watched.running:
            return
        self._workers.pop(owner, None)
        if watched.depths is not None:
            watched.depths.stop()
        if watched.heartbeat is not None:
            watched.heartbeat.stop()

    # --- running -----------------------------------------------------------------------------

    @safely
    def _wrap_callbacks(self, owner: Worker) -> None:
        """Wrap the worker's functions and its ``on_job_start``; does nothing the second time."""
        # At each job, not in Worker's constructor: a worker may have been created before.
        for function in owner.functions.values():
            function.coroutine = cast(Any, _calling(function.coroutine))
        owner.on_job_start = cast(Any, self._starting(owner.on_job_start))

    def _running(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run_job(owner: Worker, job_id: str, *args: Any, **kwargs: Any) -> Any:
            if is_off():
                return await original(owner, job_id, *args, **kwargs)
            self._watch(owner)
            self._wrap_callbacks(owner)
            attempt = Attempt(owner, job_id)
            token = _attempt.set(attempt)
            watched = self._workers.get(owner)
            if watched is not None:
                watched.running += 1
            try:
                return await original(owner, job_id, *args, **kwargs)
            except BaseException as error:
                attempt.raised = error
                raise
            finally:
                _attempt.reset(token)
                try:
                    if attempt.is_expired:
                        found = await self._carriers.read(owner.pool, job_id)
                        attempt.task_type, attempt.carrier = found
                    if attempt.is_kept and attempt.is_finished:
                        await self._carriers.forget(owner.pool, job_id)
                finally:
                    self._end(attempt)
                    if watched is not None:
                        watched.running -= 1
                        self._stop_if_idle(owner, watched)

        return run_job

    def _starting(
        self, original: Callable[..., Awaitable[Any]] | None
    ) -> Callable[..., Awaitable[Any]]:
        if original is not None and hasattr(original, "otel_bridge_original"):
            return original

        async def on_job_start(ctx: dict[Any, Any]) -> None:
            self._open(ctx)
            if original is not None:
                await original(ctx)

        on_job_start.otel_bridge_original = original  # type: ignore[attr-defined]
        return on_job_start

    @safely
    def _open(self, ctx: dict[Any, Any]) -> None:
        attempt = _attempt.get()
        if attempt is None:
            return
        watched = self._workers.get(attempt.owner)
        attempt.started(
            self._runs.open(
                ctx["job_id"],
                attempt.task_type,
                attempt.carrier,
                retry_count=max(0, ctx["job_try"] - 1),
                queue=attempt.owner.queue_name,
                worker_id=None if watched is None else watched.worker_id,
                heartbeat=None if watched is None else watched.heartbeat,
            )
        )

    @safely
    def _end(self, attempt: Attempt) -> None:
        if attempt.run is not None:
            attempt.set_outcome()
            self._runs.close(attempt.job_id)
        elif attempt.is_discarded:
            # It ended before it started: expired, aborted, unknown or out of tries.
            error, reason = attempt.why_discarded()
            report_lost(
                attempt.job_id,
                attempt.task_type,
                attempt.carrier,
                error=error,
                retry_count=max(0, attempt.job_try - 1),
                worker_id=None,
                reason=reason,
            )


def _calling(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    if hasattr(original, "otel_bridge_original"):
        return original

    @functools.wraps(original)
    async def call(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:
        attempt = _attempt.get()
        if attempt is None or attempt.run is None:
            return await original(ctx, *args, **kwargs)
        try:
            return await original(ctx, *args, **kwargs)
        except BaseException as error:
            attempt.function_raised(error)
            raise

    call.otel_bridge_original = original  # type: ignore[attr-defined]
    return call


def _serializing(original: Callable[..., bytes]) -> Callable[..., bytes]:
    def serialize_job(*args: Any, serializer: Any = None, **kwargs: Any) -> bytes:
        sent = _sent.get()
        if sent is None:
            return original(*args, serializer=serializer, **kwargs)
        dump = serializer or pickle.dumps

        def with_carrier(data: dict[str, Any]) -> bytes:
            serialized: bytes
            try:
                serialized = dump({**data, **sent})
            except Exception:
                # The application's own serializer may accept arq's keys only. If the job cannot be
                # serialized at all, this raises what it raises without the adapter.
                serialized = dump(data)
                logger.warning("the job serializer accepts no carrier; its jobs are not linked")
            return serialized

        return original(*args, serializer=with_carrier, **kwargs)

    return serialize_job


def _deserializing(original: Callable[..., Any]) -> Callable[..., Any]:
    def deserialize_job_raw(raw: bytes, *, deserializer: Any = None) -> Any:
        attempt = _attempt.get()
        if attempt is None:
            return original(raw, deserializer=deserializer)
        attempt.is_read = True
        load = deserializer or pickle.loads

        def and_keep(data: bytes) -> Any:
            found = load(data)
            if isinstance(found, Mapping):
                attempt.carrier = found.get(MESSAGE_KEY)
                attempt.is_kept = bool(found.get(KEPT_KEY))
            return found

        result = original(raw, deserializer=and_keep)
        attempt.task_type = safe_str(result[0])
        return result

    return deserialize_job_raw


def _recording_result(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    def serialize_result(*args: Any, **kwargs: Any) -> Any:
        attempt = _attempt.get()
        if attempt is None:
            return original(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        attempt.job_try, attempt.result = given["job_try"], given["result"]
        attempt.is_success = given["success"]
        dump = given.get("serializer") or pickle.dumps

        def and_note(data: dict[str, Any]) -> Any:
            try:
                return dump(data)
            except Exception as error:
                # arq logs it, and stores a failure instead of the result.
                attempt.store_error = attempt.store_error or error
                raise

        return original(*args, **{**kwargs, "serializer": and_note})

    return serialize_result


def _finishing(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def finish_job(owner: Worker, job_id: str, finish: bool, *args: Any, **kw: Any) -> Any:
        attempt = _attempt.get()
        if attempt is not None:
            attempt.is_finished = finish
        try:
            return await original(owner, job_id, finish, *args, **kw)
        except Exception:
            if attempt is not None:
                attempt.is_finished = False  # Redis has not taken it: the job is still queued
            raise

    return finish_job


def _failing(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def finish_failed_job(owner: Worker, job_id: str, *args: Any, **kwargs: Any) -> Any:
        attempt = _attempt.get()
        if attempt is not None:
            attempt.is_finished = attempt.is_discarded = True
        return await original(owner, job_id, *args, **kwargs)

    return finish_failed_job
