"""
The same facts as OpenTelemetry metrics, for whoever keeps them: jobs, durations, queues, workers.

Made from the application's meter provider; without one they cost a few hundred nanoseconds a job
and go nowhere. Research tasks and projects are no attributes: their number has no bound.

Source: semantic conventions 0.66b2, ``messaging.*`` metrics (Development status).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_bridge.events import semconv

__all__ = ["OtelMetrics"]


class OtelMetrics:
    """
    What is measured. Durations in seconds.

    Args:
        meter: Makes the otel_metrics.
        dropped: Events lost so far by this process.
    """

    def __init__(self, meter: Meter, dropped: Callable[[], int]) -> None:
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs put into a queue."
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Attempts at jobs that began."
        )
        self._duration = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "How long attempts at jobs took.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._running = meter.create_up_down_counter(
            "otel_bridge.jobs.running", "{job}", "Jobs that run in this process."
        )
        self._depth = meter.create_gauge("otel_bridge.queue.depth", "{job}", "Jobs that wait.")

        self._workers = 0
        self._pid = os.getpid()

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(dropped())]

        def count(_: CallbackOptions) -> Iterable[Observation]:
            # A work-horse is no second worker.
            return [Observation(self._workers)] if os.getpid() == self._pid else []

        meter.create_observable_up_down_counter(
            "otel_bridge.workers", [count], "{worker}", "Workers that are up in this process."
        )
        meter.create_observable_counter(
            "otel_bridge.events.dropped", [observe], "{event}", "Live events lost."
        )

    def job_enqueued(self, task_type: str, queue: str | None) -> None:
        """A job is in its queue."""
        self._sent.add(1, _attributes(task_type, queue, "enqueue"))

    def job_started(self, task_type: str, queue: str | None) -> None:
        """An attempt at a job begins."""
        attributes = _attributes(task_type, queue, "job")
        self._consumed.add(1, attributes)
        self._running.add(1, attributes)

    def job_ended(
        self, task_type: str, queue: str | None, outcome: str, error: str | None, seconds: float
    ) -> None:
        """An attempt ended; ``error`` is a class's name, which is few."""
        attributes = _attributes(task_type, queue, "job")
        self._running.add(-1, attributes)
        attributes[semconv.OUTCOME] = outcome
        if error is not None:
            attributes[semconv.ERROR_TYPE] = error
        self._duration.record(seconds, attributes)

    def worker_started(self) -> None:
        """A worker is up."""
        if os.getpid() != self._pid:
            self._pid, self._workers = os.getpid(), 0
        self._workers += 1

    def worker_ended(self) -> None:
        """A worker is down."""
        self._workers -= 1

    def queue_depth(self, depths: Mapping[str, int]) -> None:
        """So many jobs wait, by queue."""
        for name, depth in depths.items():
            self._depth.set(depth, {semconv.MESSAGING_DESTINATION_NAME: name})


_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""The conventions' own end at 10 s, where the work that is watched here begins."""


def _attributes(task_type: str, queue: str | None, operation: str) -> dict[str, str]:
    attributes = {
        semconv.MESSAGING_SYSTEM: "otel_bridge",
        semconv.MESSAGING_OPERATION_NAME: operation,
        semconv.TASK_TYPE: task_type,
    }
    if queue is not None:
        attributes[semconv.MESSAGING_DESTINATION_NAME] = queue
    return attributes
