"""
Keeps up by difference what follows from a job's nodes: its winner, status, counts and places.

``evaluate`` is called whenever a fact of a job changed, or the verdict on it may have. It takes the
job out of the counts in which it was and adds it where it is now, so nothing ever counts events.
"""

from __future__ import annotations

from typing import Final

from otel_bridge_collector.model.events import (
    COMPLETED,
    ENQUEUE,
    FAILED,
    JOB,
    OTHER,
    PENDING,
    PROCESSING,
    RETRYING,
    STALLED,
    TASK,
)
from otel_bridge_collector.model.failures import Failures
from otel_bridge_collector.model.liveness import Liveness
from otel_bridge_collector.model.nodes import (
    REPEATED,
    RETRIED,
    UNKNOWN,
    Job,
    More,
    Node,
    Task,
    changed,
    forget_times,
)
from otel_bridge_collector.model.processes.records import Worker, credit
from otel_bridge_collector.model.queues import Queues
from otel_bridge_collector.model.runs import is_repeated, simple_winner, winner
from otel_bridge_collector.model.shape.containers import shift
from otel_bridge_collector.model.tasks import Tasks
from otel_bridge_collector.model.work.merging import more_of
from otel_bridge_collector.model.workers import Workers

__all__ = ["Jobs", "note_first"]

_TRUE_END: Final = OTHER * 8
"""``Node.ended`` of an end that is not made up is this or more."""


