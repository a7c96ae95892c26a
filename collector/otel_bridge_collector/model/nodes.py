"""
Nodes, jobs and tasks as records, and the counts that they keep.

A node is one span. Its facts are joins, so that order and repetition do not matter. All else (task,
container, counts) follows from them; ``tree`` and ``runs`` keep it up by difference. An aggregate
counts the jobs below a node by status; a change walks up the containers: O(depth) an event.

``gc=False`` saves 16 bytes a node, but such objects in circles are never collected: only
``eviction`` ends nodes, and it sets every link to None.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from otel_bridge_collector.model.events import COMPLETED, FAILED

__all__ = [
    "AWAITS_PARENT",
    "BLOCK_OF_END",
    "COUNTS",
    "GONE",
    "KIDS",
    "KIND_BY_END",
    "LINKED",
    "MAX_DEPTH",
    "NAMED",
    "NAME_BY_END",
    "NAME_BY_WORD",
    "PART",
    "RENAMED",
    "REPEATED",
    "RETRIED",
    "UNKNOWN",
    "Host",
    "Job",
    "More",
    "Node",
    "Task",
    "changed",
    "children",
    "forget_times",
    "unchain",
]

MAX_DEPTH: Final = 64
"""Nodes deeper than this are counted at their ancestor of this depth, so that a walk is bounded."""
KIDS: Final = 6
"""Index in an aggregate: direct children ever linked. 0 to 5 are jobs below, by status."""
GONE: Final = 7
"""Index in an aggregate: direct children that are no longer held."""
COUNTS: Final = 8

UNKNOWN: Final = -1
"""Of a virtual phase's ``first``: a job left or changed, so its times are to be found again."""
NAMED: Final = 1
"""An event named the node's task; else ``base`` is the card of its trace."""
RETRIED: Final = 2
"""A retry of this attempt was reported, and is counted in its task."""
KIND_BY_END: Final = 4
NAME_BY_END: Final = 8
NAME_BY_WORD: Final = 16
REPEATED: Final = 32
"""It has no span id, and a span of the same attempt has ended: it counts for nothing."""
PART: Final = 64
"""A third-party root: one of several parts of its card, not a run of one of our tasks."""
LINKED: Final = 128
"""An event named another trace, which the node's own continues; ``base`` is the card of that."""
AWAITS_PARENT: Final = 256
"""Of a third-party span whose parent is in its own process, which sends it when it ends."""
RENAMED: Final = 512
"""Its job goes by the id that the other side of the queue knows; see ``work.job_ids``."""
BLOCK_OF_END: Final = 1024
"""``block`` is that of its own end, whose attributes are complete."""


class Host:
    """
    What runs jobs: a worker, one incarnation (life of its process), or a process without a worker.

    A record; checks nothing. Times are microseconds, by the publisher's clock.

    Attributes:
        open: Its jobs that run or are stalled; an incarnation shares its worker's set.
        first, heartbeat: Its earliest event (None: none); latest start or heartbeat (0: none).
        is_doubted: A job of it was reported stalled: its next heartbeat overrules that.
        is_watched: A heartbeat of its process was ever seen, so that one can be missed.
    """

    __slots__ = ("first", "heartbeat", "is_doubted", "is_watched", "open")

    def __init__(self, open_jobs: set[Job]) -> None:
        self.open = open_jobs
        self.first: int | None = None
        self.heartbeat = 0
        self.is_doubted = False
        self.is_watched = False

    def lives(self) -> Collection[Host]:
        """The incarnations whose heartbeats keep its work alive."""
        return (self,)


class More(msgspec.Struct, gc=False, eq=False):
    """What few nodes have."""

    seen: int = 0
    """Latest reception of a sign of life of its own."""
    word: int = 0
    """Latest ``ts`` of a sign of life; a synthetic end before it is overruled."""
    beat_ms: int = 0
    restarted: int = 0
    """Latest of several starts, of a node without span id: after its end it runs again."""
    name_ts: int = 0
    first: int = 0
    """Of a virtual phase: earliest start of a job in it; ``last``: latest end. See ``UNKNOWN``."""
    last: int = 0
    job: str | None = None
    """The job's id, while the node is not placed in a job."""
    title: str | None = None
    title_at: int = 0  # ``ts`` of its snapshot; 0: of the start; later than any: of the end
    domain: str | None = None
    domain_at: int = 0
    message: tuple[int, str] | None = None
    counts: dict[str, tuple[int, int]] | None = None
    progress: tuple[int, int, int] | None = None
    """(ts, done, total) of a job's own progress."""
    span_kind: str | None = None
    is_delayed: bool = False
    due: int = 0  # when a delayed job begins to wait; 0: not known
    reason: str | None = None
    cause: str | None = None
    """Key of the failure group that counts this node; None while none does."""
    error_key: str | None = None
    stack: str | None = None
    """Span id of the node that holds the stack."""


