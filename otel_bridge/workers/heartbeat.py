"""
``WorkerHeartbeat``: publishes that a worker has started, is alive and has stopped.

Each heartbeat is an event on the bus and, if a Redis is configured, a key with a TTL that other
programs can read. The process's ``TimerThread`` sends both.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import redis

from otel_bridge.errors import ConfigurationError
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.forking import current_incarnation
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_clients import REDIS_ERRORS, check_url, connect, is_redis
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.sigterm import before_kill
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import redact_url
from otel_bridge.workers.otel_metrics import OtelMetrics
from otel_bridge.workers.timer import TimerThread

__all__ = ["HeartbeatKeys", "WorkerHeartbeat"]

logger = logging.getLogger(__name__)

_KILL_LOCK_SEC: Final = 0.1
"""How long SIGTERM waits for a heartbeat that is published, maybe by the thread that it stopped."""


class HeartbeatKeys:
    """
    Writes the keys ``<prefix>:worker:heartbeat:{worker_id}``, which expire unless refreshed.

    ``Bridge.heartbeat_keys`` is the one of this process. It connects with the first key and is
    never closed. Each method blocks the calling thread, so the library calls it on its timer
    thread. No method raises for a failure of Redis or an invalid Redis URL: each call then costs
    one attempt, with a limit of ``send_timeout_ms`` (100 ms) for connecting and again for each
    answer; one warning is logged when the outage begins and one line when it ends. The heartbeat
    events do not depend on these keys: the event bus buffers them.

    Args:
        settings: Redis URL (``redis_url``, else ``bus_url`` if that is a Redis), key prefix
            (``nexus``), TTL (30 s) and timeout. Without a Redis URL nothing is written.
    """

    def __init__(self, settings: BridgeSettings) -> None:
        self._settings = settings
        self._keys = RedisKeys(settings.key_prefix)
        url = settings.redis_url or settings.bus_url
        self._url = url if is_redis(url) else None
        self._client: redis.Redis | None = None
        self._is_failing = False

    def refresh(self, worker_id: int | str) -> None:
        """
        Set the worker's key, or its TTL again: ``MONITORING_HEARTBEAT_TTL_SEC`` (30 s) from now.

        Blocks for 100 ms at most, by default, to connect and again for the answer. A failure of
        Redis raises nothing; the first in a row is logged. Without a Redis URL it does nothing.

        Args:
            worker_id: The id, which becomes a part of the key; not checked.
        """
        ttl_ms = int(self._settings.heartbeat_ttl_sec * 1000)
        key = self._keys.worker_heartbeat(str(worker_id))
        self._run(lambda client: client.set(key, "1", px=ttl_ms))

    def delete(self, worker_id: int | str) -> None:
        """
        Delete the key of a worker that has stopped; a key that is gone already is no error.

        Blocks for 100 ms at most, by default, to connect and again for the answer. A failure of
        Redis raises nothing; the first in a row is logged, and the key then expires by its TTL (30
        s). Without a Redis URL it does nothing.

        Args:
            worker_id: The id that was given to ``refresh``.
        """
        key = self._keys.worker_heartbeat(str(worker_id))
        self._run(lambda client: client.delete(key))

    def set_if_absent(self, key: str, ttl_ms: int) -> bool:
        """
        Set a key unless it exists, as a lock between processes; a failure of Redis raises nothing.

        Blocks for ``MONITORING_SEND_TIMEOUT_MS`` (100 ms) at most to connect, and again for the
        answer.

        Args:
            key: The full name of the key.
            ttl_ms: How long the key lives, in milliseconds, at least 1; Redis answers a smaller one
                with an error, which counts as a failure.

        Returns:
            False if it exists. True if it was set, and also without a Redis and after a failure of
            Redis, which is logged once: a lock that cannot be checked must not stop every process
            from doing the work.
        """
        return self._run(lambda client: client.set(key, "1", nx=True, px=ttl_ms) is not None)

    def _run(self, command: Callable[[redis.Redis], Any]) -> bool:
        if self._url is None:
            return True
        try:
            if self._client is None:
                check_url(self._url, self._settings.variable_of(self._url))
                timeout_sec = self._settings.send_timeout_ms / 1000
                options = connection_options(timeout_sec, timeout_sec)
                self._client = connect(self._url, **options)
            answer = command(self._client)
        except (*REDIS_ERRORS, ConfigurationError) as error:
            if not self._is_failing:
                is_bad_url = isinstance(error, ConfigurationError)
                reason = str(error) if is_bad_url else failure_reason(error, self._url)
                redacted = redact_url(self._url)
                logger.warning("heartbeat keys cannot be written to %s: %s", redacted, reason)
            self._is_failing = True
            return True
        if self._is_failing:
            logger.info("heartbeat keys are written again")
        self._is_failing = False
        return bool(answer)


class WorkerHeartbeat:
    """
    Publishes ``worker_started``, then ``worker_heartbeat`` at an interval, then ``worker_stopped``.

    ``otel_bridge.worker()`` and the adapters create it and call ``start`` and ``stop``, once each,
    from any thread. No method waits for the network, and a Redis that cannot be reached raises
    nothing. Each event carries the worker's job and project, ``counts`` with the number of events
    that this process has dropped, and of log lines if there are any, ``meta``, and the incarnation
    (an id of one life of the process): a worker that is started again under its id is another one.

    Args:
        worker_id: A number or text, unique among all workers that use this Redis; shown on the
            dashboard.
        bus: Takes the events.
        timer: Sends the heartbeats.
        settings: ``heartbeat_interval_sec`` (10 by default).
        heartbeat_keys: Writes the key with a TTL (30 s by default).
        meta: Small values shown with the worker, beside ``host`` and ``pid``; default None: only
            these.
        otel_metrics: Counts the workers that are up; default None: they are not counted.

    Attributes:
        current_task_id: The job that runs, part of each event from then on; None, as at first:
            none. Set it from any thread.
        current_project_id: The same for the project.

    Raises:
        TypeError: ``meta`` is no mapping.
    """

    def __init__(
        self,
        worker_id: int | str,
        *,
        bus: EventBus,
        timer: TimerThread,
        settings: BridgeSettings,
        heartbeat_keys: HeartbeatKeys,
        meta: Mapping[str, Any] | None = None,
        otel_metrics: OtelMetrics | None = None,
    ) -> None:
        self._otel_metrics = otel_metrics
        self.worker_id = worker_id
        self.current_task_id: str | None = None
        """The job that the worker is running; part of each event."""
        self.current_project_id: str | None = None
        self._bus = bus
        self._timer = timer
        self._interval_sec = settings.heartbeat_interval_sec
        self._keys = heartbeat_keys
        self._pid = os.getpid()
        self._meta = {"host": socket.gethostname(), "pid": self._pid, **(meta or {})}
        self._is_open = False
        # Without a lock, a heartbeat under way could be published after ``worker_stopped``.
        self._lock = threading.Lock()

    def start(self) -> None:
        """
        Publish ``worker_started`` at once and a heartbeat after each interval (10 s); call it once.

        Does not wait, from any thread: the events wait in the bus, the process's send buffer. While
        Redis cannot be reached, they stay there and are sent when it is back; beyond 20,000 events
        or 32 MiB, by default, the oldest is dropped and counted in ``counts`` of the next
        heartbeats. The key with a TTL is written on the timer's thread; a failure is logged once. A
        second call is not checked: it would double the heartbeats. Without ``stop`` they go on
        until the process ends.

        Raises:
            pydantic.ValidationError: The worker's id is neither a whole number nor text, or a key
                of ``meta`` is no text. No heartbeat follows then.
        """
        self._is_open = True
        _open_workers.add(self)
        self._publish(MonitoringEventType.WORKER_STARTED)
        if self._otel_metrics is not None:
            self._otel_metrics.worker_started()
        self._timer.call_later(0, lambda: self._keys.refresh(self.worker_id))
        self._timer.call_later(self._interval_sec, self._send_heartbeat)

    def takes_from(self, queues: Iterable[str]) -> None:
        """
        Set the queues that the worker takes jobs from, as ``queues`` in ``meta``; never waits.

        For a worker whose queues are known only once it asks for a job. A heartbeat with them
        follows at once, on the timer's thread. From any thread; never raises.

        Args:
            queues: Full names of all of its queues; they replace those set before.
        """
        self._meta = {**self._meta, "queues": sorted(queues)}
        self._timer.call_later(0, self._publish_if_open)

    def _publish_if_open(self) -> None:
        with self._lock:
            if self._is_open:
                self._publish(MonitoringEventType.WORKER_HEARTBEAT)

    def stop(self) -> None:
        """
        Publish ``worker_stopped`` and end the heartbeats; does not wait for either.

        Never raises. Does nothing in a forked child, before ``start``, or when called again.
        """
        if os.getpid() != self._pid:
            return
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            _open_workers.discard(self)
            self._publish(MonitoringEventType.WORKER_STOPPED)
        if self._otel_metrics is not None:
            self._otel_metrics.worker_ended()
        self._timer.call_later(0, lambda: self._keys.delete(self.worker_id))

    def stop_before_kill(self) -> None:
        """
        Publish ``worker_stopped`` because SIGTERM ends the process in a moment; never raises.

        Unlike ``stop``, it may be called by a signal handler. Does nothing in a forked child.
        """
        if os.getpid() == self._pid and self._lock.acquire(timeout=_KILL_LOCK_SEC):
            try:
                if self._is_open:
                    self._is_open = False
                    self._publish(MonitoringEventType.WORKER_STOPPED)
            finally:
                self._lock.release()

    def _send_heartbeat(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._timer.call_later(self._interval_sec, self._send_heartbeat)
            self._publish(MonitoringEventType.WORKER_HEARTBEAT)
        self._keys.refresh(self.worker_id)

    def _publish(self, event_type: MonitoringEventType) -> None:
        counters = self._bus.counters
        counts = {"dropped": counters.dropped}
        if counters.lines_dropped:
            counts["lines_dropped"] = counters.lines_dropped
        self._bus.publish(
            MonitoringEvent(
                event_type=event_type,
                worker_id=self.worker_id,
                task_id=self.current_task_id,
                project_id=self.current_project_id,
                counts=counts,
                meta=self._meta,
                incarnation=current_incarnation(),
            )
        )


_open_workers: weakref.WeakSet[WorkerHeartbeat] = weakref.WeakSet()


def _stop_all() -> None:
    for heartbeat in list(_open_workers):
        heartbeat.stop_before_kill()


before_kill(_stop_all)
