"""Dramatiq: its messages, workers and queues, by wrapping four methods of each broker."""

from __future__ import annotations

from otel_bridge.adapters.dramatiq.adapter import DramatiqAdapter

__all__ = ["DramatiqAdapter"]
