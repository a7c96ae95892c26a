"""
``hook_exit``: what runs when a process comes to its end by itself, so that its last events arrive.

A program that ends, or leaves by ``sys.exit``, runs ``atexit``. A child of multiprocessing leaves
by ``os._exit`` and runs only multiprocessing's own finalizers. ``sigterm.py`` has the end by a
signal. ``os._exit`` and SIGKILL cannot be hooked: what was not sent before is lost.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["hook_exit", "warn_of_no_thread"]

logger = logging.getLogger(__name__)

_has_warned = False

_FINALIZER_PRIORITY: Final = 100
"""Before multiprocessing's own finalizers, the highest of which has 15."""


def hook_exit(at_exit: Callable[[], None]) -> None:
    """
    Call a function when this process comes to its end, also as a child of multiprocessing.

    In such a child it is called after the threads that are no daemons, as in any other program.
    Never raises. ``atexit.unregister(at_exit)`` removes the registration with ``atexit``.

    Args:
        at_exit: Sends what is queued. May be called twice, and from another thread; must not raise.
    """
    atexit.register(at_exit)
    # Children of multiprocessing (and of Celery's billiard) run only the finalizers registered
    # here. A module that is not imported has started no child.
    for name in ("multiprocessing.util", "billiard.util"):
        module = sys.modules.get(name)
        if module is not None:
            module.Finalize(None, _after_threads, (at_exit,), exitpriority=_FINALIZER_PRIORITY)


def warn_of_no_thread(at_exit: Callable[[], None]) -> None:
    """
    Warn, once in a process, that events are sent at its end only; register what sends them then.

    Python 3.12.0 and 3.12.1 start no thread once the main thread has ended, although others run on.
    Never raises.

    Args:
        at_exit: Sends what is queued; registered once.
    """
    global _has_warned
    if _has_warned:
        return
    _has_warned = True
    atexit.register(at_exit)
    logger.warning(
        "no thread can be started, so events are published when this process ends; if its main "
        "thread has ended, keep that running, or use Python 3.12.2 or newer"
    )


def _after_threads(at_exit: Callable[[], None]) -> None:
    current = threading.current_thread()
    others = [one for one in threading.enumerate() if not (one.daemon or one is current)]

    def wait() -> None:
        for other in others:
            other.join()
        at_exit()

    if others:
        # Multiprocessing joins these threads after its finalizers, and with them this one.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=wait, name="otel-bridge-exit", daemon=False).start()
            return
    at_exit()
