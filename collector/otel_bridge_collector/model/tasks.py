"""
Which task an event and a node belong to: named tasks, cards of traces, projects, owners.

A node's task is, in this order: the one that an event of it named (of two the smaller id), its
parent's, the only named task of its trace, the card of its trace. The second and third hold only
where the projects agree, so that a span of another project inside a trace does not hide the task
from the readers of its own.

A third-party span may name another trace instead of a task: its own trace continues that one, as
durable execution does, and both are one card, that of the task which the other trace belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from otel_bridge_collector.model.events import FAILED, SPAN, Event
from otel_bridge_collector.model.nodes import NAMED, Node, Task
from otel_bridge_collector.model.shape.faces import (
    face_of_node,
    find_face,
    has_true_end,
    is_local_root,
    is_request,
    own_root,
    roots_that_count,
)

__all__ = ["Tasks", "has_own_facts", "is_link", "is_trace_id", "may_join", "names_task"]

_MAX_TASKS_OF_TRACE: Final = 8
_TRACE_ID_CHARS: Final = 32
_HEX: Final = frozenset("0123456789abcdef")
_MAX_SPANS_LOOKED_AT: Final = 50


def names_task(event: Event) -> bool:
    """
    Return whether the event names a research task, and not just its trace; never raises.

    True if it has a ``parent_task_id``. False without one, if it is the trace id, if it is a link
    (``is_link``), and in an event without a trace id if it looks like one (32 hex characters). From
    any thread.
    """
    task_id = event.parent_task_id
    if task_id is None or task_id == event.trace_id:
        return False
    # The collector's own task_stalled carries a trace's card without trace_id.
    return not is_trace_id(task_id) if event.trace_id is None else not is_link(event)


def is_link(event: Event) -> bool:
    """
    Return whether its ``parent_task_id`` may be another trace, which its own trace continues.

    True for a third-party span (one with a ``name``) that names what looks like a trace id and is
    not its own trace. It may be a task with such an id all the same, which makes no difference to
    where the span belongs. Never raises; from any thread.
    """
    task_id = event.parent_task_id
    return (
        task_id is not None
        and event.name is not None
        and event.trace_id is not None
        and task_id != event.trace_id
        and is_trace_id(task_id)
    )


def is_trace_id(text: str) -> bool:
    """Whether the text looks like a trace id: 32 lower-case hex characters."""
    return len(text) == _TRACE_ID_CHARS and _HEX.issuperset(text)


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
            if task_id in self.of_trace:
                self.only_task_of(task)  # which has a guest more
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
        """
        The only task that events of a trace named, of which ``card`` is the card.

        Where that is another trace, which this one continues, it is the task of that one, and so
        on. In a circle of traces all belong to the one with the smallest id.
        """
        named = self.of_trace.get(card.id)
        if named is None or len(named) != 1:
            return None
        host = named[0]
        _note_guest(host, card)
        if host.id in self.of_trace:
            host = self._last_of_links(card, host)
            _note_guest(host, card)
        return None if host is card else host

    def is_only_task(self, task_id: str, trace_id: str | None) -> bool:
        """Whether the events of a trace have named this task and no other."""
        named = self.of_trace.get(trace_id or "", ())
        return len(named) == 1 and named[0].id == task_id

    def _last_of_links(self, card: Task, host: Task) -> Task:
        """Follow traces that continue another."""
        passed = [card]
        while host not in passed:
            passed.append(host)
            named = self.of_trace.get(host.id)
            if named is None or len(named) != 1:
                return host
            _note_guest(named[0], host)
            host = named[0]
        return min(passed[passed.index(host) :], key=lambda task: task.id)

    def has_links(self, task: Task) -> bool:
        """Whether traces continue that of a task, or of its card."""
        if task.traces and not task.is_named:
            return True
        return any(
            card.traces and not card.is_named and self.only_task_of(card) is task
            for card in tuple(task.guests or ())
        )

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
        for card in tuple(task.guests or ()):
            if card.seen > seen and self._is_only_task_of(task, card):
                seen = card.seen
        return seen

    def first_event(self, task: Task) -> int | None:
        """The earliest ``ts`` of an event of the task; counted as ``last_seen`` does."""
        first = task.first
        for card in tuple(task.guests or ()):
            if card.first is not None and self._is_only_task_of(task, card):
                first = card.first if first is None else min(first, card.first)
        return first

    def _is_only_task_of(self, task: Task, card: Task) -> bool:
        return self.only_task_of(card) is task and may_join(card, task)

    # --- which node stands for a task ------------------------------------------------------------

    def root_of(self, task: Task) -> Node | None:
        """
        Return the node that is the card's own row: the research task's, else a trace's root.

        Of several runs of a task the latest, spans before what has none; of several roots of a
        trace the earliest. Without a root it is the local root that stands for the card; else None.
        """
        if task.roots:
            return own_root(task)
        face = None if task.is_named or not task.spans else self.face_of(task)
        return face if face is not None and is_local_root(face) else None

    def face_of(self, task: Task) -> Node | None:
        """
        Return the node that a card shows: the root, else what ``shape.faces`` finds; or None.

        Never raises; on the collector's event loop. Looks at all nodes of the task if some have
        moved since the last call; there is no limit to that.
        """
        if task.roots:
            return own_root(task)
        if not task.is_face_known:
            found = find_face(task)
            task.face = None if found is None else found.node
            task.face_rank = None if found is None else found.rank
            task.is_face_known = True
        return task.face

    def offer_face(self, task: Task, node: Node) -> None:
        """A node is new, or is known to have started earlier than was known."""
        if task.is_face_known:
            if node.kind == SPAN and node.kids is not None:
                # It may stand for what is below it, at another time than was known.
                task.is_face_known = False
                return
            found = face_of_node(node)
            if found is not None and (task.face_rank is None or found.rank < task.face_rank):
                task.face, task.face_rank = found.node, found.rank

    def is_ended(self, task: Task) -> bool:
        """Whether all nodes whose ends are the card's have ended; without a root the one shown."""
        roots = roots_that_count(task)
        if not roots:
            face = self.face_of(task)
            roots = [] if face is None else [face]
        return bool(roots) and all(has_true_end(root) for root in roots)

    def is_shown(self, task: Task) -> bool:
        """
        Return whether readers see a card of the task; never raises.

        False for the record of all events without task and trace, for a request in which nothing
        runs, and for one that has only enqueued jobs so far; a trace whose only nodes (spans) are
        enqueues below a parent that was not reported is taken for one. On the collector's event
        loop.
        """
        if task.roots or task.runs or task.agg[FAILED] or not task.id:
            return bool(task.id)
        if any(node.key is not None or has_own_facts(node) for node in task.tops):
            return True
        if task.spans or not task.jobs:
            return self._has_wrapper(task) or (task.message is not None and task.is_named)
        if task.is_named:
            return True
        enqueues = (node for job in task.jobs.values() for node in job.nodes())
        return not all(type(node.parent) is int for node in enqueues)

    def _has_wrapper(self, task: Task) -> bool:
        """
        Whether something runs of which is not known yet what it is, as agents of some libraries.

        A request alone says nothing, nor does what is around research tasks, which have cards.
        """
        if task.is_named or task.id in self.of_trace or task.jobs:
            return False
        return not all(is_request(node) for node in islice(task.spans, _MAX_SPANS_LOOKED_AT))

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


def _note_guest(host: Task, base: Task) -> None:
    if host is not base:
        if host.guests is None:
            host.guests = set()
        host.guests.add(base)
