"""What runs at exit; tests/integration/test_ended_processes.py ends real processes."""

from __future__ import annotations

import atexit
import multiprocessing.util
import threading

from otel_bridge.publish.process_end import _after_threads, hook_exit


def test_the_function_is_registered_with_atexit_and_with_multiprocessing() -> None:
    """A child of multiprocessing skips atexit, so the function is one of its finalizers too."""
    calls = []

    def at_exit() -> None:
        calls.append(threading.current_thread())

    registry = multiprocessing.util._finalizer_registry  # type: ignore[attr-defined]
    hook_exit(at_exit)
    atexit.unregister(at_exit)
    # Billiard, once it is imported, has the same registry: then there are two.
    keys = [key for key, found in list(registry.items()) if found._args == (at_exit,)]
    assert {key[0] for key in keys} == {100}
    registry[keys[0]]()
    for key in keys[1:]:
        registry[key].cancel()
    for thread in threading.enumerate():
        if thread.name == "otel-bridge-exit":
            thread.join(10)
    assert len(calls) == 1


def test_the_function_is_called_after_other_threads_have_ended() -> None:
    """A thread that is no daemon may still publish; multiprocessing waits for it, and so do we."""
    may_end, order = threading.Event(), []

    def late() -> None:
        may_end.wait(10)
        order.append("late")

    other = threading.Thread(target=late)
    other.start()
    _after_threads(lambda: order.append("exit"))
    may_end.set()
    (waiting,) = (one for one in threading.enumerate() if one.name == "otel-bridge-exit")
    waiting.join(10)
    assert order == ["late", "exit"]
