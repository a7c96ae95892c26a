"""The nodes of a task in order, how each stands, and all that is stalled with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from otel_bridge_collector.model.events import (
    ENQUEUE,
    JOB,
    PENDING,
    PHASE,
    PROCESSING,
    RULE,
    SELF,
    SPAN,
    STALLED,
)
from otel_bridge_collector.model.liveness import Liveness, Verdict
from otel_bridge_collector.model.nodes import Job, Node, Task, children
from otel_bridge_collector.model.runs import (
    has_ended,
    is_open,
    is_shadowed,
    report_of,
    runs_of,
    winner,
)
from otel_bridge_collector.model.tasks import Tasks

__all__ = ["WORKER_LOST", "NodeState", "Rows", "end_of"]

WORKER_LOST: Final = "worker_lost"


class NodeState(NamedTuple):
    """
    The state of one node: a span, or what stands for one. A record; checks nothing.

    Attributes:
        status: 0 pending, 1 processing, 2 retrying, 3 completed, 4 failed, 5 stalled.
        ended: Where its bar ends, microseconds since the Unix epoch; None while it is open.
        reason: Why it is stalled: ``worker_lost``, ``heartbeat_lost``, ``silent``,
            ``queue_emptied``, ``parent_ended``, ``card_ended`` (its task has), or what a reported
            stall says; None if it is not, or if its end was reported.
        ended_by: Who reported that end: 1 a snapshot, 2 a rule, 3 another process, 4 its own; 0
            while open.
    """

    status: int
    ended: int | None
    reason: str | None
    ended_by: int


class Rows:
    """
    Reads the nodes of tasks (spans, or what stands for one) as of the latest sweep.

    A sweep is the check of what is stalled, once a second. Changes no counts and raises nothing for
    what is held; for the collector's event loop, without a lock. No limit: callers take what they
    need from the iterators, before the next event is merged.

    Args:
        tasks: All tasks.
        liveness: Why an open node (one that has not ended) is stalled.
    """

    def __init__(self, tasks: Tasks, liveness: Liveness) -> None:
        self._tasks = tasks
        self._liveness = liveness

    def stalled(self) -> Iterator[tuple[Job, Node, Verdict]]:
        """Iterate all stalled jobs, each with its open node and why it is stalled; no limit."""
        for task in self._tasks.by_id.values():
            if task.agg[STALLED]:
                for job in task.jobs.values():
                    verdict = self._liveness.job_verdict(job)
                    if verdict is not None and job.win is not None:
                        yield job, job.win, verdict

    def state(self, node: Node, card_ended: int | None) -> NodeState:
        """
        Return the state of a node (a span), and where its bar ends: if stalled, at its last sign.

        Why the node itself is stalled comes before the end of its card (what readers see of its
        task), but for mere silence. Otherwise an open node of an ended card counts as stalled, with
        the reason ``card_ended``; an open phase or span whose parent has ended, with
        ``parent_ended``, unless a job below it runs or it has heartbeats of its own. On the
        collector's event loop; raises nothing for nodes of the model.

        Args:
            node: Any but a virtual phase, which has no span; that is not checked.
            card_ended: When its card ended, microseconds; None while it is open.
        """
        if not is_open(node) and node.ended >> 3 != RULE:
            return _ended_by_report(node, node.ended & 7, node)
        if node.kind in (PHASE, SPAN) and has_ended(node):
            return NodeState(node.ended & 7, node.end, None, RULE)
        own = node.own
        job = own if type(own) is Job else None
        verdict: Verdict | None = None
        if job is not None and job.win is node:
            if job.st not in (PENDING, PROCESSING, STALLED):
                reported = self._reported(job, node)
                if reported.ended is not None or card_ended is None:
                    return reported
            else:
                verdict = self._liveness.job_verdict(job)
        elif job is not None and node.kind == JOB:
            report = report_of(job, node)
            if report is not None and report.ended >> 3 != RULE:
                return _ended_by_report(node, report.ended & 7, report)
            verdict = self._earlier(job, node, report)
        else:
            verdict = self._liveness.verdict(node, job)
        if verdict is None and job is None:
            verdict = self._ended_above(node)
        if verdict is not None and (card_ended is None or verdict.reason != "silent"):
            return NodeState(STALLED, verdict.at, verdict.reason, RULE)
        if card_ended is not None:
            last_seen = self._tasks.last_seen(own.task)
            return NodeState(STALLED, max(card_ended, last_seen), "card_ended", RULE)
        return NodeState(PENDING if node.kind == ENQUEUE else PROCESSING, None, None, 0)

    @staticmethod
    def _reported(job: Job, node: Node) -> NodeState:
        """An open node whose end its worker's parent process, the broker or a rule reported."""
        report = winner(job)[1]
        if report is None and is_open(node):
            # It waits for its next attempt, and the enqueue of that is all that is known of it.
            return NodeState(job.st, None, None, 0)
        return _ended_by_report(node, job.st, report or node)

    def _earlier(self, job: Job, node: Node, report: Node | None) -> Verdict | None:
        """Why an open attempt is stalled that is not the one which says where its job stands."""
        verdict = self._liveness.reported_stall(node, report)
        if verdict is not None:
            return verdict
        for run in runs_of(job):
            successor = run.successor(node)
            if successor is not None:
                return self._liveness.overtaken(node, successor)
        return self._liveness.verdict(node, job)

    @staticmethod
    def _ended_above(node: Node) -> Verdict | None:
        """An open phase or span ends with its parent, unless something says that it still runs."""
        if node.agg is not None and node.agg[PROCESSING]:
            return None
        if node.more is not None and node.more.beat_ms:
            return None  # a background task of a request outlives it
        parent = node.parent
        if type(parent) is Node and not is_open(parent) and parent.kind != ENQUEUE:
            return Verdict("parent_ended", max(parent.end, node.first))
        return None

    def nodes(self, task: Task) -> Iterator[tuple[Node, int]]:
        """
        Iterate a task's nodes and their depth, parents before children, siblings by (start, id).

        A node is a span, or what stands for one. The depth is 0 at the top and has no limit. A node
        whose parent is not held, or belongs to another task, is at the top. Left out are virtual
        phases (which have no span), and what only repeats an attempt that is known as a span. The
        task must not change meanwhile, which is not checked; else raises nothing. On the
        collector's event loop.
        """
        todo = [(node, 0) for node in sorted(self._local_roots(task), key=_row_order, reverse=True)]
        while todo:
            node, depth = todo.pop()
            yield node, depth
            kids = [kid for kid in children(node) if kid.own.task is task]
            kids.sort(key=_row_order, reverse=True)
            todo.extend((kid, depth + 1) for kid in kids)

    @staticmethod
    def _local_roots(task: Task) -> Iterator[Node]:
        jobs = (node for job in task.jobs.values() for node in job.nodes())
        for node in (*task.roots, *task.spans, *task.tops, *jobs):
            parent = node.parent
            own = node.own
            if type(parent) is Node and parent.own.task is task:
                continue
            is_repeated = type(own) is Job and is_shadowed(node, own)
            if not is_repeated and (node.key is not None or node.kind != PHASE):
                yield node


def _ended_by_report(node: Node, status: int, report: Node) -> NodeState:
    reason = None if report.more is None else report.more.reason
    return NodeState(status, end_of(node, report), reason, report.ended >> 3)


def end_of(node: Node, report: Node) -> int:
    """
    Return when a node ended, microseconds: of a lost worker, when that was last heard; pure.

    Who reports it does so once the silence is long enough: work of a worker that died after 3 s
    would be said to have taken 33 s.

    Args:
        node: One that is not open, or whose end ``report`` says.
        report: The node with that end; itself, if its own events say it.
    """
    reason = None if report.more is None else report.more.reason
    if reason != WORKER_LOST or report.ended >> 3 == SELF:
        return report.end
    lives = () if node.worker is None else node.worker.lives()
    heard = (*(one.heartbeat for one in lives), 0 if node.more is None else node.more.word)
    last = max((at for at in heard if 0 < at <= report.end), default=report.end)
    return max(last, node.start or 0)


def _row_order(node: Node) -> tuple[int, int, int, int, str, str]:
    own = node.own
    job_id = own.id if type(own) is Job else ""
    return node.first, node.key or 0, node.kind, node.attempt, job_id, node.run or ""