class Jobs:
    """
    Keeps the status and counts of all jobs right, whenever a fact or a verdict changes.

    A verdict is why an open (not ended) job is stalled. Counts are kept by difference, so repeated
    events change nothing. For the collector's event loop, without a lock. No limit of its own;
    raises nothing for jobs of the model.

    Args:
        tasks, workers, queues, failures: The parts of the model in which jobs are registered.

    Attributes:
        liveness: Finds what is stalled; made here, because it evaluates jobs and jobs ask it.
        dirty: Tasks in which a job's status changed without an event of the task, until a reader
            clears it.
    """

    def __init__(
        self,
        tasks: Tasks,
        workers: Workers,
        queues: Queues,
        failures: Failures,
    ) -> None:
        self.liveness = Liveness(tasks, workers, queues, self.reevaluate)
        self.dirty: set[Task] = set()
        self._queues = queues
        self._failures = failures

    def evaluate(self, job: Job) -> None:  # noqa: C901  (each call costs 0.1 us)
        """Find a job's status again; count and register it accordingly."""
        task, node = job.task, job.first
        if task.changes is not None:
            task.changes.update(job.nodes())
        if node is None:
            self._remove(job)
            return
        if task.has_spanless and task.has_spans:
            self._note_repeated(job)
        evidence: Node | None = None
        if node.next is not None:
            found = simple_winner(node)
            if found is None:
                node, evidence = winner(job)
            else:
                node = found
        ended, more, host = node.ended, node.more, node.worker
        if ended >= _TRUE_END and (more is None or not more.restarted):
            status = ended & 7
        elif (
            not ended
            and evidence is None
            and more is None
            and node.kind == JOB
            and task.seen >= self.liveness.quiet_from
            and (host is None or not host.is_watched)
        ):
            status = PROCESSING  # most starts: nothing else to ask
        elif not ended and evidence is None and node.kind == ENQUEUE and node.queue is None:
            status = RETRYING if node.attempt else PENDING
        else:
            status = self.liveness.status_of(job, node, evidence)
            if status == PENDING and node.attempt:
                status = RETRYING
        old, at = job.st, job.at
        if old >= COMPLETED and old != STALLED:
            # A fact of a job that had ended: its end may be another one now.
            forget_times(job)
        if job.win is not node:
            job.win = node
        is_news = True
        if node.up is not at:
            self._move_to(job, node, status)
        elif status == old:
            is_news = False
        else:
            if status == PROCESSING:
                self.liveness.running.add(job)
            elif old == PROCESSING:
                self.liveness.running.discard(job)
            job.st = status
            while type(at) is Node:
                agg = at.agg
                assert agg is not None
                agg[old] -= 1
                agg[status] += 1
                at = at.up
            # Apart, because an attribute of one type is read three times as fast as one of two.
            if type(at) is Task:
                at.agg[old] -= 1
                at.agg[status] += 1
        if status != COMPLETED and status != FAILED:
            self._register(job, node, status)
            return
        if job.watch is not None or job.line is not None or task.quiet:
            self._leave(job)
        if is_news:
            self._note_end(job, node)

    def _move_to(self, job: Job, node: Node, status: int) -> None:
        """Count a job in another container than before, or for the first time."""
        forget_times(job)
        old, at, up = job.st, job.at, node.up
        if type(at) is Node:
            changed(at)
        if status == old and at is not None and at.agg is not None and at.up is up:
            # One container up, as all of a deep chain with each new top: no walk of 64.
            at.agg[status] -= 1
        else:
            if old >= 0:
                shift(at, old, -1)
            shift(up, status, 1)
        if status == PROCESSING:
            self.liveness.running.add(job)
        elif old == PROCESSING:
            self.liveness.running.discard(job)
        job.st = status
        job.at = up
        if type(up) is Node and up.key is None:
            node_of_job = job.first
            while node_of_job is not None:
                note_first(up, node_of_job.first)
                node_of_job = node_of_job.next

    @staticmethod
    def _note_end(job: Job, node: Node) -> None:
        """A job has ended, or did so elsewhere than was known."""
        task, at = job.task, job.at
        if task.end_order is not None:
            task.end_order.append(job)
        if type(at) is Node and at.key is None:
            if not node.end or (node.more is not None and node.more.reason is not None):
                forget_times(job)  # another process reported it, maybe of a lost worker
                return
            more = more_of(at)
            more.last = max(more.last, node.end)

    def reevaluate(self, job: Job) -> None:
        """As ``evaluate``, where no event of the task itself is the reason."""
        before, at = job.st, job.at
        self.evaluate(job)
        if type(at) is Node and at.key is None and at is job.at:
            # A node may have entered the job without being its winner.
            for one in job.nodes():
                note_first(at, one.first)
        if job.st != before or job.at is not at:
            self.liveness.touched.add(job.task)
            self.dirty.add(job.task)

    def _remove(self, job: Job) -> None:
        task = job.task
        if type(job.at) is Node:
            changed(job.at)
        if job.st >= 0:
            shift(job.at, job.st, -1)
        job.st = -1
        job.at = job.win = None
        self._leave(job)
        if task.jobs.get(job.id) is job:
            del task.jobs[job.id]
        self.liveness.forget(job)
        self.liveness.touched.add(task)
        self.dirty.add(task)

    def _leave(self, job: Job) -> None:
        """A job that is over is watched by nothing."""
        if job.watch is not None:
            job.watch.discard(job)
            job.watch = None
        if job.line is not None:
            job.line.discard(job)
            job.line = None
        if job.task.quiet:
            job.task.quiet.discard(job)

    def _register(  # noqa: C901  (each call costs 0.1 us)
        self, job: Job, node: Node, status: int
    ) -> None:
        """Put a job where liveness looks for it: its host, its task's events, its queue."""
        task = job.task
        watch: set[Job] | None = None
        is_quiet = False
        if (status == PROCESSING or status == STALLED) and node.kind == JOB:  # noqa: SIM109
            host = node.worker
            if host is not None:
                watch = host.open
            more = node.more
            # A process may outlive its workers: their stop says nothing of work in none of them.
            is_quiet = (
                host is None
                or not host.is_watched
                or (host.first is None and type(host) is not Worker)
            ) and (more is None or not more.beat_ms)
        quiet = task.quiet
        if is_quiet:
            if quiet is None:
                quiet = task.quiet = set()
            quiet.add(job)
        elif quiet:
            quiet.discard(job)
        known = job.watch
        if watch is not known:
            if known is not None:
                known.discard(job)
            if watch is not None:
                watch.add(job)
            job.watch = watch
        name = node.queue
        if name is None:
            parent = node.parent
            if type(parent) is Node and parent.kind == ENQUEUE:
                name = parent.queue
        if name is None and job.line is None:
            return
        line = None if name is None else self._line_of(name, job, node, status)
        if line is not job.line:
            _move(job, job.line, line)
            job.line = line

    def _line_of(self, name: str, job: Job, node: Node, status: int) -> set[Job] | None:
        """The set of its queue to which a job with this winner belongs."""
        queue = self._queues.by_name.get(name) or self._queues.queue(name)
        if queue is None:
            return None
        if node.kind != ENQUEUE:
            return queue.running if status == PROCESSING else None
        if status in (PENDING, RETRYING):
            if queue.empty[1] > queue.filled:
                queue.is_changed = True
            queue.arrived(job)
            return queue.pending
        return queue.lost if status == STALLED else None

    # --- publishers that report by spans and without ---------------------------------------------

    def _note_repeated(self, job: Job) -> None:
        """An attempt that has ended as a span counts once, if it is also reported without one."""
        for node in job.nodes():
            if node.key is not None or node.kind != JOB:
                continue
            is_so = is_repeated(node, job)
            if is_so != bool(node.marks & REPEATED):
                credit(node, -1)
                if node.marks & RETRIED:
                    job.task.retries += -1 if is_so else 1
                node.marks ^= REPEATED
                credit(node, 1)
                self.count_failure(node)

    # --- what nodes that ended count for ---------------------------------------------------------

    def count_failure(self, node: Node) -> None:
        """Count a node in its failure group if it failed, and nowhere else."""
        is_failed = (
            node.ended & 7 == FAILED
            and node.kind in (ENQUEUE, JOB, TASK)
            and not node.marks & REPEATED
            and not (node.kind == TASK and _is_repeated_root(node))
        )
        self._failures.update(node, is_failed)

    def count_roots(self, task: Task) -> None:
        """A root came or left: of one known as a span, and without, only the span's end counts."""
        for root in task.roots:
            if root.key is None:
                self.count_failure(root)


def _is_repeated_root(root: Node) -> bool:
    """Whether its publisher sends raw events beside spans: the task's root is known as a span."""
    return root.key is None and any(other.key is not None for other in root.own.task.roots)


def _move(job: Job, old: set[Job] | None, new: set[Job] | None) -> None:
    if old is not None:
        old.discard(job)
    if new is not None:
        new.add(job)


def note_first(phase: Node, first: int) -> None:
    """A node of a job in a phase that no span is began then."""
    more = phase.more
    if more is None:
        more = phase.more = More()
    if first and more.first != UNKNOWN and (not more.first or first < more.first):
        more.first = first
