"""
``Facts``: what the tasks of some partitions say of queues and workers, for all other partitions.

A partition folds its own tasks, and the events of all workers and queues. Whether a job waits in
vain in a queue that was reported empty, and whether a worker without heartbeats is online, depends
on the jobs of all tasks. So once a second the states of a process exchange these facts, and so do
the members of a cluster. What is not known does not count as idle.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from otel_bridge_collector.model.events import PROCESSING
from otel_bridge_collector.model.processes.records import Worker
from otel_bridge_collector.views.attention.stuck import QueueFacts, add_up
from otel_bridge_collector.views.state import ViewState

__all__ = ["Facts", "add_facts", "facts_of", "facts_to_bytes", "read_facts"]


class Facts(msgspec.Struct, frozen=True):
    """
    What the tasks of some partitions say of queues and workers; a record, which checks nothing.

    Attributes:
        running: How many jobs of a queue run, by its name; 0 is left out.
        busy: Ids, as text, of the workers that run a job.
        takers: Ids, as text, of the workers that have run jobs of a queue or say that they take
            from it, by its name; left out for queues in ``running``.
        heard: When an event of a job of a worker was last received, microseconds, by the worker's
            id as text.
        queues: What decides whether a queue is stuck, by its name.
    """

    running: dict[str, int] = {}
    busy: frozenset[str] = frozenset()
    takers: dict[str, frozenset[str]] = {}
    heard: dict[str, int] = {}
    queues: dict[str, QueueFacts] = {}

    def queues_in_use(self) -> set[str]:
        """Return the queues of which a job runs, or from which a busy worker takes; pure."""
        found = set(self.running)
        found.update(name for name, ids in self.takers.items() if not ids.isdisjoint(self.busy))
        return found


def facts_of(states: Iterable[ViewState]) -> Facts:
    """
    Return the facts of states that are held, as of their latest refresh; raises nothing.

    On their event loop. Takes time for the workers and queues of each state.
    """
    held = list(states)
    running: Counter[str] = Counter()
    for state in held:
        for queue in state.model.queues.by_name.values():
            if queue.running:
                running[queue.name] += len(queue.running)
    busy: set[str] = set()
    heard: dict[str, int] = {}
    takers: defaultdict[str, set[str]] = defaultdict(set)
    for state in held:
        for key, worker in state.model.workers.by_id.items():
            if worker.open and any(job.st == PROCESSING for job in worker.open):
                busy.add(key)
            if worker.heard > heard.get(key, 0):
                heard[key] = worker.heard
        for queue in state.model.queues.by_name.values():
            if queue.hosts and queue.name not in running:
                ids = (str(host.id) for host in queue.hosts if isinstance(host, Worker))
                takers[queue.name].update(ids)
    frozen = {name: frozenset(ids) for name, ids in takers.items()}
    queues = add_up([state.queue_facts() for state in held])
    return Facts(dict(running), frozenset(busy), frozen, heard, dict(queues))


def add_facts(parts: Iterable[Facts]) -> Facts:
    """Return the facts of several processes together; pure. Of none: those of no task."""
    given = list(parts)
    running: Counter[str] = Counter()
    busy: set[str] = set()
    takers: defaultdict[str, set[str]] = defaultdict(set)
    heard: dict[str, int] = {}
    for part in given:
        running.update(part.running)
        busy |= part.busy
        for name, ids in part.takers.items():
            takers[name] |= ids
        for key, at in part.heard.items():
            heard[key] = max(at, heard.get(key, 0))
    frozen = {name: frozenset(ids) for name, ids in takers.items() if name not in running}
    queues = add_up([part.queues for part in given])
    return Facts(dict(running), frozenset(busy), frozen, heard, dict(queues))


def facts_to_bytes(facts: Facts) -> bytes:
    """Encode facts for another member of the cluster; ``read_facts`` reads them."""
    return msgspec.json.encode(facts)


def read_facts(data: bytes) -> Facts:
    """
    Decode facts that another member sent.

    Raises:
        ValueError: They are no facts.
    """
    return msgspec.json.decode(data, type=Facts)
