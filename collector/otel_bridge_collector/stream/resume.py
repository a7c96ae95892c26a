"""
``Resumer``: sends a client every event after a position, then lets it join the live stream.

Nothing is missing and nothing comes twice. From a position that the ring holds, events come from
the ring; from an older position, they are read from the log up to the first entry that the ring
holds. A position that this collector has not read yet, because the client comes from another
collector, is waited for. The last step, from the ring into the hub's group, does not await, so no
event can come between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.shards.position import is_passed
from otel_bridge.publish.transports.base import LogEntry, Receiver, position_after
from otel_bridge_collector.stream.hub import Hub
from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.close_codes import SLOW_CLIENT
from otel_bridge_collector.wire.event_matcher import EventMatcher
from otel_bridge_collector.wire.filters import EventFilter

__all__ = ["Resumer"]

_CHUNK: Final = 500
"""Events sent at a time; the client must read most of them before the next."""
_DRAINED_BYTES: Final = 256 * 1024
_POLL_SEC: Final = 0.01
_REACH_TIMEOUT_SEC: Final = 10.0
"""How long a position that this collector has not read yet is waited for."""
_MAX_POSITION_CHARS: Final = 100
_MAX_SCAN_EVENTS: Final = 20_000
_SCAN_CHUNK: Final = 1000


class Resumer:
    """
    Sends resuming sessions what they missed, and reads older parts of the log for them.

    The collector makes one, which makes a receiver (what reads the log), and awaits ``close`` at
    its end; all methods belong to the event loop of the hub. One receiver serves all: reads wait
    for each other, without a limit on how many. If the log cannot be read, ``join`` raises
    ``PositionLostError``, and ``read_back`` and ``recent`` raise ``TransportError``.

    Args:
        open_receiver: Makes the receiver for older entries: one connection, one read at a time.
        decode: Decodes entries of the log, and leaves out unreadable ones.
        wait_advance: Waits until the reader has read more of the log, for at most the given
            seconds; returns False if it has not.
        hub: The hub (all client sessions) that sessions join at the end.
        slow_after_sec: A client with over 256 KiB left to read after this time is closed as slow; 8
            s in the service.
    """

    def __init__(
        self,
        open_receiver: Callable[[], Receiver],
        *,
        decode: Callable[[Iterable[LogEntry]], list[Entry]],
        wait_advance: Callable[[float], Awaitable[bool]],
        hub: Hub,
        slow_after_sec: float,
    ) -> None:
        self._receiver = open_receiver()
        self._lock = asyncio.Lock()
        self._decode = decode
        self._wait_advance = wait_advance
        self._hub = hub
        self._slow_after_sec = slow_after_sec

    async def join(self, session: ClientSession, position: str) -> None:
        """
        Send the session every event after ``position``, then add it to the hub.

        On the hub's event loop. Events go out in parts of 500, each once the client has read all
        but 256 KiB. A session that is closed meanwhile, also as too slow (3008), does not join. A
        position that this collector has not read yet is waited for, for 10 s; a read of the log, as
        long as it takes.

        Args:
            session: One that is not closed and not in the hub.
            position: A position in the log that the client got earlier, of at most 100 characters.

        Raises:
            PositionLostError: The log cannot continue from that position, or cannot be reached and
                is needed. Nothing, or the first part, was sent, and the session has not joined.
        """
        if len(position) > _MAX_POSITION_CHARS or not position.isascii():
            raise PositionLostError(position[:_MAX_POSITION_CHARS], "malformed")
        ring = self._hub.ring
        while not session.is_closed:
            if not ring.holds(position):
                position = await self._from_log(session, position)
                continue
            index = ring.index_of(position)
            while (
                not session.is_closed
                and ring.last_index - index > _CHUNK
                and ring.holds_all_after(index)
            ):
                chunk = list(islice(ring.after_index(index), _CHUNK))
                await self._send(session, chunk)
                index = chunk[-1].index
                position = next(
                    (e.position for e in reversed(chunk) if e.position is not None), position
                )
            if not session.is_closed and ring.holds_all_after(index):
                self._hub.join(session, index)
                return

    async def read_back(self, limit: int, before: str | None) -> tuple[list[Entry], str | None]:
        """
        Read the newest entries of the log, or the newest before a position (async).

        Waits for a read in progress, also of another caller.

        Args:
            limit: The most entries to read; itself not limited here.
            before: A position in the log; None: read from the newest entry.

        Returns:
            At most ``limit`` entries, newest first, unreadable ones left out; and the position of
            the oldest that was read, None if there was none.

        Raises:
            PositionLostError: ``before`` belongs to another log or is malformed.
            TransportError: The log cannot be read.
        """
        async with self._lock:
            entries = await self._receiver.read_back(limit, before=before)
        return self._decode(entries), entries[-1].position if entries else None

    async def recent(
        self, event_filter: EventFilter | EventMatcher, *, limit: int, before: str | None
    ) -> tuple[list[bytes], str | None]:
        """
        Read the newest events that pass a filter back from the log, newest first (async).

        One call searches at most 20,000 events, in reads of 1,000, which wait for reads of other
        callers. Fewer events than ``limit``, even none, do not mean that there are no older ones.

        Args:
            event_filter: Which events to return.
            limit: Return at most this many, at least 1; not checked.
            before: Return only events older than this position; None: from the newest on.

        Returns:
            The events' JSON, and the position to pass as ``before`` for the next page; None once
            the beginning of the log is reached.

        Raises:
            PositionLostError: ``before`` belongs to another log or is malformed.
            TransportError: The log cannot be read.
        """
        found: list[bytes] = []
        scanned = 0
        while scanned < _MAX_SCAN_EVENTS:
            entries, oldest = await self.read_back(_SCAN_CHUNK, before)
            if oldest is None:
                return found, None
            for entry in entries:
                if event_filter.matches(entry):
                    found.append(entry.data)
                    if len(found) == limit:
                        return found, entry.position
            before = oldest
            scanned += _SCAN_CHUNK
        return found, before

    async def read_on(self, position: str, limit: int) -> Sequence[LogEntry]:
        """
        Read the entries after a position, oldest first; waits for a read in progress (async).

        Args:
            position: One in the log.
            limit: At most this many entries.

        Raises:
            PositionLostError: The log no longer has all of them, or is another one.
            TransportError: The log cannot be read.
        """
        async with self._lock:
            return await self._receiver.read(position, limit=limit, wait_ms=0)

    async def close(self) -> None:
        """Close the receiver's connection to the log; ``join`` must not be called after it."""
        await self._receiver.close()

    async def _from_log(self, session: ClientSession, position: str) -> str:
        """Send one chunk of what the ring does not hold; returns the position reached."""
        low_watermark = self._hub.ring.low_watermark
        same: str | None = None
        try:
            async with self._lock:
                entries = await self._receiver.read(position, limit=_CHUNK, wait_ms=0)
            if not entries and not self._hub.ring.holds(position):
                same = await self._same_place(position, low_watermark)
        except TransportError:
            if self._hub.ring.holds(position):
                return position
            raise PositionLostError(position, "trimmed") from None
        if same is not None:
            return same
        if not entries:
            if self._hub.ring.holds(position):
                return position  # read meanwhile; waiting for a further event could be in vain
            # The newest entry of the log, which this collector has not read yet.
            if not await self._wait_advance(_REACH_TIMEOUT_SEC) and not (
                self._hub.ring.holds(position)
            ):
                raise PositionLostError(position, "epoch")
            return position
        ring = self._hub.ring
        count = next((i for i, e in enumerate(entries, 1) if ring.holds(e.position)), len(entries))
        await self._send(session, self._decode(entries[:count]))
        return entries[count - 1].position

    async def _same_place(self, position: str, low_watermark: str) -> str | None:
        """
        Return a position that the ring holds, if the log has nothing between it and another.

        After a gap of one shard the stream goes on from a place where no entry is, and other
        collectors do not have it in their rings. A quiet log would be waited for in vain.

        Args:
            position: The log has nothing after it that may be given out. It may have entries: when
                a clock was set back, those of the last seconds wait until it is there again.
            low_watermark: Of the ring, before that was known.
        """
        async with self._lock:
            found = await self._receiver.read_back(1, before=position_after(position))
            if not found:
                return None
            newest = found[0].position
            if self._hub.ring.holds(newest):
                return newest
            if not is_passed(newest, low_watermark):
                return None
            found = await self._receiver.read_back(1, before=position_after(low_watermark))
        return low_watermark if found and is_passed(found[0].position, position) else None

    async def _send(self, session: ClientSession, entries: list[Entry]) -> None:
        self._hub.counters.events_out += session.send_entries(entries)
        deadline = asyncio.get_running_loop().time() + self._slow_after_sec
        while session.sink.buffered_bytes() > _DRAINED_BYTES:
            if asyncio.get_running_loop().time() > deadline:
                session.sink.close(SLOW_CLIENT)
                session.is_closed = True
                return
            await asyncio.sleep(_POLL_SEC)
