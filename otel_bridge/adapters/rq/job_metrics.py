"""OpenTelemetry metrics of jobs in work-horses (RQ's processes for one job): the worker counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider

from otel_bridge.adapters.rq.records import type_of
from otel_bridge.adapters.rq.spawned import status_of
from otel_bridge.bridge import current_bridge

__all__ = ["counted", "stop_metrics"]

_OUTCOMES: Final = {
    "failed": "failed",
    "stopped": "failed",
    "queued": "retrying",
    "scheduled": "retrying",
}


def stop_metrics() -> None:
    """Record no metrics in a work-horse, which exits before they are read; its worker counts."""
    bridge = current_bridge()
    if bridge is not None:
        bridge.otel_metrics = None


@contextmanager
def counted(job: Any) -> Iterator[None]:
    """
    Count a job in the worker, while its work-horse runs it; a context manager, for ``with`` only.

    Costs one Redis command, for the job's outcome; without a meter provider nothing is counted.
    Exceptions of the block pass unchanged.
    """
    bridge = current_bridge()
    otel_metrics = bridge.otel_metrics if bridge is not None else None
    if otel_metrics is None or not isinstance(metrics.get_meter_provider(), MeterProvider):
        yield
        return
    task_type = type_of(job)
    started_at = time.monotonic()
    otel_metrics.job_started(task_type, job.origin)
    try:
        yield
    finally:
        outcome = _OUTCOMES.get(status_of(job) or "", "completed")
        seconds = time.monotonic() - started_at
        otel_metrics.job_ended(task_type, job.origin, outcome, None, seconds)
