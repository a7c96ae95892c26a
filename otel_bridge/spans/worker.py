"""The context manager around a worker's main loop: no span, but its start, heartbeats and stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentelemetry import context as otel_context

from otel_bridge.bridge import current_bridge
from otel_bridge.publish.sigterm import hook_sigterm
from otel_bridge.spans.scope import SCOPE_KEY, current_scope
from otel_bridge.spans.span_context_manager import SelfReturningContextManager, safe_str
from otel_bridge.spans.unconfigured import note_worker, worker_has_ended
from otel_bridge.workers.heartbeat import WorkerHeartbeat

__all__ = ["Worker"]


class Worker(SelfReturningContextManager):
    """
    The context manager around one worker's main loop; it publishes its start, heartbeats and stop.

    Created by ``worker()``. Entering it publishes ``worker_started`` and starts heartbeats on a
    daemon thread of the library (every 10 s by default). Leaving it publishes ``worker_stopped``,
    also if the block raises; the exception goes on to the caller. Neither waits for Redis or
    raises: what fails is logged. Without ``configure()`` it does nothing; a ``configure()`` inside
    the block warns of that. Do not enter it again inside its block, which is not checked: the first
    heartbeats would never end.

    Args:
        worker_id: A number or text, unique among all workers, which is not checked.
        meta: Small values to show with the worker; None: none beside ``host`` and ``pid``.

    Attributes:
        worker_id: As given.
    """

    def __init__(self, worker_id: int | str, meta: Mapping[str, Any] | None) -> None:
        self.worker_id = worker_id
        self._meta = meta
        self._heartbeat: WorkerHeartbeat | None = None
        self._token: Any = None

    def __repr__(self) -> str:
        return f"<worker {safe_str(self.worker_id)}>"

    def _open(self) -> None:
        bridge = current_bridge()
        if bridge is None:
            note_worker(id(self), safe_str(self.worker_id))
            return
        if bridge.bus is None:
            return
        self._heartbeat = WorkerHeartbeat(
            self.worker_id,
            bus=bridge.bus,
            timer=bridge.timer,
            settings=bridge.settings,
            heartbeat_keys=bridge.heartbeat_keys,
            otel_metrics=bridge.otel_metrics,
            meta=self._meta,
        )
        scope = replace(current_scope(), worker=self._heartbeat)
        self._token = otel_context.attach(otel_context.set_value(SCOPE_KEY, scope))
        hook_sigterm(is_worker=True)
        self._heartbeat.start()

    def _close(self, error: BaseException | None) -> None:
        worker_has_ended(id(self))
        if self._token is not None:
            otel_context.detach(self._token)
        if self._heartbeat is not None:
            self._heartbeat.stop()
