"""
Which task an event and a node belong to: named tasks, cards of traces, projects, owners.

A node's task is, in this order: the one that an event of it named (of two the smaller id), its
parent's, the only named task of its trace, the card of its trace. The second and third hold only
where the projects agree, so that a span of another project inside a trace does not hide the task
from the readers of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from otel_bridge_collector.model.events import ENQUEUE, FAILED, PHASE, SPAN, Event
from otel_bridge_collector.model.nodes import NAMED, Job, Node, Task
from otel_bridge_collector.model.runs import is_open

__all__ = ["Tasks", "TraceTable", "has_own_facts", "may_join", "names_task", "owner_key"]

_MAX_TASKS_OF_TRACE: Final = 8
_MAX_TRACES: Final = 200_000
_TRACE_ID_CHARS: Final = 32
_NEVER: Final = 1 << 62


def names_task(event: Event) -> bool:
    """
    Return whether the event names a research task, and not just its trace; never raises.

    True if it has a ``parent_task_id``. False without one, if it is the trace id, and in an event
    without a trace id if it looks like one (32 hex characters). From any thread.
    """
    task_id = event.parent_task_id
    if task_id is None or task_id == event.trace_id:
        return False
    # The collector's own task_stalled carries a trace's card without trace_id.
    return event.trace_id is not None or not _is_trace_id(task_id)


def _is_trace_id(text: str) -> bool:
    return len(text) == _TRACE_ID_CHARS and all(char in "0123456789abcdef" for char in text)


def may_join(card: Task, task: Task) -> bool:
    """Whether nodes that know only their trace may belong to a task, by their projects."""
    if card.project is None:
        return not card.is_mixed
    if card.is_mixed or task.is_mixed:
        return False
    return task.project is None or task.project == card.project


class Tasks:
    """
    All tasks held, and cards of traces: what readers see of a trace that no event names a task of.

    For the collector's event loop, without a lock. No limit of its own: ``Eviction`` removes tasks
    above 10,000. Its methods raise nothing.

    Attributes:
        by_id: By task id, or by trace id for cards of traces.
        of_trace: By trace id the tasks that its events named, at most 8; of more than one none is
            its task.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Task] = {}
        self.of_trace: dict[str, tuple[Task, ...]] = {}

    def get_or_make(self, task_id: str) -> Task:
        """Return the task with this id, which may be empty; it is made if it is not held."""
        task = self.by_id.get(task_id)
        if task is None:
            task = self.by_id[task_id] = Task(task_id)
        return task

    def note_project(self, task: Task, project: str) -> Iterable[Task]:
        """
        Note the project of an event that names this task, or its trace alone.

        Of several projects the smallest text is kept and the task is mixed: readers limited to
        projects do not see it. Never raises; on the collector's event loop.

        Args:
            task: Its ``project`` and ``is_mixed`` are changed, except of the one with empty id.
            project: The event's project.

        Returns:
            The tasks whose loose nodes (spans that know only their trace) may belong elsewhere now;
            empty if nothing has changed.
        """
        if not task.id:
            # Its project says nothing of the other events without task and trace.
            return ()
        if task.project is None:
            task.project = project
        elif project == task.project:
            return ()
        elif task.is_mixed:
            task.project = min(task.project, project)
            return ()
        else:
            task.is_mixed = True
            task.project = min(task.project, project)
        return (task, *(task.guests or ()))

    def note_trace(self, task: Task, trace_id: str) -> Task | None:
        """
        Note that an event of a trace names this task; past 8 tasks of a trace nothing is noted.

        Never raises; on the collector's event loop.

        Args:
            task: The task; the trace is added to its ``traces``.
            trace_id: The event's trace.

        Returns:
            The trace's card, if there is one and its loose nodes (spans that know only their trace)
            may belong elsewhere now; else None.
        """
        known = self.of_trace.get(trace_id, ())
        if task in known or len(known) >= _MAX_TASKS_OF_TRACE:
            return None
        self.of_trace[trace_id] = (*known, task)
        task.traces.append(trace_id)
        card = self.by_id.get(trace_id)
        if card is not None:
            _note_guest(task, card)
        return card if len(known) < 2 else None

    def only_task_of(self, card: Task) -> Task | None:
        """The only task that events of a trace named, of which ``card`` is the card."""
        named = self.of_trace.get(card.id)
        if named is None or len(named) != 1:
            return None
        _note_guest(named[0], card)
        return named[0]

    def home(self, node: Node) -> Task:
        """The task that a node belongs to; a function of the facts known so far."""
        base = node.base
        if node.marks & NAMED:
            return base
        host = self.only_task_of(base) or base
        parent = node.parent
        if type(parent) is Node:
            host = parent.own.task
            _note_guest(host, base)
        return host if host is base or may_join(base, host) else base

    def last_seen(self, task: Task) -> int:
        """
        Return when an event of the task was last received, in microseconds; 0 if none was.

        Events that know only its trace count, where it is the trace's only task and the projects
        agree. Never raises; on the collector's event loop.
        """
        seen = task.seen
        for card in task.guests or ():
            if card.seen > seen and self._is_only_task_of(task, card):
                seen = card.seen
        return seen

    def first_event(self, task: Task) -> int | None:
        """The earliest ``ts`` of an event of the task; counted as ``last_seen`` does."""
        first = task.first
        for card in task.guests or ():
            if card.first is not None and self._is_only_task_of(task, card):
                first = card.first if first is None else min(first, card.first)
        return first

    def _is_only_task_of(self, task: Task, card: Task) -> bool:
        return self.of_trace.get(card.id) == (task,) and may_join(card, task)

    # --- which node stands for a task ------------------------------------------------------------

    def root_of(self, task: Task) -> Node | None:
        """The research task's own node; of several runs the latest, spans before what has none."""
        return max(task.roots, key=_by_run, default=None)

    def face_of(self, task: Task) -> Node | None:
        """
        Return the node that a card shows: the root, else the topmost work, else the topmost span.

        A node is a span, or what stands for one; None if the task has none of these. A request is
        no task: below one, what shows is the earliest phase or job. Decided by the tree, not by the
        clocks: a child on a machine whose clock is behind is not the card. Never raises; on the
        collector's event loop. Looks at all nodes of the task if some have moved since the last
        call; there is no limit to that.
        """
        root = self.root_of(task)
        if root is not None:
            return root
        if not task.is_face_known:
            attempts = (node for job in task.jobs.values() for node in job.nodes())
            candidates = (*attempts, *task.tops, *task.spans)
            shown = [node for node in candidates if _is_topmost(node)]
            task.face = min(shown, key=_face_order, default=None)
            task.is_face_known = True
        return task.face

    def offer_face(self, task: Task, node: Node) -> None:
        """A node is new, or is known to have started earlier than was known."""
        face = task.face
        is_better = face is None or _face_order(node) < _face_order(face)
        if task.is_face_known and is_better and _is_topmost(node):
            task.face = node

    def is_ended(self, task: Task) -> bool:
        """Whether the card's node has ended."""
        face = self.face_of(task)
        return face is not None and not is_open(face)

    def is_shown(self, task: Task) -> bool:
        """
        Return whether readers see a card of the task; never raises.

        False for the record of all events without task and trace, and for a request that has only
        enqueued jobs so far; a trace whose only nodes (spans) are enqueues below a parent that was
        not reported is taken for one. On the collector's event loop.
        """
        if task.roots or task.runs or task.agg[FAILED] or not task.id:
            return bool(task.id)
        if any(node.key is not None or has_own_facts(node) for node in task.tops):
            return True
        if task.spans or not task.jobs:
            return task.message is not None and task.is_named
        if task.is_named:
            return True
        enqueues = (node for job in task.jobs.values() for node in job.nodes())
        return not all(type(node.parent) is int for node in enqueues)

    def forget(self, task: Task) -> None:
        """Remove a task that is evicted, and what the traces know of it."""
        if self.by_id.get(task.id) is task:
            del self.by_id[task.id]
        for trace_id in task.traces:
            left = tuple(other for other in self.of_trace.get(trace_id, ()) if other is not task)
            if left:
                self.of_trace[trace_id] = left
            else:
                self.of_trace.pop(trace_id, None)
        task.traces = []
        task.guests = None


