"""
Keeps up by difference what follows from a job's nodes: its winner, status, counts and places.

``evaluate`` is called whenever a fact of a job changed, or the verdict on it may have. It takes the
job out of the counts in which it was and adds it where it is now, so nothing ever counts events.
"""

from __future__ import annotations

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
    Node,
    Task,
    forget_times,
    shift,
)
from otel_bridge_collector.model.queues import Queue, Queues
from otel_bridge_collector.model.runs import winner
from otel_bridge_collector.model.tasks import Tasks
from otel_bridge_collector.model.work.merging import more_of
from otel_bridge_collector.model.workers import Incarnation, Worker, Workers

__all__ = ["Jobs"]


class Jobs:
    """
    The jobs of all tasks.

    Args:
        tasks, workers, queues, failures: The parts that jobs appear in.

    Attributes:
        liveness: Made here, because it evaluates jobs and jobs ask it.
        dirty: Tasks of which a job was evaluated.
    """

    def __init__(self, tasks: Tasks, workers: Workers, queues: Queues, failures: Failures) -> None:
        self.liveness = Liveness(tasks, workers, queues, self.evaluate)
        self.dirty: set[Task] = set()
        self._queues = queues
        self._failures = failures

    def evaluate(self, job: Job) -> None:
        """Find a job's status again; count and register it accordingly."""
        task = job.task
        if job.first is None:
            self._remove(job)
            return
        if task.has_spanless and (job.first.next is not None or job.first.marks & REPEATED):
            self._note_repeated(job)
        node, evidence = winner(job)
        status = self.liveness.status_of(job, node, evidence)
        if status == PENDING and node.attempt:
            status = RETRYING
        old, at, up = job.st, job.at, node.up
        job.win = node
        if status != old or up is not at:
            if up is not at:
                forget_times(job)
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
            self.liveness.touched.add(task)
            if status in (COMPLETED, FAILED):
                task.ended.append(job)
        if type(up) is Node and up.key is None:
            _note_times(up, job, old)
        self._register(job, node, status)
        self.dirty.add(task)

    def _remove(self, job: Job) -> None:
        task = job.task
        if job.st >= 0:
            shift(job.at, job.st, -1)
        job.st = -1
        job.at = job.win = None
        if job.watch is not None:
            job.watch.discard(job)
            job.watch = None
        self._set_line(job, None)
        task.quiet.discard(job)
        if task.jobs.get(job.id) is job:
            del task.jobs[job.id]
        self.liveness.forget(job)
        self.liveness.touched.add(task)
        self.dirty.add(task)

    def _register(self, job: Job, node: Node, status: int) -> None:
        """Put a job where liveness looks for it: its host, its task's events, its queue."""
        is_running = node.kind == JOB and status in (PROCESSING, STALLED)
        host = node.worker if is_running else None
        watch = None if host is None else host.open
        if watch is not job.watch:
            if job.watch is not None:
                job.watch.discard(job)
            job.watch = watch
            if watch is not None:
                watch.add(job)
        if is_running and self.liveness.is_quiet(node):
            job.task.quiet.add(job)
        elif job.task.quiet:
            job.task.quiet.discard(job)
        line = None
        if node.queue is not None or job.line is not None or is_running:
            queue = self._queue_of(node)
            if queue is not None:
                line = _line_of(queue, node, status)
        if line is not job.line:
            self._set_line(job, line)

    def _set_line(self, job: Job, line: set[Job] | None) -> None:
        if job.line is not None:
            job.line.discard(job)
        job.line = line
        if line is not None:
            line.add(job)

    def _queue_of(self, node: Node) -> Queue | None:
        name = node.queue
        parent = node.parent
        if name is None and type(parent) is Node and parent.kind == ENQUEUE:
            name = parent.queue
        return None if name is None else self._queues.queue(name)

    # --- publishers that report by spans and without ---------------------------------------------

    def _note_repeated(self, job: Job) -> None:
        """An attempt that has ended as a span counts once, if it is also reported without one."""
        spans = [node for node in job.nodes() if node.key is not None and node.kind == JOB]
        for node in job.nodes():
            if node.key is not None or node.kind != JOB:
                continue
            is_repeated = any(
                span.attempt == node.attempt and span.ended >> 3 >= OTHER for span in spans
            )
            if is_repeated != bool(node.marks & REPEATED):
                self.credit(node, -1)
                if node.marks & RETRIED:
                    job.task.retries += -1 if is_repeated else 1
                node.marks ^= REPEATED
                self.credit(node, 1)
                self.count_failure(node)

    # --- what nodes that ended count for ---------------------------------------------------------

    @staticmethod
    def credit(node: Node, by: int) -> None:
        """Count an ended attempt for its worker, or take it back before its facts change."""
        host = node.worker
        if host is None or node.kind != JOB or node.marks & REPEATED or not node.ended:
            return
        worker = host.worker if isinstance(host, Incarnation) else host
        if isinstance(worker, Worker):
            if node.ended & 7 == COMPLETED:
                worker.completed += by
            elif node.ended & 7 == FAILED:
                worker.failed += by

    def count_failure(self, node: Node) -> None:
        """Count a node in its failure group if it failed, and nowhere else."""
        is_failed = (
            node.ended & 7 == FAILED
            and node.kind in (ENQUEUE, JOB, TASK)
            and not node.marks & REPEATED
        )
        self._failures.update(node, is_failed)


def _line_of(queue: Queue, node: Node, status: int) -> set[Job] | None:
    if node.kind == ENQUEUE:
        if status in (PENDING, RETRYING):
            if queue.empty[1] > queue.filled:
                queue.is_changed = True
            return queue.pending
        return queue.lost if status == STALLED else None
    return queue.running if status == PROCESSING else None


def _note_times(phase: Node, job: Job, old: int) -> None:
    """When the jobs of a phase that no span is began and ended, as far as they only come."""
    more = more_of(phase)
    if more.first == UNKNOWN:
        return
    if old in (COMPLETED, FAILED):
        # A fact of a job that had ended: its times may be others now.
        more.first = UNKNOWN
        return
    node = job.first
    while node is not None:
        first = node.first
        if first and (not more.first or first < more.first):
            more.first = first
        node = node.next
    if job.st in (COMPLETED, FAILED) and job.win is not None:
        more.last = max(more.last, job.win.end)
