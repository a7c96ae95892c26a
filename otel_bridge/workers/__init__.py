"""Workers and queues: heartbeats, their timer, queue depths, OpenTelemetry metrics."""
