"""
The node that an event is about: found, or made, and put where the event says it belongs.

The facts that decide a node's place are merged here: its task, parent, kind, job and phase.
"""

from __future__ import annotations

from sys import intern
from typing import Final

from otel_bridge_collector.model.events import (
    ENQUEUE,
    FACTS,
    JOB,
    PHASE,
    RETRYING,
    SELF,
    TASK,
    Event,
    Fact,
    shorten,
)
from otel_bridge_collector.model.eviction import Eviction, hash_of, is_gone, retry_of
from otel_bridge_collector.model.nodes import KIND_BY_END, NAMED, Job, Node, Task
from otel_bridge_collector.model.tasks import Tasks, is_named
from otel_bridge_collector.model.tree import Tree
from otel_bridge_collector.model.work.jobs import Jobs
from otel_bridge_collector.model.work.merging import more_of, rank_of

__all__ = ["Placing"]

_MAX_WAITING_HEARTBEATS: Final = 20_000
_MAX_ATTEMPT: Final = 1_000_000
_MAX_PHASE: Final = 100


class Placing:
    """
    Finds and makes nodes.

    Args:
        tasks, tree, jobs, eviction: The parts of the model.
    """

    def __init__(self, tasks: Tasks, tree: Tree, jobs: Jobs, eviction: Eviction) -> None:
        self._tasks = tasks
        self._tree = tree
        self._jobs = jobs
        self._eviction = eviction
        self._heartbeats: dict[int, tuple[int, int]] = {}
        """(ts, reception) of heartbeats of spans that are not known yet."""

    def note_heartbeat(self, key: int, ts: int, seen: int) -> None:
        """A heartbeat of a span that is not known yet; kept for it, of 20,000 spans at most."""
        known = self._heartbeats.pop(key, (0, 0))
        if len(self._heartbeats) >= _MAX_WAITING_HEARTBEATS:
            self._heartbeats.clear()
        self._heartbeats[key] = (max(known[0], ts), max(known[1], seen))

    def node_of(self, event: Event, fact: Fact, kind: int, base: Task) -> Node | None:
        """The event's node, in its place; None for one that is no longer held."""
        span_id = event.span_id
        if span_id is None:
            return self._spanless(event, kind, base)
        key = int(span_id, 16)
        node = self._tree.nodes.get(key)
        if node is None:
            return self._new_node(event, fact, kind, base, key)
        if node.ended:
            self._jobs.credit(node, -1)
        if not node.marks & NAMED or base is not node.base:
            self._merge_base(node, event, base)
        if event.parent_span_id is not None:
            self._tree.set_parent(node, int(event.parent_span_id, 16))
        self._merge_kind(node, event, fact, kind)
        self._merge_phase(node, event, kind)
        return node

    def _merge_phase(self, node: Node, event: Event, kind: int) -> None:
        """The phase that a job's event names, for where no span says it; of two the smaller."""
        if event.phase and kind in (JOB, ENQUEUE):
            phase = shorten(event.phase, _MAX_PHASE)
            if node.phase is None or phase < node.phase:
                node.phase = intern(phase)
                self._tree.place(node)

    def _new_node(self, event: Event, fact: Fact, kind: int, base: Task, key: int) -> Node | None:
        job_id = event.task_id if kind in (JOB, ENQUEUE) else None
        parent_key = None if event.parent_span_id is None else int(event.parent_span_id, 16)
        if self._is_gone(event, fact, base, key, parent_key) or not self._has_room(base):
            return None
        node = Node(key, kind, base, base)
        if is_named(event):
            node.marks = NAMED
        else:
            base.loose.append(node)
        if job_id is not None and event.phase:
            node.phase = intern(shorten(event.phase, _MAX_PHASE))
        if rank_of(event, fact) == SELF:
            node.marks |= KIND_BY_END
        heartbeat = self._heartbeats.pop(key, None)
        if heartbeat is not None:
            more = more_of(node)
            more.word, more.seen = heartbeat
        self._tree.add(node, parent_key, job_id)
        return node

    def _has_room(self, base: Task) -> bool:
        if self._eviction.has_room(base):
            return True
        base.not_held += 1
        return False

    def _is_gone(
        self, event: Event, fact: Fact, base: Task, key: int | None, parent_key: int | None
    ) -> bool:
        """Whether the event is about a node that was evicted from its task; then it is counted."""
        if not self._eviction.has_shed:
            return False
        owners = {base}
        trace_id = event.trace_id or base.id
        card = self._tasks.by_id.get(trace_id)
        if card is not None:
            owners.add(card)
        if not is_named(event):
            owners.update(self._tasks.of_trace.get(trace_id, ()))
            parent = None if parent_key is None else self._tree.nodes.get(parent_key)
            if parent is not None:
                owners.add(parent.own.task)
        for task in owners:
            if task.gone is None:
                continue
            is_job_gone = event.task_id is not None and is_gone(task, hash_of(event.task_id))
            if is_job_gone or (key is not None and is_gone(task, key)):
                task.late += 1
                if key is not None and fact.status == RETRYING:
                    mark = retry_of(key)
                    if not is_gone(task, mark):
                        task.retries += 1
                        self._eviction.remember(task, mark)
                return True
        return False

    def _merge_base(self, node: Node, event: Event, base: Task) -> None:
        """The task that an event names, before the card of its trace; of two the smaller id."""
        named = is_named(event)
        known = bool(node.marks & NAMED)
        if named < known or (named == known and base.id >= node.base.id):
            return
        node.base = base
        if named:
            node.marks |= NAMED
        else:
            base.loose.append(node)
        self._tree.place(node)

    def _merge_kind(self, node: Node, event: Event, fact: Fact, kind: int) -> None:
        """The kind that the end reports, before any other; of two the greater."""
        is_by_end = rank_of(event, fact) == SELF
        job_id = event.task_id if kind in (JOB, ENQUEUE) else None
        new_kind = node.kind
        if (is_by_end, kind) > (bool(node.marks & KIND_BY_END), node.kind):
            new_kind = kind
            if is_by_end:
                node.marks |= KIND_BY_END
        own = node.own
        if new_kind != node.kind and job_id is not None and is_gone(own.task, hash_of(job_id)):
            # Its job was counted and is not held: this is an earlier attempt of it.
            own.task.late += 1
            return
        is_job_new = type(own) is Job and job_id is not None and job_id < own.id
        if new_kind != node.kind or is_job_new:
            self._tree.change(node, new_kind, job_id)
        elif type(own) is not Job and job_id is not None:
            more = more_of(node)
            more.job = job_id if more.job is None else min(job_id, more.job)

    def _spanless(self, event: Event, kind: int, base: Task) -> Node | None:
        """What stands for a job's attempt, a phase or a root of a publisher without spans."""
        if kind == PHASE:
            assert event.phase is not None
            phase = self._tree.virtual_phase(base, intern(shorten(event.phase, _MAX_PHASE)))
            return phase if type(phase) is Node else None
        if kind == TASK:
            found = next((node for node in base.roots if node.key is None), None)
        else:
            found = _attempt_of(base, event, kind)
        if found is not None:
            self._jobs.credit(found, -1)
            self._merge_phase(found, event, kind)
            return found
        fact = FACTS[event.event_type]
        if self._is_gone(event, fact, base, None, None) or not self._has_room(base):
            return None
        node = Node(
            None, kind, base, base, marks=NAMED, attempt=min(event.retry_count or 0, _MAX_ATTEMPT)
        )
        if kind != TASK:
            base.has_spanless = True
            if event.phase:
                node.phase = intern(shorten(event.phase, _MAX_PHASE))
        self._tree.add_spanless(node, None if kind == TASK else event.task_id)
        return node


def _attempt_of(base: Task, event: Event, kind: int) -> Node | None:
    assert event.task_id is not None
    job = base.jobs.get(event.task_id)
    attempt = min(event.retry_count or 0, _MAX_ATTEMPT)
    for node in () if job is None else job.nodes():
        if node.key is None and node.kind == kind and node.attempt == attempt:
            return node
    return None
