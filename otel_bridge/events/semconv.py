"""
Attribute keys: our own (``nexus.*``) and those of OpenTelemetry that we read.

Our spans carry everything that the live view needs as attributes, so that a trace in Jaeger or
Tempo shows the same facts as the dashboard.

Source: OpenTelemetry semantic conventions 0.66b2 for ``messaging.*`` and ``gen_ai.*``.
"""

from __future__ import annotations

from typing import Final

# --- our own --------------------------------------------------------------------------------
SPAN_KIND: Final = "nexus.span.kind"
"""One of the ``KIND_*`` values; its presence marks a span as ours."""

KIND_RESEARCH_TASK: Final = "research_task"
KIND_PHASE: Final = "phase"
KIND_ENQUEUE: Final = "enqueue"
KIND_JOB: Final = "job"

PROJECT_ID: Final = "nexus.project.id"
PARENT_TASK_ID: Final = "nexus.parent_task.id"
TASK_ID: Final = "nexus.task.id"
TASK_TYPE: Final = "nexus.task.type"
TASK_TITLE: Final = "nexus.task.title"
TASK_DOMAIN: Final = "nexus.task.domain"
PHASE: Final = "nexus.phase"
WORKER_ID: Final = "nexus.worker.id"
RETRY_COUNT: Final = "nexus.retry_count"
RUN_ID: Final = "nexus.run.id"
"""One enqueue or requeue of a job, the same for all its attempts: 16 hex digits."""
QUEUE: Final = "nexus.queue"
MESSAGE: Final = "nexus.message"
OUTCOME: Final = "nexus.outcome"
"""How a span ended: ``completed``, ``failed`` or ``retrying``. Default: by the span's status."""
ERROR: Final = "nexus.error"
"""Why a span failed or is retried: one line, which takes precedence over recorded exceptions."""
ERROR_KEY: Final = "nexus.error.key"
"""What failures of one cause have in common, in the user's words: it groups them instead of the key
that is made of the stack. On a span, or on its ``exception`` event."""
REASON: Final = "nexus.reason"
"""Why a span ended so, as one word: what ``MonitoringEvent.reason`` lists."""
PROGRESS_PREFIX: Final = "nexus.progress."
"""``nexus.progress.done`` and ``nexus.progress.total`` of a job become the event's ``progress``."""
COUNT_PREFIX: Final = "nexus.count."
"""``nexus.count.<name>``, a whole number, becomes ``counts[<name>]`` of the event."""
META_PREFIX: Final = "nexus.meta."
"""``nexus.meta.<key>`` becomes ``meta[<key>]`` of the event."""

# --- OpenTelemetry's own ---------------------------------------------------------------------
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
ERROR_TYPE: Final = "error.type"
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

SCOPE_NAME: Final = "otel_bridge"
"""Instrumentation scope of every span and metric of this package."""

# --- carrier keys: travel with a queued job, beside the W3C ``traceparent`` --------------------
# Not baggage, because baggage would also be sent with every outgoing HTTP request of the worker.
CARRIER_PARENT_TASK_ID: Final = "nexus-parent-task-id"
CARRIER_PROJECT_ID: Final = "nexus-project-id"
CARRIER_PHASE: Final = "nexus-phase"
CARRIER_RUN_ID: Final = "nexus-run-id"
CARRIER_PREVIOUS_ATTEMPT: Final = "nexus-previous-attempt"
"""The ``traceparent`` of the previous attempt; the span of a retried job links to it."""
