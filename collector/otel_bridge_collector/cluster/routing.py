"""
``Router``: folds each event into the state that it belongs to, if this process holds that.

To the reader of the log it is what the one model of a collector is. Every member of a cluster reads
every event, remembers its id, and what it says of tasks, traces and projects, so that its raw
clients get the same bytes from each. Events are decoded whole, also those that are not folded here:
a decoder of the routing fields alone takes 0.5 us instead of 0.8 to 1.5, but lets pass what the
owner leaves out as unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from otel_bridge_collector.cluster.known import Group, Home, Known
from otel_bridge_collector.cluster.owners import Move, Owners
from otel_bridge_collector.cluster.partitions import partition_of
from otel_bridge_collector.cluster.states import State, States
from otel_bridge_collector.log.decoding import UnreadableEventError, decode_event
from otel_bridge_collector.model.events import FACTS, Event, microseconds
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.model.reading.projects import project_of_past
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.model.work.event_ids import EventIds
from otel_bridge_collector.stream.ring import Entry, ReplayRing

__all__ = ["EVERY", "NOWHERE", "Router", "RouterCounters"]

EVERY: Final = -1
"""What concerns no task is folded into every state, and counted by one."""
NOWHERE: Final = -2
"""The leader's own statistics are folded by none."""
_MAX_LATE_MOVES: Final = 1000
_MAX_NEEDLES: Final = 8
_TRACE_IDS: Final = re.compile(rb'"trace_id"\s*:\s*"([0-9a-f]{32})"')


class RouterCounters:
    """
    Numbers of the router, from 0 at its start.

    Attributes:
        folded: Times that an event was folded into a state; those of workers once for each state.
        moves: Groups of tasks and traces that belong to another partition since something was
            learnt of them.
        moves_from_log: Those whose earlier events were no longer in memory, so that they are read
            from the log.
        moves_dropped: Those of them that were not, because too many were waiting.
    """

    __slots__ = ("folded", "moves", "moves_dropped", "moves_from_log")

    def __init__(self) -> None:
        self.folded = 0
        self.moves = 0
        self.moves_from_log = 0
        self.moves_dropped = 0


