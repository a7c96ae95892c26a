"""
What leaves when there is more than the limits hold, in which order, and what stays of it.

First cards that are never shown; then tasks that are over, the longest silent first; in a task over
its own limit jobs that have ended, the oldest first and failed ones last; then tasks in which jobs
only wait; tasks in which something runs only at the hard limit (5/4), the longest silent first.

Counts stay in the aggregates, and a task says how many of its nodes are not held. Of each evicted
node of a task that goes on 8 bytes stay, so that a repeated event does not count it again.

``Node`` and ``Job`` have no garbage collection: here alone they end, with all their links removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_bridge_collector.model.events import COMPLETED, ENQUEUE, FAILED, PENDING, RETRYING
from otel_bridge_collector.model.failures import Failures
from otel_bridge_collector.model.liveness import Liveness
from otel_bridge_collector.model.nodes import (
    GONE,
    NAMED,
    Job,
    Node,
    Task,
    changed,
    children,
)
from otel_bridge_collector.model.processes.records import credit
from otel_bridge_collector.model.reading.cards import Cards
from otel_bridge_collector.model.reading.ends import EndCounts
from otel_bridge_collector.model.reading.gone import remember_nodes
from otel_bridge_collector.model.runs import is_open, is_shadowed
from otel_bridge_collector.model.shape.containers import count_kid
from otel_bridge_collector.model.tasks import Tasks
from otel_bridge_collector.model.tree import Tree

__all__ = ["Eviction", "Limits"]

NODE_BYTES: Final = 400
"""Measured with tracemalloc on CPython 3.11: a node of our own spans with its share of its job."""
_KEEP: Final = 0.9
"""What is left after an eviction: it looks at all tasks, so it should be rare."""
_HARD: Final = 1.25
_HIDDEN, _OVER, _WAITING, _RUNNING = range(4)


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much of the state is held in memory; a record that checks nothing.

    A node is one span in a task's tree, or what stands for one. Over a limit of tasks, nodes or
    bytes, tasks that are over are evicted (forgotten; the log still has them) down to nine tenths
    of it, the longest silent first, then ended jobs, then tasks that only wait. Tasks in which
    something runs leave only beyond 5/4 of it. What stays beyond that takes no new node: it is only
    counted.

    Attributes:
        tasks: Tasks and cards of traces, 10,000 by default.
        nodes: Of all tasks together, 400,000 by default.
        nodes_per_task: 200,000 by default; above it, ended jobs leave. Nodes that have not ended
            stay.
        bytes: Estimated size of nodes (400 bytes each) and job ids, 256 MiB by default.
        workers: 2,000 by default; above it, the worker without open jobs that is silent longest
            leaves.
        queues: 200 by default; reports of further ones are ignored.
        event_ids: Ids of the newest events by which repeats are left out, 156,000 by default, half
            of them for certain. Repeats of older ones are merged again, which changes nothing. Two
            sets of 78,000 need half the memory of two of 79,000.
    """

    tasks: int = 10_000
    nodes: int = 400_000
    nodes_per_task: int = 200_000
    bytes: int = 256 * 1024 * 1024
    workers: int = 2000
    queues: int = 200
    event_ids: int = 156_000


