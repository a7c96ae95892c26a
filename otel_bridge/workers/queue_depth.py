"""
``QueueDepthSampler``: publishes how many jobs wait in each queue.

The sampler decides when to read (an interval on the process's timer thread) and which process
reads: of all that see the same queues, only the one that sets a lock in Redis publishes, so a
queue is not reported once for each worker. Callers only say which queues there are, how their
depths are read, and which Redis holds the lock.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from otel_bridge.cancellation import cancel
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.suppression import suppress_instrumentation
from otel_bridge.workers.otel_metrics import OtelMetrics
from otel_bridge.workers.timer import TimerThread

__all__ = [
    "DEFAULT_INTERVAL_SEC",
    "Depth",
    "LoopCaller",
    "QueueDepthSampler",
    "SetIfAbsent",
    "publish_queue_depth",
]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

DEFAULT_INTERVAL_SEC: Final = 5.0
_LOCK_SHARE: Final = 0.9
"""The lock lives for 0.9 of an interval, so it is gone when the same process samples next."""
_CALL_TIMEOUT_SEC: Final = 5.0

Depth = int | Mapping[Any, int]
"""Jobs that wait in a queue; where the broker has priorities, by priority (a number or text)."""

SetIfAbsent = Callable[[str, int], bool]
"""
Sets a Redis key unless it exists (``SET key 1 NX PX milliseconds``).

