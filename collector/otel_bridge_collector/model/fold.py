"""
``Fold``: events into tasks, workers, queues and failures. Pure: no clock, no network.

An event merges facts into one node, and what follows from facts (task, container, job, counts) is
brought up to date by difference. Ids are remembered only to keep duplicates off the raw stream.
"""

from __future__ import annotations

from typing import Final

from otel_bridge_collector.model.events import (
    COMPLETED,
    END,
    FACTS,
    FAILED,
    JOB,
    OTHER,
    PHASE,
    PROCESSING,
    SELF,
    SPAN,
    STALLED,
    TASK,
    WORD,
    Event,
    Fact,
    shorten,
)
from otel_bridge_collector.model.eviction import Eviction, Limits
from otel_bridge_collector.model.failures import Failures
from otel_bridge_collector.model.nodes import Host, Job, Node, Task, changed, forget_times
from otel_bridge_collector.model.queues import Queues
from otel_bridge_collector.model.reading.cards import Cards
from otel_bridge_collector.model.reading.phases import sample
from otel_bridge_collector.model.reading.rows import Rows
from otel_bridge_collector.model.shape.faces import is_direct_job
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.model.tasks import Tasks, is_link, names_task
from otel_bridge_collector.model.tree import Tree
from otel_bridge_collector.model.work.event_ids import EventIds
from otel_bridge_collector.model.work.job_ids import JobIds
from otel_bridge_collector.model.work.jobs import Jobs, note_first
from otel_bridge_collector.model.work.learning import Learning
from otel_bridge_collector.model.work.merging import (
    merge_host,
    merge_message,
    merge_node,
    more_of,
)
from otel_bridge_collector.model.work.placing import Placing
from otel_bridge_collector.model.work.ranks import is_own_verdict, kind_of, rank_of
from otel_bridge_collector.model.workers import Workers

__all__ = ["Fold"]

_PROGRESS: Final = Fact(WORD, PROCESSING, PHASE)
_HEX: Final = frozenset("0123456789abcdef")
_OVER: Final = (COMPLETED, FAILED)


