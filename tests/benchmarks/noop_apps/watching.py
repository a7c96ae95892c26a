"""What the applications read from the environment, and how they are watched."""

from __future__ import annotations

import importlib
import os
from typing import Final

__all__ = ["BROKER_URL", "watch"]

BROKER_URL: Final = os.environ.get("NOOP_BROKER_URL", "redis://127.0.0.1:6379/1")
"""Not the database of the events, so that the queues can be looked at alone."""


def watch(adapter: str) -> None:
    """
    Set up this process as its user would, if ``NOOP_WATCHED`` is set.

    The imports are here, because a bare process must not even have them.

    Args:
        adapter: Module and class, ``celery.CeleryAdapter``.
    """
    if not os.environ.get("NOOP_WATCHED"):
        return
    module, _, name = adapter.partition(".")
    importlib.import_module("otel_bridge").configure(service_name="noop-jobs")
    getattr(importlib.import_module(f"otel_bridge.adapters.{module}"), name)().instrument()
