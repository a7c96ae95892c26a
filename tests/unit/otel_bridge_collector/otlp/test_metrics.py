"""``otlp/metrics.py``: what a request of metrics is answered, whichever way it came."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from otel_bridge_collector.otlp.decode import OtlpError
from otel_bridge_collector.otlp.metrics import (
    MAX_METRICS_PARTS,
    METRICS_NOT_KEPT,
    reject_metrics,
)
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.security.tokens import ANONYMOUS


async def answer(message: ExportMetricsServiceRequest) -> tuple[int, str]:
    success = (await reject_metrics(message, ANONYMOUS, Rejections())).partial_success
    return success.rejected_data_points, success.error_message


async def test_every_data_point_is_rejected() -> None:
    """Points of all kinds of metrics count; a metric without a kind has none."""
    message = ExportMetricsServiceRequest()
    metrics = message.resource_metrics.add().scope_metrics.add().metrics
    for kind, count in (("sum", 2), ("gauge", 1), ("histogram", 1), ("exponential_histogram", 3)):
        for _ in range(count):
            getattr(metrics.add(), kind).data_points.add()
    metrics.add(name="no kind")
    assert await answer(message) == (7, METRICS_NOT_KEPT)


async def test_too_many_parts_are_refused() -> None:
    """Of a request with more than 100,000 parts no data points are counted."""
    message = ExportMetricsServiceRequest()
    for _ in range(MAX_METRICS_PARTS):
        message.resource_metrics.add()
    # Also without data points the answer says what this collector does not do.
    assert await answer(message) == (0, METRICS_NOT_KEPT)
    message.resource_metrics.add()
    with pytest.raises(OtlpError, match="more than 100000 resources, scopes and metrics"):
        await answer(message)
