"""
Workers and their incarnations: which process is alive, and since when one is gone.

A worker's id is used again: Celery numbers its processes from 0, containers keep ``host:pid``. So
liveness belongs to an incarnation, one life of a process. Publishers before 1.0 do not send it;
there a start of (host, pid) begins a life, which lasts until the same (host, pid) starts again.
Another pid under the same id proves nothing: two nodes may have one name.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection
from typing import Final

from otel_bridge_collector.model.events import (
    COMPLETED,
    FAILED,
    JOB,
    PROCESSING,
    Event,
    read_meta,
    shorten,
)
from otel_bridge_collector.model.nodes import REPEATED, Host, Node

__all__ = ["ALIVE", "UNWATCHED", "Incarnation", "Process", "Worker", "Workers", "credit"]

ALIVE: Final = 0
UNWATCHED: Final = -1
"""No heartbeat of it was ever seen, so none can be missed."""

_MAX_INCARNATIONS: Final = 64
"""Of one worker; the one silent longest leaves."""
_MAX_STARTS: Final = 64
_NO_KEY: Final = "?"
_KEEP: Final = 0.9
"""What is left of the processes after a look at all of them, so that it is rare."""
_OVER: Final = (COMPLETED, FAILED)


class Incarnation(Host):
    """
    One life of a worker's process; of publishers before 1.0, all lives of one (host, pid).

    A record; checks nothing. A worker has at most 64; the one silent longest leaves. Times are
    microseconds by the publisher's clock; 0 for none.

    Attributes:
        worker, key, host, pid: Its worker; its id; as its events say, None: they do not.
        process: All workers of the same process; None where the publisher sends no incarnation.
        starts: Each start, ascending, the latest 64; if incarnations are sent, only the earliest
            counts.
        seen: Reception of its latest start or heartbeat, by the collector's clock.
        stopped: Latest stop. ``note``: (ts, events its process dropped) of its latest event.
        is_lost: It stopped or is silent, as found by the latest check, once a second.
    """

    # fmt: off
    __slots__ = (
        "host", "is_lost", "key", "note", "pid", "process", "seen", "starts", "stopped", "worker",
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
        completed, failed: Attempts that ended so on it. Evicted ones still count.
    """

    __slots__ = ("completed", "failed", "heard", "id", "incarnations")

    def __init__(self, worker_id: int | str) -> None:
        super().__init__(set())
        self.id = worker_id
        self.incarnations: dict[str, Incarnation] = {}
        self.heard = 0
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


