"""
See OpenTelemetry work while it runs.

Tasks and phases are spans; a span processor turns every start and end into a ``MonitoringEvent``
that reaches a live dashboard through Redis. Start with ``configure()``.
"""

__version__ = "0.1.0"
