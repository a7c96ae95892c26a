"""
Export of spans and metrics to an OTLP backend, configured by OpenTelemetry's own variables.

Spans are exported by a ``BatchSpanProcessor`` of their own, beside our span processor. The two are
independent, so a slow or dead backend never affects the live view.
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
    Check the OTLP protocols of the signals (spans, metrics) that the settings export by OTLP.

    ``configure()`` calls it before it creates a provider or exporter. If nothing is exported by
    OTLP, nothing is checked. It only reads the settings, and opens no connection.

    Args:
        settings: The exporter, endpoint and protocol variables. Endpoints are not checked.

    Raises:
        ConfigurationError: ``OTEL_EXPORTER_OTLP_PROTOCOL``, or that of one signal, is neither
            ``grpc`` nor ``http/protobuf``.
    """
    if _are_spans_requested(settings):
        _is_grpc("TRACES_", settings.otlp_traces_protocol, settings.otlp_protocol)
    if _are_metrics_requested(settings):
        _is_grpc("METRICS_", settings.otlp_metrics_protocol, settings.otlp_protocol)


def add_otlp_export(provider: TracerProvider, settings: BridgeSettings) -> bool:
    """
    Add a batching OTLP exporter for spans, if the ``OTEL_*`` variables request one.

    They do by ``OTEL_TRACES_EXPORTER=otlp``, or by an ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or
    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) unless ``OTEL_TRACES_EXPORTER=none``. The exporter reads
    endpoint, headers, compression and time-outs from the environment itself. It exports every 5 s,
    holds 2,048 spans and drops those over it (the SDK's defaults; ``OTEL_BSP_*`` sets others). A
    backend that cannot be reached is logged by the exporter and raises nothing.

    Args:
        provider: Gets the exporter's span processor, and shuts it down with itself.
        settings: The exporter, endpoint and protocol variables; default protocol:
            ``http/protobuf``.

    Returns:
        Whether an exporter was added. A second call would add a second one.

    Raises:
        ImportError: The exporter's package for this protocol is not installed.
        Exception: What the exporter raises for a variable that it cannot use.
        ConfigurationError: The protocol is neither ``grpc`` nor ``http/protobuf``.

    Source: OpenTelemetry specification, environment variables and OTLP exporter.
    """
    if not _are_spans_requested(settings):
        return False
    provider.add_span_processor(BatchSpanProcessor(_span_exporter(settings)))
    return True


def make_meter_provider(settings: BridgeSettings, resource: Resource) -> MeterProvider | None:
    """
    Create a meter provider that exports by OTLP, if the ``OTEL_*`` variables request it.

    They do by ``OTEL_METRICS_EXPORTER=otlp``, or by an ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or
    ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT``) unless ``OTEL_METRICS_EXPORTER=none``, as for a backend
    that accepts spans only, such as Jaeger. It exports every 60 s (the SDK's default;
    ``OTEL_METRIC_EXPORT_INTERVAL`` sets another). A backend that cannot be reached is logged by the
    exporter and raises nothing. Each call creates another provider.

    Args:
        settings: The exporter, endpoint and protocol variables; default protocol:
            ``http/protobuf``.
        resource: Describes this process; the same as that of its spans.

    Returns:
        The provider, which the caller shuts down, and sets as the global one if it is to be; None
        if no export is requested.

    Raises:
        ConfigurationError: The protocol is neither ``grpc`` nor ``http/protobuf``.
        ImportError: The exporter's package for this protocol is not installed.
        Exception: What the exporter raises for a variable that it cannot use.
    """
    if not _are_metrics_requested(settings):
        return None
    reader = PeriodicExportingMetricReader(_metric_exporter(settings))
    # The bridge shuts it down. Otherwise the provider would do so again at exit: it would warn, and
    # with a dead backend delay the exit a second time.
    return MeterProvider([reader], resource, shutdown_on_exit=False)


def _are_spans_requested(settings: BridgeSettings) -> bool:
    endpoint = settings.otlp_traces_endpoint or settings.otlp_endpoint
    return _is_requested(settings.otel_traces_exporter, endpoint)


def _are_metrics_requested(settings: BridgeSettings) -> bool:
    endpoint = settings.otlp_metrics_endpoint or settings.otlp_endpoint
    return _is_requested(settings.otel_metrics_exporter, endpoint)


def _is_requested(exporter: str | None, endpoint: str | None) -> bool:
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
