"""
Taskiq: call ``TaskiqAdapter().instrument()`` before jobs are sent and where the worker starts.

Source: taskiq 0.11.16 and 0.13.
"""

from otel_bridge.adapters.taskiq.adapter import TaskiqAdapter

__all__ = ["TaskiqAdapter"]
