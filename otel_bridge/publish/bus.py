"""
``EventBus``: publish returns at once; one daemon thread converts, batches and sends.

The caller appends to a bounded intake. The thread empties it every few milliseconds
(``MONITORING_FLUSH_INTERVAL_MS``), also while the log is away, and a ``Publisher`` turns it into
batches. A log that is away costs this thread one bounded attempt at a time, and everybody else
nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.buffer import EventQueue
from otel_bridge.publish.publisher import Publisher
from otel_bridge.publish.transports import open_sender
from otel_bridge.publish.transports.base import Sender
from otel_bridge.settings import BridgeSettings
from otel_bridge.suppression import suppress_instrumentation

__all__ = ["BusCounters", "EventBus"]

logger = logging.getLogger(__name__)

_IDLE_WAIT_SEC: Final = 1.0
_LINGER_SEC: Final = 0.1
"""For so long after the last event the thread looks by itself: waking it costs the caller 40 us,
a hundred times an append."""
_AWAY_WAIT_SEC: Final = 0.02
"""How often the intake is emptied while the log is away: spans are let go soon."""
_TAKE_LIMIT: Final = 2048
_FLUSH_RETRY_SEC: Final = 0.1


@dataclass(frozen=True, slots=True)
class BusCounters:
    """
    What a bus has done so far, in this process.

    ``queued == published + dropped + ignored`` plus what is still waiting.
    """

    queued: int
    """Events and spans' starts and ends handed in."""
    published: int
    """Events acknowledged by the log."""
    dropped: int
    """Events lost: the buffer was full, they were refused, or left behind at shutdown."""
    rejected: int
    """Of the dropped: refused by the log, or impossible to encode."""
    ignored: int
    """Spans' starts and ends that are no events."""
    skipped: int
    """Of the published: sent again after a lost answer, and held already."""
    refused: int
    """Pub/Sub messages that an ACL denied; their events are in the log."""
    failed_attempts: int
    waiting: int
    """Events and spans not acknowledged yet."""
    is_connected: bool
    """Whether the last attempt reached the log; False before the first."""


class _FlushRequest:
    def __init__(self, target: int) -> None:
        self.target = target
        self.outbox_target: int | None = None
        self.done = threading.Event()


