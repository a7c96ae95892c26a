"""Who works and what waits: heartbeats, their timer, queue depths, OpenTelemetry metrics."""
