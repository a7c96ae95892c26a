"""
Which modules are mutated, and the unit tests that each of them is judged by.

Only pure modules: their tests need no server and take a second, so that hundreds of runs are cheap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ROOT", "TARGETS", "Target"]

ROOT: Final = Path(__file__).parents[3]
_LIBRARY: Final = "otel_bridge"
_SERVICE: Final = "otel_bridge_collector"


class Target(NamedTuple):
    """One module under mutation."""

    module: str
    """Dotted name; its file has the same path in the copy of the tree."""
    tests: tuple[str, ...]
    """Files below ``tests/unit``."""
    is_reloaded: bool = False
    """Import the module again for each mutant: its functions that run while it is imported, which
    make the rows of a table, would else run without the mutant."""

    @property
    def path(self) -> str:
        """The module's file in the copy of the tree."""
        return self.module.replace(".", "/") + ".py"


def _target(module: str, *more_tests: str) -> Target:
    """A module with the test file that mirrors it, and others that are about it as well."""
    folder, _, name = module.replace(".", "/").rpartition("/")
    mirror = f"{folder}/test_{name}.py"
    return Target(module, (mirror, *more_tests))


_EVENTS: Final = "otel_bridge/events"
_MAPPING: Final = "otel_bridge/mapping"

TARGETS: Final = (
    _target(f"{_LIBRARY}.events.content"),
    _target(f"{_LIBRARY}.events.encoding", f"{_EVENTS}/test_truncation.py"),
    _target(f"{_LIBRARY}.events.event_ids"),
    _target(f"{_LIBRARY}.events.model"),
    _target(f"{_LIBRARY}.events.redaction", f"{_EVENTS}/test_content.py"),
    _target(f"{_LIBRARY}.mapping.inheritance", f"{_MAPPING}/test_third_party.py"),
    _target(f"{_LIBRARY}.mapping.intermediate", f"{_MAPPING}/test_intermediate_order.py"),
    _target(f"{_LIBRARY}.mapping.lifecycle"),
    _target(
        f"{_LIBRARY}.mapping.mapper",
        f"{_MAPPING}/test_third_party.py",
        f"{_MAPPING}/test_intermediate.py",
        f"{_MAPPING}/test_intermediate_order.py",
    ),
    _target(f"{_LIBRARY}.mapping.own", f"{_MAPPING}/test_mapper.py"),
    _target(
        f"{_LIBRARY}.mapping.span_view",
        f"{_MAPPING}/test_mapper.py",
        f"{_MAPPING}/test_third_party.py",
    ),
    Target(f"{_LIBRARY}.mapping.third_party", (f"{_MAPPING}/test_classification.py",), True),
    _target(f"{_LIBRARY}.publish.buffer"),
    _target(f"{_LIBRARY}.publish.retry"),
    _target(f"{_SERVICE}.wire.filters"),
    _target(f"{_SERVICE}.stream.ring"),
    _target(f"{_SERVICE}.model.stats"),
    _target(f"{_SERVICE}.log.decoding", f"{_SERVICE}/log/test_decoding_for_fold.py"),
    _target(f"{_SERVICE}.security.origins"),
    _target(f"{_SERVICE}.security.tokens"),
    _target(f"{_SERVICE}.security.concurrency"),
)
