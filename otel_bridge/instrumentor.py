"""The public path of ``CoordinatorInstrumentor``; the code is in ``coordinator/``."""

from __future__ import annotations

from otel_bridge.coordinator.instrumentor import CoordinatorInstrumentor

__all__ = ["CoordinatorInstrumentor"]
