"""
The one table that says what is stalled, and why; nothing else in the collector decides it.

For an open job the first row that applies, evaluated at ``now``:

=============================== ==================================== ============== ==============
evidence                        stalled when                         ends at        reason
=============================== ==================================== ============== ==============
its process sends heartbeats    it stopped, started again, or was    last heartbeat worker_lost
                                silent for longer than the TTL
heartbeats of its own           silent for 3 times what was          its last one   heartbeat_lost
(``beat_ms``)                   promised, at least 15 s
its task's events, or an open   none for 300 s after which the       last event     silent
job below it                    card's node has ended, else 900 s
for a pending job: the depth    reported empty twice since it was    first such     queue_emptied
of its queue                    enqueued, nothing of it runs, and    report
                                it has waited for 60 s
=============================== ==================================== ============== ==============

An open phase, span or root ends with its process or by its own heartbeats likewise, and else with
its parent or its card (``cards``). A pending job is else never stalled by itself.

A verdict is a function of the facts and ``now``, and is not stored: only a job's counted status
follows it. A reported ``task_stalled`` counts until a later word of the node or its incarnation. A
true end replaces any verdict, a heartbeat takes it back.
An open attempt with a successor in its run is also stalled (worker_lost) unless it was heard since.

A sweep walks no jobs: incarnations, promised heartbeats and tasks are in one heap of deadlines,
looked at only when they are due, and armed again if something was heard meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final, NamedTuple

from otel_bridge_collector.model.events import ENQUEUE, PENDING, PROCESSING, RULE, STALLED
from otel_bridge_collector.model.nodes import Host, Job, Node, Task
from otel_bridge_collector.model.processes.lives import ALIVE, UNWATCHED
from otel_bridge_collector.model.processes.records import Incarnation
from otel_bridge_collector.model.queues import Queue, Queues
from otel_bridge_collector.model.runs import is_open, last_word, winner
from otel_bridge_collector.model.tasks import Tasks
from otel_bridge_collector.model.workers import Workers

__all__ = ["QUEUED_GRACE_US", "QUIET_US", "Liveness", "Verdict"]

_SECOND: Final = 1_000_000
QUEUED_GRACE_US: Final = 60 * _SECOND
"""How long jobs that wait hold an ended card open, after its last event."""
SILENT_AFTER_END_US: Final = 300 * _SECOND
QUIET_US: Final = 900 * _SECOND
_MISSED_HEARTBEATS: Final = 3
_MIN_SILENCE_US: Final = 15 * _SECOND
_EMPTIED_AFTER_US: Final = 60 * _SECOND


class Verdict(NamedTuple):
    """
    Why an open node (a span, or what stands for one, whose end is not known) is stalled.

    A record; checks nothing.

    Attributes:
        reason: ``worker_lost``: its process is gone. ``heartbeat_lost``: its own heartbeats ended.
            ``queue_emptied``: its queue was emptied before it ran. ``silent``: no event for long.
            ``parent_ended``: its parent span has. For a reported stall what its event says.
        at: Time of its last evidence (sign of life), microseconds since the Unix epoch: where its
            bar ends.
    """

    reason: str
    at: int


Watched = Incarnation | Task | Job | Queue


class Liveness:
    """
    Finds which open nodes are stalled and why, in a sweep: the check once a second.

    A node is one span of a task's tree, or what stands for one; it is open until an end of it is
    known. It is stalled when its evidence, the latest sign of life, is too old. The verdict is the
    reason:

    * ``worker_lost``: its process stopped, started again, or sent no heartbeat for the TTL (30 s).
    * ``heartbeat_lost``: a node with heartbeats of its own sent none for 3 times the promised
      interval, at least 15 s.
    * ``silent``: a running job with neither kind of heartbeat, with no running job below it, and no
      event of its task for 900 s, or for 300 s once the node that its card shows has ended.
    * ``queue_emptied``: a waiting job whose queue was reported empty twice since it was enqueued,
      while nothing of it runs and no worker is busy that takes jobs from it; after 60 s at the
      earliest. A job that was enqueued with a delay is left out.

    A heartbeat or another sign of life takes a verdict back; a true end replaces it. For the
    collector's event loop; no thread, no lock. No limit of its own: it holds what the model holds.

    Args:
        tasks: Read, except that a task is marked as silent.
        workers: Their processes; a sweep notes in them which are gone.
        queues: Their depths; a sweep notes in them when each was emptied.
        evaluate: Called with a job whose verdict may have changed. What it raises leaves ``sweep``;
            the rest of that sweep is left out, the service logs it, and the next one follows a
            second later.

    Attributes:
        now: Time of the latest sweep, microseconds since the Unix epoch; 0 before the first.
        touched: Tasks with an event since then.
        running: Jobs that run.
    """

    def __init__(
        self, tasks: Tasks, workers: Workers, queues: Queues, evaluate: Callable[[Job], None]
    ) -> None:
        self.now = 0
        self.quiet_from = 0
        """A task of which something was heard since then is not silent, ended or not."""
        self.touched: set[Task] = set()
        self.running: set[Job] = set()
        self.due: set[Task] = set()
        """Tasks whose cards may look different now, though no event of theirs came."""
        self._tasks = tasks
        self._workers = workers
        self._queues = queues
        self._evaluate = evaluate
        self._hosts: set[Host] = set()
        self._heap: list[tuple[int, int]] = []
        """(deadline, number): not the object, or an evicted task stayed until it was due."""
        self._armed: dict[Watched, tuple[int, int]] = {}
        self._by_number: dict[int, Watched] = {}
        self._numbers = count()

    # --- verdicts --------------------------------------------------------------------------------

    def status_of(self, job: Job, node: Node, evidence: Node | None) -> int:
        """
        Return the status code of a job as of the latest sweep (the check once a second).

        That of its reported end: 2 retrying, 3 completed, 4 failed, 5 stalled; else 5 if a time
        limit has passed, 0 (pending, for an enqueue) or 1 (processing).
        On the collector's event loop; never raises for jobs of the model.

        Args:
            job: The job.
            node: Its node (a span, or what stands for one) of the latest attempt.
            evidence: A node whose end another process reported for that one; None: there is none.
        """
        if is_open(node) or node.ended >> 3 == RULE:
            if evidence is not None and not self._is_overruled(evidence, node):
                return evidence.ended & 7
            if not is_open(node) and not self._is_overruled(node, node):
                return node.ended & 7
            if self.verdict(node, job) is not None:
                return STALLED
            return PENDING if node.kind == ENQUEUE else PROCESSING
        return node.ended & 7

    @staticmethod
    def _is_overruled(report: Node, node: Node) -> bool:
        """Whether a synthetic end is older than the latest word of the node or its process."""
        if report.ended >> 3 != RULE:
            return False
        if last_word(node) > report.end:
            return True
        host = node.worker
        if host is None or node.kind == ENQUEUE:
            return False
        incarnations = host.lives()
        for one in incarnations:
            one.is_doubted = True
        return max((one.heartbeat for one in incarnations), default=0) > report.end

    def verdict(self, node: Node, job: Job | None) -> Verdict | None:
        """
        Return why an open node (its end is not known) is stalled as of the latest sweep, else None.

        It is if its process is gone (no heartbeat for 30 s), its own heartbeats are late (3 times
        the promised interval, at least 15 s), its task was silent for 900 s, or its queue was
        emptied. Also notes when to look at the node's job or queue again, and that its task is
        silent; on the collector's event loop. Never raises for nodes of the model.

        Args:
            node: An open node, which is not checked; for an ended one the answer has no meaning.
            job: Its job; None for a phase, span or root, which only a lost process or heartbeat
                stalls.
        """
        if node.kind == ENQUEUE:
            return self._queue_verdict(node, job)
        now = self.now
        if node.worker is not None and node.worker.is_watched:
            lost_at = self._workers.lost_at(node, now)
            if lost_at == ALIVE:
                return None
            if lost_at != UNWATCHED:
                return Verdict("worker_lost", max(lost_at, node.first))
        more = node.more
        if more is not None and more.beat_ms:
            allowed = max(_MISSED_HEARTBEATS * more.beat_ms * 1000, _MIN_SILENCE_US)
            if now - more.seen > allowed:
                return Verdict("heartbeat_lost", max(more.word, node.first))
            if job is not None:
                self._arm(job, more.seen + allowed + 1)
            return None
        if job is None or (node.agg is not None and node.agg[PROCESSING] > 0):
            return None
        task = job.task
        last_seen = self._tasks.last_seen(task)
        quiet = now - last_seen
        if quiet > QUIET_US or (quiet > SILENT_AFTER_END_US and self._tasks.is_ended(task)):
            task.is_silent = True
            return Verdict("silent", max(last_seen, node.first))
        return None

    def overtaken(self, node: Node, successor: Node) -> Verdict | None:
        """
        Return why an open attempt is stalled that has a successor in its run; None: it still runs.

        A job is tried again, or delivered again by its broker, when its worker is taken for lost.
        So an earlier attempt runs on only while something of it is heard after the later one's
        start: a heartbeat of its process, or of its own. On the collector's event loop; never
        raises for nodes of the model.

        Args:
            node: The earlier attempt, whose end is not known.
            successor: The attempt after it.
        """
        verdict = self.verdict(node, None)
        if verdict is not None:
            return verdict
        last = max(last_word(node), node.first, *self._workers.heartbeats(node))
        return None if last > successor.first else Verdict("worker_lost", last)

    def has_heartbeats(self, node: Node) -> bool:
        """
        Return whether heartbeats say that an open node without a verdict lives; never raises.

        True: its worker's process sends heartbeats and is not gone, or the node promises its own.
        False: neither; only events of its task say that it lives. On the collector's event loop.
        """
        host = node.worker
        if host is not None and host.is_watched and self._workers.lost_at(node, self.now) == ALIVE:
            return True
        return node.more is not None and bool(node.more.beat_ms)

    def job_verdict(self, job: Job) -> Verdict | None:
        """Why a stalled job is stalled; None for one that is not."""
        if job.st != STALLED:
            return None
        node, evidence = winner(job)
        return self.reported_stall(node, evidence) or self.verdict(node, job)

    def reported_stall(self, node: Node, evidence: Node | None) -> Verdict | None:
        """Why a node is stalled according to an event, if no later sign of life overrules that."""
        for report in (evidence, node):
            if report is not None and report.ended and not self._is_overruled(report, node):
                reason = None if report.more is None else report.more.reason
                heard = (at for at in self._workers.heartbeats(node) if 0 < at <= report.end)
                last = max(heard, default=report.end)
                return Verdict(reason or "worker_lost", max(last, node.first))
        return None

    def _queue_verdict(self, node: Node, job: Job | None) -> Verdict | None:
        queue = None if node.queue is None else self._queues.by_name.get(node.queue)
        if queue is None or node.start is None:
            return None
        # All that wait are evaluated when it changes; to look at all workers for each took seconds.
        is_known = job is not None and job.win is node
        emptied_at = queue.was_emptied_at if is_known else queue.emptied_at()
        if not emptied_at or emptied_at <= node.start:
            return None
        if node.more is not None and node.more.is_delayed:
            return None
        if self.now - node.start <= _EMPTIED_AFTER_US:
            self._arm(queue, node.start + _EMPTIED_AFTER_US + 1)
            return None
        return Verdict("queue_emptied", emptied_at)

    # --- the sweep -------------------------------------------------------------------------------

    def heard(self, incarnation: Incarnation, is_news: bool) -> None:
        """
        Note an event of a worker, so that a later sweep finds its process gone if no other follows.

        A sweep is the check once a second; the process is gone after the TTL (30 s by default). On
        the collector's event loop; never raises.

        Args:
            incarnation: The life of the worker's process that the event is of.
            is_news: Whether the event may change what is stalled; True: the next sweep evaluates
                the jobs of this process that have not ended.
        """
        self._arm(incarnation, incarnation.seen + self._workers.ttl_us + 1)
        if is_news:
            self.recheck(incarnation)

    def recheck(self, incarnation: Incarnation) -> None:
        """Let the next sweep evaluate the open jobs of an incarnation's worker and process."""
        self._hosts.add(incarnation.worker)
        process = self._workers.processes.get(incarnation.key)
        if process is not None:
            self._hosts.add(process)
            self._hosts.update(one.worker for one in process.incarnations)
        for other in self._workers.at_place(incarnation):
            self._hosts.add(other.worker)
            if other.process is not None:
                self._hosts.add(other.process)

    def _arm(self, watched: Watched, deadline: int) -> None:
        armed = self._armed.get(watched)
        if armed is not None:
            if deadline >= armed[0]:
                return
            del self._by_number[armed[1]]
        entry = deadline, next(self._numbers)
        self._armed[watched] = entry
        self._by_number[entry[1]] = watched
        heappush(self._heap, entry)

    def sweep(self, now: int) -> None:
        """
        Evaluate the open nodes whose time limit has passed, and the jobs whose facts have changed.

        The service calls it once a second on its event loop, and before a view is read; more often
        is harmless. Costs as much as has changed: at rest a glance at the heap of deadlines,
        whatever the number of jobs. What ``evaluate`` raises passes through to the caller; the
        call once a second logs it and goes on a second later. What the sweep had taken out of its
        lists by then is evaluated again only with its next event.

        Args:
            now: Microseconds since the Unix epoch. An earlier time than before counts as the latest
                one.
        """
        self.now = max(self.now, now)
        self.quiet_from = self.now - SILENT_AFTER_END_US
        heap = self._heap
        while heap and heap[0][0] <= self.now:
            watched = self._by_number.pop(heappop(heap)[1], None)
            if watched is not None:
                del self._armed[watched]
                self._look_at(watched)
        self._touch_all()
        while self._hosts or self.touched:
            hosts, self._hosts = self._hosts, set()
            for host in hosts:
                self._recheck_host(host)
            self._touch_all()
        for queue in self._queues.by_name.values():
            for job in queue.unsure():
                self._evaluate(job)
        self._touch_all()

    def _look_at(self, watched: Watched) -> None:
        if isinstance(watched, Incarnation):
            deadline = watched.seen + self._workers.ttl_us + 1
            if deadline > self.now:
                self._arm(watched, deadline)
            else:
                self.recheck(watched)
        elif isinstance(watched, Task):
            self._task_is_due(watched)
        elif isinstance(watched, Job):
            if watched.first is not None:
                self._evaluate(watched)
        else:
            watched.is_changed = True

    def _recheck_host(self, host: Host) -> None:
        self._workers.refresh(host, self.now)
        for job in list(host.open):
            self._evaluate(job)

    def _touch_all(self) -> None:
        while self.touched:
            touched = list(self.touched)
            self.touched.clear()
            for task in touched:
                if task.is_silent:
                    task.is_silent = False
                    for job in list(task.quiet or ()):
                        self._evaluate(job)
                self._task_is_due(task)

    def _task_is_due(self, task: Task) -> None:
        """Look at a task's card after 60, 300 and 900 s without an event."""
        last_seen = self._tasks.last_seen(task)
        quiet = self.now - last_seen
        if quiet > SILENT_AFTER_END_US and not task.is_silent:
            for job in list(task.quiet or ()):
                self._evaluate(job)
        for limit in (QUEUED_GRACE_US, SILENT_AFTER_END_US, QUIET_US):
            if quiet <= limit:
                self._arm(task, last_seen + limit + 1)
                break
        if quiet > QUEUED_GRACE_US:
            self.due.add(task)

    def forget(self, watched: Watched) -> None:
        """It is evicted; what the heap has of it is passed by when it is due."""
        armed = self._armed.pop(watched, None)
        if armed is not None:
            del self._by_number[armed[1]]
        if isinstance(watched, Task):
            self.touched.discard(watched)
            self.due.discard(watched)
        elif isinstance(watched, Job):
            self.running.discard(watched)