class Workers:
    """
    Merges worker events; answers whether the process of a node (a span) still lives.

    For the collector's event loop, without a lock; raises nothing for checked events.

    Args:
        ttl_us: Silence after which an incarnation (one life of a worker's process) is gone, in
            microseconds; 30,000,000 (30 s) in the service by default.
        max_workers: 2,000 in the service; past it the worker without open jobs that is silent
            longest leaves, if there is one. Of as many processes the first known leave, where
            neither a worker nor an open job of theirs is held.

    Attributes:
        by_id: By id as text: 3 and "3" are one worker.
        known: By id as sent, without making a text of a number for each event.
        processes: By incarnation.
    """

    def __init__(self, ttl_us: int, max_workers: int) -> None:
        self.by_id: dict[str, Worker] = {}
        self.processes: dict[str, Process] = {}
        self.ttl_us = ttl_us
        self._max_workers = max_workers
        self._look_above = max_workers
        """Number of processes past which they are looked at again."""
        self.known: dict[int | str, Worker] = {}

    def worker(self, worker_id: int | str) -> Worker:
        """The worker with this id; a new one is made, for which an idle one may leave."""
        worker = self.known.get(worker_id)
        if worker is None:
            key = str(worker_id)
            worker = self.by_id.get(key)
            if worker is None:
                worker = self.by_id[key] = Worker(worker_id)
                if len(self.by_id) > self._max_workers:
                    self._evict_idle(worker)
            elif isinstance(worker_id, int):
                worker.id = worker_id
            self.known[worker_id] = worker
        return worker

    def _evict_idle(self, newcomer: Worker) -> None:
        idle = [one for one in self.by_id.values() if not one.open and one is not newcomer]
        if idle:
            gone = min(idle, key=lambda one: (one.last_seen, str(one.id)))
            del self.by_id[str(gone.id)]
            for name in (gone.id, str(gone.id)):
                self.known.pop(name, None)
            for incarnation in gone.incarnations.values():
                self._leave_process(incarnation)

    def _leave_process(self, incarnation: Incarnation) -> None:
        process = self.processes.get(incarnation.key)
        if process is not None and incarnation in process.incarnations:
            process.incarnations.remove(incarnation)
            if not process.incarnations and not process.open:
                del self.processes[incarnation.key]

    def _process(self, key: str) -> Process:
        process = self.processes.get(key)
        if process is None:
            process = self.processes[key] = Process(key)
            if len(self.processes) > self._look_above:
                self._evict_processes(process)
        return process

    def _evict_processes(self, newcomer: Process) -> None:
        """Without it 60,000 short processes that sent spans alone left 56,445 of 450 bytes."""
        idle = [
            one
            for one in self.processes.values()
            if not one.open and not one.incarnations and one is not newcomer
        ]
        for gone in idle[: max(0, len(self.processes) - int(self._max_workers * _KEEP))]:
            del self.processes[gone.key]
        busy = len(self.processes) + self._max_workers // 10
        self._look_above = max(self._max_workers, busy)

    def _incarnation(self, worker: Worker, key: str, is_exact: bool) -> Incarnation:
        incarnation = worker.incarnations.get(key)
        if incarnation is None:
            process = self._process(key) if is_exact else None
            incarnation = worker.incarnations[key] = Incarnation(worker, key, process)
            if process is not None:
                process.incarnations.append(incarnation)
            if len(worker.incarnations) > _MAX_INCARNATIONS:
                others = [one for one in worker.incarnations.values() if one is not incarnation]
                oldest = min(others, key=lambda one: (one.seen, one.key))
                del worker.incarnations[oldest.key]
                self._leave_process(oldest)
        return incarnation

    def host_of(self, worker: Worker | None, incarnation: str) -> Host:
        """Whom an event of a job or span with an incarnation names."""
        if worker is None:
            return self._process(incarnation)
        return self._incarnation(worker, incarnation, True)

    def apply(self, event: Event, ts: int, seen: int) -> tuple[Incarnation, bool]:
        """
        Merge a ``worker_*`` event (start, heartbeat, stop), in any order; a new worker is made.

        Args:
            event: Needs a ``worker_id``, else AssertionError. A ``host`` that is no text and a
                ``pid`` that is no whole number, in ``meta``, count as unknown.
            ts: Of the event, microseconds.
            seen: Its reception, microseconds, by the collector's clock.

        Returns:
            The incarnation (one life of the worker's process), and whether the verdicts on its open
            jobs, that is why they are stalled, may change by this.
        """
        assert event.worker_id is not None
        meta = read_meta(event)
        host = shorten(meta.host, 100) if isinstance(meta.host, str) else None
        pid = meta.pid if type(meta.pid) is int else None
        worker = self.worker(event.worker_id)
        key = event.incarnation
        found = self._incarnation(worker, key or f"{host}:{pid}@{_NO_KEY}", key is not None)
        is_news = found.is_lost or found.is_doubted
        if host is not None and (
            found.host is None or (host, pid or 0) < (found.host, found.pid or 0)
        ):
            found.host, found.pid = host, pid
            is_news = True
        if found.first is None or ts < found.first:
            if found.first is None:
                _note_watched(found)
            found.first = ts
            is_news = True
        if event.event_type == "worker_stopped":
            found.stopped = max(found.stopped, ts)
            is_news = True
        else:
            found.heartbeat = max(found.heartbeat, ts)
            found.seen = max(found.seen, seen)
        if event.event_type == "worker_started" and ts not in found.starts:
            insort(found.starts, ts)
            del found.starts[:-_MAX_STARTS]
            is_news = True
        note = (ts, (event.counts or {}).get("dropped", 0))
        found.note = max(found.note, note)
        return found, is_news

    # --- whether one is gone ---------------------------------------------------------------------

    def lost_at(self, node: Node, now: int) -> int:
        """
        Return whether the process of a node (a span, or what stands for one) is gone; never raises.

        Returns:
            -1 (``UNWATCHED``: no heartbeat of it was ever seen, so none can be missed), 0
            (``ALIVE``), or the time of its last sign of life, microseconds.
        """
        host = node.worker
        if isinstance(host, Worker):
            return self._worker_lost_at(host, node.first, now) if host.incarnations else UNWATCHED
        if isinstance(host, Incarnation | Process):
            return self._all_lost_at(host.lives(), now)
        return UNWATCHED

    def _worker_lost_at(self, worker: Worker, at: int, now: int) -> int:
        """Of a publisher before 1.0: by the newest start of that worker before the node's."""
        if len(worker.incarnations) == 1:
            (only,) = worker.incarnations.values()
            if only.process is None and only.first is not None and len(only.starts) < 2:
                # One life, as nearly always: whatever the time, the node belongs to it.
                return self.incarnation_lost_at(only, now)
        watched = [one for one in worker.incarnations.values() if one.first is not None]
        if not watched:
            return UNWATCHED
        lives = [(start, one.key, one) for one in watched for start in one.starts if start <= at]
        if lives:
            start, _, incarnation = max(lives, key=lambda life: life[:2])
            return self.incarnation_lost_at(incarnation, now, start)
        without_start = [one for one in watched if not one.starts]
        return self._all_lost_at(without_start or watched, now)

    def _all_lost_at(self, incarnations: Collection[Incarnation], now: int) -> int:
        watched = [one for one in incarnations if one.first is not None]
        if not watched:
            return UNWATCHED
        lost = [self.incarnation_lost_at(one, now) for one in watched]
        return ALIVE if ALIVE in lost else max(lost)

    def incarnation_lost_at(self, one: Incarnation, now: int, life: int | None = None) -> int:
        """
        Return whether an incarnation (one life of a worker's process) is gone.

        It is if it stopped, if the same host and pid started again, or if no heartbeat was received
        for longer than the TTL (30 s by default). 0 (``ALIVE``), else its end in microseconds.

        Args:
            one: It has been seen; AssertionError if not.
            now: Microseconds, by the collector's clock.
            life: Of a publisher before 1.0: the start of the life in question; None: its latest.
        """
        assert one.first is not None
        if life is None:
            life = one.starts[-1] if one.starts and one.process is None else one.first
        followed = self._next_start(one, life)
        if followed is not None:
            return followed if one.process is None else max(min(one.heartbeat, followed), 1)
        if one.stopped and one.stopped >= max(one.heartbeat, life):
            return one.stopped
        return max(one.heartbeat, 1) if now - one.seen > self.ttl_us else ALIVE

    @staticmethod
    def _next_start(one: Incarnation, life: int) -> int | None:
        """When the same host and pid started again: a restarted container, gone at once."""
        found = None
        for other in one.worker.incarnations.values():
            if other is one:
                starts = [at for at in one.starts if at > life] if one.process is None else []
            elif one.pid is None or (other.host, other.pid) != (one.host, one.pid):
                continue
            elif other.process is not None:
                is_later = other.starts and other.first is not None and other.first > life
                starts = other.starts[:1] if is_later else []
            else:
                starts = [at for at in other.starts if at > life]
            for start in starts:
                found = start if found is None else min(found, start)
        return found

    def refresh(self, host: Host, now: int) -> None:
        """Note which incarnations are gone: the next heartbeat of such a one is news."""
        for one in host.lives():
            one.is_doubted = False
            if isinstance(one, Incarnation) and one.first is not None:
                one.is_lost = self.incarnation_lost_at(one, now) != ALIVE

    def status(self, worker: Worker, now: int) -> str:
        """
        Return ``online``, ``offline`` or ``stopped``; never raises.

        With heartbeats a worker is online while one of its processes was heard in the last 30 s
        (the TTL) and did not stop; else stopped if its last sign was a stop, or offline. Without
        them it is online while it runs a job, and for the TTL after an event of one.
        """
        watched = [one for one in worker.incarnations.values() if one.first is not None]
        if not watched:
            is_heard = now - worker.heard <= self.ttl_us
            is_busy = any(job.st == PROCESSING for job in worker.open)
            return "online" if is_heard or is_busy else "offline"
        if self._all_lost_at(watched, now) == ALIVE:
            return "online"
        last = max(watched, key=lambda one: (max(one.heartbeat, one.stopped), one.key))
        return "stopped" if last.stopped and last.stopped >= last.heartbeat else "offline"


def _note_watched(incarnation: Incarnation) -> None:
    incarnation.is_watched = incarnation.worker.is_watched = True
    process = incarnation.process
    if process is not None:
        process.is_watched = True
        for other in process.incarnations:
            other.is_watched = True


def credit(node: Node, by: int) -> None:
    """Count an attempt that ended for its worker; or take it back, before its facts change."""
    host = node.worker
    status = node.ended & 7
    if host is None or node.kind != JOB or status not in _OVER or node.marks & REPEATED:
        return
    worker = host.worker if isinstance(host, Incarnation) else host
    if isinstance(worker, Worker):
        if status == COMPLETED:
            worker.completed += by
        else:
            worker.failed += by
