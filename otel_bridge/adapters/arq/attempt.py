"""
``Attempt``: one call of arq's ``Worker.run_job``, and how its job ended.

arq decides the end in one long method: what the function raised, a time-out, an abort, the worker's
shutdown and the hooks all meet there. The adapter records what it sees; here it becomes one end.

Source: arq 0.25 to 0.28 (``worker.py``, ``run_job``).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from otel_bridge.adapters.base import framework
from otel_bridge.adapters.runs import Run
from otel_bridge.spans.span_context_manager import one_line, safe_str

with framework("arq"):
    from arq.worker import Retry

__all__ = ["Attempt"]


class Attempt:
    """
    What is known about one call of ``Worker.run_job``; checks nothing.

    Args:
        owner: The worker.
        job_id: Id of the job.

    Attributes:
        task_type: Name of the function; ``job`` until the job has been read.
        carrier: The carrier (the dict that carries trace context with a job); None: none came.
        job_try: arq's number of the attempt, from 1.
        run: The attempt; None before it starts, and if its start could not be shown.
        result: What arq stores, or would store; for a failure the exception.
        is_success: False if arq stores ``result`` as that of a failure.
        raised: What left ``run_job``; None: nothing.
        store_error: Why the result could not be serialized; None: it could.
        is_read: Whether arq had the job's data. Not if they had expired.
        is_kept: Whether the job's carrier is in a key of its own as well.
        is_finished: False if arq keeps the job in its queue, that is for a retry.
        is_discarded: Whether arq has removed the job from its queue without calling its function.
    """

    def __init__(self, owner: Any, job_id: str) -> None:
        self.owner = owner
        self.job_id = job_id
        self.task_type = "job"
        self.carrier: Any = None
        self.job_try = 1
        self.run: Run | None = None
        self.result: Any = None
        self.is_success = True
        self.raised: BaseException | None = None
        self.store_error: Exception | None = None
        self.is_read = False
        self.is_kept = False
        self.is_finished = False
        self.is_discarded = False
        self._error: BaseException | None = None
        self._is_aborted = False
        self._started_at = 0.0

    def started(self, run: Run) -> None:
        """Record that the job has started."""
        self.run = run
        self._started_at = time.monotonic()

    def function_raised(self, error: BaseException) -> None:
        """Record what the job's function raised, while arq still knows whether it was aborted."""
        self._error = error
        if isinstance(error, asyncio.CancelledError):
            self._is_aborted = self.job_id in self.owner.aborting_tasks

    @property
    def is_expired(self) -> bool:
        """Whether the job's data had expired before arq read them."""
        return self.is_discarded and not self.is_read

    def why_discarded(self) -> tuple[str, str | None]:
        """Return error and reason of a job that ended before it started."""
        error = safe_str(self.result or "")
        if self.is_expired:
            return error or "job expired", "expired"
        if isinstance(self.result, asyncio.CancelledError):
            return "aborted before it began", "revoked"
        if self.task_type not in self.owner.functions:
            return error or "the job cannot be read", "refused"
        return error, None  # out of tries: the attempt before has said why

    def set_outcome(self) -> None:
        """Set how the attempt ended, from what was recorded; call it before the attempt's end."""
        run = self.run
        if run is None:
            return
        run.is_queued_again = not self.is_finished
        error = self._error or self.raised
        if isinstance(error, asyncio.CancelledError):
            run.error, run.reason = self._why_cancelled()
        elif isinstance(error, Retry):
            run.error, run.stack = _describe_retry(error), error.__cause__ or error.__context__
        elif error is not None and (self._error is not None or not self.is_finished):
            run.error = error
        elif not self.is_success and isinstance(self.result, Exception):
            run.error = self.result  # such as a result whose repr() raises
        elif self.store_error is not None:
            run.error = f"the result could not be stored: {one_line(self.store_error)}"
            run.stack = self.store_error

    def _why_cancelled(self) -> tuple[str, str | None]:
        if self._is_aborted:
            return "aborted", "revoked"
        # First: a worker that is shut down keeps its jobs in the queue. Its main task may also be
        # cancelled for a moment, as a time-out of a call to Redis does under load.
        limit = self._time_limit_sec()
        if self.is_finished and limit and time.monotonic() - self._started_at >= limit:
            return f"TimeoutError: time limit of {limit:g} s exceeded", "time_limit"
        main = self.owner.main_task
        if main is not None and (main.done() or main.cancelling()):
            return "the worker was shut down while it ran", "worker_lost"
        return "cancelled", None

    def _time_limit_sec(self) -> float:
        with contextlib.suppress(Exception):
            own = self.owner.functions[self.task_type].timeout_s
            return float(self.owner.job_timeout_s if own is None else own)
        return 0.0


def _describe_retry(error: Retry) -> str:
    cause = error.__cause__ or error.__context__
    in_sec = f" in {error.defer_score / 1000:g} s" if error.defer_score else ""
    return f"{one_line(cause)} (retry{in_sec})" if cause is not None else f"Retry{in_sec}"
