"""
``OtelMetrics``: jobs, durations, queues and workers as OpenTelemetry metrics.

The metrics go to the application's meter provider. Without one they cost a few hundred nanoseconds
a job and are discarded. Research tasks and projects are not attributes, because their number is not
bounded.

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
    The OpenTelemetry instruments of one process, which count jobs, workers, depths and drops.

    ``configure()`` makes one, as ``Bridge.otel_metrics``. Any thread may record; there is nothing
    to start or stop. The methods do not wait, and only ``queue_depth`` may raise, a ``TypeError``
    for a depth that is no number. Call each ``..._ended`` once after its ``..._started``, which is
    not checked: running jobs and workers are their difference. Each job type and each queue is a
    time series of its own: their number is not limited here.

    Args:
        meter: Creates the instruments.
        dropped: Returns the number of events that this process has dropped so far; called at each
            export.
    """

    def __init__(self, meter: Meter, dropped: Callable[[], int]) -> None:
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs put into a queue."
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Attempts at jobs that started."
        )
        self._duration = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of attempts at jobs.",
            explicit_bucket_boundaries_advisory=_BUCKETS_SEC,
        )
        self._running = meter.create_up_down_counter(
            "otel_bridge.jobs.running", "{job}", "Jobs that run in this process."
        )
        self._depth = meter.create_gauge(
            "otel_bridge.queue.depth", "{job}", "Jobs waiting in a queue."
        )

        self._workers = 0
        self._pid = os.getpid()

        def observe_dropped(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(dropped())]

        def observe_workers(_: CallbackOptions) -> Iterable[Observation]:
            # A forked child (RQ's work-horse) must not report its parent's workers again.
            return [Observation(self._workers)] if os.getpid() == self._pid else []

        meter.create_observable_up_down_counter(
            "otel_bridge.workers",
            [observe_workers],
            "{worker}",
            "Workers that are up in this process.",
        )
        meter.create_observable_counter(
            "otel_bridge.events.dropped", [observe_dropped], "{event}", "Live events dropped."
        )

    def job_enqueued(self, task_type: str, queue: str | None) -> None:
        """
        Count a job that was put into its queue; from any thread, never waits or raises.

        Args:
            task_type: Attribute ``nexus.task.type``; each one is a time series, without a limit
                here.
            queue: Attribute ``messaging.destination.name``; None: left out.
        """
        self._sent.add(1, _attributes(task_type, queue, "enqueue"))

    def job_started(self, task_type: str, queue: str | None) -> None:
        """
        Count an attempt at a job that starts, and count it as running until ``job_ended``.

        From any thread; never waits or raises.

        Args:
            task_type: Attribute ``nexus.task.type``; each one is a time series, without a limit
                here.
            queue: Attribute ``messaging.destination.name``; None: left out.
        """
        attributes = _attributes(task_type, queue, "job")
        self._consumed.add(1, attributes)
        self._running.add(1, attributes)

    def job_ended(
        self, task_type: str, queue: str | None, outcome: str, error: str | None, seconds: float
    ) -> None:
        """
        Record the end of an attempt: one running job less, and its duration in a histogram.

        From any thread; never waits or raises. Call it once for each ``job_started``, which is not
        checked.

        Args:
            task_type: As given to ``job_started``.
            queue: As given to ``job_started``.
            outcome: ``completed``, ``failed`` or ``retrying``; not checked.
            error: Name of the exception's class, of which there are few; None: no exception. The
                message is not an attribute, because there is no bound to different messages.
            seconds: Duration of the attempt; the buckets end at 1,800 s. The SDK drops a negative
                one.
        """
        attributes = _attributes(task_type, queue, "job")
        self._running.add(-1, attributes)
        attributes[semconv.OUTCOME] = outcome
        if error is not None:
            attributes[semconv.ERROR_TYPE] = error
        self._duration.record(seconds, attributes)

    def worker_started(self) -> None:
        """Count a worker as up in this process; in a forked child the count begins again at 0."""
        if os.getpid() != self._pid:
            self._pid, self._workers = os.getpid(), 0
        self._workers += 1

    def worker_ended(self) -> None:
        """Count a worker as stopped; call it once for each ``worker_started``."""
        self._workers -= 1

    def queue_depth(self, depths: Mapping[str, int]) -> None:
        """
        Set the gauge ``otel_bridge.queue.depth``; from any thread, never waits.

        Args:
            depths: Number of waiting jobs, by the queue's full name; other queues keep theirs. Each
                queue is a time series, without a limit here.

        Raises:
            TypeError: A depth is no number.
        """
        for name, depth in depths.items():
            self._depth.set(depth, {semconv.MESSAGING_DESTINATION_NAME: name})


_BUCKETS_SEC = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""The buckets of the semantic conventions end at 10 s; jobs here often take minutes."""


def _attributes(task_type: str, queue: str | None, operation: str) -> dict[str, str]:
    attributes = {
        semconv.MESSAGING_SYSTEM: "otel_bridge",
        semconv.MESSAGING_OPERATION_NAME: operation,
        semconv.TASK_TYPE: task_type,
    }
    if queue is not None:
        attributes[semconv.MESSAGING_DESTINATION_NAME] = queue
    return attributes
