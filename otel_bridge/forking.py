"""
``on_fork``: what a process must do around ``os.fork``; ``current_incarnation``: which one it is.

After a fork only the forking thread exists in the child: locks that another thread held stay locked
for ever, and threads are gone. Celery's and RQ's workers fork, so every part with a lock or a
thread renews it in the child.

A process id does not say which process it is: containers start each with 1, and Celery numbers its
workers from 0. The incarnation does, and is read each time, because a fork changes it.
"""

from __future__ import annotations

import os
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["current_incarnation", "keep_incarnation", "on_fork"]

Hook = Callable[[], None]


def on_fork(
    *, before: Hook | None = None, after_in_parent: Hook | None = None, after_in_child: Hook
) -> None:
    """
    Call functions around each fork of this process; does nothing where there is no fork (Windows).

    Each call adds hooks, without a limit; they cannot be unregistered. So methods are held weakly:
    once their object is gone they are no longer called. Never raises. An exception in a hook is
    printed by Python and ignored; a hook that blocks makes ``os.fork`` block.

    Args:
        before: Called in the forking thread, before the fork, the last registered first (the others
            in the order in which they were registered); None: nothing.
        after_in_parent: Called in the forking thread, after it; None: nothing.
        after_in_child: Called in the child, before its own code runs.
    """
    if not hasattr(os, "register_at_fork"):
        return
    hooks = {"before": before, "after_in_parent": after_in_parent, "after_in_child": after_in_child}
    os.register_at_fork(**{name: _weakly(hook) for name, hook in hooks.items() if hook})


def current_incarnation() -> str:
    """Return the id of this life of this process: 16 hex digits, new after each fork."""
    return _incarnation


@contextmanager
def keep_incarnation() -> Iterator[None]:
    """
    Let a child that this thread forks inside the block keep this process's incarnation.

    For RQ's worker, which forks a process for each job: only the worker sends heartbeats, so it is
    by them that a job is found to be lost with its worker. The child's own children are new ones
    again. Forks of other threads are not affected. Not to be nested.
    """
    global _keeping_thread
    _keeping_thread = threading.get_ident()
    try:
        yield
    finally:
        _keeping_thread = None


def _make_incarnation() -> None:
    global _incarnation, _keeping_thread
    # The forking thread is the only one in the child, under the same ident.
    is_kept = _keeping_thread is not None and _keeping_thread == threading.get_ident()
    _keeping_thread = None
    if not is_kept:
        _incarnation = os.urandom(8).hex()


def _weakly(hook: Hook) -> Hook:
    if not isinstance(hook, types.MethodType):
        return hook
    reference = weakref.WeakMethod(hook)

    def call() -> None:
        if (method := reference()) is not None:
            method()

    return call


_incarnation = ""
_keeping_thread: int | None = None
_make_incarnation()
on_fork(after_in_child=_make_incarnation)
