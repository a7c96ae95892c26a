"""
``TaskIndex``: all tasks with their status, kept up by difference, for every view that lists them.

Reading the status of each task for each view cost 2 to 5 us a task, four times a second. So only
tasks that changed are read again, and open ones once a second, because a silent task goes stale
without an event.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from otel_bridge_collector.model.events import FAILED, PROCESSING, STALLED
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.model.reading.cards import Card
from otel_bridge_collector.model.reading.phases import is_phase_shown
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.model.snapshot.cards import OPEN, is_waiting
from otel_bridge_collector.views.attention.trouble import NO_TROUBLE, Trouble
from otel_bridge_collector.views.listing import GoneError, Scope

__all__ = ["IndexedTask", "TaskIndex"]

_SECOND_US: Final = 1_000_000
_MAX_PHASES: Final = 100
_MAX_JOBS: Final = 50
_NO_COUNT: Final = (0, 0)
_MAX_EVICTED: Final = 10_000
"""So many ids of evicted tasks are remembered."""


class IndexedTask:
    """
    One task as of the latest refresh; a record, which ``TaskIndex`` makes and fills.

    Used on the event loop of the model; checks nothing.

    Attributes:
        task: In the model.
        status: 0 pending, 1 processing, 2 retrying, 3 completed, 4 failed, 5 stalled; -1 before it
            is read.
        start: When it started, in microseconds since the Unix epoch; 0 if unknown.
        end: When it ended, in the same unit; 0 while it is open.
        is_waiting: Whether its jobs wait and nothing of it runs.
        job_statuses: The statuses that its jobs have, as bits (1 << code), and failed if one of its
            100 newest phases reports failed jobs; 0 before it is read.
        row: The JSON of its row in the view ``tasks``; None until one is made, and after each
            change.
        changes: Times that the model said that it looks different; lists made from its nodes hold
            as long as this number.
    """

    __slots__ = (
        "_card",
        "_names",
        "_phases",
        "_searched",
        "changes",
        "end",
        "is_waiting",
        "job_statuses",
        "row",
        "start",
        "status",
        "task",
        "trouble",
    )

    def __init__(self, task: Task) -> None:
        self.task = task
        self.status = -1
        self.start = 0
        self.end = 0
        self.is_waiting = False
        self.job_statuses = 0
        self.row: bytes | None = None
        self.trouble: str | None = None
        self.changes = 0
        self._card: Card | None = None
        self._names: set[str] | None = None
        self._phases: set[str | None] | None = None
        self._searched: str | None = None

    @property
    def listed(self) -> tuple[object, ...]:
        """What lists are sorted or filtered by, but for texts."""
        waits = self.is_waiting
        facts = self.status, waits, self.start, self.end, self.job_statuses
        return (*facts, self.task.project, self.trouble)

    @property
    def names(self) -> set[str]:
        """Names of its 100 newest phases and types of its 50 newest jobs; read once a change."""
        if self._names is None:
            task = self.task
            newest = islice(reversed(task.tops), _MAX_PHASES)
            phases = (node.name for node in newest if is_phase_shown(node))
            jobs = islice(reversed(task.jobs.values()), _MAX_JOBS)
            types = (job.win.name for job in jobs if job.win is not None)
            self._names = {name for name in (*phases, *types) if name}
        return self._names

    def is_of_type(self, model: Fold, name: str) -> bool:
        """Whether this is its type or the name of one of its phases; read once a change."""
        if self._phases is None:
            nodes = self.task.tops
            self._phases = {node.name for node in nodes if is_phase_shown(node)}
            self._phases.add(model.cards.labels(self.task).task_type)
        return name in self._phases

    def searched(self, model: Fold) -> str:
        """All that a text is looked for in, case-folded, one a line; read once a change."""
        if self._searched is None:
            texts = (self.task.id, self.task.project, *model.cards.labels(self.task))
            self._searched = "\n".join(text for text in texts if text).casefold()
        return self._searched

    def card(self, model: Fold) -> Card:
        """Its card, read once until it changes."""
        if self._card is None:
            self._card = model.cards.card(self.task)
        return self._card

    def read(self, model: Fold) -> None:
        """Read it from the model again; card and row are made again when one is needed."""
        self.status, _, start, end = model.cards.standing(self.task)
        self.start, self.end = start or 0, end or 0
        self.is_waiting = self.status in OPEN and is_waiting(self.task)
        self.job_statuses = _statuses_of_jobs(self.task)
        self._card = self._names = self._phases = self._searched = self.row = None


def _statuses_of_jobs(task: Task) -> int:
    found = 0
    for status in range(STALLED + 1):
        if task.agg[status]:
            found |= 1 << status
    if not task.agg[FAILED]:
        for node in islice(reversed(task.tops), _MAX_PHASES):
            more = node.more
            if more is not None and more.counts and more.counts.get("failed", _NO_COUNT)[1] > 0:
                return found | 1 << FAILED
    return found


class TaskIndex:
    """
    The tasks that have a card (one entry on the page), by id, with their status.

    For the event loop of the model, without a lock. It has as many tasks as the model holds, at
    most 10,000 by default. Open ones are read again once a second, because a silent task becomes
    stalled without an event. Only iterating ``visible`` can raise.

    Args:
        model: Each refresh empties its lists of changed (``dirty``) and ``evicted`` tasks; no other
            reader may empty them.

    Attributes:
        by_id: In no order; empty before the first refresh.
        version: Rises when a task comes, goes, or changes in what lists are sorted or filtered by;
            0 at first.
        changes: Rises with those of each task, and when one comes or goes; 0 at first.
    """

    def __init__(self, model: Fold) -> None:
        self.by_id: dict[str, IndexedTask] = {}
        self.version = 0
        self.changes = 0
        self._evicted: OrderedDict[str, tuple[str | None, bool]] = OrderedDict()
        """Of evicted tasks the project, and whether limited readers must not see it."""
        self._model = model
        self._checked_at = 0
        self._trouble = NO_TROUBLE

    def refresh(self) -> None:
        """Bring it up to date; the model must have been swept at the present time."""
        model = self._model
        for task_id in model.evicted:
            known = self.by_id.get(task_id)
            if known is not None and model.tasks.by_id.get(task_id) is not known.task:
                self._remember(known.task)
                del self.by_id[task_id]
                self.version += 1
                self.changes += 1
        model.evicted.clear()
        for task in model.dirty:
            self._note(task)
            self.changes += 1
            if (known := self.by_id.get(task.id)) is not None:
                known.changes += 1
        model.dirty.clear()
        now = model.liveness.now
        if now - self._checked_at >= _SECOND_US:
            self._checked_at = now
            for known in list(self.by_id.values()):
                if known.status in OPEN:
                    self._note(known.task)

    def note_trouble(self, trouble: Trouble) -> None:
        """
        Note which tasks need attention for what is not theirs alone; never raises.

        Args:
            trouble: As of now. Only tasks of this one and of that before are looked at.
        """
        before, self._trouble = self._trouble, trouble
        for task in set(chain(*before, *trouble)):
            known = self.by_id.get(task.id)
            if known is None or known.task is not task:
                continue
            found = None
            if task in trouble.lost:
                found = "worker_lost"
            elif task in trouble.stuck:
                found = "queue_stuck"
            elif task in trouble.slow:
                found = "jobs_slow"
            if found != known.trouble:
                known.trouble = found
                known.row = None
                self.version += 1

    def _remember(self, task: Task) -> None:
        evicted = self._evicted
        evicted.pop(task.id, None)
        evicted[task.id] = task.project, is_shared(task)
        if len(evicted) > _MAX_EVICTED:
            evicted.popitem(last=False)

    def _note(self, task: Task) -> None:
        model = self._model
        if model.tasks.by_id.get(task.id) is not task:
            return
        known = self.by_id.get(task.id)
        if not model.tasks.is_shown(task):
            if known is not None:
                del self.by_id[task.id]
                self.version += 1
            return
        if known is None or known.task is not task:
            known = self.by_id[task.id] = IndexedTask(task)
        before = known.listed
        known.read(model)
        if before != known.listed:
            self.version += 1

    def visible(self, scope: Scope, project: str | None = None) -> Iterator[IndexedTask]:
        """
        Yield the tasks that a reader may see, in no order; on the event loop of the model.

        Args:
            scope: The reader's projects; None: all. A task of several projects is shown to no
                limited reader.
            project: Only tasks of this project; default None: of all.

        Raises:
            RuntimeError: While iterating: there was a refresh since the call.
        """
        for known in self.by_id.values():
            task = known.task
            if _may_see(scope, task.project, is_shared(task)) and project in (None, task.project):
                yield known

    def find(self, task_id: str, scope: Scope) -> IndexedTask:
        """
        Return one task that a reader may see; on the event loop of the model.

        Args:
            task_id: Its id, or the trace id of work without a task.
            scope: The reader's projects; None: all.

        Raises:
            GoneError: It is not held, or the reader may not see it. ``evicted`` if it was, and is
                one of the 10,000 that were evicted last.
        """
        known = self.by_id.get(task_id)
        if known is not None:
            if _may_see(scope, known.task.project, is_shared(known.task)):
                return known
        elif task_id in self._evicted and _may_see(scope, *self._evicted[task_id]):
            raise GoneError("evicted")
        raise GoneError

    def has_evicted(self, scope: Scope, project: str | None = None) -> bool:
        """
        Return whether tasks that a reader could see were evicted, of the 10,000 that were last.

        Args:
            scope: The reader's projects; None: all.
            project: Only tasks of this project; default None: of all.
        """
        return any(
            _may_see(scope, owner, is_hidden) and project in (None, owner)
            for owner, is_hidden in self._evicted.values()
        )

    @staticmethod
    def needs_attention(known: IndexedTask) -> str | None:
        """
        Return why a task needs attention, in one word; None: it does not. Never raises.

        ``stalled`` or ``failed`` is the task itself. While it is open: ``worker_lost``,
        ``jobs_stalled``, ``jobs_failed``, ``queue_stuck`` or ``jobs_slow``, the first that holds of
        at least one of its jobs; once it has completed, ``queue_stuck`` or ``jobs_failed``.

        Args:
            known: As of the latest refresh.
        """
        if known.status == STALLED:
            return "stalled"
        if known.status == FAILED:
            return "failed"
        has_failed = known.job_statuses >> FAILED & 1
        if known.status in OPEN:
            if known.trouble == "worker_lost":
                return known.trouble
            if known.status == PROCESSING and known.job_statuses >> STALLED & 1:
                return "jobs_stalled"
            return "jobs_failed" if has_failed else known.trouble
        if known.trouble == "queue_stuck":
            return known.trouble  # it has put jobs into a queue, and ended
        return "jobs_failed" if has_failed else None


def _may_see(scope: Scope, project: str | None, is_hidden: bool) -> bool:
    return scope is None or (not is_hidden and project in scope)
