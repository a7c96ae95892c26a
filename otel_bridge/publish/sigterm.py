"""
``hook_sigterm``: lets SIGTERM wait for the last events of a process in which nothing handles it.

Leaving ``with Pool()`` ends the pool's processes by SIGTERM. Of 1,000 short jobs in 100 such pools
the ends of 265 were lost, and of 500 jobs before ``Process.terminate()`` those of 490.

A handler in Python runs between two instructions of the main thread. A signal that comes just
before a call that blocks, such as that for the pool's next task, would wait for this call: one run
hung. So a guard thread learns of the signal too, and interrupts the main thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from otel_bridge.forking import on_fork

__all__ = ["LIMIT_SEC", "before_kill", "flush_before_kill", "hook_sigterm", "postpone_sigterm"]

logger = logging.getLogger(__name__)

LIMIT_SEC: Final = 1.0
"""How long SIGTERM waits for the log at most; one that can be reached takes some milliseconds."""
_MAIN_THREAD_SEC: Final = 0.2
"""How long the guard waits for the main thread, which may be in a call that is not interrupted."""
_INTERRUPT_SEC: Final = 0.02
_OTHER_LOOPS: Final = frozenset({"eventlet", "gevent", "trio"})
"""Libraries that replace threads, or that need the descriptor by which the guard is woken."""

_hooks: list[Callable[[], None]] = []
_flushes: list[weakref.WeakMethod[Callable[[float], object]]] = []
_lock = threading.RLock()
_is_ending = False
_postponers = 0
_postponed_at: float | None = None
_pipe: tuple[int, int] | None = None
"""Read by the guard, written by Python's own C handler; None: there is no guard."""
_masks: dict[int, Any] = {}


def before_kill(hook: Callable[[], None]) -> None:
    """
    Call a function when SIGTERM is about to end this process, before the flush.

    The function that was registered last is called first.

    Args:
        hook: Publishes what the process will not come to. It is called between any two instructions
            of the main thread, or on another thread, so it must wait for no lock. What it raises is
            logged.
    """
    _hooks.insert(0, hook)


def flush_before_kill(flush: Callable[[float], object]) -> None:
    """
    Call a method when SIGTERM is about to end this process; its object is held weakly.

    Args:
        flush: A bound method that gets the seconds that it may wait; what it raises is logged.
    """
    _flushes[:] = [one for one in _flushes if one() is not None]
    _flushes.append(weakref.WeakMethod(flush))


def hook_sigterm(*, is_worker: bool = False) -> bool:
    """
    Let SIGTERM wait for the last events, at most ``LIMIT_SEC`` (1 s), where nothing handles it.

    Only in the main thread of a child of multiprocessing, or of any worker; not where the
    application or a C library has a handler, or under gevent, eventlet and trio. The process still
    ends by the signal, with its exit code. If the main thread is in a call that no signal
    interrupts, it ends 0.2 s later; code in C that holds the interpreter's lock is finished first.
    A handler that is set later replaces this one. While the log cannot be reached nothing waits.

    Args:
        is_worker: Whether the caller runs a ``worker()`` block; default False.

    Returns:
        Whether the handler is installed now. Never raises.
    """
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        return True
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        return False
    if not (is_worker or _is_child()) or not _is_unhandled() or _OTHER_LOOPS & sys.modules.keys():
        return False
    try:
        if not _start_guard():
            return False
        signal.signal(signal.SIGTERM, _on_sigterm)
    except (ValueError, OSError, RuntimeError):  # a subinterpreter, or no descriptor or thread left
        return False
    return True


@contextlib.contextmanager
def postpone_sigterm() -> Iterator[Callable[[], bool]]:
    """
    Let a SIGTERM that comes inside the block end the process after it; for code that sends already.

    A context manager, for ``with`` only. Pools send their processes the end of their work first and
    SIGTERM a moment later. Binds a function that says whether such a signal has come ``LIMIT_SEC``
    (1 s) ago: the block must then come to its end. Without the handler it does nothing.
    """
    global _postponers, _postponed_at
    _postponers += 1
    try:
        yield _is_overdue
    finally:
        _postponers -= 1
        if _postponed_at is not None and not _postponers:
            _postponed_at = None
            signal.raise_signal(signal.SIGTERM)


