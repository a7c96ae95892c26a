"""Celery: call ``CeleryAdapter().instrument()`` in the module that creates the app."""

from otel_bridge.adapters.celery.adapter import CeleryAdapter

__all__ = ["CeleryAdapter"]
