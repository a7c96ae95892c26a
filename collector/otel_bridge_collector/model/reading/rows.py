"""The nodes of a task in order, how each stands, and all that is stalled with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from otel_bridge_collector.model.events import (
    ENQUEUE,
    PENDING,
    PHASE,
    PROCESSING,
    RULE,
    SPAN,
    STALLED,
)
from otel_bridge_collector.model.liveness import Liveness, Verdict
from otel_bridge_collector.model.nodes import Job, Node, Task, children
from otel_bridge_collector.model.runs import has_ended, is_open, is_shadowed, winner
from otel_bridge_collector.model.tasks import Tasks

__all__ = ["NodeState", "Rows"]


class NodeState(NamedTuple):
    """
    How one node stands.

    Attributes:
        status: A status code.
        ended: Where its bar ends; None while it is open.
        reason: Why it is stalled; None if it is not.
        ended_by: Who reported that end, a code of ``ENDED_BY``; 0 while it is open.
    """

    status: int
    ended: int | None
    reason: str | None
    ended_by: int


class Rows:
    """
    Reads nodes as of the latest sweep.

    Args:
        tasks: All tasks.
        liveness: The verdicts on what is open.
    """

    def __init__(self, tasks: Tasks, liveness: Liveness) -> None:
        self._tasks = tasks
        self._liveness = liveness

    def stalled(self) -> Iterator[tuple[Job, Node, Verdict]]:
        """All stalled jobs, each with the node that is open and the reason."""
        for task in self._tasks.by_id.values():
            if task.agg[STALLED]:
                for job in task.jobs.values():
                    verdict = self._liveness.job_verdict(job)
                    if verdict is not None and job.win is not None:
                        yield job, job.win, verdict

    def state(self, node: Node, card_ended: int | None) -> NodeState:
        """
        How a node stands, and where its bar ends: at its last evidence, where a rule ended it.

        A verdict on the node itself comes before that on its card, but for mere silence.

        Args:
            node: Any but a virtual phase.
            card_ended: When its card ended; nothing of an ended card is open.
        """
        if not is_open(node) and node.ended >> 3 != RULE:
            return NodeState(node.ended & 7, node.end, None, node.ended >> 3)
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
        report = report or node
        return NodeState(job.st, report.end, None, report.ended >> 3)

    @staticmethod
    def _ended_above(node: Node) -> Verdict | None:
        """An open phase or span ends with its parent, unless something below still runs."""
        if node.agg is not None and node.agg[PROCESSING]:
            return None
        parent = node.parent
        if type(parent) is Node and not is_open(parent) and parent.kind != ENQUEUE:
            return Verdict("parent_ended", max(parent.end, node.first))
        return None

    def nodes(self, task: Task) -> Iterator[tuple[Node, int]]:
        """
        A task's nodes with their depth, parents before children, siblings by (start, span id).

        A node whose parent is not held, or belongs to another task, is a root here. What only
        repeats an attempt that is known as a span is left out.
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


def _row_order(node: Node) -> tuple[int, int, int, int, str]:
    own = node.own
    job_id = own.id if type(own) is Job else ""
    return node.first, node.key or 0, node.kind, node.attempt, job_id