class Router:
    """
    Routes the events of the log to the states; in place of a ``Fold`` for the reader of the log.

    For the reader's event loop. Raises nothing for checked events.

    Args:
        states: Those that this process holds.
        ring: The newest events; of a group that moves they are folded again from it.
        event_ids: As of ``Limits``: of so many events the ids are remembered.

    Attributes:
        stats: Counts all events, held or not.
        tasks: What is known of tasks, traces and projects.
        late_moves: Groups that moved here, whose first events only the log has; a reader of it
            clears them.
    """

    def __init__(self, states: States, ring: ReplayRing, event_ids: int = 156_000) -> None:
        self.stats = RollingStats()
        self.counters = RouterCounters()
        self.tasks = Owners()
        self.tasks.number = lambda: ring.last_index + 1
        self._note, self._moves = self.tasks.note, self.tasks.moves
        self.late_moves: list[Move] = []
        self._states = states
        self._held = states.held
        self._ring = ring
        self._block: str | None = None
        self._ids = EventIds(event_ids)
        self._seen = 0
        """Reception of the latest event: what is folded again was received before."""
        self._event: Event | None = None
        self._base: Known | None = None
        self._state: State | None = None
        self._touched: set[int] = set()

    # --- as the reader of the log uses a model ---------------------------------------------------

    def note_block(self, position: str) -> None:
        """As ``Fold.note_block``: the next events are in the block after a position."""
        self._block = self.tasks.position = position

    def knows(self, event_id: str) -> bool:
        """Whether an event with this id was routed, as far as ids are remembered."""
        return event_id in self._ids

    def sweep(self, now: int) -> None:
        """
        As ``Fold.sweep``, of the states with an event of a task since the last call.

        The reader calls it while it reads the log back, once for each second of the log, so that
        rates are sampled; all 24 states at each would take 13 s for a log of 10 hours.
        """
        for partition in self._touched:
            state = self._held.get(partition)
            if state is not None:
                state.model.sweep(now)
        self._touched.clear()

    def admit(self, event_ids: Sequence[str]) -> list[bool] | None:
        """As ``EventIds.add_all``: which events of a read are no repeats. Those are counted."""
        found = self._ids.add_all(event_ids)
        self.stats.events_in += len(event_ids) if found is None else sum(found)
        return found

    def fold(self, event: Event, seen: int) -> None:
        """Fold one event, which is no repeat, into its state, if that is held; as ``Fold.fold``."""
        if seen > self._seen:
            self._seen = seen
        self._event = event
        base = self._note(event) if event.event_type in FACTS else None
        if base is None:
            place = self.place(event)
        else:
            # As ``place``, without the call.
            self._base, group = base, base.group
            place = group.partition
            if place < 0 or group.is_shared:
                place = self._place_in(base, event)
        if self._moves:
            self._move()
        state = self._state = self._held.get(place)
        if state is not None:
            if state.block is not self._block:
                state.enter_block(self._block)
            if state.is_ready:
                state.model.fold(event, seen)
            else:
                # What is read back may be in it already, or come to it later.
                state.model.apply(event, seen)
            self._touched.add(place)
            self.counters.folded += 1
        elif place == EVERY:
            self.apply_to_every(self._held.values(), event, seen, self._block)

    @property
    def task(self) -> Task | Home | None:
        """
        Whose the last event is to readers limited to projects; None: of no task.

        As the state that folded it says, else by ``Owners.home``: the same, or no project where
        what shows it may no longer be in memory. Heartbeats of spans whose publisher knows no
        project are of no task, at any member: none knows all spans.
        """
        base, state, event = self._base, self._state, self._event
        if state is not None and state.is_ready:
            return state.model.task
        if base is None or event is None:
            return None
        return self.tasks.home(base, event)

    # --- where events belong ---------------------------------------------------------------------

    def place(self, event: Event) -> int:
        """
        Note what an event says of tasks and traces, and return its partition.

        Or ``EVERY``: it is of a worker or a queue; or ``NOWHERE``. Groups that move by it are in
        ``tasks.moves`` after that; the caller sees to them.
        """
        kind = event.event_type
        if kind not in FACTS:
            self._base = None
            if kind != "stats_snapshot":
                return EVERY
            if event.parent_task_id is None:
                return NOWHERE
        base = self._base = self.tasks.note(event)
        return partition_of(event.task_id or "") if base is None else self._place_in(base, event)

    def _place_in(self, base: Known, event: Event) -> int:
        group = base.group
        if group.is_shared:
            if not group.is_indexed:
                self._index(group)
            self.tasks.note_span(event, base)
        place = group.partition
        if place < 0:
            place = group.partition = partition_of(group.key)
        return place

    def place_past(self, event: Event, block: str) -> int:
        """
        As ``place``, for an event that is read a second time, and whose group is known as a rule.

        Args:
            event: The event.
            block: A place in the log before it.
        """
        kind = event.event_type
        is_routed = kind in FACTS or (kind == "stats_snapshot" and event.parent_task_id is not None)
        group = self.tasks.group_of(event) if is_routed else None
        if group is not None and group.partition >= 0:
            return group.partition
        owners = self.tasks
        number, position = owners.number, owners.position
        # Number 0: the ring is not complete since then, so a move reads the log.
        owners.number, owners.position = int, block
        place = self.place(event)
        owners.number, owners.position = number, position
        if owners.moves:
            self._move()
        return place

    def apply_to_every(
        self, states: Iterable[State], event: Event, seen: int, block: str | None
    ) -> None:
        """Fold an event of a worker or a queue into states; the one that it hashes to counts it."""
        counting = _counting_partition(event)
        for state in states:
            state.enter_block(block)
            if state.partition == counting:
                state.model.apply(event, seen)
            else:
                state.apply_elsewhere_counted(event, seen)
            self.counters.folded += 1

    # --- groups that move ------------------------------------------------------------------------

    def take_moves(self) -> list[Move]:
        """Return groups that have moved since the last call, with their new partitions set."""
        moves = self.tasks.moves[:]
        self.tasks.moves.clear()
        for move in moves:
            if move.group.partition < 0:
                move.group.partition = partition_of(move.group.key)
        return [move for move in moves if move.group.partition != move.former]

    def _move(self) -> None:
        for move in self.take_moves():
            self.counters.moves += 1
            former = self._held.get(move.former)
            if former is not None:
                forget(former, move.ids)
            state = self._held.get(move.group.partition)
            if state is None:
                continue
            if move.first and self._ring.holds_all_after(move.first - 1):
                for before, event in self._earlier(move):
                    state.enter_block(before)
                    state.apply_moved(event, min(microseconds(event.ts), self._seen))
            elif len(self.late_moves) < _MAX_LATE_MOVES:
                self.counters.moves_from_log += 1
                self.late_moves.append(move)
            else:
                self.counters.moves_dropped += 1

    def _earlier(self, move: Move) -> Iterator[tuple[str | None, Event]]:
        """Events of a group that are in the ring, each with the position before it."""
        before: str | None = move.position
        needles = needles_of(move)
        for entry in self._ring.after_index(move.first - 1):
            event = self._read(entry, needles, move.group)
            if event is not None:
                yield before, event
            before = entry.position

    def _read(self, entry: Entry, needles: list[bytes], group: Group) -> Event | None:
        if not any(needle in entry.data for needle in needles):
            return None
        try:
            event = decode_event(entry.data)
        except UnreadableEventError:
            return None
        is_routed = event.event_type in FACTS or event.event_type == "stats_snapshot"
        return event if is_routed and self.tasks.group_of(event) is group else None

    # --- projects --------------------------------------------------------------------------------

    def _index(self, group: Group) -> None:
        """Note the spans of a group that has become shared, as far as the ring has their events."""
        first, ids, ring, tasks = group.first, group.ids, self._ring, self.tasks
        if tasks.number is int:
            return  # learnt from an event that is read a second time: the next one does it
        group.is_indexed = True
        group.is_whole &= first > 0 and ring.holds_all_after(first - 1)
        for entry in ring.after_index(first - 1):
            named = entry.parent_task_id
            traces = () if named else map(bytes.decode, _TRACE_IDS.findall(entry.data))
            if named not in ids and ids.isdisjoint(traces):
                continue
            try:
                event = decode_event(entry.data)
            except UnreadableEventError:
                continue
            base = tasks.base_of(event)
            if base is not None and base.group is group:
                tasks.note_span(event, base)

    def project_of_past(
        self, task_id: str | None, trace_id: str | None, span_id: str | None
    ) -> str | None:
        """As ``model.reading.projects.project_of_past``: of the state, else of what is known."""
        group = self.tasks.group_by_ids(task_id, trace_id)
        state = None if group is None else self._held.get(group.partition)
        if state is not None and state.is_ready:
            model = state.model
            return project_of_past(model.tasks, model.tree.nodes, task_id, trace_id, span_id)
        return self.tasks.project_of_past(task_id, trace_id, span_id)


