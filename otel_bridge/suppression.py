"""
Keeps the library's own Redis and HTTP calls out of the user's traces.

Instrumentations create no span while a certain key of the OpenTelemetry context is set. The
function of the same name in ``opentelemetry-instrumentation`` sets the same key. It is repeated
here so that a worker need not install that package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

__all__ = ["suppress_instrumentation"]


@contextmanager
def suppress_instrumentation() -> Iterator[None]:
    """
    Create no spans for instrumented calls inside the ``with`` block; a context manager.

    It holds for the current OpenTelemetry context: this thread or asyncio task, and tasks created
    inside the block, but no other threads. Blocks may be nested. Also works as a decorator of a
    plain function. It cannot decorate a coroutine function: the block would end before the
    coroutine runs. Raises nothing itself and catches nothing: an error inside the block passes
    through.
    """
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        detach(token)
