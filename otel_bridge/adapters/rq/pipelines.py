"""``after_execute``: call back when a pipeline of Redis commands was executed, and only then."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any, Final

__all__ = ["after_execute"]

logger = logging.getLogger(__name__)

_ATTRIBUTE: Final = "_otel_bridge_waiting"

Call = Callable[[], None]


def after_execute(pipeline: Any, commit: Call, drop: Call) -> None:
    """
    Call ``commit`` once ``pipeline.execute()`` has succeeded, or ``drop`` if its commands are lost.

    They are lost when ``execute()`` raises, answers with an error among its results, or ``reset()``
    is called first. A pipeline that is neither executed nor reset calls neither. ``execute`` and
    ``reset`` of this one object are wrapped until then; their arguments, results and exceptions
    pass unchanged. What the functions raise is logged. Never raises: a pipeline whose attributes
    cannot be set calls ``commit`` at once.

    Args:
        pipeline: A pipeline of redis-py. Kept alive by its owner alone.
        commit: Takes nothing; called in the thread that executes.
        drop: The same.
    """
    waiting: list[tuple[Call, Call]] | None = getattr(pipeline, _ATTRIBUTE, None)
    if not isinstance(waiting, list):
        waiting = []
        try:
            setattr(pipeline, _ATTRIBUTE, waiting)
            _wrap(pipeline, waiting)
        except Exception:
            logger.exception("otel-bridge cannot see when a pipeline is executed")
            _call(commit)
            return
    waiting.append((commit, drop))


def _wrap(pipeline: Any, waiting: list[tuple[Call, Call]]) -> None:
    # Weakly: a cycle would delay the return of the pipeline's connection to its pool.
    reference = weakref.ref(pipeline)

    def execute(*args: Any, **kwargs: Any) -> Any:
        target = reference()
        assert target is not None  # its method is being called
        taken = list(waiting)
        _unwrap(target)
        try:
            results = target.execute(*args, **kwargs)
        except BaseException:
            _call(*(drop for _, drop in taken))
            raise
        is_done = not any(isinstance(one, Exception) for one in results or ())
        _call(*((commit if is_done else drop) for commit, drop in taken))
        return results

    def reset(*args: Any, **kwargs: Any) -> Any:
        target = reference()
        assert target is not None
        taken = list(waiting)
        _unwrap(target)
        try:
            return target.reset(*args, **kwargs)
        finally:
            _call(*(drop for _, drop in taken))

    pipeline.execute = execute
    pipeline.reset = reset


def _unwrap(pipeline: Any) -> None:
    for name in ("execute", "reset", _ATTRIBUTE):
        vars(pipeline).pop(name, None)


def _call(*functions: Call) -> None:
    for function in functions:
        try:
            function()
        except Exception:
            logger.exception("otel-bridge could not report what a pipeline did")
