"""Families of Prometheus' metrics from plain numbers, all named ``otel_bridge_...``; pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from otel_bridge_collector.log.histogram import Histogram

__all__ = ["PREFIX", "counter", "counters", "gauge", "gauges", "histogram"]

PREFIX: Final = "otel_bridge_"


def counter(name: str, text: str, value: float) -> Metric:
    """Return a counter with one sample; ``name`` has no prefix and ends in ``_total``."""
    return CounterMetricFamily(PREFIX + name, text, value=value)


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a counter with a sample for each value of a label."""
    family = CounterMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge with one sample; ``name`` has no prefix."""
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a gauge with a sample for each value of a label."""
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def histogram(name: str, text: str, values: Histogram) -> Metric:
    """Return a histogram with the buckets of ``values``."""
    buckets = [
        ("+Inf" if bound == inf else str(float(bound)), count) for bound, count in values.buckets()
    ]
    return HistogramMetricFamily(PREFIX + name, text, buckets=buckets, sum_value=values.total)
