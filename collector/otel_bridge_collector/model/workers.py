"""
Workers and their incarnations: which process is alive, and since when one is gone.

A worker's id is used again: Celery numbers its processes from 0, containers keep ``host:pid``. So
liveness belongs to an incarnation, one life of a process. Publishers before 1.0 do not send it;
there a start of (host, pid) begins a life, which lasts until the same (host, pid) starts again.
Another pid under the same id proves nothing: two nodes may have one name. Another incarnation on
one host and pid proves that the former one is gone, whatever the ids of its workers.
"""

from __future__ import annotations

from bisect import insort
from typing import Any, Final

from otel_bridge_collector.model.events import Event, read_meta, short_id, shorten
from otel_bridge_collector.model.nodes import Host
from otel_bridge_collector.model.processes.lives import Lives
from otel_bridge_collector.model.processes.records import Incarnation, Process, Worker

__all__ = ["Workers"]

_MAX_INCARNATIONS: Final = 64
"""Of one worker; the one silent longest leaves."""
_MAX_STARTS: Final = 64
_MAX_QUEUES: Final = 200
"""Of one worker; further ones that it names are left out."""
_NO_KEY: Final = "?"
_KEEP: Final = 0.9
"""What is left of the processes after a look at all of them, so that it is rare."""


class Workers(Lives):
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
        super().__init__(ttl_us)
        self.by_id: dict[str, Worker] = {}
        self.processes: dict[str, Process] = {}
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
        self.leave_place(incarnation)
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
            self.put_at(found, host, pid)
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
        names = _names(meta.queues)
        if names is not None and (found.queues is None or (ts, names) > found.queues):
            found.queues = ts, names
        note = (ts, (event.counts or {}).get("dropped", 0))
        found.note = max(found.note, note)
        return found, is_news


def _note_watched(incarnation: Incarnation) -> None:
    incarnation.is_watched = incarnation.worker.is_watched = True
    process = incarnation.process
    if process is not None:
        process.is_watched = True
        for other in process.incarnations:
            other.is_watched = True


def _names(queues: Any) -> tuple[str, ...] | None:
    """The queues that a worker says it takes jobs from, each once; None if it does not say."""
    if not isinstance(queues, list):
        return None
    names = [short_id(name) for name in queues[:_MAX_QUEUES] if isinstance(name, str) and name]
    return tuple(dict.fromkeys(names))