class EventBus:
    """
    Publishes events without making anybody wait.

    The thread starts with the first event and again in a forked child, which publishes its own
    events under a new producer id and none of its parent's. At interpreter exit what is queued
    is flushed for at most ``MONITORING_SHUTDOWN_TIMEOUT_SEC``.

    Args:
        sender: Where batches go; used by the bus's thread alone, closed at shutdown.
        settings: Bounds and intervals.
        clock: Monotonic time for retries; tests pass their own.
    """

    def __init__(
        self, sender: Sender, settings: BridgeSettings, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._sender = sender
        self._settings = settings
        self._clock = clock
        self._intake = EventQueue(settings.buffer_max_events)
        # The parts of ``put``, for the span processor: a call less costs a fifth of its hooks.
        self.append = self._intake.append
        self.counter = self._intake.counter
        self._reset(forked_at_ns=0)
        if hasattr(os, "register_at_fork"):
            after_fork = weakref.WeakMethod(self._after_fork_in_child)

            def after_in_child() -> None:
                if (method := after_fork()) is not None:
                    method()

            os.register_at_fork(after_in_child=after_in_child)

    @classmethod
    def connect(cls, settings: BridgeSettings) -> EventBus:
        """
        Make a bus for ``settings.bus_url``; connects with the first batch, in the bus's thread.

        Raises:
            UnknownTransportError: Nobody handles the URL's scheme.
            ConfigurationError: The URL is not one that the transport can use.
        """
        return cls(open_sender(settings.bus_url, settings), settings)

    def _reset(self, forked_at_ns: int) -> None:
        settings = self._settings
        self._publisher = Publisher(self._sender, settings, self._clock, self._intake, forked_at_ns)
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        # A signal handler or a finalizer may publish, or shut down, inside it.
        self._lock = threading.RLock()
        # Held while the pipeline works: by the thread, or by who shuts down without one.
        self._work_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._flushes: list[_FlushRequest] = []
        self._is_closing = False
        self._is_closed = False
        self._active_at = float("-inf")
        self._is_complete = True
        self.is_idle = True

    def _after_fork_in_child(self) -> None:
        was_closed = self._is_closed
        self._intake.reset()
        self._reset(forked_at_ns=time.time_ns())
        self._is_closed = self._is_closing = was_closed

    # --- any thread -----------------------------------------------------------------------------
    def put(self, item: Any) -> None:
        """
        Queue a live span (its start), an ended span (its end) or an event; never waits.

        The hot path of the span processor: two C calls, and a wake-up when the thread sleeps.
        """
        self.append(item)
        next(self.counter)
        if self.is_idle:
            self.wake_thread()

    def publish(self, event: MonitoringEvent, project_id: str | None = None) -> bool:
        """
        Queue one event; returns at once, from any thread or event loop, and never raises.

        Args:
            event: Sent as UTF-8 JSON of at most ``MONITORING_MAX_EVENT_SIZE_BYTES`` (8192), cut to
                fit. Secret-looking values are masked.
            project_id: Replaces the event's own.

        Returns:
            False if the bus is closed; else True, which means queued, not delivered: a full
            buffer drops its oldest event and counts it.
        """
        if self._is_closing:
            return False
        try:
            if project_id is not None and project_id != event.project_id:
                event = event.model_copy(update={"project_id": str(project_id)})
            self.put(event)
        except Exception:
            logger.exception("an event could not be queued")
            return False
        return True

    def flush(self, timeout_sec: float) -> bool:
        """
        Wait until everything queued so far has left for the log.

        Returns:
            False when time ran out first, or no thread could be started.
        """
        if self._is_closed:
            return True
        with self._lock:
            queued, _ = self._intake.measure()
            request = _FlushRequest(queued)
            self._flushes.append(request)
        is_done = False
        if self._start_thread():
            self._wake.put(None)
            is_done = request.done.wait(max(0.0, timeout_sec))
        if not is_done:
            with self._lock, contextlib.suppress(ValueError):
                self._flushes.remove(request)
        return is_done

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """
        Flush, stop the thread, close the connection. Safe to call twice.

        Gives up at once on a log that was never reached: a program whose collector is not there
        ends without delay.

        Args:
            timeout_sec: Default ``MONITORING_SHUTDOWN_TIMEOUT_SEC`` (5).

        Returns:
            False when events were left behind; they count as dropped.
        """
        if timeout_sec is None:
            timeout_sec = self._settings.shutdown_timeout_sec
        deadline = time.monotonic() + timeout_sec
        with self._lock:
            if self._is_closing:
                return self._is_complete
            self._is_closing = True
        atexit.unregister(self._at_exit)
        thread = self._thread
        # Not alive: inside its start(), by a signal handler.
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            self._wake.put(None)
            thread.join(max(0.0, deadline - time.monotonic()))
        # What the thread left is sent from here, so that this also works without one.
        if self._work_lock.acquire(timeout=max(0.05, deadline - time.monotonic())):
            try:
                with suppress_instrumentation():
                    self._is_complete = self._finish(deadline)
            finally:
                self._work_lock.release()
        else:
            # An attempt is under way: the thread drops the rest when it is over.
            self._is_complete = False
        self._is_closed = self.is_idle = True
        return self._is_complete

    @property
    def counters(self) -> BusCounters:
        """A snapshot of the numbers; cheap enough for every heartbeat."""
        with self._lock:
            queued, overflowed = self._intake.measure()
        done = self._publisher
        dropped = overflowed + done.outbox.dropped + done.rejected
        if self._is_closed:
            # Whatever has not left: in the intake, in the outbox, or come since.
            dropped = max(0, queued - done.published - done.ignored)
        return BusCounters(
            queued=queued,
            published=done.published,
            dropped=dropped,
            rejected=done.rejected,
            ignored=done.ignored,
            skipped=done.skipped,
            refused=done.refused,
            failed_attempts=done.failed_attempts,
            waiting=max(0, queued - done.published - dropped - done.ignored),
            is_connected=done.is_connected,
        )

    def wake_thread(self) -> None:
        """Start or wake the bus's thread; what came after shutdown is let go."""
        if self._is_closed:
            self._intake.take(_TAKE_LIMIT)
            return
        self.is_idle = False
        if self._thread is None and not self._start_thread():
            self.is_idle = True  # the next event tries again
            return
        self._wake.put(None)

    def _start_thread(self) -> bool:
        """Whether somebody will look after what is queued."""
        with self._lock:
            if self._thread is not None or self._is_closing:
                return True
            # Known before it runs: what publishes meanwhile, in this thread, must start no second.
            self._thread = threading.Thread(target=self._run, name="otel-bridge-bus", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # None is left; or the interpreter goes down: shutdown() sends what is queued.
                self._thread = None
                return False
        atexit.register(self._at_exit)
        # Children of multiprocessing (and of Celery's billiard) leave through os._exit, after
        # their own finalizers and without atexit.
        for name in ("multiprocessing.util", "billiard.util"):
            module = sys.modules.get(name)
            if module is not None:
                module.Finalize(None, self._at_exit, exitpriority=100)
        return True

    def _at_exit(self) -> None:
        try:
            self.shutdown()
        except Exception:
            logger.exception("events could not be flushed at exit")

    # --- the bus's thread -----------------------------------------------------------------------
    @suppress_instrumentation()
    def _run(self) -> None:
        while not self._is_closing:
            try:
                with self._work_lock:
                    wait_sec = self._step()
                self._sleep(wait_sec)
            except Exception:
                # Nothing is known to get here; a bug must cost a second, not the live view.
                logger.exception("the bus's thread stumbled and goes on")
                time.sleep(_IDLE_WAIT_SEC)
        with self._work_lock:
            if self._is_closed:
                self._publisher.abandon()

    def _step(self) -> float | None:
        """Convert and send what there is; return how long to wait, None: until something comes."""
        publisher = self._publisher
        while True:
            if publisher.convert():
                self._active_at = time.monotonic()
            self._answer_flushes()
            if not len(publisher.outbox):
                if time.monotonic() - self._active_at < _LINGER_SEC:
                    return max(0.001, self._settings.flush_interval_ms / 1000)
                return None
            now = self._clock.monotonic()
            if self._flushes:
                publisher.breaker.hurry(now, _FLUSH_RETRY_SEC)
            wait_sec = publisher.breaker.wait_sec(now)
            if wait_sec > 0:
                return min(wait_sec, _AWAY_WAIT_SEC)
            publisher.send()
            self._answer_flushes()
            if self._is_closing or len(publisher.outbox) < self._settings.batch_max_events:
                # Less than a batch is left: let it grow for a moment.
                return self._settings.flush_interval_ms / 1000

    def _sleep(self, wait_sec: float | None) -> None:
        if wait_sec is None:
            self.is_idle = True
            # An item that came before the flag was up has woken nobody.
            if not len(self._intake) and not self._flushes:
                with contextlib.suppress(queue.Empty):
                    self._wake.get(timeout=_IDLE_WAIT_SEC)
            self.is_idle = False
            if self._flushes or self._is_closing:
                return
            wait_sec = self._settings.flush_interval_ms / 1000
        if wait_sec > 0:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=wait_sec)

    def _answer_flushes(self) -> None:
        if not self._flushes:
            return
        with self._lock:
            queued, _ = self._intake.measure()
            seen = queued - len(self._intake)
            for request in list(self._flushes):
                if request.outbox_target is None and seen >= request.target:
                    request.outbox_target = self._publisher.outbox.added
                target = request.outbox_target
                if target is not None and self._publisher.outbox.settled >= target:
                    request.done.set()
                    self._flushes.remove(request)

    # --- shutdown -------------------------------------------------------------------------------
    def _finish(self, deadline: float) -> bool:
        """Send what is left until the deadline, drop and count the rest, close the connection."""
        publisher = self._publisher
        attempts = 0
        while True:
            publisher.convert()
            if not len(publisher.outbox):
                break
            breaker = publisher.breaker
            is_hopeless = breaker.is_open and not publisher.was_connected and attempts > 0
            if is_hopeless or time.monotonic() >= deadline:
                break
            breaker.hurry(self._clock.monotonic(), _FLUSH_RETRY_SEC)
            wait_sec = breaker.wait_sec(self._clock.monotonic())
            time.sleep(max(0.0, min(wait_sec, deadline - time.monotonic())))
            publisher.send()
            attempts += 1
        is_complete = publisher.abandon()
        self._answer_flushes()
        return is_complete
