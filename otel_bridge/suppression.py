"""
Keeps the bridge's own Redis and HTTP calls out of the user's traces.

Instrumented libraries make no span while one key of the context says so. The function of this name
in ``opentelemetry-instrumentation`` does the same; a worker need not install that package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

__all__ = ["suppress_instrumentation"]


@contextmanager
def suppress_instrumentation() -> Iterator[None]:
    """Make no span of what is called inside; decorates a function as well, not a coroutine's."""
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        detach(token)