Called with the key and its time to live in milliseconds. Returns False if the key exists, that is
if another process samples in this interval. May raise; then nothing is sampled in this interval.
"""


def publish_queue_depth(
    depths: Mapping[str, Depth], bus: EventBus, otel_metrics: OtelMetrics | None
) -> None:
    """
    Publish one ``queue_depth_update`` and set the OpenTelemetry gauge; never raises.

    Never waits, from any thread. The event has the depths twice: in ``queue``, where other
    dashboards read them, and in ``counts``. If it is over 8,192 bytes (by default), ``queue`` is
    left out, and if that is not enough, ``counts`` too. Depths by priority are in ``meta``, as
    ``{"priorities": {queue: {"0": 3, "9": 1}}}``: without priorities in which nothing waits, and
    without queues where all wait in priority 0, as in each that uses none.

    Args:
        depths: Waiting jobs, by the queue's full name. The text of a whole number (``"5"``, as
            Redis clients return it) is read as the number. A mapping has them by priority. If a
            value is no whole number, that is logged as an error and nothing is published.
        bus: Takes the event.
        otel_metrics: Has the gauge ``otel_bridge.queue.depth``; None: no gauge is set.
    """
    try:
        priorities: dict[str, dict[str, int]] = {}
        totals: dict[str, Any] = dict(depths)
        for name, depth in totals.items():
            if isinstance(depth, Mapping):
                by_priority = {str(key): count for key, count in depth.items() if count}
                totals[name] = sum(by_priority.values())
                if by_priority.keys() - {"0"}:
                    priorities[name] = by_priority
        event = MonitoringEvent(
            event_type=MonitoringEventType.QUEUE_DEPTH_UPDATE,
            counts=totals,
            meta={"priorities": priorities} if priorities else None,
        )
    except Exception:  # a mapping of the user's own may raise anything
        kind = type(depths).__name__
        logger.exception("queue_depth() takes whole numbers by queue name; got a %s", kind)
        return
    # From here on the numbers that the event has: the gauge cannot add up texts.
    counts = event.counts or {}
    bus.publish(event.model_copy(update={"queue": counts}))
    if otel_metrics is not None:
        otel_metrics.queue_depth(counts)


class QueueDepthSampler:
    """
    Publishes how many jobs wait in each queue, every few seconds, unless another process does.

    ``start()`` begins and ``stop()`` ends it, from any thread; an adapter or coordinator calls
    both. Neither waits or raises. Before ``start()`` nothing is read or published. A sample that
    fails is not published, and the first in a row is logged as a warning; the next one is tried
    after the interval.

    Args:
        names: Returns the full names of the queues; called for each sample. Their number is not
            limited.
        read: Called with these names, returns the number of waiting jobs by name, or a mapping of
            such numbers by priority; None if they cannot be read and the caller has logged why.
            May raise, as ``names`` and ``set_if_absent`` may: the sample has then failed.
        set_if_absent: Called with a key and its TTL in milliseconds (0.9 of an interval); sets the
            key in the Redis that all these processes share. Returns False if the key exists:
            another process samples in this interval, so this one does not.
        keys: Makes the names of these keys.
        locks_each_queue: True for workers that serve different queues: each queue has a key of its
            own. False: one key for all queues, because each process sees the same ones.
        may_block: True if ``read`` may take long: each sample then runs on a thread of its own, and
            while one runs no other is started. False: samples run on the timer thread, where they
            delay heartbeats.
        timer: Runs the samples.
        bus: Takes the events.
        otel_metrics: Has the gauge of depths; None: no gauge is set.
        interval_sec: Time between two samples in seconds; default 5. Not checked.
    """

    def __init__(
        self,
        *,
        names: Callable[[], Iterable[str]],
        read: Callable[[Sequence[str]], Mapping[str, Depth] | None],
        set_if_absent: SetIfAbsent,
        keys: RedisKeys,
        locks_each_queue: bool,
        may_block: bool,
        timer: TimerThread,
        bus: EventBus,
        otel_metrics: OtelMetrics | None,
        interval_sec: float = DEFAULT_INTERVAL_SEC,
    ) -> None:
        self._names = names
        self._read = read
        self._set_if_absent = set_if_absent
        self._keys = keys
        self._locks_each_queue = locks_each_queue
        self._may_block = may_block
        self._timer = timer
        self._bus = bus
        self._otel_metrics = otel_metrics
        self._interval_sec = interval_sec
        self._lock_ms = max(1, int(interval_sec * 1000 * _LOCK_SHARE))
        self._thread: threading.Thread | None = None
        self._is_open = False
        self._run = 0
        """Number of the last ``start()``: what an earlier one has scheduled does nothing."""
        self._is_failing = False

    def start(self) -> None:
        """
        Take the first sample at once, on another thread, and go on until ``stop()``.

        A sample follows every ``interval_sec`` (5 s by default). Returns without waiting and never
        raises; a second call does nothing, and after ``stop()`` it starts again. The first failed
        sample in a row is logged.
        """
        if not self._is_open:
            self._is_open = True
            self._run += 1
            run = self._run
            self._timer.call_later(0, lambda: self._on_timer(run))

    def stop(self) -> None:
        """End; does not wait for a sample that is being taken, which is then not published."""
        self._is_open = False

    def _is_running(self, run: int) -> bool:
        return self._is_open and run == self._run

    def _on_timer(self, run: int) -> None:
        if not self._is_running(run):
            return
        self._timer.call_later(self._interval_sec, lambda: self._on_timer(run))
        if not self._may_block:
            self._sample(run)
        elif self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._sample, args=(run,), name="otel-bridge-depth", daemon=True
            )
            self._thread.start()

    @suppress_instrumentation()
    def _sample(self, run: int) -> None:
        try:
            names = self._locked(list(self._names()))
            # Not after ``stop()``: the application may have closed the client that reads, and a
            # client of redis-py that is used again opens a connection that stays open.
            depths = self._read(names) if names and self._is_running(run) else None
        except Exception as error:
            if self._is_running(run) and not self._is_failing:
                logger.warning("the depth of the queues cannot be read: %s", error)
            self._is_failing = True
            return
        self._is_failing = False
        if depths and self._is_running(run):
            publish_queue_depth(depths, self._bus, self._otel_metrics)

    def _locked(self, names: list[str]) -> list[str]:
        """The queues that this process samples in this interval."""
        if self._locks_each_queue:
            return [
                name
                for name in names
                if self._set_if_absent(self._keys.queue_depth_lock(name), self._lock_ms)
            ]
        if names and self._set_if_absent(self._keys.queue_depth_lock(), self._lock_ms):
            return names
        return []


class LoopCaller:
    """
    Calls coroutine functions of an event loop from another thread, which waits for the result.

    For depths of queues that only an asynchronous client can read. Any number of threads may call
    at a time. A call runs in the calling thread's OpenTelemetry context, so a call from
    ``QueueDepthSampler`` creates no spans. ``call`` raises what the function raises,
    ``TimeoutError`` after ``timeout_sec``, and ``RuntimeError`` after ``aclose``.

    Args:
        loop: A running event loop. Call ``aclose`` on it before it ends.
        timeout_sec: How long one call may take; default 5 seconds.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout_sec: float = _CALL_TIMEOUT_SEC
    ) -> None:
        self._loop = loop
        self._timeout_sec = timeout_sec
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def call(self, function: Callable[..., Coroutine[Any, Any, _T]], *args: Any) -> _T:
        """
        Await ``function(*args)`` on the loop and return its result; blocks the calling thread.

        Must not be called on the loop's own thread: it would wait for itself until the time-out.

        Args:
            function: A coroutine function.
            *args: Its arguments.

        Raises:
            TimeoutError: It took longer than ``timeout_sec`` (5 s by default) and was cancelled.
            RuntimeError: The loop or this object is closed.
            concurrent.futures.CancelledError: ``aclose`` cancelled the call.
            Exception: What the function raised.
        """
        coroutine = self._tracked(function, args)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise
        try:
            return future.result(self._timeout_sec)
        except TimeoutError:
            future.cancel()
            raise

    async def _tracked(
        self, function: Callable[..., Coroutine[Any, Any, _T]], args: tuple[Any, ...]
    ) -> _T:
        if self._is_closed:
            raise RuntimeError("closed")
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await function(*args)
        finally:
            self._tasks.discard(task)

    async def aclose(self) -> None:
        """
        Cancel the calls under way and reject further ones; await it on the loop.

        Waits 10 s at most; a call that still runs then is left behind, without an error. May be
        called twice.

        Raises:
            asyncio.CancelledError: The caller was cancelled meanwhile.
        """
        self._is_closed = True
        await cancel(self._tasks)
