"""
``ShardedReceiver``: reads a log of several shards (streams) as one log, in one order.

``ShardPoller`` reads the shards, ``Merge`` puts their entries into the order (milliseconds, shard,
sequence number), which is the same in every collector. An entry is given out when no other can come
before it: when the clock of the slowest server has passed its millisecond. So raw events wait for
that clock, 1 ms if all agree.

A loss in one shard is a gap of that shard: ``PositionLostError`` with ``shards``, after which this
receiver reads on from ``continue_after``. The others have lost nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import Final, TypeVar

from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.shards.layout import TAGS, Layout
from otel_bridge.publish.shards.nodes import NODE_ERRORS, Nodes
from otel_bridge.publish.shards.position import ShardPosition, parse_position
from otel_bridge.publish.transports.base import LogEntry, splice_position
from otel_bridge.publish.transports.sharded.continuity import Bounds, parse_id
from otel_bridge.publish.transports.sharded.merge import Merge, Place, newest_places
from otel_bridge.publish.transports.sharded.poll import ShardPoller
from otel_bridge.publish.transports.sharded.states import ReadStates
from otel_bridge.publish.transports.sharded.status import ShardStatus
from otel_bridge.settings import BridgeSettings
from otel_bridge.suppression import suppress_instrumentation
from otel_bridge.urls import redact_url

__all__ = ["NoLayoutError", "ShardedReceiver"]

_T = TypeVar("_T")

_CONNECT_TIMEOUT_SEC: Final = 2.0
_MAX_BLOCK_SEC: Final = 1.0
_CHECK_INTERVAL_SEC: Final = 1.0
"""How often the layout, and the epoch of each shard, are compared with what is known."""
_AFTER_ENTRIES_SEC: Final = 0.003
"""Pause before the next poll of a Cluster while entries wait for a clock: 16 % of a core at 2,000
events/s (measured)."""
_NEXT_MS_SEC: Final = 0.001
"""The same of one Redis: in the next millisecond its own clock has passed them."""
_IDLE_SEC: Final = 0.02
"""Pause in a Cluster with nothing to read; one Redis is waited for with BLOCK instead."""
_LATE_SEC: Final = 0.5
"""Late entries are given out this often: each time is a gap, and a clock may be behind for long."""
_MAX_LATE: Final = 1000
_MIN_COUNT: Final = 64
"""Entries of a shard that are read at once, at least: a poll costs as much as 50 entries."""
_NO_EPOCH: Final = "0"
_SHARD: Final = itemgetter(1)
"""Of a ``Place``."""


class NoLayoutError(Exception):
    """Raised when the log has no layout, or is one stream again; ``RedisReceiver`` reads it."""


class ShardedReceiver:
    """
    Reads all shards of the log; for one asyncio loop, on which its methods are awaited.

    It has one connection to each server with a shard. ``load`` comes first. Each method raises
    ``TransportError`` if shard 0 or all shards cannot be reached, ``NoLayoutError`` if the log is
    one stream, and may be called again.

    Args:
        url: Of Redis, as ``RedisReceiver`` takes it.
        settings: The key prefix.
    """

    def __init__(self, url: str, settings: BridgeSettings) -> None:
        self._url = url
        self._keys = RedisKeys(settings.key_prefix)
        self.status = ShardStatus()
        options = connection_options(_MAX_BLOCK_SEC + 1, _CONNECT_TIMEOUT_SEC)
        streams = {shard: self._keys.log_stream(tag) for shard, tag in enumerate(TAGS)}
        self._nodes = Nodes(url, options, streams)
        self._poller = ShardPoller(self._nodes, self._keys, self.status)
        self._merge = Merge()
        self._states = ReadStates()
        self._late_at = float("-inf")
        self._cursor: str | None = None
        self._checked_at = float("-inf")
        self._was_idle = False

    @property
    def layout(self) -> Layout:
        """The layout as it was read last."""
        return self._states.layout

    async def load(self) -> Layout:
        """Read the layout; one without a number says that the log is one stream."""
        return await self._call(self._load)

    async def _load(self) -> Layout:
        try:
            found = await self._poller.layout()
        except ValueError as error:
            raise TransportError(f"{self._keys.log_layout()}: {error}") from error
        if found != self._states.layout:
            self._states.follow(found)
            self.status.gen, self.status.count = found.gen, found.count
        return found

    async def _layout_now(self) -> Layout:
        found = await self._load()
        if not found.gen:
            raise NoLayoutError
        return found

    # --- the start, and resuming -----------------------------------------------------------------

    async def open(self) -> str:
        """Connect; return the position before the first entry that the log still has."""
        return await self._call(self._open)

    async def _open(self) -> str:
        await self._layout_now()
        place = self._states.start(await self._bounds(self._states.shards))
        self._start(place)
        return place.text

    def _start(self, place: ShardPosition) -> None:
        self._merge.start(place)
        self._cursor = place.text
        self._checked_at = time.monotonic()
        self._was_idle = False

    async def _bounds(self, shards: Sequence[int]) -> dict[int, Bounds]:
        """The bounds of all of these shards, but of those that are away."""
        found = await self._poller.bounds(shards)
        missing = [shard for shard in shards if shard not in found]
        if missing and (len(missing) == len(shards) or not all(map(self._poller.is_away, missing))):
            shown = ", ".join(map(str, missing))
            raise TransportError(f"{redact_url(self._url)}: shards {shown} do not answer")
        return found

    async def resume(self, after: str, *, unread: bool = False) -> None:
        """
        Go on after a position, which need not be the one where this receiver is.

        Args:
            after: The position.
            unread: Whether all that other shards than 0 have is to be read: the reader knew of
                shard 0 only.

        Raises:
            PositionLostError: It is malformed, or the log cannot go on from there without a hole;
                ``shards`` says in which shards it is. So it is while a shard does not answer.
            TransportError: Shard 0 cannot be reached.
        """
        await self._call(lambda: self._resume(after, unread))

    async def _resume(self, after: str, unread: bool) -> None:
        place = parse_position(after)
        layout = await self._layout_now()
        if place.epoch not in (layout.epoch, _NO_EPOCH):
            raise PositionLostError(after, "epoch")
        shards = layout.shards  # also those that are gone: they may have had entries after it
        found = await self._poller.bounds(shards)
        while missing := [shard for shard in shards if shard not in found]:
            if all(map(self._poller.is_away, missing)):
                # What they have after this position is not known.
                raise PositionLostError(after, "trimmed", shards=missing)
            await asyncio.sleep(_IDLE_SEC)
            found |= await self._poller.bounds(missing)
        lost = self._states.resume(place, found, unread=unread)
        if lost is not None:
            raise PositionLostError(after, lost[0], shards=lost[1])
        self._start(place)
        self._cursor = after

    # --- reading on ------------------------------------------------------------------------------

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        """
        Return the entries after a position, in the order of the log.

        Raises:
            PositionLostError: The log cannot continue from there without a hole. If it has
                ``continue_after``, this receiver reads on from there.
            TransportError: Shard 0 or no shard can be reached. The next call connects again.
        """
        if after != self._cursor:
            await self.resume(after)
        return await self._call(lambda: self._read(after, limit, wait_ms))

    async def _read(self, after: str, limit: int, wait_ms: int) -> Sequence[LogEntry]:
        deadline = time.monotonic() + wait_ms / 1000
        is_first, knows_end = True, False
        while True:
            if self._merge.has_late and time.monotonic() - self._late_at >= _LATE_SEC:
                raise self._late_gap(after)
            if self._merge.has_complete():
                return self._give(self._merge.take(limit))
            if self._states.lost:
                raise self._gap(after)
            left_sec = deadline - time.monotonic()
            # No entries means that the log had none there, so a poll without a bound says nothing.
            if knows_end and left_sec <= 0:
                return []
            if not is_first:
                pause_sec = self._pause_sec()
                await asyncio.sleep(min(pause_sec, left_sec) if knows_end else pause_sec)
            is_first = False
            knows_end |= await self._poll(limit, max(0.0, left_sec))

    def _pause_sec(self) -> float:
        if len(self._merge):
            return _AFTER_ENTRIES_SEC if self._nodes.is_cluster else _NEXT_MS_SEC
        return _IDLE_SEC if self._nodes.is_cluster or self._poller.silent_since else 0.0

    def _give(self, places: Sequence[Place]) -> Sequence[LogEntry]:
        self._count(places)
        entries = self._entries(places)
        self._cursor = entries[-1].position
        return entries

    def _count(self, places: Sequence[Place]) -> None:
        events = self.status.events
        for shard, count in Counter(map(_SHARD, places)).items():
            events[shard] = events.get(shard, 0) + count

    def _late_gap(self, after: str) -> PositionLostError:
        """
        Give out what came too late for its place, apart from what is in order.

        Its events say the position where the reader is: a client whose last event is one of them
        resumes from there, and does not get again what it has.
        """
        self._late_at = time.monotonic()
        places = self._merge.take_late(_MAX_LATE)
        late = [LogEntry(after, splice_position(after, place[3])) for place in places]
        self._count(places)
        shards = sorted({place[1] for place in places})
        return PositionLostError(after, "clock", shards=shards, continue_after=after, late=late)

    def _entries(self, places: Sequence[Place]) -> list[LogEntry]:
        epoch, entries = self._states.layout.epoch, []
        # As ``LogEntry(...)``, without its ``__new__``, which is a Python function.
        make, splice = tuple.__new__, splice_position
        for ms, shard, seq, data in places:
            position = f"{epoch}:{ms}-{shard}-{seq}" if shard else f"{epoch}:{ms}-{seq}"
            entries.append(make(LogEntry, (position, splice(position, data))))
        return entries

    def _gap(self, after: str) -> PositionLostError:
        reason, shards = self._states.lost.popitem()
        self._cursor = self._merge.pass_over(self._states.layout.epoch).text
        return PositionLostError(after, reason, shards=sorted(shards), continue_after=self._cursor)

    async def _poll(self, limit: int, left_sec: float) -> bool:
        """Read what is new; returns whether it is known up to where the log is complete."""
        if time.monotonic() - self._checked_at >= _CHECK_INTERVAL_SEC:
            await self._check_all()
            if self._states.lost:
                return False
        cursors = self._states.cursors()
        count = limit if len(cursors) == 1 else max(_MIN_COUNT, 2 * limit // len(cursors))
        block_ms = 0
        if self._was_idle and not self._nodes.is_cluster and not len(self._merge):
            block_ms = round(1000 * min(left_sec, _MAX_BLOCK_SEC))
        poll = await self._poller.poll(cursors, count, block_ms)
        self._was_idle = not any(poll.rows.values())
        if poll.gen is not None and poll.gen != self._states.layout.gen:
            await self._layout_now()  # nothing of this poll is used
            return False
        if poll.returned or poll.full:
            self._states.compare(await self._poller.bounds([*poll.returned, *poll.full]))
        lost = self._states.lost_shards
        for shard, rows in poll.rows.items():
            if rows and shard not in lost:
                self._states.note_read(shard, parse_id(rows[-1][0]))
                self._merge.add(shard, rows)
        self.status.late = self._merge.late
        bound = None if lost else poll.bound
        self._merge.complete(bound)
        return bound is not None

    async def _check_all(self) -> None:
        """Compare the layout and all shards with what is known of them."""
        await self._layout_now()
        self._states.compare(await self._poller.bounds(list(self._states.cursors())))
        self._checked_at = time.monotonic()
        is_idle = not (self._states.lost or len(self._merge))
        # A position of another shard means nothing to the reader of one stream.
        is_in_first = self._cursor is not None and not parse_position(self._cursor).shard
        if is_idle and is_in_first and self._states.is_one_stream:
            raise NoLayoutError

    # --- looking back ----------------------------------------------------------------------------

    async def last_position(self) -> str:
        """Return the position of the newest entry; in an empty log, the one before its first."""
        return await self._call(self._last_position)

    async def _last_position(self) -> str:
        layout = await self._layout_now()
        found = await self._bounds(self._states.shards)
        lasts = [
            ShardPosition(layout.epoch, bounds.last[0], shard, bounds.last[1])
            for shard, bounds in found.items()
            if bounds.last is not None
        ]
        return (max(lasts) if lasts else ShardPosition(layout.epoch, 0, 0, 0)).text

    async def read_back(self, limit: int, *, before: str | None = None) -> Sequence[LogEntry]:
        """
        Return the newest entries, newest first; of all shards but those that are away.

        Raises:
            PositionLostError: ``before`` belongs to another log or is malformed.
            TransportError: A shard cannot be reached.
        """
        return await self._call(lambda: self._read_back(limit, before))

    async def _read_back(self, limit: int, before: str | None) -> Sequence[LogEntry]:
        layout = await self._layout_now()
        ends = dict.fromkeys(self._states.shards, "+")
        if before is not None:
            place = parse_position(before)
            if place.epoch not in (layout.epoch, _NO_EPOCH):
                raise PositionLostError(before, "epoch")
            for shard in ends:
                ms, seq = place.cursor_of(shard)
                # "(" makes the bound exclusive, since Redis 6.2.
                ends[shard] = f"({ms}-{seq}" if shard == place.shard else f"{ms}-{seq}"
        found = await self._poller.newest(ends, limit)
        return self._entries(newest_places(found, limit))

    # --- connections -----------------------------------------------------------------------------

    async def _call(self, command: Callable[[], Awaitable[_T]]) -> _T:
        try:
            with suppress_instrumentation():
                return await command()
        except NODE_ERRORS as error:
            self._was_idle = False
            reason = failure_reason(error, self._url)
            raise TransportError(f"{redact_url(self._url)}: {reason}") from error

    async def close(self) -> None:
        """Close the connections; errors are ignored. A later call connects again."""
        await self._poller.close()