class Node(msgspec.Struct, gc=False, eq=False):
    """
    One span; or what stands for it where a publisher has no spans (``key`` is None).

    A record; checks nothing. Times are microseconds. Its container, at most 64 deep, is the node or
    task above it whose ``agg`` counts its jobs. None: not known.

    Attributes:
        key, kind: The span id as an integer; 0 span, 1 enqueue, 2 job, 3 phase, 4 research task.
        base, own: The task that an event named, else the trace's card; its job, else its task.
        up, parent: Its container; its parent, or the key of one not held, or in a circle.
        kids, sib, next: First child; next one of the same parent; next node of the same job.
        agg: Jobs below by status code (6), children ever linked, children no longer held. None: 0.
        name, phase, queue, run, worker, error: As its events say; ``run`` is one enqueue's id.
        marks, attempt: Bits such as ``NAMED``; number of the attempt, from 0.
        start: Its earliest start. ``more``: facts that few nodes have.
        block: The log's position before the 64 entries of which one has its attributes. None: it
            came from no log. Nodes share it: 16 bytes each, as CPython allocates.
        end, ended: Of the winning end: time, and reporter * 8 + status; 0 while open.
    """

    key: int | None
    kind: int
    base: Task
    own: Job | Task
    up: Node | Task | None = None
    parent: Node | int | None = None
    kids: Node | None = None
    sib: Node | None = None
    next: Node | None = None
    agg: list[int] | None = None
    name: str | None = None
    phase: str | None = None
    queue: str | None = None
    run: str | None = None
    worker: Host | None = None
    error: str | None = None
    marks: int = 0
    attempt: int = 0
    start: int | None = None
    end: int = 0
    ended: int = 0
    more: More | None = None
    block: str | None = None

    @property
    def first(self) -> int:
        """When it is first known to have existed; 0 if no time is known."""
        return self.start if self.start is not None else self.end


class Job(msgspec.Struct, gc=False, eq=False):
    """
    One job (``id``) of a ``task``; its nodes are enqueues and attempts. A record; checks nothing.

    Attributes:
        first, win: One of its nodes, None once it is gone; the node that says where it stands.
        st, at: Status code and container (node or task above) as counted; -1 and None: nowhere.
        watch, line: The sets of open jobs, of its host and of its queue, in which it is.
    """

    task: Task
    id: str
    first: Node | None = None
    win: Node | None = None
    st: int = -1
    at: Node | Task | None = None
    watch: set[Job] | None = None
    line: set[Job] | None = None

    def nodes(self) -> Iterator[Node]:
        """Its nodes, in no order."""
        node = self.first
        while node is not None:
            yield node
            node = node.next


