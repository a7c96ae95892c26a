"""``otlp/metrics.py``: what a request of metrics is answered, whichever way it came."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from otel_bridge_collector.otlp.decode import OtlpError
from otel_bridge_collector.otlp.metrics import (
    MAX_METRICS_PARTS,
    METRICS_NOT_KEPT,
    metrics_response,
    reject_metrics,
)
from otel_bridge_collector.security.tokens import ANONYMOUS


async def test_every_data_point_is_rejected() -> None:
    """Points of all kinds of metrics count; a metric without a kind has none."""
    message = ExportMetricsServiceRequest()
    metrics = message.resource_metrics.add().scope_metrics.add().metrics
    for kind, count in (("sum", 2), ("gauge", 1), ("histogram", 1), ("exponential_histogram", 3)):
        for _ in range(count):
            getattr(metrics.add(), kind).data_points.add()
    metrics.add(name="no kind")
    assert await reject_metrics(message, ANONYMOUS) == 7


async def test_too_many_parts_are_refused() -> None:
    """Of a request with more than 100,000 parts no data points are counted."""
    message = ExportMetricsServiceRequest()
    for _ in range(MAX_METRICS_PARTS):
        message.resource_metrics.add()
    assert await reject_metrics(message, ANONYMOUS) == 0
    message.resource_metrics.add()
    with pytest.raises(OtlpError, match="more than 100000 resources, scopes and metrics"):
        await reject_metrics(message, ANONYMOUS)


@pytest.mark.parametrize("rejected", [0, 3])
def test_the_answer_names_the_reason(rejected: int) -> None:
    """Also a request without data points is answered with what this collector does not do."""
    success = metrics_response(rejected).partial_success
    assert (success.rejected_data_points, success.error_message) == (rejected, METRICS_NOT_KEPT)
