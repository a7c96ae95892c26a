"""
See OpenTelemetry work while it runs.

Tasks and phases are spans; a span processor turns every span's start and end into a
``MonitoringEvent`` that reaches a live dashboard through Redis. Start with ``configure()``.
"""

from otel_bridge.bridge import Bridge, configure
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge.publish.bus import EventBus
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.context_managers import (
    enqueue,
    job,
    phase,
    queue_depth,
    research_task,
    worker,
)

__all__ = [
    "Bridge",
    "BridgeSettings",
    "ConfigurationError",
    "EventBus",
    "MonitoringEvent",
    "MonitoringEventType",
    "MonitoringSpanProcessor",
    "OtelBridgeError",
    "TaskStatus",
    "configure",
    "enqueue",
    "job",
    "phase",
    "queue_depth",
    "research_task",
    "worker",
]

__version__ = "0.1.0"
