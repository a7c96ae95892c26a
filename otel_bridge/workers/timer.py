"""
``TimerThread``: one daemon thread that calls functions after a delay.

It is a thread and not an asyncio task, so that a worker whose event loop is blocked still sends
heartbeats: a blocked loop must not look like a dead worker.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.forking import on_fork
from otel_bridge.suppression import suppress_instrumentation

__all__ = ["TimerThread"]

logger = logging.getLogger(__name__)

_IDLE_SEC: Final = 60.0
"""How long the thread sleeps with nothing scheduled; any new entry wakes it."""


class TimerThread:
    """
    Calls functions after a delay, on one daemon thread that starts with the first ``call_later``.

    ``Bridge.timer`` is the one of this process; ``Bridge.shutdown`` closes it. The functions run
    one after another, so one that takes long delays the others. Their number is not limited.

    A function runs at most once for each ``call_later``. An exception in it is logged, and the
    thread goes on; the methods themselves never raise. A forked child starts with an empty
    schedule, because the parent continues to send its own heartbeats. Instrumented calls inside the
    functions create no spans.

    Args:
        clock: Gives the monotonic time; default: the system's.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._sequence = itertools.count()
        self._reset()
        on_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def call_later(self, delay_sec: float, function: Callable[[], None]) -> None:
        """
        Call ``function`` after ``delay_sec`` seconds; returns at once, from any thread.

        After ``close()`` the call is dropped. If no thread can be started, the function waits until
        a later ``call_later`` starts one. How many functions wait is not limited. Never raises; an
        exception of the function is logged.

        Args:
            delay_sec: Seconds from now; 0 or less: as soon as the thread is free.
            function: Called once, without arguments, on the timer's thread.
        """
        with self._wake:
            if self._is_closed:
                return
            entry = (self._clock.monotonic() + delay_sec, next(self._sequence), function)
            heapq.heappush(self._due, entry)
            if self._thread is None:
                self._start_thread()
            self._wake.notify()

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="otel-bridge-timer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # The system has no thread left; the next call_later tries again.
            self._thread = None

    def close(self, timeout_sec: float = 1.0) -> None:
        """
        Call the functions that are due, drop the others, and end the thread; for good.

        Never raises; a second call is allowed. From the timer's own thread it does not wait.

        Args:
            timeout_sec: How many seconds to wait for the thread's end at most, default 1. A
                function that runs longer goes on after that; no error is raised.
        """
        with self._wake:
            self._is_closed = True
            self._due = [entry for entry in self._due if entry[0] <= self._clock.monotonic()]
            heapq.heapify(self._due)
            self._wake.notify()
            thread = self._thread
        # A signal handler may close the timer while start() runs: the thread is then not yet alive.
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout_sec)

    @suppress_instrumentation()
    def _run(self) -> None:
        while True:
            with self._wake:
                while True:
                    if self._is_closed and not self._due:
                        return
                    wait_sec = self._due[0][0] - self._clock.monotonic() if self._due else _IDLE_SEC
                    if wait_sec <= 0:
                        break
                    self._wake.wait(wait_sec)
                function = heapq.heappop(self._due)[2]
            try:
                function()
            except Exception:
                logger.exception("a scheduled call of otel-bridge failed")
