"""
Which queues are stuck: jobs wait in them, and nothing takes any.

A long queue is not stuck while its workers are busy, whatever they run. So a queue is stuck only if
no worker that takes from it is online, as far as they say so, or if its workers have done nothing
for 60 s while a job waited. Where no worker of it and no depth is known, the tasks of its jobs must
have been silent for as long. What is not known is not called stuck.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from otel_bridge_collector.model.processes.records import Incarnation, Worker
from otel_bridge_collector.model.queues import Queue, Queues
from otel_bridge_collector.model.workers import Workers
from otel_bridge_collector.wire.views.queues import StuckReason

__all__ = [
    "QueueFacts",
    "SharedTakers",
    "Stuck",
    "Takers",
    "add_up",
    "read_queues",
    "share_takers",
    "stuck",
    "takers",
    "takers_of",
]

_NO_WORKERS_US: Final = 10_000_000
"""One heartbeat: a worker that is starting has time to say what it takes from."""
_NOT_TAKEN_US: Final = 60_000_000
_MAX_LOOKED_AT: Final = 20_000
"""Jobs whose tasks are asked when they were last heard: 1 ms."""


class QueueFacts(NamedTuple):
    """
    What one state, or several together, know of a queue; a record. Times are microseconds.

    Attributes:
        depth: (when, jobs) as last reported; None: never.
        priorities: The same by priority; empty: none.
        waiting: Jobs known to wait.
        oldest: Since when the one waits that has waited for longest; None: none that is due.
        running: Jobs of it that run.
        filled: Since when each report says that jobs are in it; None: the latest does not.
        active: When one of its workers was last known to be busy, or jobs to have left it; 0:
            never.
        has_hosts: Whether a worker that takes from it is known, online or not.
        has_silent: Whether one that ran jobs of it is online and does not say what it takes from.
        heard: When a task of the jobs that wait in it was last heard; None: not looked at, because
            a depth or a worker is known. It counts only where both are unknown.
    """

    depth: tuple[int, int] | None
    priorities: tuple[tuple[str, int], ...]
    waiting: int
    oldest: int | None
    running: int
    filled: int | None
    active: int
    has_hosts: bool
    has_silent: bool
    heard: int | None = None

    @property
    def is_listed(self) -> bool:
        """Whether its depth was reported, or jobs are known to wait in it."""
        return self.depth is not None or self.waiting > 0


class Takers(NamedTuple):
    """
    Which workers that are online take from which queue; a record.

    Attributes:
        names: Ids by queue; None: none has said in the last hour which queues it takes from.
        silent: Workers that are online and do not say it.
    """

    names: Mapping[str, Sequence[int | str]] | None
    silent: frozenset[Worker]

    def of(self, queue: str) -> Sequence[int | str] | None:
        """Ids of those that take from a queue; None: none says what it takes from."""
        return None if self.names is None else self.names.get(queue, ())


class SharedTakers(NamedTuple):
    """
    Who takes from which queue, for another state that folds the events of the same workers.

    A record. To look at 1,000 workers takes 5 ms, for each of 24 states an eighth of a second.

    Attributes:
        names: As of ``Takers``.
        silent: Ids, as text, of the workers with heartbeats that do not say it.
    """

    names: Mapping[str, Sequence[int | str]] | None
    silent: frozenset[str]


class Stuck(NamedTuple):
    """Why a queue is stuck, and since when a job waits in it, microseconds; a record."""

    reason: StuckReason
    since: int


def takers(processes: Iterable[tuple[Worker, Incarnation | None, str]]) -> Takers:
    """Read who takes from which queue, of the workers that are listed; pure, raises nothing."""
    names: defaultdict[str, list[int | str]] = defaultdict(list)
    silent = set()
    does_any_say = False
    for worker, process, status in processes:
        if process is not None and process.queues is not None:
            does_any_say = True
            if status == "online":
                for name in process.queues[1]:
                    names[name].append(worker.id)
        elif status == "online":
            silent.add(worker)
    return Takers(names if does_any_say else None, frozenset(silent))


def share_takers(known: Takers) -> SharedTakers:
    """Return what another state can use of what one knows; pure."""
    silent = (str(worker.id) for worker in known.silent if worker.is_watched)
    return SharedTakers(known.names, frozenset(silent))


def takers_of(shared: SharedTakers, workers: Workers, now: int) -> Takers:
    """
    Return who takes from which queue, in a state that folds the events of the same workers.

    Args:
        shared: What another state knows of workers with heartbeats, which all states know.
        workers: Of this state; those without heartbeats are looked at.
        now: Microseconds.
    """
    by_id = workers.by_id
    silent = {by_id[key] for key in shared.silent if key in by_id}
    for worker in by_id.values():
        if not worker.is_watched and workers.status(worker, now) == "online":
            silent.add(worker)
    return Takers(shared.names, frozenset(silent))


def read_queues(queues: Queues, known: Takers, now: int) -> dict[str, QueueFacts]:
    """
    Return what this process knows of all queues, by name; those too that only another one lists.

    On the collector's event loop; raises nothing. At most 200 by default.

    Args:
        queues: All queues.
        known: Who takes from which.
        now: Microseconds.
    """
    return {queue.name: _facts(queue, known, now) for queue in queues.by_name.values()}


def _facts(queue: Queue, known: Takers, now: int) -> QueueFacts:
    is_empty = not queue.pending and queue.depth is not None and not queue.depth[1]
    oldest = queue.oldest(now)
    return QueueFacts(
        queue.depth,
        queue.priorities,
        len(queue.pending),
        oldest,
        len(queue.running),
        queue.filled_since(),
        0 if is_empty else _active(queue, now),
        bool(queue.hosts),
        bool(known.silent) and not known.silent.isdisjoint(queue.hosts),
        _heard(queue, oldest, now),
    )


def _heard(queue: Queue, oldest: int | None, now: int) -> int | None:
    if queue.hosts or queue.depth is not None or not queue.pending:
        return None
    if oldest is not None and now - oldest < _NOT_TAKEN_US:
        return oldest  # its task was heard then or later, which is lately enough
    heard = (job.task.seen for job in islice(queue.pending, _MAX_LOOKED_AT))
    return max(heard, default=now)


def _active(queue: Queue, now: int) -> int:
    if queue.is_in_use():
        return now
    heard = (host.heard for host in queue.hosts if isinstance(host, Worker))
    return max(queue.fell_at(), max(heard, default=0))


def add_up(parts: Sequence[Mapping[str, QueueFacts]]) -> Mapping[str, QueueFacts]:
    """
    Add up what several states know, each of the jobs of its own tasks; pure, raises nothing.

    In any grouping, if none leaves out queues that are not listed.

    Args:
        parts: At least one; all know the same reports.

    Returns:
        All queues that one of them knows, listed or not.
    """
    found: defaultdict[str, list[QueueFacts]] = defaultdict(list)
    for part in parts:
        for name, facts in part.items():
            found[name].append(facts)
    return {name: _added(every) for name, every in found.items()}


def _added(every: Sequence[QueueFacts]) -> QueueFacts:
    if len(every) == 1:
        return every[0]
    return every[0]._replace(
        waiting=sum(each.waiting for each in every),
        oldest=min((each.oldest for each in every if each.oldest is not None), default=None),
        running=sum(each.running for each in every),
        active=max(each.active for each in every),
        has_hosts=any(each.has_hosts for each in every),
        heard=max((each.heard for each in every if each.heard is not None), default=None),
        has_silent=any(each.has_silent for each in every),
    )


def stuck(facts: QueueFacts, workers: int | None, now: int) -> Stuck | None:
    """
    Return why a queue is stuck, as ``QueueRow.stuck``; None: it is not, or not known. Pure.

    Args:
        facts: Of all states.
        workers: How many that are online say that they take from it; None: none says so of any.
        now: Microseconds.
    """
    since, depth = facts.oldest, facts.depth
    if since is None and not facts.waiting:
        since = facts.filled  # its jobs are of programs that the collector does not see
    if since is None or facts.running:
        return None
    if depth is not None and not depth[1] and depth[0] >= since:
        return None  # its broker says that nothing waits
    if workers == 0 and not facts.has_silent and now - since >= _NO_WORKERS_US:
        return Stuck("no_workers", since)
    is_seen, active = bool(workers) or facts.has_hosts, facts.active
    if not facts.has_hosts and depth is None and facts.oldest and facts.heard is not None:
        # Nothing is known of it but what its tasks do.
        is_seen = is_seen or now - facts.oldest >= _NOT_TAKEN_US
        active = max(active, facts.heard)
    is_known = is_seen or (facts.oldest is not None and depth is not None and depth[1] > 0)
    if is_known and min(now - since, now - active) >= _NOT_TAKEN_US:
        return Stuck("not_taken", since)
    return None
