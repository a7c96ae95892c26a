"""What runs at exit; tests/integration/test_ended_processes.py ends real processes."""

from __future__ import annotations

import atexit
import multiprocessing.util
import threading

import pytest

from otel_bridge.publish import process_end
from otel_bridge.publish.process_end import (
    _after_threads,
    _make_last_calls,
    call_last,
    drop_last_call,
    hook_exit,
    warn_of_no_thread,
)


@pytest.fixture
def _no_other_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_end, "_last_calls", [])


@pytest.mark.usefixtures("_no_other_calls")
def test_the_last_calls_are_made_in_reverse_and_each_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that is given while they run is made too, and the error of one stops no other."""
    order: list[str] = []

    def first() -> None:
        order.append("first")

    def fails() -> None:
        call_last(lambda: order.append("given at exit"))
        raise ValueError("a bug")

    def dropped() -> None:
        order.append("dropped")

    for one in (first, dropped, fails, first):
        call_last(one)
    drop_last_call(dropped)
    drop_last_call(dropped)
    _make_last_calls()
    assert order == ["given at exit", "first"]
    assert "events could not be flushed at exit" in caplog.text


@pytest.mark.usefixtures("_no_other_calls")
def test_a_process_without_threads_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, events are sent at the end, and one line says so."""
    monkeypatch.setattr(process_end, "_has_warned", False)
    calls: list[str] = []
    for _ in range(2):
        warn_of_no_thread(lambda: calls.append("sent"))
    _make_last_calls()
    assert calls == ["sent"]
    assert caplog.text.count("no thread can be started") == 1


@pytest.mark.usefixtures("_no_other_calls")
def test_the_function_is_registered_for_the_exit_and_with_multiprocessing() -> None:
    """A child of multiprocessing skips atexit, so the function is one of its finalizers too."""
    calls = []

    def at_exit() -> None:
        calls.append(threading.current_thread())

    registry = multiprocessing.util._finalizer_registry  # type: ignore[attr-defined]

    def flush() -> None:
        pass

    hook_exit(at_exit, flush)
    atexit.unregister(flush)
    drop_last_call(at_exit)
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
