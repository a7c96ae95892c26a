"""
An adapter restores what it wraps: ``python -m tests.support.patched_members FRAMEWORK`` asserts it.

A process of its own, because the newest arq is in an environment without pytest.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

PATCHED: Final = {
    "celery": ["celery:Celery", "celery:Task", "celery.app.trace"],
    "rq": [
        *("rq:Queue", "rq.job:Job", "rq.worker:BaseWorker", "rq.worker:Worker"),
        *("rq.registry:StartedJobRegistry", "rq.registry:DeferredJobRegistry"),
    ],
    "arq": ["arq.connections:ArqRedis", "arq.worker:Worker", "arq.connections", "arq.worker"],
    "dramatiq": ["dramatiq.broker:Broker"],
    "taskiq": [
        *("taskiq:AsyncBroker", "taskiq.kicker:AsyncKicker", "taskiq:Context"),
        "taskiq.receiver:Receiver",
    ],
}
"""The modules, and the classes as ``module:class``, that each adapter changes."""


def adapter_of(framework: str) -> Any:
    """An adapter of this framework."""
    module = importlib.import_module(f"otel_bridge.adapters.{framework}")
    return getattr(module, f"{framework.capitalize()}Adapter")()


def members(framework: str) -> list[dict[str, Any]]:
    """What those modules and classes hold at this moment."""
    found = []
    for place in PATCHED[framework]:
        module, _, name = place.partition(":")
        owner = importlib.import_module(module)
        found.append(dict(vars(getattr(owner, name) if name else owner)))
    return found


def main(framework: str) -> None:
    adapter, before = adapter_of(framework), members(framework)
    adapter.instrument()
    once = members(framework)
    assert once != before
    adapter.instrument()
    assert members(framework) == once
    adapter.uninstrument()
    assert members(framework) == before
    adapter.uninstrument()
    assert members(framework) == before


if __name__ == "__main__":
    main(sys.argv[1])
