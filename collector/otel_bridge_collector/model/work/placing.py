"""
The node that an event is about: found, or made, and put where the event says it belongs.

The facts that decide a node's place are merged here: its task, parent, kind, job and phase.
"""

from __future__ import annotations

from typing import Final

from otel_bridge_collector.model.events import (
    ENQUEUE,
    JOB,
    PHASE,
    RETRYING,
    SELF,
    TASK,
    Event,
    Fact,
    short_name,
)
from otel_bridge_collector.model.eviction import Eviction
from otel_bridge_collector.model.nodes import (
    AWAITS_PARENT,
    BLOCK_OF_END,
    KIND_BY_END,
    LINKED,
    NAMED,
    Job,
    Node,
    Task,
)
from otel_bridge_collector.model.processes.records import credit
from otel_bridge_collector.model.reading.gone import hash_of, is_gone, remember, retry_of
from otel_bridge_collector.model.tasks import Tasks
from otel_bridge_collector.model.tree import Tree
from otel_bridge_collector.model.work.job_ids import own_id
from otel_bridge_collector.model.work.jobs import Jobs
from otel_bridge_collector.model.work.merging import more_of

__all__ = ["Placing"]

_MAX_WAITING_HEARTBEATS: Final = 20_000
_MAX_REFUSED: Final = 50_000
_MAX_ATTEMPT: Final = 1_000_000
_BASE_ORDER: Final = {0: 0, LINKED: 1, NAMED: 2, NAMED | LINKED: 2}
"""Which word on a node's task or trace counts, by its mark."""


