"""
``WorkerHeartbeat``: a worker's start, heartbeats and stop, as events and as a Redis key.

Each heartbeat is an event on the bus and, where there is a Redis, a key with a TTL that other
programs can look at. The process's ``TimerThread`` sends them.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish import redis_keys
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_clients import REDIS_ERRORS, connect, is_redis
from otel_bridge.settings import BridgeSettings, redact_url
from otel_bridge.workers.otel_metrics import OtelMetrics
from otel_bridge.workers.timer import TimerThread

__all__ = ["HeartbeatKeys", "WorkerHeartbeat"]

logger = logging.getLogger(__name__)


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
        self._run(
            lambda client: client.set(redis_keys.worker_heartbeat(str(worker_id)), "1", px=ttl_ms)
        )

    def stop(self, worker_id: int | str) -> None:
        """Delete the worker's key."""
        self._run(lambda client: client.delete(redis_keys.worker_heartbeat(str(worker_id))))

    def take_turn(self, name: str, ttl_ms: int) -> bool:
        """Whether this process does once what all would do; True where there is no Redis to ask."""
        turn = redis_keys.queue_depth_lock(name)
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
        timer: Who calls every ``heartbeat_interval_sec``.
        settings: Interval, TTL and the Redis of the keys.
        heartbeat_keys: Writer of the TTL keys.
        meta: Shown with the worker, beside ``host`` and ``pid``.
        otel_metrics: Count it as well; None: nobody does.
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
        """The job the worker runs at this moment; carried by each beat."""
        self.current_project_id: str | None = None
        self._bus = bus
        self._timer = timer
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
        if self._otel_metrics is not None:
            self._otel_metrics.worker_started()
        self._timer.call_later(0, lambda: self._keys.beat(self.worker_id))
        self._timer.call_later(self._interval_sec, self._beat)

    def stop(self) -> None:
        """Publish ``worker_stopped`` and end the beats; does nothing in a forked child."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._publish(MonitoringEventType.WORKER_STOPPED)
        if self._otel_metrics is not None:
            self._otel_metrics.worker_ended()
        self._timer.call_later(0, lambda: self._keys.stop(self.worker_id))

    def _beat(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._timer.call_later(self._interval_sec, self._beat)
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