def needles_of(move: Move) -> list[bytes]:
    """Texts of which each event of a group has one in its JSON."""
    ids = move.ids
    if len(ids) > _MAX_NEEDLES or not all(map(_is_plain, ids)):
        # To decode an event takes as long as to look for eight texts in it.
        return [b""]
    return [each.encode() for each in ids]


def _is_plain(text: str) -> bool:
    """Whether a text is the same as JSON, but for its quotes."""
    return text.isascii() and text.isprintable() and not set(text) & {'"', "\\"}


def forget(state: State, ids: Iterable[str]) -> None:
    """Remove tasks and cards of traces from a state; another one has them from now on."""
    model = state.model
    for known_id in ids:
        task = model.tasks.by_id.get(known_id)
        if task is None:
            continue
        nodes = [node for job in task.jobs.values() for node in job.nodes()]
        words = [
            (node.key, node.more.word, node.more.seen)
            for node in (*nodes, *task.roots, *task.spans, *task.tops)
            if node.key is not None and node.more is not None and node.more.word
        ]
        model.forget(task)
        for key, word, seen in words:
            # Heartbeats name no task: should it come back here, they are not read again.
            model.note_heartbeat(key, word, seen)


def _counting_partition(event: Event) -> int:
    if event.worker_id is not None:
        return partition_of(str(event.worker_id))
    if event.counts:
        return partition_of(next(iter(event.counts)))
    return partition_of(event.queue if isinstance(event.queue, str) else event.event_type)
