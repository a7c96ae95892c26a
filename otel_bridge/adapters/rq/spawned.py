"""
Jobs of a ``SpawnWorker``, whose work-horse (the process for one job) is a new program.

The worker knows when it starts one, and reads from Redis how the job ended. If the program has an
adapter as well, it leaves the job's events to the worker, and what the job enqueues belongs to it.

Source: rq 3.0 and 2.6.1 (``SpawnWorker.fork_work_horse``, ``results.py``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import propagate

from otel_bridge.adapters.base import safely
from otel_bridge.adapters.rq.records import FIELD, STARTED_FIELD, read_fields, record_of
from otel_bridge.adapters.runs import Run
from otel_bridge.events import semconv
from otel_bridge.spans.scope import SCOPE_KEY, Scope, carrier_of, current_scope

__all__ = [
    "continue_run",
    "is_shown_by_worker",
    "join_run",
    "read_outcome",
    "status_of",
    "store_started",
]


@safely
def store_started(worker: Any, job: Any) -> None:
    """
    Store which attempt starts, for the work-horse; one Redis command in the worker. Never raises.

    Args:
        worker: The worker, whose connection is used.
        job: Its attempt has been opened in the current context.
    """
    started = record_of(job).started
    if started is not None:
        started.carrier = carrier_of(current_scope())
        worker.connection.hset(job.key, STARTED_FIELD, started.to_text())


def is_shown_by_worker(job: Any) -> bool:
    """Whether the worker of a spawned work-horse publishes the job's events; never raises."""
    started = record_of(job).started
    return started is not None and started.carrier is not None


@safely
def continue_run(job: Any) -> None:
    """Make the job's span in its worker the current one, in a work-horse; never raises."""
    started = record_of(job).started
    carrier = (None if started is None else started.carrier) or {}
    scope = Scope(
        parent_task_id=carrier.get(semconv.CARRIER_PARENT_TASK_ID),
        project_id=carrier.get(semconv.CARRIER_PROJECT_ID),
        phase=carrier.get(semconv.CARRIER_PHASE),
    )
    context = propagate.extract(carrier, otel_context.Context())
    otel_context.attach(otel_context.set_value(SCOPE_KEY, scope, context))


def join_run(job: Any) -> bool:
    """
    Join a job that runs already, where its own module has called ``instrument()``; never raises.

    Costs one Redis command.

    Args:
        job: The job that this process runs, restored before there was an adapter.

    Returns:
        Whether its worker publishes its events. What it enqueues then belongs to it.
    """
    try:
        values = job.connection.hmget(job.key, FIELD, STARTED_FIELD)
    except Exception:  # of redis-py, of several types
        return False
    read_fields(job, dict(zip((FIELD, STARTED_FIELD), values, strict=True)))
    if not is_shown_by_worker(job):
        return False
    continue_run(job)
    return True


@safely
def read_outcome(job: Any, run: Run, started_at: datetime) -> None:
    """
    Read from Redis how a job ended that ran in another program; two commands. Never raises.

    Args:
        job: The job, whose connection is used.
        run: Its open attempt, on which the error is set.
        started_at: When it started; an older result is of a run before.
    """
    status, result = status_of(job), job.latest_result()
    is_new = result is not None and result.created_at >= started_at
    kind = result.type.name if is_new else ""
    if kind == "FAILED" or (status in ("failed", "stopped") and not kind):
        text = (result.exc_string or "").strip() if is_new else ""
        error = text.rpartition("\n")[2] or "the job failed"
        if error.startswith("rq.timeouts.JobTimeoutException"):
            run.reason = "time_limit"
        run.error = error.removeprefix("rq.timeouts.")
        run.stack = text or None
    elif kind == "MAX_RETRIES_EXCEEDED":
        run.error = "given up: the job returned Retry too often"
    elif kind == "RETRIED" or (not kind and status in ("queued", "scheduled")):
        run.error = "the job returned Retry" if kind else "the job failed and is tried again"
        run.queue_again()


def status_of(job: Any) -> str | None:
    """Read a job's status from Redis; None if that fails, or the job was deleted."""
    try:
        return str(job.get_status().value)
    except Exception:  # of redis-py, or RQ's, of several types
        return None
