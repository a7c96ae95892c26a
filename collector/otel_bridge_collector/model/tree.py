"""
The tree: who is whose parent, and where each node belongs because of it.

``Tree.add`` and ``set_parent`` keep the links; ``Tree.place`` finds a node's task, job and
container again whenever one of the facts that decide them has changed, and walks down only as far
as that matters. A stack instead of recursion: 1,000 nested jobs whose children were reported
first raised RecursionError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otel_bridge_collector.model.events import ENQUEUE, JOB, PHASE, TASK
from otel_bridge_collector.model.nodes import (
    KIDS,
    MAX_DEPTH,
    NAMED,
    RENAMED,
    REPEATED,
    RETRIED,
    Job,
    More,
    Node,
    Task,
    changed,
    children,
    forget_times,
    unchain,
)
from otel_bridge_collector.model.shape.containers import (
    count_kid,
    depth_of,
    is_in_phase,
    move_counts,
    reaches_below,
    top_of_circle,
)
from otel_bridge_collector.model.tasks import Tasks

__all__ = ["Tree"]

MAX_VIRTUAL_PHASES: Final = 100
"""Of one task; jobs of further names count in the task alone."""

_NOTHING, _UNTIL_PHASES, _EVERYTHING = range(3)
"""How far below a placed node others have to be placed again."""


class Tree:
    """
    Holds nodes (spans, or what stands for one): who is whose parent, and where each belongs.

    A node counts in its container: the node or task above it, at most 64 deep. Raises nothing for
    checked events; for the event loop. ``Eviction`` keeps it to 400,000 nodes by default.

    Args:
        tasks: Which task a node belongs to.
        evaluate: Called with a job whose nodes or container changed; what it raises goes through.
        moved: Called with a node that counts as failed, and the task that it left; likewise.
        rooted: Called with a task when a root of it comes or leaves.

    Attributes:
        nodes: By key. ``waiting``: by the key of one not held its first child, chained by ``sib``.
        left: Tasks that a node has left, for another one, until a reader clears it.
        unsure: Nodes that may have to share a job's id with the other side of their queue.
        size: Nodes held; ``text_bytes``: characters of the ids of jobs made so far.
    """

    def __init__(
        self,
        tasks: Tasks,
        evaluate: Callable[[Job], None],
        moved: Callable[[Node, Task], None],
        rooted: Callable[[Task], None],
    ) -> None:
        self.nodes: dict[int, Node] = {}
        self.waiting: dict[int, Node] = {}
        self.left: set[Task] = set()
        self.unsure: list[Node] = []
        self.size = 0
        self.text_bytes = 0
        self._tasks = tasks
        self._evaluate = evaluate
        self._moved = moved
        self._rooted = rooted

    # --- links -----------------------------------------------------------------------------------

    def _link(self, node: Node, parent_key: int) -> Node | None:
        """
        Make a node the child of a parent that an event named.

        A parent that is not held yet is waited for. In a circle of parents the smallest key is the
        top, whatever the order in which its links came.

        Returns:
            The node that this left without a parent: its place must be found again.
        """
        parent = self.nodes.get(parent_key)
        if parent is None:
            node.parent = parent_key
            node.sib = self.waiting.get(parent_key)
            self.waiting[parent_key] = node
            return None
        if parent is node:
            node.parent = parent_key
            return None
        # What has no children cannot be above its parent: no walk for work reported from the top.
        lowest = None if node.kids is None else top_of_circle(node, parent)
        if lowest is node:
            node.parent = parent_key
            return None
        node.parent = parent
        node.sib = parent.kids
        parent.kids = node
        if parent.kind != ENQUEUE:
            count_kid(parent, KIDS, 1)
        else:
            changed(parent)  # its row is gone once an attempt has started, in any task
        if lowest is not None:
            self._let_go(lowest)
        return lowest

    def _let_go(self, node: Node) -> None:
        """Remove a link; the parent stays known by its key."""
        parent = node.parent
        assert type(parent) is Node
        node.parent = parent.key
        self._unchain(node, parent.kids, parent)
        count_kid(parent, KIDS, -1)
        changed(parent)
        if (node.marks | parent.marks) & RENAMED:
            self.unsure += (node, parent)

    def _unchain(self, node: Node, first: Node | None, parent: Node | None) -> Node | None:
        """Take a node out of a chain of siblings; the chain's first node after that."""
        if first is node:
            first = node.sib
            if parent is not None:
                parent.kids = first
        else:
            before = first
            while before is not None and before.sib is not node:
                before = before.sib
            assert before is not None
            before.sib = node.sib
        node.sib = None
        return first

    def _unlink(self, node: Node) -> Node | None:
        """Forget a node's parent; returns a node that may be linked now that a circle is open."""
        parent = node.parent
        node_above: Node | None = None
        if type(parent) is Node:
            top = parent
            while type(top.parent) is Node:
                top = top.parent
            if type(top.parent) is int and top.parent in self.nodes and top.parent != top.key:
                node_above = top
            self._let_go(node)
        elif type(parent) is int and parent not in self.nodes:
            first = self._unchain(node, self.waiting[parent], None)
            if first is None:
                del self.waiting[parent]
            else:
                self.waiting[parent] = first
        node.parent = None
        return node_above

    def _arrived(self, key: int) -> list[Node]:
        """Children that have waited for this node; they are to be linked now."""
        found = []
        node = self.waiting.pop(key, None)
        while node is not None:
            following = node.sib
            node.sib = None
            node.parent = None
            found.append(node)
            node = following
        return found

    def set_parent(self, node: Node, parent_key: int) -> None:
        """An event names the node's parent; of two the smaller key wins."""
        known = node.parent
        if known is not None:
            known_key = known.key if type(known) is Node else known
            assert type(known_key) is int
            if parent_key >= known_key:
                return
            top = self._unlink(node)
            if top is not None and type(top.parent) is int:
                # Out of its container first, or the containers become a circle.
                self.place(node)
                self._relink(top, top.parent)
        self._relink(node, parent_key)

    def _relink(self, node: Node, parent_key: int) -> None:
        cut = self._link(node, parent_key)
        if cut is not None:
            self.place(cut)  # first, or the containers become a circle
        self.place(node)
        self.unsure.append(node)

    def orphan(self, node: Node) -> None:
        """The parent is evicted: the node waits for it, as if it had never been seen."""
        parent = node.parent
        assert type(parent) is Node
        assert parent.key is not None
        self._let_go(node)
        node.sib = self.waiting.get(parent.key)
        self.waiting[parent.key] = node
        self.place(node)

    # --- places ----------------------------------------------------------------------------------

    def add(self, node: Node, parent_key: int | None, job_id: str | None) -> None:
        """A new node with a span id; its job is evaluated once its facts are merged."""
        assert node.key is not None
        self.nodes[node.key] = node
        if parent_key is not None:
            self._link(node, parent_key)
        task = node.base if node.marks & NAMED else self._tasks.home(node)
        self.enter(node, task, self._container(node, task), job_id)
        if node.key in self.waiting:
            for kid in self._arrived(node.key):
                self._relink(kid, node.key)

    def add_spanless(self, node: Node, job_id: str | None) -> None:
        """A new node of a publisher without spans: it belongs where its events say."""
        self.enter(node, node.base, self._container(node, node.base), job_id)

    def change(self, node: Node, kind: int, job_id: str | None) -> None:
        """The node's kind or job is another one than was known."""
        known = self.leave(node)
        if node.marks & RENAMED and node.more is not None:
            known, node.more.job = node.more.job, None
            node.marks ^= RENAMED
        if node.kids is not None:
            self.unsure += children(node)
        if kind != node.kind and node.kind == ENQUEUE and node.kids is not None:
            node.agg = node.agg or [0] * 8
            node.agg[KIDS] = sum(1 for _ in children(node))
        node.kind = kind
        if type(node.parent) is Node:
            changed(node.parent)
        task = node.own.task
        container = self._container(node, task)
        move_counts(node, container)
        self.enter(node, task, container, job_id if known is None else min(known, job_id or known))
        if type(node.own) is Job:
            self._evaluate(node.own)
        self.place(node, below=_EVERYTHING)

    def place(self, node: Node, below: int = _NOTHING) -> None:
        """Find again where a node belongs, and what is below it as far as that changes."""
        todo = [(node, below)]
        while todo:
            at, reach = todo.pop()
            reach = self._place_one(at, reach)
            if reach:
                kid = at.kids
                while kid is not None:
                    todo.append((kid, reach))
                    kid = kid.sib

    def _container(self, node: Node, task: Task) -> Node | Task:
        kind = node.kind
        parent = node.parent
        container: Node | Task = task
        if type(parent) is Node and parent.own.task is task:
            # An enqueue is transparent: its attempts count where it does.
            above = parent.up if parent.kind == ENQUEUE else parent
            if above is not None:
                container = above
        is_phase = type(container) is Node and container.kind == PHASE  # most jobs' is: no call
        phase = None if is_phase or not ENQUEUE <= kind <= JOB else node.phase
        if phase is not None and not is_in_phase(container):
            return self.virtual_phase(task, phase)
        up = container.up
        # Two levels below the task is where most work is: no walk for that.
        if type(up) is Node and type(up.up) is Node and depth_of(container) > MAX_DEPTH:
            return up
        return container

    def _place_one(self, node: Node, reach: int) -> int:
        task = self._tasks.home(node)
        container = self._container(node, task)
        old_task, old_up = node.own.task, node.up
        assert old_up is not None
        if task is not old_task:
            reach = _EVERYTHING
            self.left.add(old_task)
            job_id = self.leave(node)
            move_counts(node, container)
            self.enter(node, task, container, job_id)
            task.is_face_known = False
            if node.more is not None and node.more.cause is not None:
                self._moved(node, old_task)
            if type(node.own) is Job:
                self._evaluate(node.own)
        elif container is not old_up:
            if reach != _EVERYTHING:
                reach = max(reach, self._reach(node, old_up, container))
            move_counts(node, container)
            node.up = container
            task.is_face_known = False
            if type(node.own) is Job:
                self._evaluate(node.own)
        changed(node)
        return _NOTHING if node.kind == PHASE and reach == _UNTIL_PHASES else reach

    @staticmethod
    def _reach(node: Node, old_up: Node | Task, container: Node | Task) -> int:
        if node.kids is None:
            return _NOTHING
        old_depth, depth = depth_of(old_up), depth_of(container)
        if old_depth != depth and reaches_below(node, MAX_DEPTH - 1 - max(old_depth, depth)):
            return _EVERYTHING
        if node.kind == ENQUEUE:
            return _UNTIL_PHASES
        if node.kind != PHASE and is_in_phase(old_up) != is_in_phase(container):
            return _UNTIL_PHASES
        return _NOTHING

    def virtual_phase(self, task: Task, name: str) -> Node | Task:
        """What stands for a phase that jobs name and no span is; the task past 100 names."""
        node = task.virtual.get(name)
        if node is None:
            if len(task.virtual) >= MAX_VIRTUAL_PHASES:
                return task
            node = task.virtual[name] = Node(None, PHASE, task, task, task, name=name)
            task.tops[node] = None
        return node

    # --- jobs and lists of a task ----------------------------------------------------------------

    def enter(self, node: Node, task: Task, container: Node | Task, job_id: str | None) -> None:
        """Put a node into its job, or its task's lists, in the container where it counts."""
        kind = node.kind
        node.up = container
        task.size += 1
        self.size += 1
        if node.marks & RETRIED and not node.marks & REPEATED:
            task.retries += 1
        if kind == JOB or kind == ENQUEUE:  # noqa: SIM109  (a tuple takes twice the time)
            assert job_id is not None
            if kind == JOB:
                task.runs += 1
                if node.key is not None:
                    task.has_spans = True
            job = task.jobs.get(job_id)
            if job is None:
                job = task.jobs[job_id] = Job(task, job_id)
                self.text_bytes += len(job_id)
            node.next = job.first
            job.first = node
            node.own = job
            parent = node.parent
            if type(parent) is Node and parent.kind == ENQUEUE and parent.own is not job:
                self.unsure.append(node)
            return
        node.own = task
        if job_id is not None:
            if node.more is None:
                node.more = More()
            node.more.job = job_id
        if kind == PHASE:
            task.tops[node] = None
        elif kind == TASK:
            task.roots[node] = None
            self._rooted(task)
        else:
            task.spans[node] = None

    def leave(self, node: Node) -> str | None:
        """Take a node out of its job or its task's lists; the id of its job, if one is known."""
        own = node.own
        task = own.task
        changed(node)
        task.size -= 1
        self.size -= 1
        task.is_face_known = False
        if node.marks & (RETRIED | REPEATED) == RETRIED:
            task.retries -= 1
        if type(own) is Job:
            if node.kind == JOB:
                task.runs -= 1
            forget_times(own)
            unchain(node, own)
            node.own = task
            self._evaluate(own)
            return own.id
        for held in (task.tops, task.roots, task.spans):
            held.pop(node, None)
        if node.kind == TASK:
            self._rooted(task)
        job_id = None
        if node.more is not None:
            job_id, node.more.job = node.more.job, None
        return job_id
