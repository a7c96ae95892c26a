"""
Finds out, when a span ends, whether an interruption is what ends it.

The SDK records no exception and sets no status for Ctrl-C, a cancelled task or ``sys.exit``,
because they are no ``Exception``; such a span looks like one that succeeded. In the thread that
ends it the exception is still on its way, so it can be seen there, and nowhere later.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan

from otel_bridge.mapping.span_view import INTERRUPTED_BY

__all__ = ["note_interruption"]


def note_interruption(span: ReadableSpan, error: BaseException) -> None:
    """
    Note at a span what interrupts it; for the thread that ends the span, never waits.

    Nothing is noted for an ``Exception``, whose status the SDK sets; for ``GeneratorExit``, which
    also ends a generator whose reader has read enough; for ``sys.exit(0)``; and if the exception is
    only being handled, as for spans that a handler opens to clean up.

    Args:
        span: The ended span, as processors get it.
        error: The exception that is being handled, ``sys.exception()``.
    """
    if isinstance(error, Exception | GeneratorExit):
        return
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return
    if _passes_through(error, sys._getframe(1)):
        setattr(span, INTERRUPTED_BY, f"{type(error).__name__}: {error}".removesuffix(": "))


def _passes_through(error: BaseException, frame: FrameType | None) -> bool:
    """
    Whether the exception is on its way through the code that ends the span.

    That is the frame which called ``end``, such as ``use_span`` or a ``finally``, or a helper's
    caller. Behind ``contextlib`` is the code of the ``with``, through which the exception came in
    either case: there a handler may have opened the span.
    """
    passed = set()
    traceback = error.__traceback__
    while traceback is not None:
        passed.add(traceback.tb_frame)
        traceback = traceback.tb_next
    callers = 0
    while frame is not None and callers < _MAX_CALLERS:
        module = str(frame.f_globals.get("__name__"))
        if module == "contextlib":
            return False
        if not module.startswith(_OWN_MODULES):
            if frame in passed:
                return True
            callers += 1
        frame = frame.f_back
    return False


_OWN_MODULES: Final = ("opentelemetry.sdk.", "otel_bridge.sdk.", "logfire._internal.tracer")
_MAX_CALLERS: Final = 4
