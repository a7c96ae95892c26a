"""
``Fold``: events into tasks, workers, queues and failures. Pure: no clock, no network.

Any order of the same events, any of them repeated, gives the same state: an event merges facts into
one node, and what follows from facts (task, container, job, counts) is brought up to date by
difference. Event ids are remembered only to keep duplicates off the raw stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern
from typing import Final

from otel_bridge_collector.model.events import (
    COMPLETED,
    FACTS,
    FAILED,
    JOB,
    PHASE,
    PROCESSING,
    RETRYING,
    WORD,
    Event,
    Fact,
    microseconds,
    shorten,
)
from otel_bridge_collector.model.eviction import Eviction, Limits
from otel_bridge_collector.model.failures import Failures
from otel_bridge_collector.model.nodes import (
    NAMED,
    REPEATED,
    RETRIED,
    Job,
    Node,
    Task,
    forget_times,
)
from otel_bridge_collector.model.queues import Queues
from otel_bridge_collector.model.reading.cards import Cards
from otel_bridge_collector.model.reading.phases import sample
from otel_bridge_collector.model.reading.rows import Rows
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.model.tasks import Tasks, is_named
from otel_bridge_collector.model.tree import Tree
from otel_bridge_collector.model.work.jobs import Jobs
from otel_bridge_collector.model.work.merging import (
    is_own_verdict,
    kind_of,
    merge_host,
    merge_message,
    merge_node,
    more_of,
    rank_of,
)
from otel_bridge_collector.model.work.placing import Placing
from otel_bridge_collector.model.workers import Workers

__all__ = ["Fold"]

_PROGRESS: Final = Fact(WORD, PROCESSING, PHASE)
_HEX: Final = frozenset("0123456789abcdef")


class Fold:
    """
    The state, folded event by event.

    Args:
        limits: How much is held.
        heartbeat_ttl_sec: Silence after which a worker's incarnation is gone.
        stats: Counted into; None makes one.

    Attributes:
        tasks: Tasks and cards by id; which task a trace is.
        tree: Nodes by span id.
        workers, queues, failures: Folded likewise.
        liveness: Verdicts on what is open, as of the latest ``sweep``.
        cards, rows: What a view reads.
        running: Jobs that run.
        dirty: Tasks that look different since a reader cleared it.
        evicted: Ids of tasks that were evicted since a reader cleared it.
        skipped: Events of unknown types: passed on, folded by nothing.
        task: Of the event folded last; None for one of workers or queues.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        heartbeat_ttl_sec: float = 30.0,
        stats: RollingStats | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.stats = stats or RollingStats()
        self.tasks = Tasks()
        self.workers = Workers(int(heartbeat_ttl_sec * 1_000_000), self.limits.workers)
        self.queues = Queues(self.limits.queues)
        self.failures = Failures()
        self._jobs = Jobs(self.tasks, self.workers, self.queues, self.failures)
        self.liveness = self._jobs.liveness
        self.dirty = self._jobs.dirty
        self.running = self.liveness.running
        self.tree = Tree(self.tasks, self._jobs.evaluate, self.failures.moved)
        self.cards = Cards(self.tasks, self.liveness)
        self.rows = Rows(self.tasks, self.liveness)
        self.skipped = 0
        self.task: Task | None = None
        self._eviction = Eviction(
            self.limits, self.tree, self.tasks, self.failures, self.liveness, self.cards
        )
        self.evicted = self._eviction.evicted
        self._placing = Placing(self.tasks, self.tree, self._jobs, self._eviction)
        self._new_ids: set[int] = set()
        self._old_ids: set[int] = set()

    # --- entry -----------------------------------------------------------------------------------

    def apply(self, event: Event, seen: int) -> bool:
        """
        Fold one event.

        Args:
            event: Any event.
            seen: Its reception, microseconds since the Unix epoch: the collector's clock for a live
                event, the event's own ``ts`` for one read back. Liveness is evaluated by it, so
                that a worker with a wrong clock is not taken for dead.

        Returns:
            False when this event was folded before, as far as its id is remembered.
        """
        known = hash(event.event_id)
        if known in self._new_ids or known in self._old_ids:
            return False
        self._new_ids.add(known)
        if len(self._new_ids) * 2 > self.limits.event_ids:
            self._old_ids, self._new_ids = self._new_ids, set()
        ts = microseconds(event.ts)
        fact = FACTS.get(event.event_type)
        self.task = None
        if fact is not None:
            self._apply_work(event, fact, ts, seen)
        else:
            self._apply_rest(event, ts, seen)
        return True

    def knows(self, event_id: str) -> bool:
        """Whether an event with this id was folded, as far as ids are remembered."""
        known = hash(event_id)
        return known in self._new_ids or known in self._old_ids

    def project_of(self, event: Event) -> str | None:
        """The project of the event folded last: its own, else that of its task; None if mixed."""
        task = self.task
        if event.project_id is not None or task is None:
            return event.project_id
        return None if task.is_mixed else task.project

    def project_of_task(self, task_id: str | None) -> str | None:
        """The project of a task or of a trace's card; None if it has none, or several."""
        task = None if task_id is None else self.tasks.by_id.get(task_id)
        return None if task is None or task.is_mixed else task.project

    def sweep(self, now: int) -> None:
        """Evaluate liveness at ``now`` (microseconds) and sample rates; called once a second."""
        touched = list(self.liveness.touched)
        self.liveness.sweep(now)
        for task in touched:
            if task.tops:
                sample(task, self.liveness.now)
        self.dirty.update(self.liveness.due)
        self.liveness.due.clear()

    # --- work ------------------------------------------------------------------------------------

    def _apply_work(self, event: Event, fact: Fact, ts: int, seen: int) -> None:
        base = self._base_of(event, ts, seen)
        kind = kind_of(event, fact)
        node = None if kind is None else self._placing.node_of(event, fact, kind, base)
        if kind is None or node is None:
            self._touch(base)
            return
        own = node.own
        before = own.st if type(own) is Job else -1
        known_first = node.first
        merge_node(node, event, fact, kind, ts, seen)
        if event.worker_id is not None or event.incarnation is not None:
            self._merge_host(node, event, kind, seen)
        if fact.status == RETRYING and not node.marks & RETRIED and rank_of(event, fact):
            node.marks |= RETRIED
            if not node.marks & REPEATED:
                own.task.retries += 1
        self._count_end(node)
        if type(own) is Job:
            self._jobs.evaluate(own)
            if own.st in (COMPLETED, FAILED) and before not in (COMPLETED, FAILED):
                self.stats.count_end(seen, _project(own.task, event), own.st == FAILED)
        task = own.task
        if node.first > known_first > 0:
            _forget_times(node, task)
        if not task.roots:
            self.tasks.offer_face(task, node)
        self._touch(base)
        if task is not base:
            self._touch(task)
        self.stats.count_event(seen, _project(task, event))
        if task.size > self.limits.nodes_per_task:
            self._eviction.grown(task)

    def _count_end(self, node: Node) -> None:
        if node.ended:
            self._jobs.credit(node, 1)
            if node.ended & 7 == FAILED or node.more is not None:
                self._jobs.count_failure(node)

    def _touch(self, task: Task) -> None:
        self.task = task
        self.dirty.add(task)
        self.liveness.touched.add(task)
        if not task.is_named:
            named = self.tasks.only_task_of(task)
            if named is not None:
                self.liveness.touched.add(named)

    def _base_of(self, event: Event, ts: int, seen: int) -> Task:
        """The task or card that an event names; merges the facts about it."""
        task_id = event.parent_task_id or event.trace_id or ""
        task = self.tasks.by_id.get(task_id)
        if task is None:
            task = self.tasks.get_or_make(task_id)
            if len(self.tasks.by_id) > self.limits.tasks:
                self._eviction.has_room(task)
        if task.first is None or ts < task.first:
            task.first = ts
        if seen > task.seen and not is_own_verdict(event):
            task.seen = seen
        project = event.project_id
        if project is not None and project != task.project:
            self._place_loose(self.tasks.note_project(task, intern(project)))
        if is_named(event):
            task.is_named = True
            if event.trace_id is not None:
                card = self.tasks.note_trace(task, event.trace_id)
                if card is not None:
                    self._place_loose((card,))
        return task

    def _place_loose(self, cards: Iterable[Task]) -> None:
        """Find again where nodes that know only their trace belong."""
        for card in cards:
            for node in list(card.loose):
                if node.base is card and not node.marks & NAMED:
                    self.tree.place(node)

    def _merge_host(self, node: Node, event: Event, kind: int, seen: int) -> None:
        """Who ran it; an end that another process reported carries that process' incarnation."""
        is_own = event.ended_by not in ("other", "rule")
        incarnation = event.incarnation if is_own else None
        host = self.workers.host_of(event.worker_id, incarnation)
        if host is None:
            return
        merge_host(node, host)
        if event.worker_id is None:
            return
        worker = self.workers.worker(event.worker_id)
        if event.event_type != "task_stalled" and seen > worker.heard:
            worker.heard = seen
        if kind == JOB and type(event.queue) is str:
            queue = self.queues.queue(event.queue)
            if queue is not None:
                queue.hosts.add(worker)

    # --- everything else -------------------------------------------------------------------------

    def _apply_rest(self, event: Event, ts: int, seen: int) -> None:
        kind = event.event_type
        if kind == "stats_snapshot":
            if event.parent_task_id is None:
                # The leader's own numbers: counted, each would cause the next.
                return
            self._apply_progress(event, ts, seen)
        elif kind == "queue_depth_update":
            self.queues.apply(event, ts)
        elif kind == "span_beats":
            self._apply_heartbeats(event, ts, seen)
        elif kind.startswith("worker_") and event.worker_id is not None:
            incarnation, is_news = self.workers.apply(event, ts, seen)
            self.liveness.heard(incarnation, is_news)
        else:
            self.skipped += 1
        task = self.task
        self.stats.count_event(seen, event.project_id if task is None else _project(task, event))

    def _apply_progress(self, event: Event, ts: int, seen: int) -> None:
        """A ``stats_snapshot`` of a research task: absolute numbers of a phase, and a message."""
        base = self._base_of(event, ts, seen)
        node: Node | None = None
        if event.phase:
            node = self._placing.node_of(event, _PROGRESS, PHASE, base)
        if event.message is not None:
            message = (ts, shorten(event.message, 300))
            base.message = message if base.message is None else max(base.message, message)
            if node is not None:
                merge_message(node, message)
        if node is not None:
            merge_node(node, event, _PROGRESS, PHASE, ts, seen)
            self._touch(node.own.task)
        self._touch(base)

    def _apply_heartbeats(self, event: Event, ts: int, seen: int) -> None:
        """Heartbeats of open spans, by their ids; those not known yet are waited for."""
        for span_id in event.spans or ():
            if len(span_id) != 16 or not _HEX.issuperset(span_id):
                continue
            key = int(span_id, 16)
            node = self.tree.nodes.get(key)
            if node is None:
                self._placing.note_heartbeat(key, ts, seen)
                continue
            more = more_of(node)
            more.word = max(more.word, ts)
            more.seen = max(more.seen, seen)
            own = node.own
            if type(own) is Job:
                self._jobs.evaluate(own)
            self._touch(own.task)


def _project(task: Task, event: Event) -> str | None:
    """Whose numbers an event counts in: its task's; of a mixed task its own, if it has one."""
    return event.project_id if task.is_mixed else task.project


def _forget_times(node: Node, task: Task) -> None:
    """Only the end was known, by a clock that is ahead: what was the first may not be it now."""
    task.is_face_known = False
    if type(node.own) is Job:
        forget_times(node.own)
