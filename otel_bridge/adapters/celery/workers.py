"""``CeleryWorker``: the worker that this process is, or one of its pool processes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from otel_bridge.adapters.base import DepthSampler, framework, start_worker, stop_worker
from otel_bridge.adapters.celery.lost import LostJobs
from otel_bridge.adapters.celery.pool_table import PoolTable
from otel_bridge.adapters.celery.queues import depth_of, queue_names
from otel_bridge.bridge import current_bridge
from otel_bridge.workers.heartbeat import WorkerHeartbeat

with framework("celery"):
    import celery.app.trace
    from billiard.process import current_process
    from celery import Celery, current_app

__all__ = ["CeleryWorker"]

logger = logging.getLogger(__name__)

_WRONG_PLACE: Final = (
    "otel-bridge was not set up when this Celery worker made its pool, so jobs that are killed, "
    "revoked or expired are not shown as ended: call otel_bridge.configure() and "
    "CeleryAdapter().instrument() in the module that creates the app"
)


class CeleryWorker:
    """
    The worker of this process: its id, its heartbeat and the depths of its queues.

    Its ``on_`` methods are receivers of Celery's signals. With a prefork pool each pool process is
    a worker, ``node:number`` from 1, and the main process is none; with other pools the node is
    one. No method raises but for what ``start_worker`` lets pass.

    Args:
        lost: The jobs whose end the main process reports.
        attach_to_requests: Called once in the main process, before its pool is made.

    Attributes:
        id: Its id; None in a producer, and before it has started.
        heartbeat: Its heartbeat; None before it has started and after it has stopped.
        place: Number of this pool process in its pool, from 0; None in any other process.
        is_watched: Whether the main process of this worker reports what its pool processes cannot.
    """

    def __init__(self, lost: LostJobs, attach_to_requests: Callable[[], None]) -> None:
        self.id: str | None = None
        self.heartbeat: WorkerHeartbeat | None = None
        self.place: int | None = None
        self.is_watched = False
        self._lost = lost
        self._attach_to_requests = attach_to_requests
        self._is_stopped = False
        self._depths: DepthSampler | None = None

    def on_init(self, sender: Any = None, **_: Any) -> None:
        """The main process starts; it has no pool yet."""
        # Since Celery 5.7 a pool process is given this name by its own signal.
        self._lost.node = str(getattr(sender, "hostname", sender))
        self.is_watched = current_bridge() is not None
        if self._lost.table is None:
            self._lost.table = PoolTable()
            self._attach_to_requests()

    def on_pool_process_init(self, sender: Any = None, **_: Any) -> None:
        """This pool process has started."""
        self.place = _place_in_pool()
        node = self._lost.node or sender or _node_of_this_worker() or "celery"
        self._start(str(node) if self.place is None else f"{node}:{self.place + 1}")
        if not self.is_watched:
            self._start_depths(current_app)

    def on_ready(self, sender: Any = None, **_: Any) -> None:
        """The main process takes jobs from now on."""
        if current_bridge() is None:
            logger.warning(_WRONG_PLACE)
            return
        if "prefork" not in type(sender.pool).__module__:
            self._start(str(sender.hostname))
        self._start_depths(sender.app)

    def on_shutdown(self, **_: Any) -> None:
        """This process ends; waits up to 4 s to send the rest."""
        self._is_stopped = True
        stop_worker(self.heartbeat, self._depths)
        self.heartbeat = None

    def start_late(self) -> None:
        """Catch up in a worker that has started: ``instrument()`` was called by a signal."""
        node = _node_of_this_worker()
        if node is None:
            return
        if _place_in_pool() is None:
            self.on_init(sender=node)
        else:
            self.on_pool_process_init()
            if self.place == 0:
                logger.warning(_WRONG_PLACE)

    def start_with_job(self, app: Celery, node: Any) -> None:
        """Start if it has not: ``configure()`` was called after Celery's signals."""
        if self.heartbeat is not None or self._is_stopped or current_bridge() is None:
            return
        if _place_in_pool() is not None:
            self.on_pool_process_init()
        else:
            self._start(str(node))
            self._start_depths(app)

    def _start(self, worker_id: str) -> None:
        self.id = worker_id
        if self.heartbeat is None:
            meta = {"framework": "celery", "queues": queue_names(current_app)}
            self.heartbeat = start_worker(worker_id, meta)

    def _start_depths(self, app: Celery) -> None:
        if self._depths is None:
            self._depths = DepthSampler(lambda: queue_names(app), lambda name: depth_of(app, name))
        self._depths.start()


def _place_in_pool() -> int | None:
    """Number of this process in a Celery worker's prefork pool; None in any other process."""
    place = getattr(current_process(), "index", None)
    return place if isinstance(place, int) and _node_of_this_worker() is not None else None


def _node_of_this_worker() -> str | None:
    """The name of a worker in its own processes; Celery 5.5 and 5.6 do not give it to a pool's."""
    found = getattr(celery.app.trace, "_localized", None)
    return str(found[2]) if found else None
