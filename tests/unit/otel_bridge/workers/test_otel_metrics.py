"""The same facts as OpenTelemetry metrics."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_bridge.workers.otel_metrics import OtelMetrics


class Meters:
    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.otel_metrics = OtelMetrics(provider.get_meter("test"), lambda: 7)

    def read(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                value = getattr(point, "value", None)
                value = getattr(point, "sum", None) if value is None else value
                found.setdefault(metric.name, []).append((dict(point.attributes or {}), value))
        return found


@pytest.fixture
def meters() -> Meters:
    return Meters()


def test_a_job_from_queue_to_failure(meters: Meters) -> None:
    """Sent, consumed, running up and down again, a duration with outcome and error's class."""
    made = meters.otel_metrics
    made.job_enqueued("add", "celery")
    made.job_started("add", "celery")
    assert [value for _, value in meters.read()["otel_bridge.jobs.running"]] == [1]
    made.job_ended("add", "celery", "failed", "ValueError", 1.5)
    found = meters.read()
    assert [value for _, value in found["messaging.client.sent.messages"]] == [1]
    assert [value for _, value in found["messaging.client.consumed.messages"]] == [1]
    assert [value for _, value in found["otel_bridge.jobs.running"]] == [0]
    ((attributes, seconds),) = found["messaging.process.duration"]
    assert seconds == 1.5
    assert attributes == {
        "messaging.system": "otel_bridge",
        "messaging.operation.name": "job",
        "messaging.destination.name": "celery",
        "nexus.task.type": "add",
        "nexus.outcome": "failed",
        "error.type": "ValueError",
    }


def test_workers_queues_and_losses(meters: Meters) -> None:
    """Workers that are up, the last depth of each queue, events lost."""
    made = meters.otel_metrics
    made.worker_started()
    made.worker_started()
    made.worker_ended()
    made.queue_depth({"a": 3, "b": 0})
    made.queue_depth({"a": 2})
    found = meters.read()
    assert [value for _, value in found["otel_bridge.workers"]] == [1]
    name = "messaging.destination.name"
    depths = {attributes[name]: depth for attributes, depth in found["otel_bridge.queue.depth"]}
    assert depths == {"a": 2, "b": 0}
    assert [value for _, value in found["otel_bridge.events.dropped"]] == [7]


def test_without_a_provider_nothing_happens() -> None:
    """The API's own no-op: no error, no state."""
    made = OtelMetrics(metrics.NoOpMeterProvider().get_meter("test"), lambda: 0)
    made.job_started("add", None)
    made.job_ended("add", None, "completed", None, 0.1)
