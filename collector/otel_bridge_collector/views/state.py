"""``ViewState``: the model as the views read it at one moment, with what they share of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge_collector.lines.table import LinesTable
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.processes.records import Incarnation, Worker
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.model.snapshot.panels import WorkerStatus, shown_processes
from otel_bridge_collector.views.attention.slow import Slowness
from otel_bridge_collector.views.attention.stuck import (
    QueueFacts,
    SharedTakers,
    Stuck,
    Takers,
    read_queues,
    stuck,
    takers,
    takers_of,
)
from otel_bridge_collector.views.attention.trouble import NO_TROUBLE, find_trouble
from otel_bridge_collector.views.budget import SHARE, Budget
from otel_bridge_collector.views.listing import Scope
from otel_bridge_collector.views.task_index import TaskIndex
from otel_bridge_collector.wire.event_matcher import HeldEvent

__all__ = ["MAX_NAMES", "EventRing", "Kept", "ViewState", "ms"]

MAX_NAMES: Final = 200
"""Projects or types that a filter offers, at most."""


_MAX_ORDERS: Final = 300
_SECOND_US: Final = 1_000_000


def ms(time_us: int | None) -> int | None:
    """Return a time of the model in milliseconds; None and 0, which means unknown, become None."""
    return None if not time_us else time_us // 1000


class EventRing(Protocol):
    """
    The newest events in memory by a running index; ``stream.ring.ReplayRing`` is one.

    A protocol for type checkers; all as there.

    Attributes:
        resets: Rises when the ring is emptied: entries before and after are not of one run.
        changes: How many entries got their project after they came.
    """

    resets: int
    changes: int

    @property
    def last_index(self) -> int:
        """The index of the newest entry."""

    @property
    def has_evicted(self) -> bool:
        """Whether entries since the latest reset are no longer held."""

    def holds_all_after(self, index: int) -> bool:
        """Whether no entry with a larger index has been evicted."""

    def after_index(self, index: int) -> Iterator[HeldEvent]:
        """The entries with a larger index, oldest first."""

    def newest(self) -> Iterator[HeldEvent]:
        """All entries, newest first."""

    def changed_after(self, number: int) -> Sequence[HeldEvent] | None:
        """The entries whose project was set since ``changes`` was ``number``; None: too many."""


class Kept(Protocol):
    """What a view keeps from one tick to the next, such as an index of its own."""

    def refresh(self) -> None:
        """The model is another one than before: called at the end of each refresh of the state."""


_Kept = TypeVar("_Kept", bound=Kept)


class ViewState:
    """
    What views are computed from: the model (the state that all events make) and indexes of it.

    The collector makes one, on the event loop that changes the model, and refreshes it before
    windows are computed. It never waits, and raises nothing for what the model holds.

    Args:
        model: Each refresh empties its lists of changed (``dirty``) and ``evicted`` tasks; nothing
            else may empty them.
        queues: Names of the coordinator's queues, which are listed first and in this order;
            default: those of the prefix ``nexus``.
        ring: The newest events, each folded into the model; default None: no events are shown.
        clock: Measures what lists cost to make.
        lines: Where the view ``lines`` reads; default None: a table of its own.
        share: Of a core, for lists that are made again; less where a process has several states.

    Attributes:
        budget: Keeps lists that are expensive to make, and decides when each is made again.
        tasks: All tasks, indexed; none before the first refresh.
        slowness: Says how many times as long as others an attempt takes.
        trouble: Tasks with slow jobs, a lost worker or a stuck queue, as of the latest second.
        ring: As given.
        lines: Log lines of the nodes that people look at; a poller fills it. Empty at first.
        kept_events: What the view ``events`` keeps from tick to tick, by query and scope, the one
            that was asked for last at the end. Empty at first.
        queues_in_all: What is known of queues together with the states that this process does not
            hold, by name; empty: there is no other state.
        shared_takers: Who takes from which queue, as another state of this process knows; None:
            this one finds it out.
        orders: Orders of tasks by query and scope, for as long as the index says they hold; over
            300, all are forgotten at the next refresh. Empty at first.
    """

    def __init__(
        self,
        model: Fold,
        queues: Sequence[str] = DEFAULT_KEYS.queues,
        ring: EventRing | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        lines: LinesTable | None = None,
        share: float = SHARE,
    ) -> None:
        self.model = model
        self.queues = queues
        self.ring = ring
        self.lines = LinesTable(clock) if lines is None else lines
        self.kept_events: dict[Any, Any] = {}
        self.budget = Budget(clock, share)
        self.queues_in_all: Mapping[str, QueueFacts] = {}
        self.shared_takers: SharedTakers | None = None
        self.tasks = TaskIndex(model)
        self.slowness = Slowness(self.budget)
        self.trouble = NO_TROUBLE
        self.orders: dict[Any, tuple[int, Any, Any]] = {}
        self._kept: dict[Callable[[Fold], Kept], Any] = {}
        self._processes: Sequence[tuple[Worker, Incarnation | None, WorkerStatus]] | None = None
        self._running: dict[tuple[str | None, bool], Counter[str]] | None = None
        self._takers: Takers | None = None
        self._queue_facts: dict[str, QueueFacts] | None = None
        self._clock = clock
        self._looked_at = (-1, -1)

    @property
    def now(self) -> int:
        """The moment of the latest refresh, microseconds since the Unix epoch."""
        return self.model.liveness.now

    def refresh(self, now: int) -> None:
        """
        Evaluate liveness (what is stalled) at ``now``, and bring the index of tasks up to date.

        Call it on the event loop that changes the model. It takes as long as much has changed; once
        a second it looks at all open tasks, at most 10,000 by default. Raises nothing for what the
        model holds.

        Args:
            now: Microseconds since the Unix epoch; an earlier time than before counts as that one.
        """
        self.model.sweep(now)
        self.tasks.refresh()
        self.budget.refresh(self.now // 1000)
        for kept in self._kept.values():
            kept.refresh()
        self._running = self._processes = self._takers = self._queue_facts = None
        self._look()
        if len(self.orders) > _MAX_ORDERS:
            self.orders.clear()

    def _look(self) -> None:
        """
        Find the tasks that need attention, once a second of either clock.

        The clock stands in tests, and the state's time where a collector reads back its log.
        """
        second = self.now // _SECOND_US, int(self._clock.monotonic())
        if second != self._looked_at:
            self._looked_at = second
            names = [name for name in self.queue_facts() if self.stuck(name) is not None]
            self.trouble = find_trouble(self.model, self.slowness, names)
            self.tasks.note_trouble(self.trouble)

    def keep(self, make: Callable[[Fold], _Kept]) -> _Kept:
        """
        Return what a view keeps from tick to tick; the same for the same ``make``.

        On the event loop of the model. What ``make`` raises passes through, and nothing is kept.

        Args:
            make: Makes it from the model, the first time.
        """
        found: _Kept | None = self._kept.get(make)
        if found is None:
            found = self._kept[make] = make(self.model)
        return found

    def projects(self, scope: Scope) -> set[str]:
        """Return the projects of the tasks that a reader may see; on the model's event loop."""
        seen = (known.task.project for known in self.tasks.visible(scope))
        return {project for project in seen if project}

    def types(self, scope: Scope, project: str | None) -> set[str]:
        """
        Return names that a filter can offer: types of jobs, and names of phases.

        Of a task its 100 newest phases and 50 newest jobs are looked at, and all jobs that run. On
        the model's event loop.

        Args:
            scope: The reader's projects; None: all.
            project: Only of tasks of this project; None: of all.
        """
        found = set(self.running_by_type(scope, project))
        for known in self.tasks.visible(scope, project):
            found |= known.names
        return found

    def processes(self) -> Sequence[tuple[Worker, Incarnation | None, WorkerStatus]]:
        """
        Return the workers that are shown, by process; once a ``refresh`` for all views and readers.

        As ``shown_processes``; on the event loop of the model. Raises nothing.
        """
        if self._processes is None:
            self._processes = shown_processes(self.model)
        return self._processes

    def takers(self) -> Takers:
        """Return who takes from which queue; once a ``refresh``, on the event loop of the model."""
        if self._takers is None:
            shared = self.shared_takers
            if shared is None:
                self._takers = takers(self.processes())
            else:
                self._takers = takers_of(shared, self.model.workers, self.now)
        return self._takers

    def queue_facts(self) -> dict[str, QueueFacts]:
        """
        Return what is known of all queues, by name; read once a ``refresh``. Raises nothing.

        As ``read_queues``; on the event loop of the model.
        """
        if self._queue_facts is None:
            self._queue_facts = read_queues(self.model.queues, self.takers(), self.now)
        return self._queue_facts

    def stuck(self, name: str) -> Stuck | None:
        """Return why a queue is stuck by what this process knows; KeyError for an unknown one."""
        names = self.takers().of(name)
        facts = self.queues_in_all.get(name) or self.queue_facts()[name]
        return stuck(facts, None if names is None else len(names), self.now)

    def running_by_type(self, scope: Scope, project: str | None) -> Counter[str]:
        """
        Count the jobs that run and that a reader may see, by type; counted once for all readers.

        The count is that of the latest ``refresh``, which the collector calls at least once a
        second and before each tick of the views (0.1 to 1 s apart). On the event loop of the model.
        Raises nothing.

        Args:
            scope: The reader's projects; None: all. Jobs of a task of several projects are counted
                only if this is None.
            project: Only jobs of this project; None: of all.

        Returns:
            The number by the job's name, ``job`` for one without; types without a running job are
            left out.
        """
        if self._running is None:
            self._running = defaultdict(Counter)
            for job in self.model.running:
                name = (job.win and job.win.name) or "job"
                self._running[job.task.project, is_shared(job.task)][name] += 1
        found: Counter[str] = Counter()
        for (owner, is_hidden), names in self._running.items():
            if scope is not None and (is_hidden or owner not in scope):
                continue
            if project is None or owner == project:
                found.update(names)
        return found
