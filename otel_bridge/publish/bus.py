"""
``EventBus``: publish returns at once; one daemon thread converts, batches and sends.

The thread empties the queue every few milliseconds (``MONITORING_FLUSH_INTERVAL_MS``), also while
the log cannot be reached, and a ``Publisher`` sends batches, one bounded attempt at a time.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.errors import TransportError
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.forking import on_fork
from otel_bridge.lines.line_queue import line_queue_of
from otel_bridge.publish.buffer import EventQueue, FlushRequest
from otel_bridge.publish.process_end import drop_last_call, hook_exit, warn_of_no_thread
from otel_bridge.publish.publisher import BusCounters, Publisher
from otel_bridge.publish.sigterm import flush_before_kill, hook_sigterm, postpone_sigterm
from otel_bridge.publish.transports import open_sender
from otel_bridge.publish.transports.base import Sender
from otel_bridge.settings import BridgeSettings
from otel_bridge.suppression import suppress_instrumentation

__all__ = ["BusCounters", "EventBus"]

logger = logging.getLogger(__name__)

_IDLE_WAIT_SEC: Final = 1.0
"""How long an idle thread sleeps at most before it checks the queue."""
_LINES_WAIT_SEC: Final = 0.25
"""The same while log lines are taken, which do not wake it."""
_POLLING_SEC: Final = 0.01
"""How long the thread polls after the last event before it sleeps. Waking a sleeping thread costs
the caller 40 us, as three polls do. With 0.1 s a job every 200 ms cost 2.6 ms, not 1.2."""
_OUTAGE_WAIT_SEC: Final = 0.02
"""How often the queue is emptied during an outage, so that span objects are released soon."""
_TAKE_LIMIT: Final = 2048  # items removed from the queue of a closed bus at a time
_FORK_WAIT_SEC: Final = 1.0
"""The longest that a fork waits for the batch that is being encoded, which takes milliseconds."""
_EXIT_FLUSH_SEC: Final = 1.0
"""The flush before the other exit handlers: milliseconds, unless the log fails just then."""
_FLUSH_RETRY_SEC: Final = 0.1
"""While a caller waits for a flush, the next attempt is at most this far away."""


class EventBus:
    """
    Publishes events without making the caller wait.

    ``configure()`` creates one for the process; without it, ``EventBus.connect(settings)`` does.
    One daemon thread sends. It starts with the first event and ends with ``shutdown()``, else at
    interpreter exit, which flushes for at most ``MONITORING_SHUTDOWN_TIMEOUT_SEC`` (5 s). While the
    log (the stream of all events) cannot be reached, events wait and an attempt follows about every
    second; one warning is logged, after the third. At a bound the oldest event is dropped and
    counted in ``counters``. A forked child has its own thread and publishes only its own events,
    under a new producer id (by which the log skips repeated events). Only ``connect`` raises.

    Args:
        sender: Sends the batches; used by the bus's thread alone, closed at shutdown.
        settings: Bounds (default 20,000 events, 32 MiB) and intervals.
        clock: Monotonic time for retries; tests pass their own.
    """

    def __init__(
        self, sender: Sender, settings: BridgeSettings, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._sender, self._settings, self._clock = sender, settings, clock
        self._queue = EventQueue(settings.buffer_max_events)
        self.line_queue = line_queue_of(settings.logs)
        self._idle_wait_sec = _IDLE_WAIT_SEC if self.line_queue is None else _LINES_WAIT_SEC
        self._polling_sec = max(0.001, settings.flush_interval_ms / 1000)
        # The parts of ``put``, for the span processor: one call less saves a fifth of its cost.
        self.append = self._queue.append
        self.counter = self._queue.counter
        self._reset(forked_at_ns=0)
        on_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )
        flush_before_kill(self._flush_before_kill)

    @classmethod
    def connect(cls, settings: BridgeSettings) -> EventBus:
        """
        Create a bus for ``settings.bus_url``, with the bounds in ``settings``.

        The first batch connects, in the bus's thread; a log that cannot be reached raises nothing.

        Raises:
            UnknownTransportError: The scheme of the URL has no transport.
            ConfigurationError: The transport cannot use the URL.
        """
        return cls(open_sender(settings.bus_url, settings), settings)

    def _reset(self, forked_at_ns: int) -> None:
        parts = self._sender, self._settings, self._clock, self._queue, self.line_queue
        self._publisher = Publisher(*parts, forked_at_ns)
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        # Reentrant: a signal handler or a finalizer may publish or shut down while it is held.
        self._lock = threading.RLock()
        # Held by whichever thread converts and sends: the bus's, or the one that calls shutdown().
        self._work_lock = threading.Lock()
        # Held while events are encoded, and by a thread that forks.
        self._encoding_lock = threading.RLock()
        self._forking: set[int] = set()
        self._thread: threading.Thread | None = None
        self._flushes: list[FlushRequest] = []
        self._is_closing, self._is_closed, self._active_at = False, False, float("-inf")
        self._is_complete = self.is_idle = True

    def _before_fork(self) -> None:
        # A fork in the middle of pydantic_core's to_json copies its native locks as they are, and
        # the child's bus then waited in to_json for ever: 3 of 45 forks under load.
        if self._encoding_lock.acquire(timeout=_FORK_WAIT_SEC):
            self._forking.add(threading.get_ident())

    def _after_fork_in_parent(self) -> None:
        if threading.get_ident() in self._forking:
            self._forking.discard(threading.get_ident())
            self._encoding_lock.release()

    def _after_fork_in_child(self) -> None:
        was_closed = self._is_closed
        self._queue.reset()
        self._reset(forked_at_ns=time.time_ns())
        self._is_closed = self._is_closing = was_closed

    def put(self, item: Any) -> None:
        """
        Queue an item; never waits or raises, from any thread. ``publish`` is the usual way in.

        Costs two C calls, and a wake-up if the thread sleeps. A full queue (default 20,000) drops
        its oldest item, and counts it; after ``shutdown()`` the item is dropped and counted.

        Args:
            item: A live span for its start, an ended span for its end, or a ``MonitoringEvent``.
                Another object is counted as rejected later.
        """
        self.append(item)
        next(self.counter)
        if self.is_idle:
            self.wake_thread()

    def publish(self, event: MonitoringEvent, project_id: str | None = None) -> bool:
        """
        Queue one event; returns at once, from any thread or event loop, and never raises.

        Args:
            event: Sent as UTF-8 JSON of at most ``MONITORING_MAX_EVENT_SIZE_BYTES`` (8,192 bytes);
                longer texts are truncated. Values that look like secrets are masked.
            project_id: Replaces the event's own; default: keep it.

        Returns:
            False if the bus is closed, or after an error, which is logged. True means queued, not
            delivered: over 20,000 events or 32 MiB, by default, the oldest is dropped and counted.
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
        Wait until every event queued so far has been sent, rejected or dropped; never raises.

        Blocks the calling thread: from a coroutine call it by ``asyncio.to_thread``. False when
        time ran out first, or no thread could be started. True at once if the bus is closed.

        Args:
            timeout_sec: How long to wait at most, in seconds; 0 or less: do not wait.
        """
        if self._is_closed:
            return True
        with self._lock:
            request = FlushRequest(self._queue.measure()[0])
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
        Flush, stop the thread, close the connection; blocks the calling thread.

        Later events are dropped, and ``publish`` returns False. Gives up after three failed
        attempts on a log that was never reached, so that a program without a running collector
        exits without delay. Raises nothing.

        Args:
            timeout_sec: How long to flush at most; default ``MONITORING_SHUTDOWN_TIMEOUT_SEC`` (5
                s), or 1 s after a SIGTERM. An attempt under way may exceed it.

        Returns:
            False when events could not be sent; they count as dropped. A second call does nothing
            and returns the same.
        """
        if timeout_sec is None:
            timeout_sec = self._settings.shutdown_timeout_sec
        deadline = time.monotonic() + timeout_sec
        with postpone_sigterm() as is_overdue:
            with self._lock:
                if self._is_closing:
                    return self._is_complete
                self._is_closing = True
            drop_last_call(self.shutdown)
            self._shut_down(deadline, is_overdue)
        return self._is_complete

    def _shut_down(self, deadline: float, is_overdue: Callable[[], bool]) -> None:
        thread = self._thread
        # Not alive: shutdown() runs in a signal handler that interrupted the thread's start().
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            self._wake.put(None)
            thread.join(max(0.0, deadline - time.monotonic()))
        # The remaining events are sent from here, so that this also works without a thread.
        if self._work_lock.acquire(timeout=max(0.05, deadline - time.monotonic())):
            try:
                with suppress_instrumentation():
                    self._is_complete = self._finish(deadline, is_overdue)
            finally:
                self._work_lock.release()
        else:
            # The thread is in the middle of an attempt; it drops the rest after it.
            self._is_complete = False
        self._is_closed = self.is_idle = True

    @property
    def counters(self) -> BusCounters:
        """A snapshot of the counts of this process, from any thread; cheap; never raises."""
        with self._lock:
            queued, overflowed = self._queue.measure()
        publisher = self._publisher
        queued += publisher.intermediate
        dropped = overflowed + publisher.send_buffer.dropped + publisher.rejected
        if self._is_closed:
            # Everything that was not sent: in the queue, in the send buffer, or added since.
            dropped = max(0, queued - publisher.published - publisher.ignored)
        return BusCounters(
            queued=queued,
            published=publisher.published,
            dropped=dropped,
            rejected=publisher.rejected,
            ignored=publisher.ignored,
            skipped=publisher.skipped,
            refused=publisher.refused,
            failed_attempts=publisher.failed_attempts,
            waiting=max(0, queued - publisher.published - dropped - publisher.ignored),
            is_connected=publisher.is_connected,
            stacks_limited=publisher.stacks.limiter.limited,
            stacks_lost=publisher.stacks_lost,
            lines_dropped=publisher.lines_dropped,
        )

    @property
    def outage(self) -> TransportError | None:
        """Why the log cannot be reached; None while it can, or before three failed attempts."""
        return self._publisher.outage

    def wake_thread(self) -> None:
        """
        Start or wake the bus's thread; after shutdown, discard what was queued. Never raises.

        For callers of ``append`` and ``counter`` while ``is_idle``: it sleeps. Never waits.
        """
        if self._is_closed:
            self._queue.take(_TAKE_LIMIT)
            return
        self.is_idle = False
        if self._thread is None and not self._start_thread():
            self.is_idle = True  # the next event tries again
            return
        self._wake.put(None)

    def _start_thread(self) -> bool:
        """Start the thread if it is missing and the bus is open; False if that failed."""
        with self._lock:
            if self._thread is not None or self._is_closing:
                return True
            # Before start(): a signal handler that publishes now must not start a second one.
            self._thread = threading.Thread(target=self._run, name="otel-bridge-bus", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None
                warn_of_no_thread(self.shutdown)
                return False
        hook_exit(self.shutdown, self._flush_at_exit)
        hook_sigterm()
        return True

    def _flush_at_exit(self) -> None:
        if self._publisher.is_connected:  # else a program without a collector would end later
            self.flush(min(_EXIT_FLUSH_SEC, self._settings.shutdown_timeout_sec))

    def _flush_before_kill(self, timeout_sec: float) -> None:
        if self._thread is not None and self.outage is None:  # else it would only wait
            self.flush(timeout_sec)

    # --- the bus's thread -----------------------------------------------------------------------
    @suppress_instrumentation()
    def _run(self) -> None:
        while not self._is_closing:
            try:
                with self._work_lock:
                    wait_sec = self._step()
                self._sleep(wait_sec)
            except Exception:
                # A bug must cost a second, not end the live view.
                logger.exception("unexpected error in the bus's thread; it continues")
                time.sleep(_IDLE_WAIT_SEC)
        with self._work_lock:
            if self._is_closed:
                self._publisher.abandon()

    def _step(self) -> float | None:
        """Convert and send what is queued; return how long to wait, None: until the next item."""
        publisher = self._publisher
        while True:
            if self._convert():
                self._active_at = time.monotonic()
            publisher.send_lines(at_once=bool(self._flushes))
            self._answer_flushes()
            if not len(publisher.send_buffer):
                is_active = time.monotonic() - self._active_at < _POLLING_SEC
                return self._polling_sec if is_active else None
            now = self._clock.monotonic()
            if self._flushes:
                publisher.breaker.bring_forward(now, _FLUSH_RETRY_SEC)
            if (wait_sec := publisher.breaker.wait_sec(now)) > 0:
                return min(wait_sec, _OUTAGE_WAIT_SEC)
            if not self._flushes and (wait_sec := publisher.linger_sec(now)) > 0:
                return min(wait_sec, self._polling_sec)  # a batch that is full goes at once
            publisher.send()
            self._answer_flushes()
            if self._is_closing or len(publisher.send_buffer) < self._settings.batch_max_events:
                # Less than a full batch remains: wait a moment for more events.
                return self._settings.flush_interval_ms / 1000

    def _convert(self) -> bool:
        with self._encoding_lock:
            return self._publisher.convert(list(self._flushes), is_last=self._is_closing)

    def _sleep(self, wait_sec: float | None) -> None:
        if wait_sec is None:
            self.is_idle = True
            # An item that was queued before is_idle was set did not wake this thread.
            if not len(self._queue) and not self._flushes:
                with contextlib.suppress(queue.Empty):
                    self._wake.get(timeout=self._idle_wait_sec)
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
            taken = self._queue.measure()[0] - len(self._queue)
            for request in list(self._flushes):
                if request.is_noted and request.buffer_target is None and taken >= request.target:
                    request.buffer_target = self._publisher.send_buffer.added
                target = request.buffer_target
                if target is not None and self._publisher.send_buffer.removed >= target:
                    request.done.set()
                    self._flushes.remove(request)

    def _finish(self, deadline: float, is_overdue: Callable[[], bool]) -> bool:
        """Send until the deadline, drop and count the rest, close the connection."""
        publisher, attempts = self._publisher, 0
        while True:
            self._convert()
            if not len(publisher.send_buffer):
                break
            breaker = publisher.breaker
            is_hopeless = breaker.is_open and not publisher.was_connected and attempts > 0
            if is_hopeless or time.monotonic() >= deadline or is_overdue():
                break
            breaker.bring_forward(self._clock.monotonic(), _FLUSH_RETRY_SEC)
            wait_sec = breaker.wait_sec(self._clock.monotonic())
            time.sleep(max(0.0, min(wait_sec, deadline - time.monotonic())))
            publisher.send()
            attempts += 1
        publisher.send_lines(at_once=True)
        is_complete = publisher.abandon()
        self._answer_flushes()
        return is_complete
