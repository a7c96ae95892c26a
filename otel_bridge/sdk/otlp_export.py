"""
The other way out: spans and metrics to any OTLP backend, set up by OpenTelemetry's own variables.

The exporter hangs off a ``BatchSpanProcessor`` beside ours; neither knows of the other, so a slow
or dead backend never touches the live view.
"""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import BridgeSettings

__all__ = ["add_otlp_export", "check_otlp", "make_meter_provider"]


def check_otlp(settings: BridgeSettings) -> None:
    """
    Fail before anything is made when an export that is asked for cannot be.

    Raises:
        ConfigurationError: An unknown protocol.
    """
    if _are_spans_asked(settings):
        _is_grpc("TRACES_", settings.otlp_traces_protocol, settings.otlp_protocol)
    if _are_metrics_asked(settings):
        _is_grpc("METRICS_", settings.otlp_metrics_protocol, settings.otlp_protocol)


def add_otlp_export(provider: TracerProvider, settings: BridgeSettings) -> bool:
    """
    Add a batching OTLP exporter when ``OTEL_*`` asks for one.

    Asked for means ``OTEL_TRACES_EXPORTER=otlp``, or an ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or
    ``..._TRACES_ENDPOINT``) without ``OTEL_TRACES_EXPORTER=none``. The exporter itself reads
    endpoint, headers, compression and time-outs from the environment, as the specification says.

    Returns:
        Whether one was added.

    Raises:
        ConfigurationError: An unknown ``OTEL_EXPORTER_OTLP_PROTOCOL``.
    """
    if not _are_spans_asked(settings):
        return False
    provider.add_span_processor(BatchSpanProcessor(_span_exporter(settings)))
    return True


def make_meter_provider(settings: BridgeSettings, resource: Resource) -> MeterProvider | None:
    """
    A provider that exports our metrics by OTLP, when ``OTEL_*`` asks for it.

    Asked for as spans are, with ``METRICS`` for ``TRACES``; ``OTEL_METRICS_EXPORTER=none`` keeps
    metrics from a backend that takes spans only, such as Jaeger.

    Raises:
        ConfigurationError: An unknown protocol.
    """
    if not _are_metrics_asked(settings):
        return None
    reader = PeriodicExportingMetricReader(_metric_exporter(settings))
    # Ours to shut down: at exit it would do so again, and warn, while a dead backend holds us up.
    return MeterProvider([reader], resource, shutdown_on_exit=False)


def _are_spans_asked(settings: BridgeSettings) -> bool:
    endpoint = settings.otlp_traces_endpoint or settings.otlp_endpoint
    return _is_asked(settings.otel_traces_exporter, endpoint)


def _are_metrics_asked(settings: BridgeSettings) -> bool:
    endpoint = settings.otlp_metrics_endpoint or settings.otlp_endpoint
    return _is_asked(settings.otel_metrics_exporter, endpoint)


def _is_asked(exporter: str | None, endpoint: str | None) -> bool:
    names = {name.strip() for name in (exporter or "").split(",")}
    return "none" not in names and ("otlp" in names or bool(endpoint))


def _span_exporter(settings: BridgeSettings) -> SpanExporter:
    if _is_grpc("TRACES_", settings.otlp_traces_protocol, settings.otlp_protocol):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcSpanExporter,
        )

        return GrpcSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
        OTLPSpanExporter as HttpSpanExporter,
    )

    return HttpSpanExporter()


def _metric_exporter(settings: BridgeSettings) -> MetricExporter:
    if _is_grpc("METRICS_", settings.otlp_metrics_protocol, settings.otlp_protocol):
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
            OTLPMetricExporter as GrpcMetricExporter,
        )

        return GrpcMetricExporter()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
        OTLPMetricExporter as HttpMetricExporter,
    )

    return HttpMetricExporter()


def _is_grpc(signal: str, own: str | None, common: str | None) -> bool:
    protocol = own or common
    if protocol in (None, "", "http/protobuf"):
        return False
    if protocol == "grpc":
        return True
    raise ConfigurationError(
        f"OTEL_EXPORTER_OTLP_{signal if own else ''}PROTOCOL={protocol} is not supported",
        "use grpc or http/protobuf",
    )
