"""The public path of the coordinator's instrumentor."""

from __future__ import annotations

from otel_bridge import instrumentor
from otel_bridge.coordinator.instrumentor import CoordinatorInstrumentor


def test_the_public_path_is_the_same_class() -> None:
    """``otel_bridge.instrumentor`` exports the class of ``coordinator/`` and nothing else."""
    assert instrumentor.__all__ == ["CoordinatorInstrumentor"]
    assert instrumentor.CoordinatorInstrumentor is CoordinatorInstrumentor