def has_own_facts(virtual: Node) -> bool:
    """Whether an event was about a phase that no span is, and not only about jobs of it."""
    more = virtual.more
    has_words = more is not None and (more.counts or more.message)
    return bool(has_words or virtual.start is not None or virtual.ended)


def _by_run(node: Node) -> tuple[bool, int, int]:
    return node.key is not None, node.first, node.key or 0


def _face_order(node: Node) -> tuple[bool, int, int, int, str, str]:
    own = node.own
    job_id = own.id if type(own) is Job else ""
    first, run = node.first or _NEVER, node.run or ""
    return node.kind == SPAN, first, node.key or 0, node.attempt, job_id, run


def _is_topmost(node: Node) -> bool:
    """Whether it can stand for a card: no work above it, and no mere enqueue or virtual phase."""
    if node.kind == ENQUEUE or (node.kind == PHASE and node.key is None):
        return False
    up = node.up
    while type(up) is Node:
        if up.key is not None and up.kind != SPAN:
            return False
        up = up.up
    return True


def _note_guest(host: Task, base: Task) -> None:
    if host is not base:
        if host.guests is None:
            host.guests = set()
        host.guests.add(base)


class TraceTable:
    """
    Remembers which task a trace belongs to, for a process that only routes events (``owner_key``).

    The collector, which holds all tasks in one process, does not use it. Without a lock: for one
    thread. Raises nothing for checked events.

    Args:
        max_traces: The limit, 200,000 by default; above it, the trace whose task was named longest
            ago is forgotten.
    """

    def __init__(self, max_traces: int = _MAX_TRACES) -> None:
        self._tasks: OrderedDict[str, str | None] = OrderedDict()
        self._max_traces = max_traces

    def task_of(self, trace_id: str) -> str | None:
        """The only task of a trace; None for none, and for more than one."""
        return self._tasks.get(trace_id)

    def note(self, event: Event) -> str | None:
        """
        Remember which task an event names for its trace; raises nothing for checked events.

        Over 200,000 traces (by default) the one named longest ago is forgotten.

        Returns:
            The trace id, if that changed the trace's task (a second task makes it None): what was
            held of the trace belongs elsewhere now. None: no change, or the event names no trace or
            no task.
        """
        trace_id = event.trace_id
        if trace_id is None or not names_task(event):
            return None
        task_id = event.parent_task_id
        if trace_id in self._tasks:
            self._tasks.move_to_end(trace_id)
            if self._tasks[trace_id] in (task_id, None):
                return None
            self._tasks[trace_id] = None
            return trace_id
        self._tasks[trace_id] = task_id
        if len(self._tasks) > self._max_traces:
            self._tasks.popitem(last=False)
        return trace_id


def owner_key(event: Event, traces: TraceTable) -> str | None:
    """
    Return the key by which events would be divided among processes that fold them (merge them).

    Never raises; changes nothing. The collector, one process, does not use it. Use it in the thread
    of ``traces``.

    Args:
        event: Any event, checked.
        traces: Has noted the events so far.

    Returns:
        The id of the task that the event names, else of its trace's only task, else the trace id,
        else the job's id; None for an event without these, of a queue for example, which every
        process would need.
    """
    if names_task(event):
        return event.parent_task_id
    trace_id = event.trace_id or event.parent_task_id
    if trace_id is not None:
        return traces.task_of(trace_id) or trace_id
    return event.task_id
