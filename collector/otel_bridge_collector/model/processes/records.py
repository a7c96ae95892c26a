"""
Workers, their processes, and the incarnations of these: what runs jobs, as records.

A worker's id is used again: Celery numbers its processes from 0, containers keep ``host:pid``. So
liveness belongs to an incarnation, one life of a process.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from otel_bridge_collector.model.events import COMPLETED, FAILED, JOB
from otel_bridge_collector.model.nodes import REPEATED, Host, Node

__all__ = ["Incarnation", "Process", "Worker", "credit"]

_OVER: Final = (COMPLETED, FAILED)


class Incarnation(Host):
    """
    One life of a worker's process; of publishers before 1.0, all lives of one (host, pid).

    A record; checks nothing. A worker has at most 64; the one silent longest leaves. Times are
    microseconds by the publisher's clock; 0 for none.

    Attributes:
        worker, key, host, pid: Its worker; its id; as its events say, None: they do not.
        process: All workers of the same process; None where the publisher sends no incarnation.
        queues: (ts, names of the queues that it takes jobs from) of its latest event that names
            any; None: none did.
        completed, failed: Attempts that ended so in it. Evicted ones still count.
        starts: Each start, ascending, the latest 64; if incarnations are sent, only the earliest
            counts.
        seen: Reception of its latest start or heartbeat, by the collector's clock.
        stopped: Latest stop. ``note``: (ts, events its process dropped) of its latest event.
        is_lost: It stopped or is silent, as found by the latest check, once a second.
    """

    # fmt: off
    __slots__ = (
        "completed", "failed", "host", "is_lost", "key", "note", "pid", "process", "queues", "seen",
        "starts", "stopped", "worker",
    )
    # fmt: on

    def __init__(self, worker: Worker, key: str, process: Process | None) -> None:
        super().__init__(worker.open)
        self.worker = worker
        self.key = key
        self.process = process
        self.host: str | None = None
        self.pid: int | None = None
        self.starts: list[int] = []
        self.seen = 0
        self.stopped = 0
        self.note = (0, 0)
        self.queues: tuple[int, tuple[str, ...]] | None = None
        self.completed = 0
        self.failed = 0
        self.is_lost = False
        self.is_watched = process is not None and process.is_watched

    def lives(self) -> Collection[Incarnation]:
        """Itself; for work of a worker without heartbeats, all workers of its process."""
        if self.process is None or self.first is not None:
            return (self,)
        return self.process.incarnations


class Worker(Host):
    """
    One worker id: its open (not ended) jobs, counts and incarnations. A record; checks nothing.

    Attributes:
        incarnations: Lives of its process, by key; at most 64.
        heard: Latest reception of an event of a job that it ran, microseconds; 0 for none.
        is_busy_elsewhere: Whether it runs a job that another state holds.
        completed, failed: Attempts that ended so on it. Evicted ones still count.
    """

    __slots__ = ("completed", "failed", "heard", "id", "incarnations", "is_busy_elsewhere")

    def __init__(self, worker_id: int | str) -> None:
        super().__init__(set())
        self.id = worker_id
        self.incarnations: dict[str, Incarnation] = {}
        self.heard = 0
        self.is_busy_elsewhere = False
        self.completed = 0
        self.failed = 0

    def lives(self) -> Collection[Incarnation]:
        """All of them: which one a job belongs to is not known."""
        return self.incarnations.values()

    @property
    def newest(self) -> Incarnation | None:
        """The incarnation of its latest event; what is shown of it."""
        watched = [one for one in self.incarnations.values() if one.first is not None]
        return max(watched, key=lambda one: (*one.note, one.key), default=None)

    @property
    def last_seen(self) -> int:
        """Latest sign of life, microseconds; 0 for none."""
        return max([self.heard, *(one.seen for one in self.incarnations.values())])


class Process(Host):
    """All workers of one process, by its incarnation; what work without a worker belongs to."""

    __slots__ = ("incarnations", "key")

    def __init__(self, key: str) -> None:
        super().__init__(set())
        self.key = key
        self.incarnations: list[Incarnation] = []

    def lives(self) -> Collection[Incarnation]:
        """Its workers."""
        return self.incarnations


def credit(node: Node, by: int) -> None:
    """Count an attempt that ended for its worker; or take it back, before its facts change."""
    host = node.worker
    status = node.ended & 7
    if host is None or node.kind != JOB or status not in _OVER or node.marks & REPEATED:
        return
    if isinstance(host, Incarnation):
        if status == COMPLETED:
            host.completed += by
        else:
            host.failed += by
        host = host.worker
    if isinstance(host, Worker):
        if status == COMPLETED:
            host.completed += by
        else:
            host.failed += by