class Placing:
    """
    Finds or makes the node that an event is about: a span in a task's tree, or what stands for one.

    For the collector's event loop, without a lock. A node is not made if, after eviction, more than
    5/4 of a limit is held: by default of 400,000 nodes, 10,000 tasks and 256 MiB. Heartbeats that
    come before their span are kept for 20,000 spans; at the limit all of them are dropped. Only a
    span id that is not hex raises, ValueError.

    Args:
        tasks, tree, jobs, eviction: The parts of the model: what events change, and what makes
            room.
    """

    def __init__(self, tasks: Tasks, tree: Tree, jobs: Jobs, eviction: Eviction) -> None:
        self._tasks = tasks
        self._tree = tree
        self._jobs = jobs
        self._eviction = eviction
        self._block: str | None = None
        self._heartbeats: dict[int, tuple[int, int]] = {}
        """(ts, reception) of heartbeats of spans that are not known yet."""
        self._refused: set[int] = set()
        """Hashes of nodes that there was no room for: each counts once, however many its events."""

    def note_block(self, position: str) -> None:
        """The next events are in the 64 entries of the log after a position."""
        self._block = position

    def note_heartbeat(self, key: int, ts: int, seen: int) -> None:
        """A heartbeat of a span that is not known yet; kept for it, of 20,000 spans at most."""
        known = self._heartbeats.pop(key, (0, 0))
        if len(self._heartbeats) >= _MAX_WAITING_HEARTBEATS:
            self._heartbeats.clear()
        self._heartbeats[key] = (max(known[0], ts), max(known[1], seen))

    def node_of(
        self, event: Event, fact: Fact, kind: int, rank: int, base: Task, is_named: bool
    ) -> Node | None:
        """
        Return the event's node, in its place in the tree; a new one is made.

        On the collector's event loop; it may evict other tasks to make room.

        Args:
            event: Of a job, phase, span or task, with checked ids.
            fact: What its type says.
            kind: What it is: 0 span, 1 enqueue, 2 job, 3 phase, 4 research task.
            rank: Who reports its end: 1 a snapshot, 2 a rule, 3 another process, 4 the process
                itself; 0: no end.
            base: The task that it names, or the card of its trace.
            is_named: Whether it names a task.

        Returns:
            The node (a span, or what stands for one). None if it was evicted earlier, if there is
            no room for a new one (counted in the task's ``not_held``), or if it is a phase without
            a span beyond 100 of the task.

        Raises:
            ValueError: A span id is not hex.
        """
        if event.span_id is None:
            return self._spanless(event, fact, kind, base)
        key = int(event.span_id, 16)
        node = self._tree.nodes.get(key)
        if node is None:
            return self._new_node(event, fact, kind, rank, base, is_named, key)
        if base is not node.base or is_named != node.marks & NAMED:
            self._merge_base(node, event, base, is_named)
        if event.parent_span_id is not None:
            parent, parent_key = node.parent, int(event.parent_span_id, 16)
            if parent is None or (parent.key if type(parent) is Node else parent) != parent_key:
                self._tree.set_parent(node, parent_key)
        if kind != node.kind:
            self._merge_kind(node, event, kind, rank)
        elif rank == SELF:
            node.marks |= KIND_BY_END
        if len(event.meta) > 2:
            self._merge_block(node, rank)
        if kind == JOB or kind == ENQUEUE:  # noqa: SIM109  (a tuple takes twice the time)
            own = node.own
            if (
                type(own) is not Job
                or event.task_id != own.id
                or (event.phase is not None and event.phase != node.phase)
            ):
                self._merge_job(node, event)
        return node

    def _merge_block(self, node: Node, rank: int) -> None:
        """Where its attributes are: those of its own end are complete, else the newest count."""
        block = self._block
        if block is None or (rank != SELF and node.marks & BLOCK_OF_END):
            return
        node.block = block
        if rank == SELF:
            node.marks |= BLOCK_OF_END

    def _merge_job(self, node: Node, event: Event) -> None:
        """The job's id and the phase that its event names; of two the smaller."""
        own, job_id = node.own, event.task_id
        assert job_id is not None
        if type(own) is Job:
            if job_id != own.id and job_id < own_id(node):
                self._tree.change(node, node.kind, job_id)
        else:
            more = more_of(node)
            more.job = job_id if more.job is None else min(job_id, more.job)
        if event.phase and event.phase != node.phase:
            self._merge_phase(node, event.phase)

    def _merge_phase(self, node: Node, phase: str) -> None:
        phase = short_name(phase)
        if node.phase is None or phase < node.phase:
            node.phase = phase
            self._tree.place(node)

    def _new_node(
        self,
        event: Event,
        fact: Fact,
        kind: int,
        rank: int,
        base: Task,
        is_named: bool,
        key: int,
    ) -> Node | None:
        parent_key = None if event.parent_span_id is None else int(event.parent_span_id, 16)
        eviction = self._eviction
        if eviction.has_shed and self._is_gone(event, fact, base, is_named, key, parent_key):
            return None
        is_full = self._tree.size >= eviction.free_nodes
        if (is_full or self._refused) and not self._has_room(base, hash((base.id, key))):
            return None
        marks = KIND_BY_END if rank == SELF else 0
        marks |= NAMED if is_named else _link_mark(event, base)
        if parent_key is not None and event.name is not None and not event.remote_parent:
            # Of senders before OTLP 1.2 it is not known; but what these kinds do is asked from
            # another process.
            marks |= 0 if event.span_kind in ("SERVER", "CONSUMER") else AWAITS_PARENT
        job_id = phase = None
        if kind == JOB or kind == ENQUEUE:  # noqa: SIM109
            job_id, phase = event.task_id, event.phase
        node = Node(key, kind, base, base, phase=short_name(phase) if phase else None, marks=marks)
        node.block = self._block
        if rank == SELF and len(event.meta) > 2:
            self._merge_block(node, rank)
        if not is_named:
            base.loose.append(node)
        if key in self._heartbeats:
            more = more_of(node)
            more.word, more.seen = self._heartbeats.pop(key)
        self._tree.add(node, parent_key, job_id)
        return node

    def _has_room(self, base: Task, known: int) -> bool:
        """Whether the node with this hash may be made; one that may not counts as not held."""
        refused = self._refused
        has_room = self._eviction.has_room(base)
        if has_room:
            if known in refused:
                refused.remove(known)
                base.not_held -= base.not_held > 0
        elif known not in refused:
            if len(refused) >= _MAX_REFUSED:
                refused.clear()
            refused.add(known)
            base.not_held += 1
        return has_room

    def _is_gone(
        self,
        event: Event,
        fact: Fact,
        base: Task,
        is_named: bool,
        key: int | None,
        parent_key: int | None,
    ) -> bool:
        """Whether the event is about a node that was evicted; then its retry is counted."""
        owners = {base}
        trace_id = event.trace_id or base.id
        card = self._tasks.by_id.get(trace_id)
        if card is not None:
            owners.add(card)
        if not is_named:
            owners.update(self._tasks.of_trace.get(trace_id, ()))
            hosts = [self._tasks.only_task_of(owner) for owner in owners]
            owners.update(host for host in hosts if host is not None)
            parent = None if parent_key is None else self._tree.nodes.get(parent_key)
            if parent is not None:
                owners.add(parent.own.task)
        for task in owners:
            if task.gone is None:
                continue
            is_job_gone = event.task_id is not None and is_gone(task, hash_of(event.task_id))
            if is_job_gone or (key is not None and is_gone(task, key)):
                if key is not None and fact.status == RETRYING:
                    mark = retry_of(key)
                    if not is_gone(task, mark):
                        task.retries += 1
                        remember(task, mark)
                return True
        return False

    def _merge_base(self, node: Node, event: Event, base: Task, is_named: bool) -> None:
        """A task that an event names, then a linked trace, then its own; of two the smaller id."""
        mark = NAMED if is_named else _link_mark(event, base)
        if _BASE_ORDER[mark] < (known := _BASE_ORDER[node.marks & (NAMED | LINKED)]):
            return
        if _BASE_ORDER[mark] == known and base.id >= node.base.id:
            return
        node.base = base
        node.marks = node.marks & ~(NAMED | LINKED) | mark
        if not is_named:
            base.loose.append(node)
        self._tree.place(node)

    def _merge_kind(self, node: Node, event: Event, kind: int, rank: int) -> None:
        """The kind that the end reports, before any other; of two the greater."""
        is_by_end = rank == SELF
        if (is_by_end, kind) <= (bool(node.marks & KIND_BY_END), node.kind):
            return
        if is_by_end:
            node.marks |= KIND_BY_END
        if kind == node.kind:
            return
        job_id = event.task_id if kind in (JOB, ENQUEUE) else None
        task = node.own.task
        if job_id is not None and task.gone is not None and is_gone(task, hash_of(job_id)):
            # Its job was counted and is not held: this is an earlier attempt of it.
            return
        credit(node, -1)
        self._tree.change(node, kind, job_id)
        credit(node, 1)
        self._jobs.count_failure(node)

    def _spanless(self, event: Event, fact: Fact, kind: int, base: Task) -> Node | None:
        """What stands for a job's attempt, a phase or a root of a publisher without spans."""
        if kind == PHASE:
            assert event.phase is not None
            phase = self._tree.virtual_phase(base, short_name(event.phase))
            return phase if type(phase) is Node else None
        attempt = event.retry_count or 0
        if attempt > _MAX_ATTEMPT:
            attempt = _MAX_ATTEMPT
        found: Node | None = None
        if kind == TASK:
            found = next((node for node in base.roots if node.key is None), None)
        else:
            assert event.task_id is not None
            job = base.jobs.get(event.task_id)
            if job is not None:
                found = job.first
                run = event.run_id
                while found is not None and (
                    found.attempt != attempt
                    or found.key is not None
                    or found.kind != kind
                    or found.run != run
                ):
                    found = found.next
        if found is not None:
            if event.phase and kind != TASK and event.phase != found.phase:
                self._merge_phase(found, event.phase)
            return found
        eviction = self._eviction
        if eviction.has_shed and self._is_gone(event, fact, base, True, None, None):
            return None
        is_full = self._tree.size >= eviction.free_nodes
        if (is_full or self._refused) and not self._has_room(
            base, hash((base.id, kind, event.task_id, attempt, event.run_id))
        ):
            return None
        node = Node(None, kind, base, base, marks=NAMED, attempt=attempt)
        if kind != TASK:
            base.has_spanless = True
            node.run = event.run_id
            if event.phase:
                node.phase = short_name(event.phase)
        self._tree.add_spanless(node, None if kind == TASK else event.task_id)
        return node


def _link_mark(event: Event, base: Task) -> int:
    """Of an event that names no task: whether ``base`` is the card of another trace than its."""
    trace_id = event.trace_id
    return 0 if trace_id is None or trace_id == base.id else LINKED
