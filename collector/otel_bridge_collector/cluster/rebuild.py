"""
``Rebuilder``: fills the states of partitions that this process gains, and drops those it has lost.

A gained partition is a new state. From the moment it is made, the reader of the log folds new
events into it; what came before is read from the log by a second receiver, in slices, so that
reading goes on meanwhile. Events may come in any order. Only then it is ready, and the others learn
that: until then its former owner keeps and serves it. What the log no longer has is not held, as
after a restart.

A partition that is lost is served until its new owner has it ready, and kept for two seconds more,
because the others ask for it until they have learnt that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from otel_bridge.cancellation import cancel
from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.transports.base import LogEntry, Receiver
from otel_bridge_collector.cluster.facts import Facts
from otel_bridge_collector.cluster.known import Group
from otel_bridge_collector.cluster.membership import Membership
from otel_bridge_collector.cluster.routing import EVERY, Router
from otel_bridge_collector.cluster.states import State, States
from otel_bridge_collector.log.blocks import Blocks
from otel_bridge_collector.log.decoding import decode_log
from otel_bridge_collector.log.reader import Feed
from otel_bridge_collector.model.events import Event, microseconds

__all__ = ["Rebuilder"]

logger = logging.getLogger(__name__)

_READ_LIMIT: Final = 500
_SLICE_SEC: Final = 0.004
"""How long it folds before the loop goes on with what else there is: live events come 4 ms late."""
_KEEP_SEC: Final = 2.0
_RETRY_SEC: Final = 0.5
_MAX_LOST: Final = 3


class Rebuilder:
    """
    Keeps the states that this process holds in step with the partitions that it is to hold.

    ``start`` once, after the reader's, and ``stop`` at the end. For the reader's event loop.
    Errors are not raised: while the log cannot be read, it tries again after 0.5 s, without end.

    Args:
        states, membership, router, feed: The parts of this process.
        open_receiver: Makes the second reader of the log.
        max_event_bytes: As of the feed.
        clock: Source of the time.

    Attributes:
        rebuilt: How many states were filled from the log since the start.
        events: How many events were read for them.
    """

    def __init__(
        self,
        *,
        states: States,
        membership: Membership,
        router: Router,
        feed: Feed,
        open_receiver: Callable[[], Receiver],
        max_event_bytes: int,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.rebuilt = 0
        self.events = 0
        self._states = states
        self._membership = membership
        self._router = router
        self._feed = feed
        self._open_receiver = open_receiver
        self._max_bytes = max_event_bytes
        self._clock = clock
        self._gained: set[int] = set()
        """Not opened yet: they are opened together, and filled in one pass over the log."""
        self._unfilled: dict[int, State] = {}
        self._leaving: dict[int, float] = {}
        """When each lost state is dropped, by the loop's clock."""
        self._is_alone = True
        self._is_news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        membership.on_change(self.follow_members)

    # --- life ------------------------------------------------------------------------------------

    def open_first(self) -> None:
        """Make the states that this process is to hold before the feed starts, which fills them."""
        for partition in self._membership.owned():
            self._states.open(partition)
        self._gained.clear()
        self.follow_members()

    def start(self) -> None:
        """Start filling and dropping states in tasks."""
        self._tasks = [
            asyncio.create_task(self._finish_first(list(self._states.held.values()))),
            asyncio.create_task(self._run(), name="rebuild"),
            asyncio.create_task(self._drop_when_due(), name="rebuild-drop"),
        ]

    async def stop(self) -> None:
        """End the tasks; what is half filled stays so."""
        await cancel(self._tasks)
        self._tasks = []

    # --- what is to be held ----------------------------------------------------------------------

    def follow_members(self) -> None:
        """A member has come, gone, or has other partitions ready: gain and lose accordingly."""
        membership, held = self._membership, self._states.held
        owned = membership.owned()
        self._follow_peers()
        for partition in owned:
            self._leaving.pop(partition, None)
            if partition not in held and partition not in self._gained:
                self._gained.add(partition)
                self._is_news.set()
        self._gained &= owned
        assigned = membership.assigned()
        loop = asyncio.get_running_loop()
        for partition in held.keys() - owned if assigned else ():
            if not held[partition].is_ready:
                self._states.drop(partition)
            elif self._is_ready_at(assigned[partition], partition):
                self._leaving.setdefault(partition, loop.time() + _KEEP_SEC)
            else:
                self._leaving.pop(partition, None)
        self._announce()

    def _follow_peers(self) -> None:
        membership = self._membership
        self._states.is_whole = not membership.missing()
        is_alone = len(membership.members) < 2
        if is_alone != self._is_alone:
            self._is_alone = is_alone
            # Unknown until their facts come: what they hold may be busy.
            self._states.set_peer_facts(Facts() if is_alone else None)

    def _is_ready_at(self, member_id: str, partition: int) -> bool:
        member = self._membership.members.get(member_id)
        return member is not None and partition in member.ready

    def _announce(self) -> None:
        self._membership.set_ready(self._states.ready() - self._leaving.keys())
        self._states.is_whole = not self._membership.missing()

    async def _drop_when_due(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_KEEP_SEC / 4)
            due = [one for one, at in self._leaving.items() if at <= loop.time()]
            for partition in due:
                del self._leaving[partition]
                self._states.drop(partition)

    # --- filling ---------------------------------------------------------------------------------

    async def _finish_first(self, states: Sequence[State]) -> None:
        """Those that were there before the feed are filled when it has read the whole log."""
        await self._feed.wait_live()
        self._finish(states)

    def _finish(self, states: Iterable[State]) -> None:
        now = self._clock.time_ns() // 1000
        for state in states:
            if self._states.held.get(state.partition) is state:
                self._states.finish(state, now)
        self._announce()

    async def _run(self) -> None:
        receiver = self._open_receiver()
        try:
            while True:
                await self._is_news.wait()
                self._is_news.clear()
                try:
                    await self._fill(receiver)
                except TransportError as error:
                    logger.warning("partitions cannot be rebuilt: %s; retrying", error)
                except Exception:
                    logger.exception("partitions could not be rebuilt; retrying")
                else:
                    continue
                self._is_news.set()
                await asyncio.sleep(_RETRY_SEC * random.uniform(0.5, 1.0))  # noqa: S311
        finally:
            await receiver.close()

    def note_late_moves(self) -> None:
        """Groups have moved whose first events only the log has; called once a second."""
        if self._router.late_moves:
            self._is_news.set()

    async def _fill(self, receiver: Receiver) -> None:
        """Fill all gained states in one pass over the log, up to where the feed is now."""
        await self._fill_moved(receiver)
        if not self._gained and not self._unfilled:
            return
        # Before that the feed is not at the log's end, and a second reader would slow it down.
        await self._feed.wait_live()
        # From here on the feed folds new events into the new states. Nothing waits in between.
        until = self._feed.cursor
        opened = {one: self._states.open(one) for one in self._gained}
        self._gained.clear()
        states = self._unfilled = self._unfilled | opened
        logger.info("%d partitions are rebuilt from the log", len(states))
        if until is not None:
            await self._read(receiver, None, until, states)
        self._unfilled = {}
        self.rebuilt += len(states)
        self._finish(states.values())
        logger.info("%d partitions are rebuilt", len(states))

    async def _fill_moved(self, receiver: Receiver) -> None:
        """Fold the events of groups that have moved here, all in one pass over the log."""
        moves, until = self._router.late_moves[:], self._feed.cursor
        if not moves or until is None:
            return
        self._router.late_moves.clear()
        first = min(moves, key=lambda move: move.first)
        # Without a number it was forgotten and is known again: where it begins is not known.
        after = first.position if first.first else None
        groups = frozenset(move.group for move in moves)
        try:
            await self._read(receiver, after, until, self._states.held, groups)
        except TransportError:
            self._router.late_moves.extend(moves)
            raise

    async def _read(
        self,
        receiver: Receiver,
        after: str | None,
        until: str,
        states: Mapping[int, State],
        moved: Collection[Group] = (),
    ) -> None:
        """Fold what the log has up to a position; of groups that moved their events alone."""
        cursor = after if after is not None else await receiver.open()
        past = _Past(self._router, states, moved, max_bytes=self._max_bytes, clock=self._clock)
        lost = 0
        while cursor != until:
            try:
                entries = await receiver.read(cursor, limit=_READ_LIMIT, wait_ms=0)
            except PositionLostError as error:
                # Trimmed meanwhile: what the log no longer has is not held.
                lost += 1
                if lost > _MAX_LOST or error.reason == "epoch":
                    return
                cursor = await receiver.open()
                continue
            if not entries:
                return
            lost = 0
            ends = [index for index, entry in enumerate(entries) if entry.position == until]
            entries = entries[: ends[0] + 1] if ends else entries
            await past.fold(cursor, entries)
            self.events += len(entries)
            cursor = entries[-1].position