class Eviction:
    """
    Keeps the model within its limits; on the collector's event loop, without a lock.

    To evict is to forget: counts stay, and of each node of a task that goes on 8 bytes, so that a
    repeated event does not count it again. Over a limit, tasks that are over leave first, the
    longest silent first, then ended jobs, then tasks that only wait; beyond 5/4 of it tasks in
    which something runs. It looks at all tasks, so again only when 1 % more is held. Raises nothing
    for tasks of the model.

    Args:
        limits: How much is held at most.
        tree, tasks, failures, liveness, cards: The parts of the model: nodes, tasks, failures by
            cause, what is stalled, and the status of tasks. What is evicted leaves all of them.

    Attributes:
        evicted: Ids of tasks evicted since a reader cleared it; it grows without limit until then.
        ends: When attempts ended that were evicted from tasks which go on, by task.
    """

    def __init__(
        self,
        limits: Limits,
        tree: Tree,
        tasks: Tasks,
        failures: Failures,
        liveness: Liveness,
        cards: Cards,
    ) -> None:
        self.evicted: list[str] = []
        self.ends: dict[Task, EndCounts] = {}
        self.has_shed = False
        """Whether nodes of a task that goes on were ever evicted."""
        self.free_nodes = min(limits.nodes, limits.bytes // (2 * NODE_BYTES))
        """Up to so many nodes nothing needs to leave, unless the ids of jobs are very long."""
        self._look_above = 0
        self._limits = limits
        self._tree = tree
        self._tasks = tasks
        self._failures = failures
        self._liveness = liveness
        self._cards = cards

    def is_over(self, factor: float = 1.0) -> bool:
        """Whether more is held in all than the limits, times a factor, allow."""
        limits, tree = self._limits, self._tree
        return (
            tree.size > limits.nodes * factor
            or len(self._tasks.by_id) > limits.tasks * factor
            or tree.size * NODE_BYTES + tree.text_bytes > limits.bytes * factor
        )

    def grown(self, task: Task) -> None:
        """A task has a node more: if these are too many, ended ones leave."""
        limit = self._limits.nodes_per_task
        if task.size > max(limit, task.shed_above):
            self._shed_ended(task, int(limit * _KEEP))
            # What is left has not ended: to look again for each event would walk it each time.
            task.shed_above = task.size + limit // 50

    def has_room(self, newcomer: Task) -> bool:
        """
        Return whether a new node may be made, after evicting what may leave.

        A node is a span, or what stands for one. On the collector's event loop; never raises.
        False if more than 5/4 of a limit (by default 10,000 tasks, 400,000 nodes, 256 MiB) is still
        held; the caller then makes no node and counts it in the task's ``not_held``.

        Args:
            newcomer: The task of the event that is being merged: never evicted by it.
        """
        if not self.is_over():
            return True
        if self._tree.size + len(self._tasks.by_id) >= self._look_above:
            self._relieve(newcomer)
            held = self._tree.size + len(self._tasks.by_id)
            # A look walks all tasks: the next one when 1 % more is held, and not 1 % of a limit
            # that another one keeps out of reach.
            self._look_above = held + max(1, held // 100)
        if not self.is_over(_HARD):
            return True
        # What is refused makes nothing grow: as many refusals as nodes are a reason to look again.
        self._look_above -= 1
        return False

    def _relieve(self, newcomer: Task) -> None:
        classes: tuple[list[Task], ...] = ([], [], [], [])
        for task in self._tasks.by_id.values():
            if task is not newcomer and (task.size or not task.loose):
                classes[self._class_of(task)].append(task)
        for tasks in classes[:_WAITING]:
            self._evict_oldest(tasks, _KEEP)
        if self.is_over():
            self._shed_everywhere()
        if self.is_over():
            self._evict_oldest(classes[_WAITING], _KEEP)
        if self.is_over(_HARD):
            self._evict_oldest(classes[_RUNNING], 1.0)

    def _class_of(self, task: Task) -> int:
        if not self._tasks.is_shown(task):
            return _HIDDEN
        status, _ = self._cards.status(task)
        if status in (COMPLETED, FAILED):
            return _OVER
        queued = task.agg[PENDING] + task.agg[RETRYING]
        around = (*task.roots, *task.spans)
        if queued and sum(task.agg[:6]) == queued and not any(map(is_open, around)):
            return _WAITING
        return _RUNNING

    def _evict_oldest(self, tasks: list[Task], keep: float) -> None:
        if not self.is_over():
            return
        tasks.sort(key=lambda task: (self._tasks.last_seen(task), task.id), reverse=True)
        while tasks and self.is_over(keep):
            self.evict(tasks.pop())

    def _shed_everywhere(self) -> None:
        largest = sorted(self._tasks.by_id.values(), key=lambda task: task.size, reverse=True)
        for task in largest:
            if not self.is_over(_KEEP):
                return
            self._shed_ended(task, task.size // 2)

    def set_limits(self, limits: Limits) -> None:
        """Hold as much from now on; what is held beyond that leaves when something is added."""
        self._limits = limits
        self.free_nodes = min(limits.nodes, limits.bytes // (2 * NODE_BYTES))
        self._look_above = 0

    # --- inside a task ---------------------------------------------------------------------------

    def _shed_ended(self, task: Task, keep: int) -> None:
        """Let ended jobs of a task go, the oldest first, failed ones last, until ``keep`` nodes."""
        nodes: list[Node] = []
        for queue, is_last in ((task.ended, False), (task.failed, True)):
            left: list[Job] = []
            looked_at = 0
            while looked_at < len(queue) and task.size - len(nodes) > keep:
                job = queue[looked_at]
                looked_at += 1
                if task.jobs.get(job.id) is not job or job.st not in (COMPLETED, FAILED):
                    continue
                if job.st == FAILED and not is_last:
                    task.failed.append(job)
                elif self._is_leaf(job):
                    nodes.extend(job.nodes())
                    del task.jobs[job.id]
                else:
                    left.append(job)
            del queue[:looked_at]
            queue.extend(left)
        self._discard(task, nodes, is_task_going_on=True)

    def _is_leaf(self, job: Job) -> bool:
        face = job.task.face
        return not any(
            node is face or any(kid.own is not job for kid in children(node))
            for node in job.nodes()
        )

    def _discard(self, task: Task, nodes: list[Node], *, is_task_going_on: bool) -> None:
        gone = set(nodes)
        if is_task_going_on:
            self._remember(task, nodes)
        self._unlink(nodes, gone)
        bases = {node.base for node in nodes if not node.marks & NAMED}
        for base in bases:
            base.loose = [node for node in base.loose if node not in gone]
        for node in nodes:
            self._failures.evicted(node)
            if node.key is not None:
                del self._tree.nodes[node.key]
        task.size -= len(nodes)
        self._tree.size -= len(nodes)
        task.not_held += len(nodes)
        self._note_changes(task, nodes)
        for node in nodes:
            job = node.own
            if type(job) is Job:
                _release(job)
            # Without garbage collection a circle would stay for ever.
            node.own = node.base
            node.up = node.parent = node.kids = node.sib = node.next = None
            node.worker = node.more = None

    def _note_changes(self, task: Task, nodes: list[Node]) -> None:
        if task.changes is not None:
            task.changes.update(nodes)
            task.changes.update(node.up for node in nodes if type(node.up) is Node)
            if len(task.changes) > 2 * self._limits.nodes_per_task:
                task.changes = None  # not read for long: it would hold all that leaves

    def _remember(self, task: Task, nodes: list[Node]) -> None:
        self.has_shed = True
        self.ends.setdefault(task, EndCounts()).add(nodes)
        remember_nodes(task, nodes)

    def _unlink(self, nodes: list[Node], gone: set[Node]) -> None:
        """Take nodes out of the chains of their parents, each chain once."""
        parents: dict[Node, None] = {}
        for node in nodes:
            parent = node.parent
            if type(parent) is Node:
                if parent not in gone:
                    parents[parent] = None
                    count_kid(parent, GONE, 1)
                    changed(parent)
                continue
            self._count_below_task(node)
            if type(parent) is int and parent in self._tree.waiting:
                first = _without(self._tree.waiting[parent], gone)
                if first is None:
                    del self._tree.waiting[parent]
                else:
                    self._tree.waiting[parent] = first
        for above in parents:
            above.kids = _without(above.kids, gone)

    @staticmethod
    def _count_below_task(node: Node) -> None:
        """Count what has no parent where it was shown: in its task or a phase without a span."""
        own, up = node.own, node.up
        # An enqueue stands for its attempts if it is their parent; else they are counted.
        is_alone = node.kind == ENQUEUE and node.kids is None
        if type(own) is Job and (is_shadowed(node, own) or (is_alone and own.win is not node)):
            return
        assert up is not None
        if up.agg is None:
            up.agg = [0] * 8
        up.agg[GONE] += 1

    # --- whole tasks -----------------------------------------------------------------------------

    def evict(self, task: Task) -> None:
        """
        Forget a task with all its nodes and jobs; what is known of it is in the log.

        Its id is appended to ``evicted``. Children of its nodes (spans) in other tasks wait for
        their parent as if it had never been seen. On the collector's event loop; takes as long as
        the task has nodes. Raises nothing for a task that is held.

        Args:
            task: One that is held, which is not checked.
        """
        nodes = [node for job in task.jobs.values() for node in job.nodes()]
        nodes.extend((*task.roots, *task.spans))
        nodes.extend(node for node in task.tops if node.key is not None)
        gone = set(nodes)
        orphans = [kid for node in nodes for kid in children(node) if kid not in gone]
        for orphan in orphans:
            self._tree.orphan(orphan)
        self._tree.text_bytes -= sum(len(job.id) for job in task.jobs.values())
        for job in task.jobs.values():
            self._liveness.forget(job)
        cards = {node.base for node in nodes if node.base is not task}
        self._failures.forget(task)
        self.ends.pop(task, None)
        for node in nodes:
            if node.more is not None:
                node.more.cause = None
        self._discard(task, nodes, is_task_going_on=False)
        for node in task.virtual.values():
            node.up = node.more = None
            node.own = node.base
        for held in (task.jobs, task.virtual, task.tops, task.roots, task.spans):
            held.clear()
        task.quiet = None
        task.end_order = None
        task.failed.clear()
        task.face = task.face_rank = None
        self._liveness.forget(task)
        self._tasks.forget(task)
        self.evicted.append(task.id)
        for card in cards:
            if not card.size and not card.loose:
                self._tasks.forget(card)

    def forget(self, task: Task) -> None:
        """
        Remove a task that another state holds from now on, also from the counts of its workers.

        As ``evict``, after which the attempts that ended still count for their workers.
        """
        for job in task.jobs.values():
            for node in job.nodes():
                credit(node, -1)
        self.evict(task)


def _release(job: Job) -> None:
    for registered in (job.watch, job.line):
        if registered is not None:
            registered.discard(job)
    job.watch = job.line = None
    job.first = job.win = None
    job.at = None
    job.st = -1


def _without(first: Node | None, gone: set[Node]) -> Node | None:
    """A chain of siblings without some of them."""
    kept: Node | None = None
    last: Node | None = None
    node = first
    while node is not None:
        if node not in gone:
            if last is None:
                kept = node
            else:
                last.sib = node
            last = node
        node = node.sib
    if last is not None:
        last.sib = None
    return kept