def _is_overdue() -> bool:
    return _postponed_at is not None and time.monotonic() >= _postponed_at + LIMIT_SEC


def _is_child() -> bool:
    module: Any = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _is_unhandled() -> bool:
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    # Python does not know of handlers that C code has set, as uWSGI and PyTorch do.
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            caught = next(line for line in status if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return True  # not Linux
    return not int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    global _postponed_at
    if _postponers:
        _postponed_at = _postponed_at or time.monotonic()
        return
    # A handler that was set later may call this one; whether the process ends is that one's affair.
    # The first process of a container goes on, as without a handler; the SIGKILL follows in 10 s.
    is_last = signal.getsignal(signal.SIGTERM) is _on_sigterm and os.getpid() != 1
    if not _flush_all(with_hooks=is_last):
        return  # a second signal, or the guard has begun
    if is_last:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def _flush_all(*, with_hooks: bool) -> bool:
    """Run the hooks and flush; False if that has begun already."""
    global _is_ending
    with _lock:
        if _is_ending:
            return False
        _is_ending = True
    try:
        deadline = time.monotonic() + LIMIT_SEC
        for hook in _hooks if with_hooks else []:
            try:
                hook()
            except Exception:
                logger.exception("otel-bridge: a report before the end of the process failed")
        for flush in [reference() for reference in _flushes]:
            try:
                if flush is not None:
                    flush(max(0.0, deadline - time.monotonic()))
            except Exception:
                logger.exception("events could not be flushed before the end of the process")
    finally:
        _is_ending = False
    return True


# --- the guard ------------------------------------------------------------------------------------


def _start_guard() -> bool:
    """Start the thread that Python's C handler wakes by a byte; False if its place is taken."""
    global _pipe
    if _pipe is not None:
        return True
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    former = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    if former != -1:
        signal.set_wakeup_fd(former)
        os.close(read_fd)
        os.close(write_fd)
        return False
    _pipe = read_fd, write_fd
    main = threading.main_thread().ident
    threading.Thread(
        target=_guard, args=(read_fd, main), name="otel-bridge-sigterm", daemon=True
    ).start()
    return True


def _guard(read_fd: int, main: int) -> None:
    while True:
        if signal.SIGTERM not in os.read(read_fd, 512) or os.getpid() == 1:
            continue
        deadline = time.monotonic() + _MAIN_THREAD_SEC
        while time.monotonic() < deadline and not _has_started():
            if signal.getsignal(signal.SIGTERM) is not _on_sigterm:
                break
            signal.pthread_kill(main, signal.SIGTERM)
            time.sleep(_INTERRUPT_SEC)
        else:
            if not _has_started():
                _end_from_here()


def _has_started() -> bool:
    return _is_ending or _postponers > 0


def _end_from_here() -> None:
    """End the process while its main thread is in a call that no signal interrupts."""
    import ctypes  # 10 ms, in this rare case only

    if _flush_all(with_hooks=True):
        # Python sets a signal's default in the main thread only.
        ctypes.CDLL(None).signal(int(signal.SIGTERM), 0)
        os.kill(os.getpid(), signal.SIGTERM)


def _before_fork() -> None:
    # The child has the same pipe until it is closed there. A signal to the child in between would
    # end the parent.
    if _pipe is not None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        _masks[threading.get_ident()] = mask


def _after_fork() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    global _lock, _is_ending, _postponers, _postponed_at, _pipe
    _lock = threading.RLock()
    _is_ending, _postponers, _postponed_at = False, 0, None
    if _pipe is not None:
        with contextlib.suppress(ValueError, OSError):
            former = signal.set_wakeup_fd(-1)
            if former != _pipe[1]:
                signal.set_wakeup_fd(former)
            if signal.getsignal(signal.SIGTERM) is _on_sigterm:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for end in _pipe:
                os.close(end)
        _pipe = None
    mask = _masks.pop(threading.get_ident(), None)
    _masks.clear()
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


on_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
