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
from otel_bridge_collector.wire.views.queues import StuckReason

__all__ = ["QueueFacts", "Stuck", "Takers", "add_up", "read_queues", "stuck", "takers"]

_NO_WORKERS_US: Final = 10_000_000
"""One heartbeat: a worker that is starting has time to say what it takes from."""
_NOT_TAKEN_US: Final = 60_000_000
_MAX_LOOKED_AT: Final = 20_000
"""Jobs whose tasks are asked when they were last heard: 1 ms."""


class QueueFacts(NamedTuple):
    """
    What one process knows of a queue; a record. Times are microseconds.

    Attributes:
        depth: (when, jobs) as last reported; None: never.
        priorities: The same by priority; empty: none.
        waiting: Jobs known to wait.
        oldest: Since when the one waits that has waited for longest; None: none that is due.
        running: Jobs of it that run.
        filled: Since when each report says that jobs are in it; None: the latest does not.
        active: When one of its workers was last known to be busy, or jobs to have left it; 0:
            never. Without such knowledge, when a task of its jobs was last heard.
        is_watched: Whether a worker that takes from it is known, online or not, or ``active`` is
            of its tasks.
        has_silent: Whether one that ran jobs of it is online and does not say what it takes from.
    """

    depth: tuple[int, int] | None
    priorities: tuple[tuple[str, int], ...]
    waiting: int
    oldest: int | None
    running: int
    filled: int | None
    active: int
    is_watched: bool
    has_silent: bool

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
    oldest, active = queue.oldest(now), 0 if is_empty else _active(queue, now)
    is_watched = bool(queue.hosts)
    if not is_watched and queue.depth is None and oldest and now - oldest >= _NOT_TAKEN_US:
        is_watched = True
        heard = (job.task.seen for job in islice(queue.pending, _MAX_LOOKED_AT))
        active = max(active, max(heard, default=now))
    return QueueFacts(
        queue.depth,
        queue.priorities,
        len(queue.pending),
        oldest,
        len(queue.running),
        queue.filled_since(),
        active,
        is_watched,
        bool(known.silent) and not known.silent.isdisjoint(queue.hosts),
    )


def _active(queue: Queue, now: int) -> int:
    if queue.is_in_use():
        return now
    heard = (host.heard for host in queue.hosts if isinstance(host, Worker))
    return max(queue.fell_at(), max(heard, default=0))


def add_up(parts: Sequence[Mapping[str, QueueFacts]]) -> Mapping[str, QueueFacts]:
    """
    Add up what several processes know, each of the jobs of its own tasks; pure, raises nothing.

    Args:
        parts: At least one; all know the same reports.

    Returns:
        The queues that are listed: those with a depth, or in which jobs are known to wait.
    """
    found: defaultdict[str, list[QueueFacts]] = defaultdict(list)
    for part in parts:
        for name, facts in part.items():
            found[name].append(facts)
    added = ((name, _added(every)) for name, every in found.items())
    return {name: facts for name, facts in added if facts.is_listed}


def _added(every: Sequence[QueueFacts]) -> QueueFacts:
    return every[0]._replace(
        waiting=sum(each.waiting for each in every),
        oldest=min((each.oldest for each in every if each.oldest is not None), default=None),
        running=sum(each.running for each in every),
        active=max(each.active for each in every),
        is_watched=any(each.is_watched for each in every),
        has_silent=any(each.has_silent for each in every),
    )


def stuck(facts: QueueFacts, workers: int | None, now: int) -> Stuck | None:
    """
    Return why a queue is stuck, as ``QueueRow.stuck``; None: it is not, or not known. Pure.

    Args:
        facts: Of all processes.
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
    is_seen = bool(workers) or facts.is_watched
    is_known = is_seen or (facts.oldest is not None and depth is not None and depth[1] > 0)
    if is_known and min(now - since, now - facts.active) >= _NOT_TAKEN_US:
        return Stuck("not_taken", since)
    return None
