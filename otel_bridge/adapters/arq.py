"""
arq: call ``ArqAdapter().instrument()`` where jobs are enqueued and where the worker starts.

The context travels inside the serialized job, under a key that arq does not read, so a worker
without this adapter can run the job.

Source: arq 0.25 (``connections.py``, ``jobs.py``, ``worker.py``).
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

from otel_bridge.adapters.base import (
    MESSAGE_KEY,
    Adapter,
    DepthSampler,
    framework,
    is_off,
    safely,
    this_process,
)
from otel_bridge.adapters.runs import Run, Runs, report_lost
from otel_bridge.spans.context_managers import enqueue, worker
from otel_bridge.spans.scope import current_scope
from otel_bridge.spans.span_context_manager import safe_str
from otel_bridge.workers.queue_depth import LoopCaller

with framework("arq"):
    import arq.connections
    import arq.worker
    from arq.connections import ArqRedis
    from arq.worker import Worker

__all__ = ["ArqAdapter"]

logger = logging.getLogger(__name__)


class _Attempt:
    """
    What is known about one call of ``Worker.run_job``.

    ``run`` is None before the job starts, and if its start could not be shown. ``is_finished`` is
    False if arq keeps the job in its queue, that is for a retry. ``is_discarded`` is True if arq
    has removed the job from its queue without calling its function.
    """

    def __init__(self, owner: Worker) -> None:
        self.owner = owner
        self.task_type = "job"
        self.carrier: Any = None
        self.job_try = 1
        self.result: Any = None
        self.run: Run | None = None
        self.is_finished = False
        self.is_discarded = False


_sent: ContextVar[dict[str, str] | None] = ContextVar("otel_bridge_arq_sent", default=None)
_attempt: ContextVar[_Attempt | None] = ContextVar("otel_bridge_arq_attempt", default=None)


class ArqAdapter(Adapter):
    """
    Makes the jobs, workers and queues of arq visible.

    Call ``ArqAdapter().instrument()`` once, in each process that enqueues jobs or runs a worker;
    the jobs that an ``arq.Worker`` starts from then on are shown, also if the worker was created
    before. A second call does nothing but log a warning, and ``uninstrument()`` restores arq's
    classes. With an arq older than 0.25 one error is logged and nothing is shown.

    Each worker sends a heartbeat every 10 s (by default), and the depth of its queue is read every
    5 s. ``raise Retry()`` and jobs that the worker's shutdown cancels are shown as retries;
    timeouts, aborts, expired jobs and exceeded ``max_tries`` as failures. What fails inside is
    logged, and the job runs without being shown; no call waits for the log that the events go to.
    """

    requirement: ClassVar[str] = "arq >= 0.25"

    def _attach(self, **kwargs: Any) -> None:
        self._runs = Runs()
        self._patch(ArqRedis, "enqueue_job", self._enqueueing)
        self._patch(arq.connections, "serialize_job", _serializing)
        self._patch(arq.worker, "deserialize_job_raw", _deserializing)
        self._patch(arq.worker, "serialize_result", _recording_result)
        self._patch(Worker, "main", _working)
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
                token = _sent.set(carrier)
                try:
                    job = await original(pool, function, *args, **kwargs)
                finally:
                    _sent.reset(token)
                if job is not None:
                    # None means that a job with this id was there already; it stays as it is.
                    span.queued(job_id)
                return job

        return enqueue_job

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
            self._wrap_callbacks(owner)
            attempt = _Attempt(owner)
            token = _attempt.set(attempt)
            try:
                return await original(owner, job_id, *args, **kwargs)
            finally:
                _attempt.reset(token)
                if attempt.run is not None:
                    attempt.run.is_queued_again = not attempt.is_finished
                    if attempt.run.error is not None and isinstance(attempt.result, Exception):
                        # The task only sees that it is cancelled; arq's result says "timeout".
                        attempt.run.error = attempt.result
                    self._runs.close(job_id)
                elif attempt.is_discarded:
                    # It ended before it started: expired, aborted, unknown or out of tries.
                    report_lost(
                        job_id,
                        attempt.task_type,
                        attempt.carrier,
                        error=safe_str(attempt.result or "") or "aborted before it began",
                        retry_count=max(0, attempt.job_try - 1),
                        worker_id=_worker_id(),
                    )

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
        if attempt is not None:
            attempt.run = self._runs.open(
                ctx["job_id"],
                attempt.task_type,
                attempt.carrier,
                retry_count=max(0, ctx["job_try"] - 1),
                queue=attempt.owner.queue_name,
                worker_id=_worker_id(),
                heartbeat=current_scope().worker,
            )


def _worker_id() -> str:
    return f"arq@{this_process()}"


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
        except asyncio.CancelledError:
            attempt.run.error = "cancelled: timed out, aborted or the worker was shut down"
            raise
        except BaseException as error:
            attempt.run.error = error
            raise

    call.otel_bridge_original = original  # type: ignore[attr-defined]
    return call


def _working(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def main(owner: Worker) -> Any:
        is_connected = asyncio.Event()
        on_startup = owner.on_startup

        async def set_connected(ctx: dict[Any, Any]) -> None:
            is_connected.set()
            if on_startup is not None:
                await on_startup(ctx)

        owner.on_startup = cast(Any, set_connected)

        async def count(name: str) -> int:
            await is_connected.wait()
            waiting: Any = owner.pool.zcard(name)
            return int(await waiting)

        on_loop = LoopCaller(asyncio.get_running_loop())
        depths = DepthSampler(lambda: [owner.queue_name], lambda name: on_loop.call(count, name))
        with worker(_worker_id(), meta={"framework": "arq"}):
            depths.start()
            try:
                return await original(owner)
            finally:
                depths.stop()

    return main


def _serializing(original: Callable[..., bytes]) -> Callable[..., bytes]:
    def serialize_job(*args: Any, serializer: Any = None, **kwargs: Any) -> bytes:
        carrier = _sent.get()
        if carrier is None:
            return original(*args, serializer=serializer, **kwargs)
        dump = serializer or pickle.dumps

        def with_carrier(data: dict[str, Any]) -> bytes:
            serialized: bytes
            try:
                serialized = dump({**data, MESSAGE_KEY: carrier})
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
        load = deserializer or pickle.loads

        def and_keep(data: bytes) -> Any:
            found = load(data)
            if isinstance(found, Mapping):
                attempt.carrier = found.get(MESSAGE_KEY)
            return found

        result = original(raw, deserializer=and_keep)
        attempt.task_type = safe_str(result[0])
        return result

    return deserialize_job_raw


def _recording_result(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    def serialize_result(*args: Any, **kwargs: Any) -> Any:
        attempt = _attempt.get()
        if attempt is not None:
            given = signature.bind(*args, **kwargs).arguments
            attempt.job_try, attempt.result = given["job_try"], given["result"]
        return original(*args, **kwargs)

    return serialize_result


def _finishing(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def finish_job(owner: Worker, job_id: str, finish: bool, *args: Any, **kw: Any) -> Any:
        attempt = _attempt.get()
        if attempt is not None:
            attempt.is_finished = finish
        return await original(owner, job_id, finish, *args, **kw)

    return finish_job


def _failing(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def finish_failed_job(owner: Worker, job_id: str, *args: Any, **kwargs: Any) -> Any:
        attempt = _attempt.get()
        if attempt is not None:
            attempt.is_finished = attempt.is_discarded = True
        return await original(owner, job_id, *args, **kwargs)

    return finish_failed_job
