"""``Trouble``: which tasks have lost a worker, wait in a stuck queue, or have far slower jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from itertools import chain, islice
from typing import Final, NamedTuple

from otel_bridge_collector.model.events import STALLED
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job, Node, Task
from otel_bridge_collector.views.attention.slow import MIN_SLOW_US, Slowness

__all__ = ["NO_TROUBLE", "SlowJobs", "Trouble", "find_trouble"]

_MAX_WAITING: Final = 20_000
"""Jobs of one stuck queue whose tasks are looked up: 1 ms."""


class SlowJobs(NamedTuple):
    """
    The jobs of one task that run far longer than others; a record.

    Attributes:
        number: How many.
        slowest: The attempt of that which runs for longest, compared with others of its type.
        since: When that started, microseconds.
    """

    number: int
    slowest: Node
    since: int


class Trouble(NamedTuple):
    """
    Tasks that need attention for what is not theirs alone; a record.

    Attributes:
        lost: Tasks with a job that cannot end because its worker was lost.
        stuck: Tasks with a job that waits in a stuck queue.
        slow: Jobs that run far longer than others, by task.
    """

    lost: Set[Task]
    stuck: Set[Task]
    slow: Mapping[Task, SlowJobs]


NO_TROUBLE: Final = Trouble(frozenset(), frozenset(), {})


def find_trouble(model: Fold, slowness: Slowness, stuck: Iterable[str]) -> Trouble:
    """
    Look at all jobs that run, are stalled on a worker, or wait in a stuck queue.

    On the collector's event loop, once a second: 0.1 us for each job that runs, 5 us for each that
    is stalled. Raises nothing.

    Args:
        model: The state, as of its latest sweep.
        slowness: Says which attempts are slow.
        stuck: Names of the queues that are stuck. Of one with more than 20,000 waiting jobs, tasks
            may be left out.
    """
    waiting: set[Task] = set()
    for name in stuck:
        queue = model.queues.by_name.get(name)
        if queue is not None:
            waiting.update(job.task for job in islice(queue.pending, _MAX_WAITING))
    return Trouble(_with_lost_workers(model), waiting, _slow(model, slowness))


def _with_lost_workers(model: Fold) -> set[Task]:
    found: set[Task] = set()
    workers = model.workers
    for host in chain(workers.by_id.values(), workers.processes.values()):
        for job in host.open:
            if job.st == STALLED and job.task not in found:
                verdict = model.liveness.job_verdict(job)
                if verdict is not None and verdict.reason == "worker_lost":
                    found.add(job.task)
    return found


def _slow(model: Fold, slowness: Slowness) -> dict[Task, SlowJobs]:
    now = model.liveness.now
    before = now - MIN_SLOW_US
    found: dict[Task, tuple[int, float, int, Job]] = {}
    for job in model.running:
        node = job.win
        if node is None or node.start is None or node.start > before:
            continue
        factor = slowness.factor(node, job.st, None, now)
        if factor is None:
            continue
        known = found.get(job.task)
        if known is None:
            found[job.task] = 1, factor, node.start, job
        else:
            slowest = max(known[1:], (factor, node.start, job), key=_by_factor)
            found[job.task] = known[0] + 1, *slowest
    return {
        task: SlowJobs(number, job.win, since)
        for task, (number, _, since, job) in found.items()
        if job.win is not None
    }


def _by_factor(one: tuple[float, int, Job]) -> tuple[float, int, str]:
    factor, start, job = one
    return factor, -start, job.id
