"""
``Owners``: which events belong together, and whose project they are, for a process that routes.

The fold joins what has a task, a trace, or a trace that continues another in common: a span below
one that names a task, a trace with its only task. So everything that is connected so is one group,
with one owner key, and a group is folded by one state. A group is known by the tasks and traces
that events name together; one event may join two groups, of which one then moves.

The key of a group is the smallest id of its tasks, else of its traces: it does not depend on the
order of events, and a task that goes on in further traces does not move for each of them.

With one key for each task alone, and one for each trace, 18 % of 300 random histories were not what
one fold makes of them: spans below jobs of two tasks in one trace lost their parents.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from otel_bridge_collector.model.events import Event, short_id
from otel_bridge_collector.model.tasks import is_link, names_task

__all__ = ["Group", "Home", "Known", "Move", "Owners"]

_MAX_IDS: Final = 100_000
_MAX_TASKS_OF_TRACE: Final = 8
_MAX_LINKS: Final = 64
_MAX_JOINED: Final = 10_000


class Group:
    """
    Tasks and traces that are folded together; a record.

    Attributes:
        key: Its owner key.
        ids: Of its tasks and traces, as far as they are remembered.
        partition: Of the key; the first reader notes it. -1: not known.
        first: Number of its first event, as its reader counts them.
        position: Of the log, before its first event or earlier.
    """

    __slots__ = ("first", "ids", "is_named", "key", "partition", "position")

    def __init__(self, key: str, first: int, position: str) -> None:
        self.key = key
        self.ids: set[str] = {key}
        self.is_named = False
        self.partition = -1
        self.first = first
        self.position = position


class Known:
    """
    What is known of one task, or of one trace; a record.

    Attributes:
        id: Of the task or trace.
        group: What it belongs to.
        project: Of events that name it; of several the smallest, and ``is_mixed``.
        tasks: Of a trace: ids that its events named, at most 8.
        trace: Of the latest event that named it; itself: there was none. None: not known.
    """

    __slots__ = ("group", "id", "is_mixed", "is_named", "is_used", "project", "tasks", "trace")

    def __init__(self, known_id: str, group: Group) -> None:
        self.id = known_id
        self.group = group
        self.project: str | None = None
        self.is_mixed = False
        self.is_named = False
        self.is_used = False
        self.tasks: tuple[str, ...] = ()
        self.trace: Known | None = None


class Move(NamedTuple):
    """
    A group has another key now: what its former state holds of these ids belongs elsewhere.

    A record. ``ids`` are all of them, ``former`` was their partition (-1: nothing of them was
    routed yet), ``group`` is what they belong to now; ``first`` and ``position`` are those of their
    first event.
    """

    ids: frozenset[str]
    former: int
    group: Group
    first: int
    position: str


class Home(NamedTuple):
    """Whose an event is to readers limited to projects; a record, as ``project_of`` of a model."""

    id: str
    project: str | None
    is_mixed: bool


class Owners:
    """
    Remembers which tasks and traces belong together, and their projects. For one event loop.

    Above 100,000 ids, those that no event named for longest are forgotten; what comes of them later
    is a group of its own, as after a restart of a collector. Raises nothing for checked events.

    Args:
        max_ids: The limit.

    Attributes:
        moves: Groups that have another key since a reader cleared it.
        joined: Keys of two tasks that a trace has in common, since a reader cleared it; at most
            10,000. A member that starts when the log has lost the event that said so must learn it
            from another one, or it would look for the tasks elsewhere.
        number: Returns the number of the event that is noted; the reader sets it.
        position: A place in the log before it; the reader sets it.
    """

    def __init__(self, max_ids: int = _MAX_IDS) -> None:
        self.moves: list[Move] = []
        self.joined: list[tuple[str, str]] = []
        self.number: Callable[[], int] = int
        self.position = ""
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._max_ids = max_ids

    def __len__(self) -> int:
        return len(self._known)

    def note(self, event: Event) -> Known | None:
        """
        Note what an event says of its task and trace; a repeated one changes nothing.

        Returns:
            The task that it names, else its trace, with the group that it belongs to. None: it
            names neither, as those of workers and queues.
        """
        trace_id = event.trace_id
        named = event.parent_task_id or trace_id
        if named is None:
            return None
        base = self._known.get(named)
        if base is None:
            base = self._learn(event)
        else:
            # Nearly all events say what the one before them of their task said.
            trace = base.trace
            if (
                trace is None
                or (trace_id is not None and trace_id != trace.id)
                or (not base.is_named and trace is not base)
            ):
                base = self._learn(event)
            else:
                base.is_used = trace.is_used = True
        project = event.project_id
        if project is not None and project != base.project:
            _note_project(base, short_id(project))
        return base

    def _learn(self, event: Event) -> Known:
        """Note what an event says of its task and trace, unless it says nothing new."""
        task_id, trace_id = event.parent_task_id or None, event.trace_id
        if trace_id is None:
            base = self._get(task_id or "")
            if not base.is_named and names_task(event):
                self._name(base)
            if base.is_named:
                base.trace = base.trace or base
            return base
        if task_id is None or task_id == trace_id:
            base = self._get(trace_id)
            base.trace = base
            return base
        base, trace = self._get(task_id), self._get(trace_id)
        if not base.is_named and (event.name is None or not is_link(event)):
            self._name(base)
        if base.group is not trace.group:
            self._join(base.group, trace.group)
        if task_id not in trace.tasks and len(trace.tasks) < _MAX_TASKS_OF_TRACE:
            trace.tasks += (base.id,)
        base.trace = trace
        return base

    def join(self, task_id: str, other_id: str) -> None:
        """Note that two tasks belong together, as another member of the cluster knows."""
        one, other = self._get(task_id), self._get(other_id)
        for known in (one, other):
            if not known.is_named:
                self._name(known)
        if one.group is not other.group:
            self._join(one.group, other.group)

    def group_of(self, event: Event) -> Group | None:
        """Return the group of an event that was noted before, or may have been; notes nothing."""
        return self.group_by_ids(event.parent_task_id, event.trace_id)

    def group_by_ids(self, task_id: str | None, trace_id: str | None) -> Group | None:
        """Return the group of a task, else of a trace; None: it is not known."""
        found = self._known.get(task_id or trace_id or "")
        return None if found is None else found.group

    # --- groups ----------------------------------------------------------------------------------

    def _get(self, known_id: str) -> Known:
        found = self._known.get(known_id)
        if found is None:
            group = Group(known_id, self.number(), self.position)
            found = self._known[known_id] = Known(known_id, group)
            if len(self._known) > self._max_ids:
                self._forget_unused(found)
        else:
            found.is_used = True
        return found

    def _forget_unused(self, newcomer: Known) -> None:
        """The first that no event has named since the last look; each that one has, stays."""
        while True:
            known_id, oldest = self._known.popitem(last=False)
            if not oldest.is_used and oldest is not newcomer:
                oldest.group.ids.discard(known_id)
                return
            oldest.is_used = False
            self._known[known_id] = oldest

    def _name(self, base: Known) -> None:
        """An event names it as a task: ids of tasks come before those of traces."""
        base.is_named = True
        group = base.group
        if (False, base.id) < (not group.is_named, group.key):
            is_same, former = base.id == group.key, group.partition
            group.is_named, group.key = True, base.id
            if not is_same:
                group.partition = -1
                self._note_move(group.ids, former, group, group.first, group.position)

    def _join(self, one: Group, other: Group) -> None:
        """Two groups are one: that with the smaller key takes the other's ids."""
        if (not other.is_named, other.key) < (not one.is_named, one.key):
            one, other = other, one
        if other.is_named and len(self.joined) < _MAX_JOINED:
            self.joined.append((other.key, one.key))
        self._note_move(other.ids, other.partition, one, other.first, other.position)
        if other.first < one.first:
            one.first, one.position = other.first, other.position
        for known_id in other.ids:
            known = self._known.get(known_id)
            if known is not None:
                known.group = one
        one.ids |= other.ids

    def _note_move(
        self, ids: Iterable[str], former: int, group: Group, first: int, position: str
    ) -> None:
        if former >= 0:
            self.moves.append(Move(frozenset(ids), former, group, first, position))

    # --- projects --------------------------------------------------------------------------------

    def home(self, base: Known, event: Event) -> Home:
        """
        Return whose an event is, by what is known of tasks and traces; changes nothing.

        Of a span that knows only its trace, which several tasks share, that is the trace: which of
        them its parent is in only the fold knows.

        Args:
            base: As ``note`` returned it for this event.
            event: The event.
        """
        found = base if base.is_named and _is_named(event) else self._home_of_loose(base)
        return Home(found.id, None if found.is_mixed else found.project, found.is_mixed)

    def project_of_past(self, task_id: str | None, trace_id: str | None) -> str | None:
        """Return the project of an earlier event by its ids, as ``model.reading.projects`` does."""
        base = self._known.get(task_id or trace_id or "")
        if base is None:
            return None
        found = base if base.is_named else self._home_of_loose(base)
        return None if found.is_mixed else found.project

    def is_only_task(self, task_id: str, trace_id: str | None) -> bool:
        """Whether the events of a trace have named this task and no other."""
        trace = self._known.get(trace_id or "")
        return trace is not None and trace.tasks == (task_id,)

    def _home_of_loose(self, base: Known) -> Known:
        host = self._only_task_of(base)
        return base if host is None or not _may_join(base, host) else host

    def _only_task_of(self, base: Known) -> Known | None:
        """As ``Tasks.only_task_of``: follows traces that continue another."""
        passed = [base]
        found = base
        while len(found.tasks) == 1 and len(passed) < _MAX_LINKS:
            following = self._known.get(found.tasks[0])
            if following is None:
                break
            if following in passed:
                found = min(passed[passed.index(following) :], key=lambda one: one.id)
                break
            passed.append(following)
            found = following
        return None if found is base else found


def _is_named(event: Event) -> bool:
    task_id, trace_id = event.parent_task_id, event.trace_id
    if task_id is None or task_id == trace_id:
        return False
    return names_task(event)


def _note_project(base: Known, project: str) -> None:
    """As ``Tasks.note_project``."""
    if not base.id:
        return
    if base.project is None:
        base.project = project
    elif project != base.project:
        base.is_mixed = True
        base.project = min(base.project, project)


def _may_join(card: Known, task: Known) -> bool:
    """As ``model.tasks.may_join``."""
    if card.project is None:
        return not card.is_mixed
    if card.is_mixed or task.is_mixed:
        return False
    return task.project is None or task.project == card.project
