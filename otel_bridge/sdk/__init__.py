"""What plugs into the OpenTelemetry SDK: the span processor, the sampler, the OTLP exporter."""
