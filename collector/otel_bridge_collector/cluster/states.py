"""
``States``: the partitions that this process holds, each with a model and what views keep of it.

A partition is a whole state, not a mark on tasks: one that is gained is a new state, which is shown
once it is filled; one that is lost is dropped. What concerns jobs of several partitions, whether a
queue or a worker is busy, the states learn from each other once a second, and from the other
members of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge_collector.cluster.facts import Facts, add_facts, facts_of
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.lines.table import LinesTable
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.eviction import NODE_BYTES, Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.views.attention.stuck import SharedTakers, share_takers
from otel_bridge_collector.views.budget import SHARE
from otel_bridge_collector.views.catalog import CATALOG, Query
from otel_bridge_collector.views.listing import GoneError, Scope
from otel_bridge_collector.views.state import EventRing, ViewState

__all__ = ["State", "States"]

_SECOND_US: Final = 1_000_000
_MIN_EVENT_IDS: Final = 1000
_NO_FACTS: Final = Facts()


class State:
    """
    One partition: its model, and what views keep of it. For one event loop.

    Attributes:
        partition: 0 to 23.
        model: Only events of this partition, and those of workers and queues, are folded into it.
        view_state: What views are computed from.
        is_ready: Whether it holds all that the log had of it; False at first.
        block: Of the log, in which the event is that was folded last; None at first.
    """

    __slots__ = ("_moved", "_uncounted", "block", "is_ready", "model", "partition", "view_state")

    def __init__(self, partition: int, view_state: ViewState) -> None:
        self.partition = partition
        self.view_state = view_state
        self.model = view_state.model
        self.is_ready = False
        self.block: str | None = None
        self._moved = 0
        self._uncounted = RollingStats()

    def enter_block(self, position: str | None) -> None:
        """The next event is in the block of the log after a position; None: it is in no log."""
        if position is not self.block and position is not None:
            self.block = position
            self.model.note_block(position)

    def apply_moved(self, event: Event, seen: int) -> None:
        """
        Fold an event of a group that belonged to another partition, which has counted it.

        Also if this state had it once, and has forgotten its task since.
        """
        model, counted = self.model, self.model.stats
        self._moved += 1
        event.event_id = f"{event.event_id} moved {self._moved}"
        # What tasks have counted of this second belongs to the statistics of before.
        counted.begin_second(counted.second_from)
        model.stats = self._uncounted
        try:
            model.apply(event, seen)
        finally:
            self._uncounted.begin_second(seen)
            model.stats = counted

    def apply_elsewhere_counted(self, event: Event, seen: int) -> bool:
        """Fold an event of a worker or a queue, which another state counts; as ``Fold.apply``."""
        model, counted = self.model, self.model.stats
        model.stats = self._uncounted
        try:
            return model.apply(event, seen)
        finally:
            model.stats = counted


class States:
    """
    The states of the partitions that this process holds; for one event loop, nothing waits.

    Args:
        queues: Names of the coordinator's queues, which are listed first.
        ring: The newest events, for the view ``events``; the same for all partitions.
        heartbeat_ttl_sec: As of ``Fold``.
        limits: Of all states together; default those of ``Limits``. Once a second each state gets
            what it holds and what all leave free, so that one large partition has room.
        clock: Measures what lists cost to make.

    Attributes:
        held: By partition.
        lines: Log lines of the nodes that people look at, of all states.
        is_whole: Whether every partition is ready at some member; else no job is stalled by an
            emptied queue, because what is missing may run. Set by the owner; True at first.
        dropped: How many states were dropped since the start.
        front: A state without tasks, with the ring: of it the view ``events`` is computed.
    """

    def __init__(
        self,
        *,
        queues: Sequence[str] = DEFAULT_KEYS.queues,
        ring: EventRing | None = None,
        heartbeat_ttl_sec: float = 30.0,
        limits: Limits | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.held: dict[int, State] = {}
        self.lines = LinesTable(clock)
        self.is_whole = True
        self.dropped = 0
        self._queues = queues
        self._ttl_sec = heartbeat_ttl_sec
        self._limits = limits or Limits()
        self._clock = clock
        self._peer_facts: Facts | None = _NO_FACTS
        self._second = -1
        self.front = ViewState(Fold(), queues, ring, clock=clock, lines=self.lines)

    # --- what is held ----------------------------------------------------------------------------

    def open(self, partition: int) -> State:
        """Return the state of a partition; a new one, which is empty and not ready, if need be."""
        state = self.held.get(partition)
        if state is None:
            model = Fold(self._share_of_limits(), heartbeat_ttl_sec=self._ttl_sec)
            view_state = ViewState(
                model,
                self._queues,
                clock=self._clock,
                lines=self.lines,
                share=SHARE / PARTITIONS,
            )
            state = self.held[partition] = State(partition, view_state)
        return state

    def finish(self, state: State, now: int) -> None:
        """
        Show a state that is filled from the log, with liveness evaluated at ``now``.

        Heartbeats that were read back count as received when they were sent. Of a worker whose
        clock is behind that would be too long ago, and its jobs stalled; so what another state
        received live counts here too.
        """
        other = next((each for each in self.held.values() if each.is_ready), None)
        if other is not None:
            known = other.model.workers.by_id
            for key, worker in state.model.workers.by_id.items():
                incarnations = known[key].incarnations if key in known else {}
                for one in worker.incarnations.values():
                    same = incarnations.get(one.key)
                    if same is not None and same.seen > one.seen:
                        one.seen = same.seen
        # Views read the index, which has no tasks before its first refresh.
        state.view_state.refresh(now)
        state.is_ready = True

    def drop(self, partition: int) -> None:
        """Forget the state of a partition, if it is held."""
        if self.held.pop(partition, None) is not None:
            self.dropped += 1

    def ready(self) -> frozenset[int]:
        """The partitions whose states hold all that the log had of them."""
        return frozenset(number for number, state in self.held.items() if state.is_ready)

    def _share_of_limits(self) -> Limits:
        whole = self._limits
        return Limits(
            tasks=max(1, whole.tasks // PARTITIONS),
            nodes=max(1, whole.nodes // PARTITIONS),
            nodes_per_task=whole.nodes_per_task,
            bytes=max(NODE_BYTES, whole.bytes // PARTITIONS),
            workers=whole.workers,
            queues=whole.queues,
            # The router leaves out repeats; a state meets some again while it is filled.
            event_ids=max(_MIN_EVENT_IDS, whole.event_ids // PARTITIONS),
        )

    def _divide_limits(self) -> None:
        """Let each state hold what it has and what is free; of too much its proportion."""
        whole = self._limits
        sizes = {
            state: (
                len(state.model.tasks.by_id),
                state.model.tree.size,
                state.model.tree.size * NODE_BYTES + state.model.tree.text_bytes,
            )
            for state in self.held.values()
        }
        limits = (whole.tasks, whole.nodes, whole.bytes)
        sums = [sum(size[column] for size in sizes.values()) for column in range(3)]
        share = self._share_of_limits()
        for state, own in sizes.items():
            tasks, nodes, size = (
                used + limit - total if total <= limit else used * limit // total
                for used, limit, total in zip(own, limits, sums, strict=True)
            )
            state.model.set_limits(
                Limits(
                    tasks=max(tasks, share.tasks),
                    nodes=max(nodes, share.nodes),
                    nodes_per_task=share.nodes_per_task,
                    bytes=max(size, share.bytes),
                )
            )

    # --- facts of other partitions ---------------------------------------------------------------

    def facts(self) -> Facts:
        """Return what the states held here say of queues and workers; for the other members."""
        return facts_of(state.view_state for state in self.held.values() if state.is_ready)

    def set_peer_facts(self, facts: Facts | None) -> None:
        """
        Note what all other members say of queues and workers; used from the next second on.

        Args:
            facts: Of all of them together, at most 3 s old; None: those of a member are not known,
                and until they are no job is stalled by an emptied queue.
        """
        self._peer_facts = facts

    def exchange(self) -> None:
        """Let each state know the facts of all others; ``refresh`` does it once a second."""
        peers = self._peer_facts
        is_known = peers is not None and self.is_whole
        total = add_facts([self.facts(), peers or _NO_FACTS])
        in_use = total.queues_in_use()
        for state in self.held.values():
            state.view_state.queues_in_all = total.queues
            for queue in state.model.queues.by_name.values():
                queue.is_used_elsewhere = not is_known or queue.name in in_use
            for key, worker in state.model.workers.by_id.items():
                worker.is_busy_elsewhere = key in total.busy
                heard = total.heard.get(key, 0)
                if heard > worker.heard:
                    worker.heard = heard

    # --- time ------------------------------------------------------------------------------------

    def sweep(self, now: int) -> None:
        """Evaluate liveness in each state; as ``Fold.sweep``, for a log that is read back."""
        for state in self.held.values():
            state.model.sweep(now)

    def refresh(self, now: int) -> None:
        """
        Evaluate liveness at ``now`` and bring the indexes up to date, in each state.

        As ``ViewState.refresh``, of those that are ready. Once a second the states exchange facts
        first, and the limits are divided again.

        Args:
            now: Microseconds since the Unix epoch.
        """
        second = now // _SECOND_US
        is_next_second = second != self._second
        if is_next_second:
            self._second = second
            self._divide_limits()
            self.exchange()
        shared: SharedTakers | None = None
        for state in self.held.values():
            if not state.is_ready:
                continue
            if is_next_second:
                state.view_state.shared_takers = shared
            state.view_state.refresh(now)
            if is_next_second and shared is None:
                shared = share_takers(state.view_state.takers())
        self.front.refresh(now)

    # --- views -----------------------------------------------------------------------------------

    def parts(self, query: Query, scope: Scope, partitions: Iterable[int]) -> list[Any]:
        """
        Compute the parts of a view, for ``View.merge``, as of the latest refresh.

        The view ``events`` has one part whatever the partitions are, of the ring of this process:
        it holds the events of all partitions, so it should not be merged with other processes'.

        Args:
            query: From ``parse_query``.
            scope: The projects that the reader may see; None: all.
            partitions: Those asked for; what is not held, or not ready, is left out.

        Returns:
            One part for each state that has one, in the order of the partitions. Of a view of one
            task, those of the states that know it; empty if it is gone from all.
        """
        view = CATALOG[query.view]
        if query.view == "events":
            return [view.compute(self.front, query.params, scope)]
        found = []
        for number in sorted(set(partitions)):
            state = self.held.get(number)
            if state is None or not state.is_ready:
                continue
            try:
                found.append(view.compute(state.view_state, query.params, scope))
            except GoneError:
                continue
        return found
