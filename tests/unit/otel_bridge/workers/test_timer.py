"""``TimerThread`` calls functions when they are due; the clock is the test's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

from otel_bridge.workers.timer import TimerThread
from tests.support.faults import FakeClock, no_threads_left
from tests.support.waiting import wait_until


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timer(clock: FakeClock) -> Iterator[TimerThread]:
    made = TimerThread(clock)
    yield made
    made.close()


def is_running() -> bool:
    """Whether a thread of any timer runs in this process."""
    return "otel-bridge-timer" in [thread.name for thread in threading.enumerate()]


def run_due(timer: TimerThread) -> None:
    """Make the thread read the clock, and wait until it has run what is due."""
    has_run = threading.Event()
    timer.call_later(0, has_run.set)
    assert has_run.wait(10)


def test_functions_run_when_they_are_due_and_in_order(timer: TimerThread, clock: FakeClock) -> None:
    """A function runs once, at its time; those of one time run in the order of their calls."""
    ran: list[str] = []
    for delay_sec, name in ((2, "late"), (1, "a"), (1, "b")):
        timer.call_later(delay_sec, lambda name=name: ran.append(name))  # type: ignore[misc]
    run_due(timer)
    assert ran == []
    clock.advance(1)
    run_due(timer)
    assert ran == ["a", "b"]
    clock.advance(5)
    run_due(timer)
    assert ran == ["a", "b", "late"]


def test_a_failing_function_does_not_stop_the_others(
    timer: TimerThread, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception is logged and the thread goes on, so one bad call does not end heartbeats."""
    timer.call_later(0, lambda: 1 // 0)  # type: ignore[arg-type]
    run_due(timer)
    assert "a scheduled call of otel-bridge failed" in caplog.text


def test_its_own_commands_make_no_spans(timer: TimerThread) -> None:
    """What runs on the thread is suppressed for the user's Redis instrumentation."""
    found: list[object] = []
    timer.call_later(0, lambda: found.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY)))
    run_due(timer)
    assert found == [True]


def test_closing_runs_what_is_due_and_drops_the_rest(timer: TimerThread, clock: FakeClock) -> None:
    """At the end the due calls still run, in the thread; later ones and new ones do not."""
    ran: list[str] = []
    held, ended = threading.Event(), threading.Event()
    timer.call_later(0, lambda: ended.set() if held.wait(10) else None)
    timer.call_later(0, lambda: ran.append("due"))
    timer.call_later(60, lambda: ran.append("later"))
    timer.close(0)
    timer.call_later(0, lambda: ran.append("after"))
    clock.advance(100)
    held.set()
    assert ended.wait(10)
    wait_until(lambda: not is_running(), "the thread's end")
    assert ran == ["due"]


def test_a_process_can_end_without_closing_it(timer: TimerThread) -> None:
    """The thread is a daemon, so a worker that forgets to shut down does not hang at its end."""
    run_due(timer)
    threads = [one for one in threading.enumerate() if one.name == "otel-bridge-timer"]
    assert [one.daemon for one in threads] == [True]


def test_a_timer_without_work_has_no_thread(timer: TimerThread) -> None:
    """A process that sends no heartbeats and no progress has no thread for them."""
    timer.close()
    assert not is_running()


def test_a_thread_that_cannot_start_is_tried_again(timer: TimerThread) -> None:
    """If the system has no thread left, what is due waits until it has one."""
    ran = threading.Event()
    with no_threads_left():
        timer.call_later(0, ran.set)
    run_due(timer)
    assert ran.is_set()


def test_one_whose_thread_never_started_can_be_closed(timer: TimerThread) -> None:
    """Closing must not fail, because the bus is shut down after it."""
    with no_threads_left():
        timer.call_later(0, threading.Event().set)
    timer.close()


def test_it_needs_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """It works where Python has no hook for forks, as on Windows."""
    monkeypatch.delattr(os, "register_at_fork")
    run_due(made := TimerThread())
    made.close()


def test_a_call_may_schedule_itself_again(timer: TimerThread, clock: FakeClock) -> None:
    """A function that schedules itself runs once an interval, however late it is."""
    ran: list[float] = []

    def repeat() -> None:
        ran.append(clock.monotonic())
        timer.call_later(10, repeat)

    timer.call_later(0, repeat)
    for seconds in (0, 9, 1, 35, 10):
        clock.advance(seconds)
        run_due(timer)
    assert ran == [1000, 1010, 1045, 1055]
