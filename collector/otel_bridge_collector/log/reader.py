"""
``Feed``: the one reader of the log; it folds, counts, stores and broadcasts each event.

These steps happen in this order and nowhere else. Two supervised tasks run: one reads the log, one
holds the messages of external publishers on the events channel, which did not pass through the log
(``Receiver.external_messages``), until the leader has appended them and they are read from the log
like all others. A task that fails is started again; ``/readyz`` and ``/metrics`` show it. If the
log cannot be read on without a hole (trimmed, wiped, another Redis), every client gets a ``gap``;
the state is kept, because the events that were folded did happen.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat
from typing import Final, Protocol

from otel_bridge.cancellation import cancel
from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.publisher import POSITION_MAX_BYTES
from otel_bridge.publish.shards.position import is_passed
from otel_bridge.publish.transports.base import LogEntry, Receiver
from otel_bridge.publish.transports.sharded.log_receiver import RedisLogReceiver
from otel_bridge.publish.transports.sharded.status import ShardStatus
from otel_bridge_collector.log.awaited import AwaitedPositions
from otel_bridge_collector.log.blocks import Blocks
from otel_bridge_collector.log.counters import FeedCounters, Unreadable
from otel_bridge_collector.log.decoding import UnreadableEventError, decode_log
from otel_bridge_collector.log.external import ExternalMessages
from otel_bridge_collector.log.histogram import Histogram
from otel_bridge_collector.log.late_projects import KnownTasks, LateProjects, OwnedTask
from otel_bridge_collector.model.events import Event, microseconds
from otel_bridge_collector.model.reading.projects import project_of
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.ring import Entry, ReplayRing

__all__ = ["Feed", "FeedCounters", "Model"]

logger = logging.getLogger(__name__)

_READ_LIMIT: Final = 500
_SMALL_READ: Final = 64
_COALESCE_SEC: Final = 0.003
"""Pause after a small read: at 1,000 events/s it halves the CPU and costs 3 ms (measured)."""
_BACKOFF_SEC: Final = (0.1, 2.0)
_MAX_LOST_IN_A_ROW: Final = 3
"""A log that changes all the time is read again from its start; after so many times without success
the reader waits, as for a log that cannot be reached, instead of trying without a pause."""


class Model(Protocol):
    """
    What the reader folds events into: ``model.fold.Fold``, or the router of a cluster's member.

    Attributes:
        stats: Counts the events.
    """

    stats: RollingStats

    @property
    def task(self) -> OwnedTask | None:
        """What the last event belongs to; None: no task."""

    @property
    def tasks(self) -> KnownTasks:
        """What is known of tasks and traces."""

    @property
    def note_block(self) -> Callable[[str], None]:
        """Called before each block of the log, with the position before it."""

    def admit(self, event_ids: Sequence[str], /) -> list[bool] | None:
        """Remember the ids of events; which are no repeats, None: all."""

    def fold(self, event: Event, seen: int) -> None:
        """Merge one event, which is no repeat, received at ``seen``."""

    def knows(self, event_id: str) -> bool:
        """Whether an event with this id was merged, as far as ids are remembered."""

    def sweep(self, now: int) -> None:
        """Evaluate what is stalled at ``now``, microseconds."""


class Feed:
    """
    Reads the log and passes each event to model, ring and hub, until it is stopped.

    The log is the stream of all events, the model the state that they make, the ring the newest
    events in memory, the hub all clients. A collector has one, on its event loop: ``start`` once,
    ``stop`` at the end. It reads at most 500 entries at a time. Errors are not raised. While the
    log cannot be read, ``is_live`` is False, ``log_error`` says why, and it tries again after 0.1
    to 2 s, without end. An unreadable event is left out and counted in ``counters.unreadable``.

    Args:
        open_receiver: Makes a receiver; called once for each of the two tasks.
        model: Every event is folded into it, and counted in its ``stats``; a ``Fold``, or what
            routes events to several.
        ring: Every event is appended to it.
        hub: Every event is broadcast by it.
        max_event_bytes: Larger events are unreadable; 8,192 by default in the service.
        clock: Wall clock for liveness, monotonic clock to limit the log's lines.

    Attributes:
        external: The messages of external publishers that the log may lack; none at first.
        is_live: Whether the log is reachable, and was read up to its end once; False at first.
        log_error: Why the log cannot be read; None while it can, and at first.
        last_event_at: ``ts`` of the newest folded event, microseconds since the Unix epoch; 0:
            none.
        lag_sec: From an event's ``ts`` until it was folded; without those read back at the start.
        batch_events: Entries of each read that returned some; without those at the start.
    """

    def __init__(
        self,
        open_receiver: Callable[[], Receiver],
        *,
        model: Model,
        ring: ReplayRing,
        hub: Hub,
        max_event_bytes: int,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.counters = FeedCounters()
        self.external = ExternalMessages(
            max_event_bytes - POSITION_MAX_BYTES,
            is_known=model.knows,
            clock=clock,
        )
        self.is_live = False
        self.log_error: str | None = None
        self.last_event_at = 0
        self.lag_sec = Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
        self.batch_events = Histogram(1, 2, 5, 10, 20, 50, 100, 200, _READ_LIMIT)
        self._open_receiver = open_receiver
        self._model = model
        self._stats = model.stats
        self._ring = ring
        self._hub = hub
        self._max_bytes = max_event_bytes
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._receivers: list[Receiver] = []
        self._blocks = Blocks(model.note_block)
        self._cursor: str | None = None
        self._rebuild_until: str | None = None
        self._evaluated_sec = 0
        self._late_projects = LateProjects(ring, model.tasks)
        self._without_project = self._late_projects.waiting
        self._is_rebuilt, self._lost_in_a_row = False, 0
        self._live = asyncio.Event()
        self._advanced = asyncio.Condition()
        self._awaited = AwaitedPositions()
        self._unreadable = Unreadable(self.counters, model.stats, clock)

    async def start(self, timeout_sec: float) -> bool:
        """
        Start reading; wait until all of the log is folded (merged into the state). True: it is.

        Call it once, on the reader's event loop; never raises. If time runs out, that is logged,
        and reading goes on.

        Args:
            timeout_sec: How long to wait at most, in seconds; 30 in the service.
        """
        self._tasks = [
            asyncio.create_task(self._supervise("the log", self._follow), name="feed-log"),
            asyncio.create_task(
                self._supervise("the channel", self._hold_external), name="feed-channel"
            ),
        ]
        try:
            async with asyncio.timeout(timeout_sec):
                await self._live.wait()
        except TimeoutError:
            logger.warning("the log is not read yet: %s", self.log_error or "still catching up")
        return self.is_live

    async def stop(self) -> None:
        """End both tasks, within 10 s, and close the connections; it cannot be started again."""
        await cancel(self._tasks)
        for receiver in self._receivers:
            await receiver.close()

    async def wait_advance(self, timeout_sec: float) -> bool:
        """Wait until more of the log has been read; False if nothing was read in time."""
        try:
            async with asyncio.timeout(timeout_sec), self._advanced:
                await self._advanced.wait()
        except TimeoutError:
            return False
        return True

    async def wait_reach(self, position: str, timeout_sec: float) -> bool:
        """
        Wait until the log has been read up to a position; False if it was not in time.

        On the reader's event loop, by any number of callers; never raises.

        Args:
            position: That of an entry which is in the log now, or the one before its first.
            timeout_sec: How long to wait at most, in seconds.
        """
        cursor = self._cursor or ""
        if position == cursor or self._ring.holds(position) or is_passed(position, cursor):
            return True
        return await self._awaited.wait(position, timeout_sec)

    @property
    def shard_status(self) -> ShardStatus | None:
        """Numbers of the log's shards; None while it is one stream."""
        receiver = self._receivers[0] if self._receivers else None
        return receiver.shard_status if isinstance(receiver, RedisLogReceiver) else None

    @property
    def cursor(self) -> str | None:
        """Position up to which the log has been folded; None before its first entries are read."""
        return self._cursor

    async def wait_live(self) -> None:
        """Wait until the log has been read up to its end once."""
        await self._live.wait()

    # --- supervision -----------------------------------------------------------------------------

    async def _supervise(self, what: str, run: Callable[[Receiver], Awaitable[None]]) -> None:
        delay_sec = _BACKOFF_SEC[0]
        receiver = self._open_receiver()
        self._receivers.append(receiver)
        is_failing = False
        while True:
            started = self._clock.monotonic()
            try:
                await run(receiver)
            except TransportError as error:
                self._note_trouble(what, str(error), is_failing)
            except Exception as error:
                logger.exception("the reader of %s failed and is started again", what)
                self._note_trouble(what, type(error).__name__, True)
            is_failing = True
            if self._clock.monotonic() - started > 5:
                delay_sec, is_failing = _BACKOFF_SEC[0], False
            self.counters.restarts += 1
            await asyncio.sleep(delay_sec * random.uniform(0.5, 1.0))  # noqa: S311
            delay_sec = min(delay_sec * 2, _BACKOFF_SEC[1])

    def _note_trouble(self, what: str, reason: str, is_known: bool) -> None:
        if what == "the log":
            self.is_live = False
            self.log_error = reason
        if not is_known:
            logger.warning("cannot read %s: %s; retrying", what, reason)

    # --- the log ---------------------------------------------------------------------------------

    async def _follow(self, receiver: Receiver) -> None:
        if self._cursor is None:
            self._cursor = await receiver.open()
            self._rebuild_until = await receiver.last_position()
            self._ring.reset(self._cursor)
        while True:
            # Short waits, so that an unreachable log is noticed within 2 s even while it is idle.
            wait_ms = 1000 if self._is_rebuilt else 0
            try:
                entries = await receiver.read(self._cursor, limit=_READ_LIMIT, wait_ms=wait_ms)
            except PositionLostError as lost:
                self._lost_in_a_row += lost.continue_after is None
                if self._lost_in_a_row > _MAX_LOST_IN_A_ROW:
                    raise TransportError(f"the log cannot be read from its start: {lost}") from lost
                await self._start_over(receiver, lost)
                continue
            self._lost_in_a_row = 0
            if entries:
                after, self._cursor = self._cursor, entries[-1].position
                self._take(entries, after)
                async with self._advanced:
                    self._advanced.notify_all()
                self._awaited.note(entries)
            self.external.expire()
            self._note_progress(entries)
            if self._is_rebuilt and 0 < len(entries) < _SMALL_READ:
                await asyncio.sleep(_COALESCE_SEC)
            elif not self._is_rebuilt:
                await asyncio.sleep(0)

    def _note_progress(self, entries: Sequence[LogEntry]) -> None:
        if not self._is_rebuilt:
            positions = [entry.position for entry in entries]
            if not entries or self._rebuild_until in positions:
                self._is_rebuilt = True
                logger.info("the whole log is folded: %d events", self._stats.events_in)
                # Clients that connected while the log could not be reached have got no events yet.
                self._hub.send_gap_to_all("epoch")
        if self._is_rebuilt and not self.is_live:
            if self.log_error is not None:
                logger.info("the log can be read again")
            self.log_error = None
            self.is_live = True
            self._live.set()

    async def _start_over(self, receiver: Receiver, lost: PositionLostError) -> None:
        logger.warning("events are missing: %s", lost)
        self.counters.gaps[lost.reason] = self.counters.gaps.get(lost.reason, 0) + 1
        if lost.late:
            self._take(lost.late)
        self._cursor = lost.continue_after or await receiver.open()
        self._ring.reset(self._cursor)
        self._hub.send_gap_to_all(lost.reason, lost.shards)

    def _take(self, entries: Sequence[LogEntry], after: str | None = None) -> None:
        now = self._clock.time_ns() // 1000
        live: list[Entry] = []
        if self._is_rebuilt:
            self.batch_events.observe(len(entries))
        for part in self._blocks.parts(after, entries):
            live += self._fold(part, now)
        if live and self._is_rebuilt:
            self._hub.broadcast(live)

    def _fold(self, entries: Sequence[LogEntry], now: int) -> list[Entry]:
        """Fold entries of one block; return those that clients get."""
        kept, events = self._admit(entries)
        model, ring, is_rebuilt = self._model, self._ring, self._is_rebuilt
        fold, append, seen = model.fold, ring.append, now
        made: list[Entry] = []
        for (position, data), event in zip(kept, events, strict=True):
            try:
                if not is_rebuilt:
                    seen = min(microseconds(event.ts), now)
                    self._evaluate_past(seen)
                fold(event, seen)
                project_id = event.project_id
                if project_id is None:
                    project_id = project_of(model.task)
            except Exception:
                # One event that raises in the fold must not keep later events from the clients.
                logger.exception("an event of type %s could not be folded", event.event_type)
                self._unreadable.count("not folded")
                ring.advance(position)
                continue
            entry = Entry(
                position, data, event.event_type, project_id, event.parent_task_id, event.task_id
            )
            append(entry)
            made.append(entry)
            if project_id is None or self._without_project:
                self._late_projects.note(entry, model.task, event.trace_id)
        if not kept or kept[-1] is not entries[-1]:
            ring.advance(entries[-1].position)
        if made:
            ring.trim()
            self._note_times([event.ts.timestamp() for event in events], now)
        return made

    def _admit(self, entries: Sequence[LogEntry]) -> tuple[Sequence[LogEntry], list[Event]]:
        """Decode entries; return those that are readable and no repeats, with their events."""
        found = decode_log(entries, self._max_bytes)
        events = [event for event in found if isinstance(event, Event)]
        event_ids = [event.event_id for event in events]
        self.external.note_read(event_ids, is_live=self._is_rebuilt)
        is_new = self._model.admit(event_ids)
        if is_new is None and len(events) == len(entries):
            return entries, events
        answers = iter(is_new or repeat(True))
        kept: list[LogEntry] = []
        events.clear()
        for entry, event in zip(entries, found, strict=True):
            if not isinstance(event, Event):
                self._unreadable.count(event)
            elif next(answers):
                kept.append(entry)
                events.append(event)
                continue
            else:
                self.counters.duplicates += 1
            if not kept:
                self._ring.advance(entry.position)
        return kept, events

    def _note_times(self, times: Sequence[float], now: int) -> None:
        newest = int(max(times) * 1e6 + 0.5)
        self.last_event_at = max(self.last_event_at, min(newest, now))
        if self._is_rebuilt:
            now_sec = now / 1e6
            # A sender's clock may be ahead.
            self.lag_sec.observe_all([now_sec - ts if ts < now_sec else 0.0 for ts in times])

    def _evaluate_past(self, seen: int) -> None:
        """While the log is read back, evaluate at its events' times, so that rates are right."""
        second = seen // 1_000_000
        if second > self._evaluated_sec:
            self._evaluated_sec = second
            self._model.sweep(seen)

    # --- external publishers ---------------------------------------------------------------------

    async def _hold_external(self, receiver: Receiver) -> None:
        async for message in receiver.external_messages():
            self.counters.external += 1
            try:
                self.external.add(message)
            except UnreadableEventError as error:
                self._unreadable.count(str(error))
        raise TransportError("the subscription ended")
