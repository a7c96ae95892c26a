"""``call_within``: waits for exporters, but not longer than the caller wants."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["call_within"]

logger = logging.getLogger(__name__)


def call_within(timeout_sec: float, calls: list[Callable[[], object]]) -> bool:
    """
    Run each call on a thread of its own and wait for all of them; False when time ran out.

    Never raises: what a call raises is logged. Threads enforce the limit, because OTLP exporters
    ignore the timeout passed to ``force_flush``.

    Args:
        timeout_sec: How long to wait for all of them together, in seconds; 0 or less: not at all. A
            call that is late goes on in its daemon thread.
        calls: Functions without arguments; their results are dropped.
    """

    def call_logged(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:
            logger.exception("otel-bridge could not flush an exporter")

    deadline = time.monotonic() + timeout_sec
    threads = []
    for call in calls:
        thread = threading.Thread(target=call_logged, args=(call,), daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Python 3.12 refuses new threads during interpreter exit: call it here instead, where
            # only the exporter's own limits bound it.
            call_logged(call)
        else:
            threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
