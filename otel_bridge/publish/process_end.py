"""
``hook_exit``: what runs when a process comes to its end by itself, so that its last events arrive.

A program that ends, or leaves by ``sys.exit``, runs ``atexit``, the last registered first. Handlers
of the application may still end spans, such as AgentOps' of its session, so what closes the bus is
registered as soon as this module is imported, and runs after theirs. A child of multiprocessing
leaves by ``os._exit`` and runs only multiprocessing's own finalizers. ``sigterm.py`` has the end by
a signal. ``os._exit`` and SIGKILL cannot be hooked: what was not sent before is lost.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["call_last", "drop_last_call", "hook_exit", "warn_of_no_thread"]

logger = logging.getLogger(__name__)

_FINALIZER_PRIORITY: Final = 100
"""Before multiprocessing's own finalizers, the highest of which has 15."""


def call_last(at_exit: Callable[[], object]) -> None:
    """
    Call a function after the exit handlers that were registered since this module was imported.

    Also one that is given while they run, which ``atexit`` would not call. The last one given is
    called first; the same one again is called once. From any thread. Never raises.

    Args:
        at_exit: An error of it is logged.
    """
    if at_exit not in _last_calls:
        _last_calls.append(at_exit)


def drop_last_call(at_exit: Callable[[], object]) -> None:
    """Do not call at exit what was given to ``call_last``; never raises."""
    with contextlib.suppress(ValueError):
        _last_calls.remove(at_exit)


def _make_last_calls() -> None:
    while _last_calls:
        _call_logged(_last_calls.pop())


def _call_logged(at_exit: Callable[[], object]) -> None:
    try:
        at_exit()
    except Exception:
        logger.exception("events could not be flushed at exit")


def hook_exit(at_exit: Callable[[], object], flush: Callable[[], object]) -> None:
    """
    Call functions when this process comes to its end, also as a child of multiprocessing.

    In such a child ``at_exit`` is called after the threads that are no daemons, as in any other
    program. Never raises. ``drop_last_call(at_exit)`` takes it back for a program.

    Args:
        at_exit: Sends what is queued and closes. May be called twice, and from another thread. An
            error of it is logged.
        flush: Sends what is queued, by ``atexit``: handlers that were registered before this call,
            and run after it, may stop the server that the events go to. Raises nothing.
    """
    call_last(at_exit)
    atexit.register(flush)
    # Children of multiprocessing (and of Celery's billiard) run only the finalizers registered
    # here. A module that is not imported has started no child.
    for name in ("multiprocessing.util", "billiard.util"):
        module = sys.modules.get(name)
        if module is not None:
            module.Finalize(None, _after_threads, (at_exit,), exitpriority=_FINALIZER_PRIORITY)


def warn_of_no_thread(at_exit: Callable[[], object]) -> None:
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
    call_last(at_exit)
    logger.warning(
        "no thread can be started, so events are published when this process ends; if its main "
        "thread has ended, keep that running, or use Python 3.12.2 or newer"
    )


def _after_threads(at_exit: Callable[[], object]) -> None:
    current = threading.current_thread()
    others = [one for one in threading.enumerate() if not (one.daemon or one is current)]

    def wait() -> None:
        for other in others:
            other.join()
        _call_logged(at_exit)

    if others:
        # Multiprocessing joins these threads after its finalizers, and with them this one.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=wait, name="otel-bridge-exit", daemon=False).start()
            return
    _call_logged(at_exit)


_has_warned = False
_last_calls: list[Callable[[], object]] = []
atexit.register(_make_last_calls)