class Task:
    """
    A research task, or the card of a trace (what a reader sees) that no event names a task of.

    A record; checks nothing. Holds 200,000 nodes (spans) by default; then ended ones leave.

    Attributes:
        id, project, is_mixed: Its id; its project; whether events name several.
        agg, jobs, failed: Jobs: their number by status code; by id; failed ones eviction left.
        seen, first: Latest reception and earliest time of its events, microseconds; 0, None: none.
        size, not_held: Nodes held; nodes that were counted and are not held.
        virtual, tops: A node for each phase (100 at most) without a span; all phase nodes.
        roots, spans: Nodes of the research task itself; those that are links only.
        loose: Of a trace's card: nodes that name no task, wherever they are placed.
        guests: Cards whose loose nodes have been compared with this task's project.
        traces, quiet: Traces whose events name it; open jobs that only its own events keep alive.
        gone: Sorted hashes of nodes and jobs that are no longer held, 8 bytes each.
        changes: Nodes that came, left, moved or changed since a reader of its tree cleared it; None
            while there is no such reader. What time alone changes (verdicts on what is open, other
            than on a job) is not in it.
    """

    # fmt: off
    __slots__ = (
        "agg", "changes", "end_order", "ends", "events", "face", "face_rank", "failed", "failures",
        "first", "gone", "guests", "has_spanless", "has_spans", "id", "is_face_known", "is_mixed",
        "is_named", "is_silent", "jobs", "last_trace", "loose", "message", "not_held", "project",
        "quiet", "rates", "retries", "roots", "runs", "seen", "shed_above", "size", "spans", "tops",
        "traces", "up", "virtual",
    )
    # fmt: on

    def __init__(self, task_id: str) -> None:
        self.id = task_id
        self.agg = [0] * COUNTS
        self.up: None = None
        self.jobs: dict[str, Job] = {}
        self.virtual: dict[str, Node] = {}
        self.tops: dict[Node, None] = {}
        self.roots: dict[Node, None] = {}
        self.spans: dict[Node, None] = {}
        self.loose: list[Node] = []
        self.guests: set[Task] | None = None
        self.traces: list[str] = []
        self.last_trace: str | None = ""
        """Of the event before: most tasks have one trace."""
        self.project: str | None = None
        self.is_mixed = not task_id
        """Whether its events may be of several projects: then no limited reader may see it. So it
        is with the empty id, which stands for events that name neither task nor trace."""
        self.is_named = False
        """Whether an event names it as a task that is not its trace."""
        self.first: int | None = None
        self.seen = 0
        self.message: tuple[int, str] | None = None
        self.retries = 0
        self.has_spanless = self.has_spans = False
        """Whether attempts without span ids were reported; and with them."""
        self.runs = 0
        """Attempts held: without any, a known request makes no card."""
        self.face: Node | None = None
        self.face_rank: tuple[int, int, int, int, str, str] | None = None
        self.is_face_known = True
        self.quiet: set[Job] | None = None
        self.is_silent = False
        """Whether a job of ``quiet`` is stalled; the task's next event reopens it."""
        self.rates: dict[str, deque[tuple[int, int]]] | None = None
        self.events = self.ends = self.failures = 0
        """Of the current second, counted into the project's when that is over."""
        self.size = 0
        """Nodes held, virtual ones left out."""
        self.end_order: list[Job] | None = None
        """Jobs in the order in which their ends came, once ``ended`` was asked for."""
        self.failed: list[Job] = []
        """Failed jobs that eviction passed over."""
        self.gone: array[int] | None = None
        self.changes: set[Node] | None = None
        self.not_held = 0
        """Nodes that were counted and are no longer held, and those that there was no room for."""
        self.shed_above = 0

    @property
    def ended(self) -> list[Job]:
        """Jobs that ended, the first one first; what is evicted first. Few tasks need it."""
        if self.end_order is None:
            over = (job for job in self.jobs.values() if job.st in (COMPLETED, FAILED))
            self.end_order = sorted(over, key=lambda job: job.win.end if job.win else 0)
        return self.end_order

    @property
    def task(self) -> Task:
        """Itself, so that ``node.own.task`` is one expression for all kinds."""
        return self


# --- records and their links ---------------------------------------------------------------------


def changed(node: Node) -> None:
    """For a reader of its task's tree, if there is one: this node is to be read again."""
    changes = node.own.task.changes
    if changes is not None:
        changes.add(node)


def forget_times(job: Job) -> None:
    """A node left the job, or its times are others: those of a virtual phase are found again."""
    at = job.at
    if type(at) is Node and at.key is None and at.more is not None:
        at.more.first = UNKNOWN


def unchain(node: Node, job: Job) -> None:
    """Take a node out of its job."""
    before = job.first
    if before is node:
        job.first = node.next
    else:
        while before is not None and before.next is not node:
            before = before.next
        assert before is not None
        before.next = node.next
    node.next = None
    if job.win is node:
        job.win = None


def children(node: Node) -> Iterator[Node]:
    """Its held children, the one linked last first."""
    kid = node.kids
    while kid is not None:
        following = kid.sib
        yield kid
        kid = following
