"""
The tap on ``logging``: each line that a logger lets through is given to a queue too.

It is a replacement of ``logging.Logger.callHandlers`` and no handler: ``dictConfig`` removes the
handlers of the root logger, and so does Celery's worker, which also keeps the lines of its tasks
from reaching the root. Loggers, their levels, filters and handlers are left as they are.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Protocol

__all__ = ["TakesRecords", "install", "is_installed", "remove"]


class TakesRecords(Protocol):
    """Where the lines go; ``LineQueue`` is the one implementation."""

    def add(self, record: logging.LogRecord) -> None:
        """Take the line of a record; never raises or waits."""


_queue: TakesRecords | None = None
_patched: Callable[[logging.Logger, logging.LogRecord], None] | None = None


def install(queue: TakesRecords | None) -> None:
    """
    Give the lines of all loggers to a queue, until ``remove``; never raises.

    Called again, the new queue gets them, and each line once.

    Args:
        queue: Its ``add`` is called in the thread that writes a line, before the handlers are.
            None: nothing is installed.
    """
    global _queue, _patched
    if queue is None:
        return
    _queue = queue
    if _patched is not None:
        return
    original = logging.Logger.callHandlers

    @functools.wraps(original)
    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        if _queue is not None:
            _queue.add(record)
        original(self, record)

    call_handlers.original = original  # type: ignore[attr-defined]
    _patched = call_handlers
    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]


def remove(queue: TakesRecords | None) -> None:
    """
    Put back what was there before ``install``; does nothing if another queue is installed.

    Where another library has replaced the method since, as Sentry's does, that stays, and with it
    ours, which then gives the lines to no queue.
    """
    global _queue, _patched
    if queue is None or _queue is not queue:
        return
    _queue = None
    if _patched is not None and logging.Logger.callHandlers is _patched:
        logging.Logger.callHandlers = _patched.original  # type: ignore
        _patched = None


def is_installed() -> bool:
    """Return whether lines are taken, so that blocks have to say which they are; never raises."""
    return _queue is not None
