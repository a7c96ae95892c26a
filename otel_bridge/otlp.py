"""
The other way out: spans to any OTLP backend, set up by OpenTelemetry's own variables.

The exporter hangs off a ``BatchSpanProcessor`` beside ours; neither knows of the other, so a slow
or dead backend never touches the live view.
"""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import BridgeSettings

__all__ = ["add_otlp_export"]


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
    exporters = {name.strip() for name in (settings.otel_traces_exporter or "").split(",")}
    has_endpoint = settings.otlp_endpoint or settings.otlp_traces_endpoint
    if "none" in exporters or not ("otlp" in exporters or has_endpoint):
        return False
    provider.add_span_processor(BatchSpanProcessor(_exporter(settings)))
    return True


def _exporter(settings: BridgeSettings) -> SpanExporter:
    protocol = settings.otlp_traces_protocol or settings.otlp_protocol or "http/protobuf"
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcSpanExporter,
        )

        return GrpcSpanExporter()
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter as HttpSpanExporter,
        )

        return HttpSpanExporter()
    raise ConfigurationError(
        f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol} is not supported", "use grpc or http/protobuf"
    )
