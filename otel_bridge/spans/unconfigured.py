"""
Warns of work that is not shown because ``configure()`` was called too late, or not in its process.

A child that multiprocessing spawns has nothing of its parent's: neither bridge nor provider.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from opentelemetry import trace

from otel_bridge.bridge import on_configured
from otel_bridge.settings import BridgeSettings

__all__ = ["note_worker", "warn_in_child", "worker_has_ended"]

logger = logging.getLogger(__name__)

_has_warned = False
_unseen_workers: dict[int, str] = {}
"""Names of the ``worker()`` blocks that were entered without a bridge and are open."""


def warn_in_child() -> None:
    """
    Warn, once in a process, that a spawned child of multiprocessing did not call ``configure()``.

    Called where work is opened and there is no bridge. Elsewhere that is no mistake: spans then go
    to the application's own provider. Says nothing either if one is set here, or if monitoring is
    off. Never raises.
    """
    global _has_warned
    process: Any = sys.modules.get("multiprocessing.process")
    if _has_warned or process is None or process.parent_process() is None:
        return
    _has_warned = True
    start_method = sys.modules["multiprocessing"].get_start_method(allow_none=True)
    if start_method == "fork" or not _is_provider_missing() or not BridgeSettings.load().is_active:
        return
    logger.warning(
        "this child of multiprocessing (%s) publishes nothing, because it has not called "
        "otel_bridge.configure(); call it in each child, such as by Pool(initializer=...)",
        start_method,
    )


def _is_provider_missing() -> bool:
    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def note_worker(key: int, name: str) -> None:
    """
    Note a ``worker()`` block that was entered without a bridge: it is not shown.

    A ``configure()`` that follows inside it warns of that. Never raises.

    Args:
        key: Of the block, for ``worker_has_ended``.
        name: The worker's id, as text.
    """
    _unseen_workers[key] = name
    warn_in_child()


def worker_has_ended(key: int) -> None:
    """Note that a block was left; does nothing for one that was not noted."""
    _unseen_workers.pop(key, None)


def _warn_of_workers() -> None:
    for name in _unseen_workers.values():
        logger.warning(
            "worker %s is not shown: its block began before otel_bridge.configure(), which has to "
            "come first; its jobs are shown, but name no worker",
            name,
        )
    _unseen_workers.clear()


on_configured(_warn_of_workers)
