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

from otel_bridge_collector.cluster.known import (
    LINKED,
    LOOSE,
    NAMED,
    Group,
    Home,
    Known,
    Place,
    Spans,
)
from otel_bridge_collector.model.events import FACTS, Event, short_id
from otel_bridge_collector.model.tasks import is_link, names_task

__all__ = ["Move", "Owners"]

_MAX_IDS: Final = 100_000
_MAX_TASKS_OF_TRACE: Final = 8
_MAX_LINKS: Final = 64
_MAX_ABOVE: Final = 200
"""Spans between one that names no task and one that does: to look at so many takes 30 us."""
_MAX_JOINED: Final = 10_000


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
        spans: Whose spans are.
    """

    def __init__(self, max_ids: int = _MAX_IDS) -> None:
        self.moves: list[Move] = []
        self.joined: list[tuple[str, str]] = []
        self.number: Callable[[], int] = int
        self.position = ""
        self.spans = Spans()
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
            project, group = short_id(project), base.group
            _note_project(base, project)
            if group.project is None:
                group.project = project
            elif project != group.project:
                group.is_shared = True
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
            if len(trace.tasks) > 1 or base.tasks or trace.is_named or not base.is_named:
                trace.group.is_shared = True
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
            one.group.is_shared = True

    def group_of(self, event: Event) -> Group | None:
        """Return the group of an event that was noted before, or may have been; notes nothing."""
        return self.group_by_ids(event.parent_task_id, event.trace_id)

    def base_of(self, event: Event) -> Known | None:
        """Return the task that an event names, else its trace; None: it is not known."""
        return self._known.get(event.parent_task_id or event.trace_id or "")

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
        if one.project is None:
            one.project = other.project
        elif other.project not in (None, one.project):
            one.is_shared = True
        if one.is_shared or other.is_shared:
            now = self.number()
            one.is_shared = True
            # Of a group that is new there is nothing to find in memory.
            one.is_indexed = all(each.is_indexed or 0 < now == each.first for each in (one, other))
            one.is_whole &= other.is_whole
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

    def note_span(self, event: Event, base: Known) -> None:
        """
        Note what an event says of its span, if it has one.

        Args:
            event: Noted before. While ``number`` is ``int`` it is read a second time: not noted.
            base: As ``note`` returned it.
        """
        span_id, trace_id, parent = event.span_id, event.trace_id, event.parent_span_id
        if span_id is None or self.number is int:
            return
        known = self.spans.recent.get(span_id)
        if (
            known is not None
            and known.base is base
            and (known.parent == parent or parent is None)
            and (known.kind == NAMED or event.parent_task_id in (None, trace_id))
        ):
            return  # as nearly each event but a span's first
        if event.event_type not in FACTS and (
            event.event_type != "stats_snapshot" or not event.phase
        ):
            return  # only progress of a phase is about a span
        is_plain = event.name is None and trace_id is not None
        if names_task(event) if not is_plain else trace_id != base.id:
            kind = NAMED
        else:
            kind = LOOSE if trace_id in (None, base.id) else LINKED
        # Half the time of ``Place()``, which is Python.
        self.spans.note(span_id, tuple.__new__(Place, (kind, base, parent)), self.number)

    def home(self, base: Known, event: Event) -> Home:
        """
        Return whose an event is, as the task that one fold finds for it; changes nothing.

        Where a group ``is_shared`` the places of its spans show it. Readers limited to projects do
        not get an event that names no task and no project, if no span above it that names a task
        is known, and one may be forgotten: more than 50,000 spans of such groups ago, or no longer
        in the ring when the group became shared. The member that folds the group may know it still.
        A span of which one event names a task and another, so much later, does not, counts as new.

        Args:
            base: As ``note`` returned it for this event.
            event: The event; its span was noted, if the group is shared.
        """
        if event.span_id is None or event.event_type not in FACTS:
            # What stands for a job without a span is where its events say.
            return _home(base)
        if base.group.is_shared:
            return self._home_of_span(event.span_id, base.group) or _home(base)
        is_named = base.is_named and names_task(event)
        return _home(base if is_named else self._home_of_loose(base))

    def project_of_past(
        self, task_id: str | None, trace_id: str | None, span_id: str | None
    ) -> str | None:
        """Return the project of an earlier event by its ids, as ``model.reading.projects`` does."""
        base = self._known.get(task_id or trace_id or "")
        if base is None:
            return None
        if span_id is not None:
            if not base.group.is_shared:
                return _home(base if base.is_named else self._home_of_loose(base)).project
            home = self._home_of_span(span_id, base.group)
            if home is not None:
                return home.project
            if not base.is_named and self._may_be_forgotten(base.group):
                return None
        if base.is_named or base.project is not None:
            return _home(base).project
        if task_id in (None, trace_id):
            host = self._known.get(base.tasks[0]) if len(base.tasks) == 1 else None
        else:
            host = self._only_task_of(base)  # of another trace, which its own continues
        return None if host is None else _home(host).project

    def is_only_task(self, task_id: str, trace_id: str | None) -> bool:
        """Whether the events of a trace have named this task and no other."""
        trace = self._known.get(trace_id or "")
        return trace is not None and trace.tasks == (task_id,)

    def _home_of_loose(self, base: Known) -> Known:
        host = self._only_task_of(base)
        return base if host is None or not _may_join(base, host) else host

    def _home_of_span(self, span_id: str, group: Group) -> Home | None:
        """As ``Tasks.home``, by the spans above; None: nothing is known of the span."""
        path = self._path(span_id, group)
        if not path:
            return None
        is_sure = len(path) < _MAX_ABOVE and not self._may_be_forgotten(group)
        host: Known | None = None
        for kind, base, _ in reversed(path):
            card = self._known.get(base.id, base)
            if kind == NAMED:
                host, is_sure = card, True
            elif host is None:
                host = self._home_of_loose(card)
            elif host is not card and not _may_join(card, host):
                host = card
        assert host is not None
        return _home(host) if is_sure else Home(host.id, None, is_mixed=True)

    def _path(self, span_id: str, group: Group) -> list[Place]:
        """A span, its parent and so on, as far as they are of one group and remembered."""
        found: dict[str, Place] = {}
        at: str | None = span_id
        while at is not None and len(found) < _MAX_ABOVE:
            if at in found:
                # In a circle of parents the one with the smallest id is the top, as in a tree.
                ids = list(found)
                top = min(ids[ids.index(at) :])
                return list(found.values())[: ids.index(top) + 1]
            place = self.spans.get(at)
            if place is None or self._known.get(place.base.id, place.base).group is not group:
                break
            found[at] = place
            at = place.parent
        return list(found.values())

    def _may_be_forgotten(self, group: Group) -> bool:
        return not group.is_whole or group.first < self.spans.complete_from

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


def _home(found: Known) -> Home:
    return Home(found.id, None if found.is_mixed else found.project, found.is_mixed)


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
