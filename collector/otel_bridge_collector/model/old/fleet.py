"""
``Fleet``: what the live state remembers of workers, queues and failures.

Merged so that order and repetition do not matter, as everything in ``state``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge_collector.model.old.records import (
    cut,
    earliest,
    microseconds,
    settle,
    settle_worker,
)

__all__ = ["FailureRecord", "Fleet", "QueueRecord", "WorkerRecord", "error_key"]


class WorkerRecord:
    """One worker, by its heartbeats."""

    __slots__ = (
        "completed",
        "dropped",
        "failed",
        "host",
        "is_beating",
        "last_beat",
        "last_seen",
        "note",
        "pid",
        "running",
        "started",
        "stopped",
        "worker_id",
    )

    def __init__(self, worker_id: int | str) -> None:
        self.worker_id = worker_id
        self.started: int | None = None
        """The latest ``worker_started``."""
        self.last_seen = 0
        """The latest sign of life, by the collector's clock where it was seen live."""
        self.last_beat = 0
        """``ts`` of the latest start or heartbeat, by the worker's clock."""
        self.is_beating = False
        """Whether it has ever sent an event of its own; one that never has cannot be missed."""
        self.stopped = 0
        self.note: tuple[int, str] = (0, "")
        """(ts, event_id) of the fact that host, pid and dropped are from."""
        self.host: str | None = None
        self.pid: int | None = None
        self.dropped = 0
        self.completed = 0
        self.failed = 0
        self.running: set[tuple[str, str]] = set()
        """Keys of the jobs it is processing."""


class QueueRecord(NamedTuple):
    """Depth of one queue; the greatest ``(ts, event_id)`` wins."""

    ts: int
    event_id: str
    depth: int


class FailureRecord:
    """Failures with the same error key."""

    __slots__ = (
        "count",
        "error",
        "first",
        "key",
        "last",
        "newest",
        "parents",
        "phase",
        "project_id",
        "task_type",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.error: tuple[int, str, str] = (-1, "", "")
        self.task_type: str | None = None
        self.phase: str | None = None
        self.project_id: str | None = None
        self.count = 0
        self.first: int | None = None
        self.last = 0
        self.newest: list[tuple[int, str]] = []
        """(ts, task_id), the newest ten, ascending."""
        self.parents: list[tuple[int, str]] = []


_VARIABLE: Final = re.compile(r"'[^']*'|\"[^\"]*\"|0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+")


def error_key(error: str) -> str:
    """What failures of the same cause have in common: the text without quotes, ids and numbers."""
    return _VARIABLE.sub("*", error)[:160]


class Fleet:
    """
    Folds worker, queue and failure facts.

    Attributes:
        workers: By id as text.
        queues: By full name.
        failures: By project and error key.
    """

    def __init__(self, *, max_workers: int, max_queues: int, max_failures: int) -> None:
        self.workers: dict[str, WorkerRecord] = {}
        self.queues: dict[str, QueueRecord] = {}
        self.failures: dict[tuple[str | None, str], FailureRecord] = {}
        self._max_workers = max_workers
        self._max_queues = max_queues
        self._max_failures = max_failures

    def worker(self, worker_id: int | str) -> WorkerRecord:
        """The worker's record; a new one takes the place of the idle worker longest silent."""
        key = str(worker_id)
        worker = self.workers.get(key)
        if worker is None:
            worker = self.workers[key] = WorkerRecord(worker_id)
            if len(self.workers) > self._max_workers:
                idle = [k for k, w in self.workers.items() if not w.running and k != key]
                if idle:
                    del self.workers[min(idle, key=lambda k: self.workers[k].last_seen)]
        elif worker_id != worker.worker_id:
            settled = settle_worker(worker.worker_id, worker_id)
            assert settled is not None  # of two that are known
            worker.worker_id = settled
        return worker

    def apply_worker(self, event: MonitoringEvent, seen: int) -> None:
        """Fold a ``worker_*`` event; ``seen`` as in ``LiveState.apply``."""
        assert event.worker_id is not None
        ts = microseconds(event.ts)
        worker = self.worker(event.worker_id)
        worker.is_beating = True
        if event.event_type == MonitoringEventType.WORKER_STOPPED:
            worker.stopped = max(worker.stopped, ts)
        else:
            worker.last_seen = max(worker.last_seen, seen)
            worker.last_beat = max(worker.last_beat, ts)
            if event.event_type == MonitoringEventType.WORKER_STARTED:
                worker.started = ts if worker.started is None else max(worker.started, ts)
        note = (ts, event.event_id)
        if note > worker.note:
            worker.note = note
            meta = event.meta or {}
            host, pid = meta.get("host"), meta.get("pid")
            worker.host = cut(host, 100) if isinstance(host, str) else None
            worker.pid = pid if isinstance(pid, int) else None
            worker.dropped = (event.counts or {}).get("dropped", 0)

    def apply_queues(self, event: MonitoringEvent) -> None:
        """Fold a ``queue_depth_update``."""
        ts = microseconds(event.ts)
        for name, depth in (event.counts or {}).items():
            if name not in self.queues and len(self.queues) >= self._max_queues:
                continue
            fact = QueueRecord(ts, event.event_id, depth)
            if name not in self.queues or fact > self.queues[name]:
                self.queues[name] = fact

    def apply_failure(self, event: MonitoringEvent) -> None:
        """Fold a ``task_failed`` into its group."""
        ts = microseconds(event.ts)
        error = cut(event.error or event.message or "failed without a reason", 500) or ""
        # Per project: a group's ids are shown to its project's readers. Kept by the pair: as one
        # text, project "a" with "b: c" and project "a: b" with "c" would share a group.
        cause = error_key(error)
        pair = (event.project_id, cause)
        group = self.failures.get(pair)
        if group is None:
            shown = cause if event.project_id is None else f"{event.project_id}: {cause}"
            group = self.failures[pair] = FailureRecord(shown)
            if len(self.failures) > self._max_failures:
                others = [name for name in self.failures if name != pair]
                del self.failures[min(others, key=lambda name: self.failures[name].last)]
        group.count += 1
        group.first = earliest(group.first, ts)
        group.last = max(group.last, ts)
        group.error = max(group.error, (ts, event.event_id, error))
        group.task_type = settle(group.task_type, cut(event.task_type, 100))
        group.phase = settle(group.phase, cut(event.phase, 100))
        group.project_id = event.project_id
        if event.task_id is not None:
            group.newest = _newest_ten(group.newest, ts, event.task_id)
        if event.parent_task_id is not None:
            group.parents = _newest_ten(group.parents, ts, event.parent_task_id)


def _newest_ten(old: list[tuple[int, str]], ts: int, found: str) -> list[tuple[int, str]]:
    latest = {name: at for at, name in old}
    latest[found] = max(ts, latest.get(found, ts))
    return sorted((at, name) for name, at in latest.items())[-10:]
