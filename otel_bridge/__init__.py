"""
See OpenTelemetry work while it runs.

Tasks and phases are spans. A span processor turns the start and the end of each span into a
``MonitoringEvent``, which reaches a live dashboard through Redis or HTTP. Start with
``configure()``.
"""

from otel_bridge.commands import interrupts

interrupts.exit_while_importing()  # the imports below take up to a second

from otel_bridge.bridge import Bridge, configure
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge.publish.bus import EventBus
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.context_managers import (
    enqueue,
    job,
    job_progress,
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
    "job_progress",
    "phase",
    "queue_depth",
    "research_task",
    "worker",
]

__version__ = "0.2.0"
