"""
The clockwork of a worker's process: heartbeats, and whatever else is due later.

One daemon thread (``Pulse``) serves every worker and phase of the process. It is a thread and not
a task, so that a blocked event loop still beats: a stalled loop must not look like a dead worker.
Each beat is an event on the bus and, where there is a Redis, a key with a TTL that outsiders can
look at. These are facts without duration: the only door to the bus beside spans.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from otel_bridge import keys
from otel_bridge.bus import EventBus
from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.events import MonitoringEvent, MonitoringEventType
from otel_bridge.instruments import Instruments
from otel_bridge.redis_clients import REDIS_ERRORS, connect, is_redis
from otel_bridge.settings import BridgeSettings, redact_url
from otel_bridge.suppression import suppress_instrumentation

__all__ = ["HeartbeatKeys", "Pulse", "WorkerHeartbeat"]

logger = logging.getLogger(__name__)

_IDLE_SEC: Final = 60.0
"""How long the thread sleeps with nothing scheduled; any new entry wakes it."""


class Pulse:
    """
    Call functions later, on one daemon thread that starts with the first of them.

    A function runs at most once a call of ``call_later``; an exception in it is logged and the
    thread goes on. In a forked child the schedule starts empty: the parent beats for itself.

    Args:
        clock: Gives the monotonic time.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._sequence = itertools.count()
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def call_later(self, delay_sec: float, function: Callable[[], None]) -> None:
        """Run ``function`` after ``delay_sec`` seconds; dropped when the pulse is closed."""
        with self._wake:
            if self._is_closed:
                return
            entry = (self._clock.monotonic() + delay_sec, next(self._sequence), function)
            heapq.heappush(self._due, entry)
            if self._thread is None:
                self._start_thread()
            self._wake.notify()

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="otel-bridge-pulse", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no threads left: the next call tries again
            self._thread = None

    def close(self, timeout_sec: float = 1.0) -> None:
        """Run what is due, forget the rest, end the thread; waits at most ``timeout_sec``."""
        with self._wake:
            self._is_closed = True
            self._due = [entry for entry in self._due if entry[0] <= self._clock.monotonic()]
            heapq.heapify(self._due)
            self._wake.notify()
            thread = self._thread
        # Not alive: inside its start(), by a signal handler.
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


class HeartbeatKeys:
    """
    Writes ``nexus:worker:heartbeat:{worker_id}`` with the TTL of the settings.

    Redis being away costs one bounded attempt a beat, a warning
    when it goes and a line when it is back; the events on the bus are buffered there.
    """

    def __init__(self, settings: BridgeSettings) -> None:
        self._settings = settings
        url = settings.redis_url or settings.bus_url
        self._url = url if is_redis(url) else None
        self._client: redis.Redis | None = None
        self._is_failing = False

    def beat(self, worker_id: int | str) -> None:
        """Set or prolong the worker's key."""
        ttl_ms = int(self._settings.heartbeat_ttl_sec * 1000)
        self._run(lambda client: client.set(keys.worker_heartbeat(str(worker_id)), "1", px=ttl_ms))

    def stop(self, worker_id: int | str) -> None:
        """Delete the worker's key."""
        self._run(lambda client: client.delete(keys.worker_heartbeat(str(worker_id))))

    def take_turn(self, name: str, ttl_ms: int) -> bool:
        """Whether this process does once what all would do; True where there is no Redis to ask."""
        turn = keys.queue_depth_turn(name)
        return self._run(lambda client: client.set(turn, "1", nx=True, px=ttl_ms) is not None)

    def _run(self, command: Callable[[redis.Redis], Any]) -> bool:
        if self._url is None:
            return True
        try:
            if self._client is None:
                timeout_sec = self._settings.send_timeout_ms / 1000
                self._client = connect(
                    self._url,
                    socket_timeout=timeout_sec,
                    socket_connect_timeout=timeout_sec,
                    retry=Retry(NoBackoff(), 0),
                )
            answer = command(self._client)
        except REDIS_ERRORS as error:
            if not self._is_failing:
                shown = redact_url(self._url)
                logger.warning("heartbeat keys cannot be written to %s: %s", shown, error)
            self._is_failing = True
            return True
        if self._is_failing:
            logger.info("heartbeat keys are written again")
        self._is_failing = False
        return bool(answer)


class WorkerHeartbeat:
    """
    One worker's ``worker_started``, its beats and its ``worker_stopped``.

    Args:
        worker_id: Unique among all workers of the Redis; shown on the dashboard.
        bus: Where the events go.
        pulse: Who calls every ``heartbeat_interval_sec``.
        settings: Interval, TTL and the Redis of the keys.
        heartbeat_keys: Writer of the TTL keys.
        meta: Shown with the worker, beside ``host`` and ``pid``.
        instruments: Count it as well; None: nobody does.
    """

    def __init__(
        self,
        worker_id: int | str,
        *,
        bus: EventBus,
        pulse: Pulse,
        settings: BridgeSettings,
        heartbeat_keys: HeartbeatKeys,
        meta: Mapping[str, Any] | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self._instruments = instruments
        self.worker_id = worker_id
        self.current_task_id: str | None = None
        """The job the worker runs at this moment; carried by each beat."""
        self.current_project_id: str | None = None
        self._bus = bus
        self._pulse = pulse
        self._interval_sec = settings.heartbeat_interval_sec
        self._keys = heartbeat_keys
        self._pid = os.getpid()
        self._meta = {"host": socket.gethostname(), "pid": self._pid, **(meta or {})}
        self._is_open = False
        # A beat that was already under way must not be told after the end.
        self._lock = threading.Lock()

    def start(self) -> None:
        """Publish ``worker_started`` and begin to beat."""
        self._is_open = True
        self._publish(MonitoringEventType.WORKER_STARTED)
        if self._instruments is not None:
            self._instruments.worker_began()
        self._pulse.call_later(0, lambda: self._keys.beat(self.worker_id))
        self._pulse.call_later(self._interval_sec, self._beat)

    def stop(self) -> None:
        """Publish ``worker_stopped`` and end the beats; does nothing in a forked child."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._publish(MonitoringEventType.WORKER_STOPPED)
        if self._instruments is not None:
            self._instruments.worker_ended()
        self._pulse.call_later(0, lambda: self._keys.stop(self.worker_id))

    def _beat(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._pulse.call_later(self._interval_sec, self._beat)
            self._publish(MonitoringEventType.WORKER_HEARTBEAT)
        self._keys.beat(self.worker_id)

    def _publish(self, event_type: MonitoringEventType) -> None:
        self._bus.publish(
            MonitoringEvent(
                event_type=event_type,
                worker_id=self.worker_id,
                task_id=self.current_task_id,
                project_id=self.current_project_id,
                counts={"dropped": self._bus.counters.dropped},
                meta=self._meta,
            )
        )