class _Past:
    """Folds a part of the log into some states, in slices between which the loop goes on."""

    def __init__(
        self,
        router: Router,
        states: Mapping[int, State],
        moved: Collection[Group],
        *,
        max_bytes: int,
        clock: Clock,
    ) -> None:
        self._states = states
        self._router = router
        self._max_bytes = max_bytes
        self._clock = clock
        self._moved = moved
        self._block = ""
        self._blocks = Blocks(self._note_block)
        self._second = 0
        self._touched: set[State] = set()

    def _note_block(self, position: str) -> None:
        self._block = position

    async def fold(self, after: str, entries: Sequence[LogEntry]) -> None:
        started = self._clock.monotonic()
        for part in self._blocks.parts(after, entries):
            for event in decode_log(part, self._max_bytes):
                if not isinstance(event, Event):
                    continue  # unreadable: the feed has counted it
                self._fold_one(event)
                if self._clock.monotonic() - started > _SLICE_SEC:
                    await asyncio.sleep(0)
                    started = self._clock.monotonic()
        await asyncio.sleep(0)

    def _fold_one(self, event: Event) -> None:
        router = self._router
        now = self._clock.time_ns() // 1000
        seen = min(microseconds(event.ts), now)
        place = router.place_past(event, self._block)
        state = self._states.get(place)
        if self._moved:
            if state is not None and router.tasks.group_of(event) in self._moved:
                state.enter_block(self._block)
                state.apply_moved(event, seen)
            return
        self._sweep(seen)
        if state is not None:
            state.enter_block(self._block)
            state.model.apply(event, seen)
            self._touched.add(state)
            router.counters.folded += 1
        elif place == EVERY:
            router.apply_to_every(self._states.values(), event, seen, self._block)

    def _sweep(self, seen: int) -> None:
        """Evaluate at the events' times, so that rates are right, as the feed does at the start."""
        second = seen // 1_000_000
        if second > self._second:
            self._second = second
            for state in self._touched:
                state.model.sweep(seen)
            self._touched.clear()
