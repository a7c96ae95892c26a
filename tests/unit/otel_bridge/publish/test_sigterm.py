"""When SIGTERM is handled; tests/integration/test_ended_processes.py ends real processes by it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from otel_bridge.publish import sigterm
from otel_bridge.publish.sigterm import (
    before_kill,
    flush_before_kill,
    hook_sigterm,
    postpone_sigterm,
)


@pytest.fixture(autouse=True)
def _no_handler_is_left() -> Iterator[None]:
    hooks, flushes = sigterm._hooks[:], sigterm._flushes[:]
    former = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, former)
    sigterm._hooks[:], sigterm._flushes[:] = hooks, flushes


class Flusher:
    def __init__(self, order: list[str]) -> None:
        self.order = order

    def flush(self, timeout_sec: float) -> None:
        assert 0 < timeout_sec <= sigterm.LIMIT_SEC
        self.order.append("flush")
        raise ValueError("a bug")


def test_only_workers_and_children_are_hooked() -> None:
    """A program that is neither keeps the default, and so does a thread."""
    found: list[bool] = [hook_sigterm()]
    thread = threading.Thread(target=lambda: found.append(hook_sigterm(is_worker=True)))
    thread.start()
    thread.join(10)
    assert found == [False, False]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_application_stays() -> None:
    """Where SIGTERM is handled or ignored already, nothing changes."""

    def handle(*_: object) -> None:
        """The application's."""

    for handler in (handle, signal.SIG_IGN):
        signal.signal(signal.SIGTERM, handler)
        assert not hook_sigterm(is_worker=True)
        assert signal.getsignal(signal.SIGTERM) is handler


def test_a_handler_that_came_later_may_call_this_one(caplog: pytest.LogCaptureFixture) -> None:
    """It flushes and returns: the later handler decides whether the process ends."""
    order: list[str] = []
    flusher = Flusher(order)
    assert hook_sigterm(is_worker=True)
    assert hook_sigterm(is_worker=True), "a second worker finds it installed"
    ours = signal.getsignal(signal.SIGTERM)
    assert callable(ours)
    flush_before_kill(flusher.flush)
    before_kill(lambda: order.append("hook"))
    signal.signal(signal.SIGTERM, lambda number, frame: ours(number, frame))
    os.kill(os.getpid(), signal.SIGTERM)
    assert order == ["flush"]
    assert "could not be flushed" in caplog.text


def test_a_signal_inside_a_flush_waits_for_it() -> None:
    """A bus that is being shut down sends the rest; then the signal counts."""
    order: list[str] = []
    flusher = Flusher(order)
    assert hook_sigterm(is_worker=True)
    flush_before_kill(flusher.flush)
    ours = signal.getsignal(signal.SIGTERM)
    assert callable(ours)
    signal.signal(signal.SIGTERM, lambda number, frame: ours(number, frame))
    with postpone_sigterm() as is_overdue:
        os.kill(os.getpid(), signal.SIGTERM)
        order.append("sent")
        assert not is_overdue()
    assert order == ["sent", "flush"]


def test_the_last_hook_is_called_first_and_objects_are_not_kept() -> None:
    """Hooks undo in reverse order what was set up; a bus that is gone is not flushed."""
    order: list[str] = []
    before_kill(lambda: order.append("first"))
    before_kill(lambda: order.append("second"))
    flush_before_kill(Flusher(order).flush)
    assert sigterm._flush_all(with_hooks=True)
    assert order[:2] == ["second", "first"]
    assert "flush" not in order