class Fold:
    """
    The collector's state; it folds (merges) each event into tasks, workers, queues and failures.

    Any order of the same events, repeated or not, gives the same state. For the event loop, without
    a lock; reads no clock. A task consists of nodes, one for each span; its card is what readers
    see of it. Over ``limits`` tasks are evicted (forgotten), those that are over first. Raises
    nothing for events that ``log.decoding`` has checked.

    Args:
        limits: None: 10,000 tasks, 400,000 nodes, 256 MiB and the other defaults of ``Limits``.
        heartbeat_ttl_sec: Silence that ends an incarnation, one life of a worker's process.
        stats: Counts events and ended jobs by second; None makes one.

    Attributes:
        tasks, tree, workers, queues, failures: What is held; ``tree`` has the nodes by span id.
        liveness: Why an open node (one not ended) is stalled; ``running``: the jobs that run.
        dirty, evicted: Tasks that look different, and ids of those evicted; a reader clears both.
        cards, rows, skipped: What views read of tasks, of nodes; number of events of unknown types.
        evicted_ends: By task, when attempts ended that it no longer holds; only to be read.
        task, ts: Task (None: of workers, queues) and time, microseconds, of the last event.
        admit: ``EventIds.add_all``: which events of a read are no repeats.
        note_block, note_heartbeat, forget, set_limits: As of ``Placing`` and ``Eviction``.
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
        self._jobs = jobs = Jobs(self.tasks, self.workers, self.queues, self.failures)
        self.liveness = self._jobs.liveness
        self._dirty = self._jobs.dirty
        self.running = self.liveness.running
        self.tree = Tree(self.tasks, jobs.reevaluate, self.failures.moved, jobs.count_roots)
        self.cards = Cards(self.tasks, self.liveness)
        self.rows = Rows(self.tasks, self.liveness)
        self.skipped = 0
        self.task: Task | None = None
        self.ts = 0
        self._eviction = Eviction(
            self.limits, self.tree, self.tasks, self.failures, self.liveness, self.cards
        )
        self.evicted, self.evicted_ends = self._eviction.evicted, self._eviction.ends
        self.forget, self.set_limits = self._eviction.forget, self._eviction.set_limits
        self._placing = Placing(self.tasks, self.tree, self._jobs, self._eviction)
        self._ids = EventIds(self.limits.event_ids)
        self.admit = self._ids.add_all
        placing, self._node_of = self._placing, self._placing.node_of
        self.note_block, self.note_heartbeat = placing.note_block, placing.note_heartbeat
        self._learn = Learning(self.tasks, self.tree).learn
        self._agree = JobIds(self.tree, jobs.reevaluate).agree
        self._evaluate = self._jobs.evaluate
        self._changed: set[Task] = set()
        """Tasks of which an event was folded since the last sweep or ``take_dirty``."""

    # --- entry -----------------------------------------------------------------------------------

    def apply(self, event: Event, seen: int) -> bool:
        """``fold`` an event; False, and no change, for a repeat of one of the newest 78,000."""
        if not self._ids.add(event.event_id):
            return False
        self.fold(event, seen)
        return True

    def fold(self, event: Event, seen: int) -> None:  # noqa: C901  (each call costs 0.1 us)
        """
        Merge one event, which is no repeat: ``admit`` says so of all events of a read.

        On the collector's event loop. Over 5/4 of a limit (by default 10,000 tasks, 400,000 nodes,
        256 MiB), after eviction, no node is made for it; it is only counted.

        Args:
            event: Checked by ``log.decoding``. One that is not may raise (ValueError for a span id
                that is not hex) and counts as folded; the log's reader logs it and goes on.
            seen: Its reception, microseconds since the Unix epoch: the collector's clock if live,
                the event's ``ts`` if read back. Liveness goes by it: workers' clocks may be wrong.
        """
        self.ts = ts = int(event.ts.timestamp() * 1e6 + 0.5)
        stats = self.stats
        if not stats.second_from <= seen < stats.second_to:
            stats.begin_second(seen)
        fact = FACTS.get(event.event_type)
        if fact is None:
            self.task = None
            self._apply_rest(event, ts, seen)
            return
        trace_id, task_id = event.trace_id, event.parent_task_id
        is_root = False
        if trace_id is not None:
            is_named = names_other = task_id is not None and task_id != trace_id
            if names_other and event.name is not None:  # a third-party span
                is_named = not is_link(event)
                is_root = event.task_id == trace_id
        else:
            is_named = task_id is not None and (len(task_id) != 32 or names_task(event))
            names_other = is_named
        base = self.tasks.by_id.get(task_id or trace_id or "")
        if base is None:
            base = self._new_task(task_id or trace_id or "")
        if base.first is None or ts < base.first:
            base.first = ts
        if seen > base.seen and (event.reason is None or not is_own_verdict(event)):
            base.seen = seen
        project = event.project_id
        if (project is not None and project != base.project) or (
            names_other and trace_id != base.last_trace
        ):
            self._learn(base, event)
        side, kind = fact.side, fact.kind
        if kind != JOB or event.span_kind is not None or event.task_id is None:
            kind = kind_of(event, fact)
        elif event.task_id == task_id or is_root:
            kind = TASK
        rank = 0
        if side == END:
            rank = SELF if event.span_id is not None else OTHER
            if event.ended_by is not None or fact.status == STALLED:
                rank = rank_of(event, fact)
        node = self._node_of(event, fact, kind, rank, base, is_named) if kind >= 0 else None
        if self.tree.unsure:
            self._agree()
        if node is None:
            stats.count_event(seen, project if base.is_mixed else base.project)
            stats.events_not_held += kind >= 0
            if event.worker_id is not None:
                self._merge_host(None, event, kind, seen)
            self._touch(base)
            return
        start, end = node.start, node.end
        if merge_node(node, event, fact, kind, rank, ts, seen) and (
            node.ended & 7 == FAILED or node.more is not None
        ):
            self._jobs.count_failure(node)
        if event.worker_id is not None or event.incarnation is not None:
            self._merge_host(node, event, kind, seen)
        own = node.own
        task = own.task
        if type(own) is Job:
            before = own.st
            self._evaluate(own)
            after = own.st
            if after >= COMPLETED and after not in (before, STALLED) and before not in _OVER:
                if task.is_mixed:
                    stats.count_end(seen, project, after == FAILED)
                else:
                    task.ends += 1
                    task.failures += after == FAILED
        elif task.changes is not None:
            task.changes.add(node)
        if (start is None or node.start != start) and (task.virtual or not task.roots):
            self._note_first(node, task, end if start is None else start)
        if task is not base or not is_named:
            self._touch(base)
            self._touch(task)
        else:
            self.task = task
            self._changed.add(task)
        if task.is_mixed:
            stats.count_event(seen, project)
        else:
            stats.events_in += 1
            if not task.events:
                stats.waiting.append(task)
            task.events += 1
        if task.size > self.limits.nodes_per_task:
            self._eviction.grown(task)

    def knows(self, event_id: str) -> bool:
        """Whether an event with this id was folded, as far as ids are remembered."""
        return event_id in self._ids

    @property
    def dirty(self) -> set[Task]:
        """Tasks that look different since a reader cleared it: by events, verdicts or time."""
        self._flush_changed()
        return self._dirty

    def _flush_changed(self) -> None:
        self._agree()
        self._dirty.update(self._changed, self.tree.left)
        self.tree.left.clear()
        self.liveness.touched.update(self._changed)
        self._changed.clear()

    def sweep(self, now: int) -> None:
        """Evaluate liveness at ``now`` (microseconds) and sample rates; called once a second."""
        self._flush_changed()
        touched = list(self.liveness.touched)
        self.liveness.sweep(now)
        for task in touched:
            if task.tops:
                sample(task, self.liveness.now)
        self._dirty.update(self.liveness.due)
        self.liveness.due.clear()

    # --- work ------------------------------------------------------------------------------------

    def _note_first(self, node: Node, task: Task, known: int) -> None:
        """A node is new, or is known to have begun at another time than was known."""
        start, own = node.start, node.own
        first = node.end if start is None else start
        if type(own) is Job:
            at = own.at
            if type(at) is Node and at.key is None:
                if first > known > 0:
                    forget_times(own)
                else:
                    more = at.more
                    if more is None or not 0 < more.first <= first:
                        note_first(at, first)
        if first > known > 0:
            # Only the end was known, by a clock that is ahead: what was the first may not be it.
            task.is_face_known = False
        if not task.roots:
            face = task.face
            # Most are later than what is shown, and need no closer look.
            if (
                face is None
                or face.start is None
                or first <= face.start
                or face.kind == SPAN
                or node.kind != JOB
                or (node.parent is not None and is_direct_job(node))
            ):
                self.tasks.offer_face(task, node)

    def _touch(self, task: Task) -> None:
        self.task = task
        self._changed.add(task)
        if not task.is_named and (named := self.tasks.only_task_of(task)) is not None:
            self._changed.add(named)

    def _new_task(self, task_id: str) -> Task:
        task = self.tasks.get_or_make(task_id)
        if len(self.tasks.by_id) > self.limits.tasks:
            self._eviction.has_room(task)
        return task

    def _merge_host(self, node: Node | None, event: Event, kind: int, seen: int) -> None:
        """
        Who ran it; an end that another process reported carries that process' incarnation.

        Without a node, as of one that is no longer held, only what the worker and the queue learn:
        whether a queue is in use must not depend on what is held.
        """
        worker_id, incarnation = event.worker_id, event.incarnation
        worker = None
        if worker_id is not None:
            worker = self.workers.known.get(worker_id) or self.workers.worker(worker_id)
        host: Host | None = worker
        ended_by = event.ended_by
        if node is None:
            host = None
        elif incarnation is not None and (ended_by is None or ended_by not in ("other", "rule")):
            host = None if worker is None else worker.incarnations.get(incarnation)
            if host is None:
                host = self.workers.host_of(worker, incarnation)
        if node is not None and host is not None and host is not node.worker:
            if node.worker is None and not node.ended:
                node.worker = host
            else:
                merge_host(node, host)
        if worker is None:
            return
        if seen > worker.heard and event.event_type != "task_stalled":
            worker.heard = seen
        if event.queue is not None and kind == JOB and type(event.queue) is str:
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
            if incarnation.queues is not None:
                self.queues.note_worker(incarnation.worker, incarnation.queues[1])
        else:
            self.skipped += 1
        task = self.task
        # Of a mixed task each event counts in its own project.
        project = event.project_id if task is None or task.is_mixed else task.project
        self.stats.count_event(seen, project)

    def _apply_progress(self, event: Event, ts: int, seen: int) -> None:
        """A ``stats_snapshot`` of a research task: absolute numbers of a phase, and a message."""
        is_named = names_task(event)
        task_id = event.parent_task_id or event.trace_id or ""
        base = self.tasks.by_id.get(task_id) or self._new_task(task_id)
        base.first = ts if base.first is None else min(base.first, ts)
        base.seen = max(base.seen, seen)
        if is_named or event.project_id is not None:
            self._learn(base, event)
        node: Node | None = None
        if event.phase:
            node = self._node_of(event, _PROGRESS, PHASE, 0, base, is_named)
        if event.message is not None:
            message = (ts, shorten(event.message, 300))
            base.message = message if base.message is None else max(base.message, message)
            if node is not None:
                merge_message(node, message)
        if node is not None:
            merge_node(node, event, _PROGRESS, PHASE, 0, ts, seen)
            self._touch(node.own.task)
            changed(node)
        self._touch(base)

    def _apply_heartbeats(self, event: Event, ts: int, seen: int) -> None:
        """Heartbeats of open spans, by their ids; those not known yet are waited for."""
        for span_id in event.spans or ():
            if len(span_id) != 16 or not _HEX.issuperset(span_id):
                continue
            key = int(span_id, 16)
            node = self.tree.nodes.get(key)
            if node is None:
                self.note_heartbeat(key, ts, seen)
                continue
            more = more_of(node)
            more.word = max(more.word, ts)
            more.seen = max(more.seen, seen)
            own = node.own
            if type(own) is Job:
                self._jobs.reevaluate(own)
            changed(node)
            self._touch(own.task)
