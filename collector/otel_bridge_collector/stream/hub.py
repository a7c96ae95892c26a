"""
``Hub``: fans events out to all clients, each encoded once and framed once per distinct filter.

Sessions with equal filter and batching form a group. For each batch of the log's reader, a group
joins the frames of its events once and writes the same bytes to every session. So the cost of a
batch grows with events times distinct filters, and each client costs one ``write``.

A client that reads too slowly goes over its byte limit: its events are dropped and counted, and a
``gap`` with their number follows once it has caught up. If it stays over the limit, or takes no
bytes at all, for longer than the time limit, it is closed as slow and its socket is aborted. Other
clients are not affected.

Everything here runs on one event loop and never awaits, so that what a session has been sent and
what is in the ring always agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock, iso_utc
from otel_bridge_collector.stream.ring import Entry, ReplayRing
from otel_bridge_collector.stream.sessions import MAX_BATCH_EVENTS, ClientSession, text_frame
from otel_bridge_collector.wire.close_codes import RESTARTING, SLOW_CLIENT, CloseCode
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.messages import GapMessage, TickMessage

__all__ = ["Hub", "HubCounters"]

logger = logging.getLogger(__name__)

_SNAPSHOT_TRIES: Final = 4
_SNAPSHOT_RETRY_SEC: Final = 0.5
SWEEP_INTERVAL_SEC: Final = 0.5
"""How often ``Hub.sweep`` is to be called."""
TICK_INTERVAL_SEC: Final = 2.0
"""How often ``Hub.tick`` is to be called."""


class HubCounters:
    """
    Numbers that the hub counts from 0 at its start, on its event loop; all in ``/metrics``.

    A record, as ``Hub.counters``; checks nothing. They are never reset.

    Attributes:
        events_out: Events written to clients, counted once for each client that got one, also when
            they were sent while it resumed.
        dropped_slow: Events that a client did not get because over 4 MiB waited for it, counted
            once for each such client. A ``gap`` message reports their number if it catches up.
        slow_closed: Clients closed with code 3008 because they were over that limit, or took no
            byte, for 8 s; not those that were closed while they resumed.
    """

    __slots__ = ("dropped_slow", "events_out", "slow_closed")

    def __init__(self) -> None:
        self.events_out = 0
        self.dropped_slow = 0
        self.slow_closed = 0


class _Group:
    __slots__ = ("batch_ms", "event_filter", "frames", "pending", "sessions", "timer")

    def __init__(self, event_filter: EventFilter, batch_ms: int | None) -> None:
        self.event_filter = event_filter
        self.batch_ms = batch_ms
        self.sessions: list[ClientSession] = []
        self.frames: list[bytes] = []
        self.pending: list[bytes] = []
        self.timer: asyncio.TimerHandle | None = None


class Hub:
    """
    All sessions (clients of the raw stream) of a collector, to which it sends each new event.

    The collector makes one and calls ``broadcast`` for new events, ``sweep`` every 0.5 s, ``tick``
    every 2 s and ``close_all`` at its end. All methods belong to one event loop and never block.
    The number of sessions is not limited here; the route admits 100 for an account and 500 for an
    address. A connection that is gone raises nothing; a slow one is closed with code 3008.

    Args:
        ring: The newest events in memory, read for gaps and resuming; the reader appends to it
            before it calls ``broadcast``.
        limit_bytes: Bytes that may wait for one session before events are dropped for it; 4 MiB in
            the service.
        timeout_sec: How long a session may stay over that limit, or take no bytes, until it is
            closed; 8 s in the service.
        make_snapshot: Makes the snapshot message for a filter, valid at the ring's newest entry.
        fetch_snapshot: Asks several collectors instead, while the session waits; None: no others.
        clock: Source of the time.

    Attributes:
        ring: As given.
        counters: What it has counted; all 0 at first.
    """

    def __init__(
        self,
        ring: ReplayRing,
        *,
        limit_bytes: int,
        timeout_sec: float,
        make_snapshot: Callable[[EventFilter], bytes],
        fetch_snapshot: Callable[[EventFilter], Awaitable[bytes]] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.ring = ring
        self.counters = HubCounters()
        self._limit = limit_bytes
        self._timeout_sec = timeout_sec
        self._make_snapshot = make_snapshot
        self._fetch_snapshot = fetch_snapshot
        self._fetching: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._groups: dict[tuple[EventFilter, int | None], _Group] = {}
        self._any_project: list[_Group] = []
        self._by_project: dict[str, list[_Group]] = {}
        self._sessions: set[ClientSession] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def group_count(self) -> int:
        """The number of groups: distinct pairs of filter and batching."""
        return len(self._groups)

    def join(self, session: ClientSession, after_index: int | None = None) -> None:
        """
        Add a session, which gets all events that are broadcast from this moment on; never raises.

        Call it on the hub's event loop. A session whose connection is gone joins too; what is
        written to it is dropped until ``leave`` or ``sweep`` removes it.

        Args:
            session: One that is not closed and has not joined; not checked.
            after_index: First send it what the ring holds after this index, at once and whatever
                its byte limit is; default None: nothing. Events that have left the ring
                are missing, without notice.
        """
        key = (session.event_filter, session.batch_ms)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(*key)
            self._rebuild_index()
        else:
            self._flush(group)
        if after_index is not None and after_index < self.ring.last_index:
            self.counters.events_out += session.send_entries(self.ring.after_index(after_index))
        group.sessions.append(session)
        self._sessions.add(session)

    def leave(self, session: ClientSession) -> None:
        """Remove a session and mark it closed, without closing its socket; may be called again."""
        session.is_closed = True
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        key = (session.event_filter, session.batch_ms)
        group = self._groups[key]
        group.sessions.remove(session)
        if not group.sessions:
            if group.timer is not None:
                group.timer.cancel()
            del self._groups[key]
            self._rebuild_index()

    def send_snapshot(self, session: ClientSession) -> None:
        """
        Make a snapshot for the session's filter, and write it whatever the byte limit is.

        Where it is fetched, the session gets it later, and the events from this moment on after it.
        """
        if self._fetch_snapshot is None:
            self._write_snapshot(session, self._make_snapshot(session.event_filter))
            return
        task = asyncio.create_task(self.join_with_snapshot(session), name="snapshot")
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    @staticmethod
    def _write_snapshot(session: ClientSession, snapshot: bytes) -> None:
        session.allowance_bytes = session.sink.buffered_bytes() + len(snapshot)
        session.send(snapshot)

    async def join_with_snapshot(self, session: ClientSession) -> None:
        """
        Write a fetched snapshot to a session, then let it join with the events since (async).

        One that had joined gets nothing until then. After 4 failures, logged, it has no snapshot.
        """
        if session in self._sessions:
            self.leave(session)
            session.is_closed = False
        index = self.ring.last_index
        for _ in range(_SNAPSHOT_TRIES):
            try:
                assert self._fetch_snapshot is not None
                snapshot = await self._fetch_snapshot(session.event_filter)
            except Exception:
                logger.exception("a snapshot could not be made")
                await asyncio.sleep(_SNAPSHOT_RETRY_SEC)
            else:
                self._write_snapshot(session, snapshot)
                break
        if not session.is_closed:
            self.join(session, index)

    @property
    def fetches_snapshots(self) -> bool:
        """Whether a snapshot takes a moment, so that ``join_with_snapshot`` is to be called."""
        return self._fetch_snapshot is not None

    def send_gap(
        self,
        session: ClientSession,
        reason: Any,
        dropped: int | None = None,
        shards: Sequence[int] = (),
    ) -> None:
        """
        Write a ``gap`` message, which says that events are missing; then, if asked for, a snapshot.

        Call it on the hub's event loop, any number of times; the session's byte limit does not
        matter. If its connection is gone, nothing is sent and nothing is raised.

        Args:
            session: To whom; it need not have joined.
            reason: Why. ``slow``: the client was over its byte limit, and events were dropped for
                it. ``trimmed``: the log no longer has the next events, or cannot be read to resume
                from it. ``epoch``: the log was lost or replaced. ``malformed``: the client's
                position is not one. ``clock``: events came too late for their place in the log's
                order. ``overflow``: not used.
            dropped: The number of events that were dropped; default None: it is not known.
            shards: The shards of the log that have the gap; empty, the default: all of it.

        Raises:
            ValueError: ``reason`` is another one.
        """
        gap = GapMessage(
            reason=reason,
            position=self.ring.last_position,
            dropped=dropped,
            shards=list(shards) or None,
        )
        session.send(gap.model_dump_json().encode())
        if session.wants_snapshot:
            self.send_snapshot(session)

    def close_all(self, code: CloseCode = RESTARTING) -> None:
        """Send the batches that wait, then remove every session and close it with ``code``."""
        for group in list(self._groups.values()):
            self._flush(group)
        for session in list(self._sessions):
            self.leave(session)
            session.sink.close(code)

    def broadcast(self, entries: Sequence[Entry]) -> None:
        """
        Send events to all sessions (clients) whose filter they pass, unless over their byte limit.

        For one over its limit (4 MiB in the service) the events are dropped and counted, in
        ``counters.dropped_slow``. A session that asked for batches gets its events after its
        interval. Never raises on a running event loop, which it needs.

        Args:
            entries: In the log's order, any number; each must be in the ring already.
        """
        if not self._groups:
            return
        touched: dict[_Group, None] = {}
        for entry in entries:
            frame: bytes | None = None
            for group in self._candidates(entry):
                if not group.event_filter.matches(entry):
                    continue
                if group.batch_ms is not None:
                    group.pending.append(entry.data)
                else:
                    if frame is None:
                        frame = text_frame(entry.data)
                    group.frames.append(frame)
                touched[group] = None
        for group in touched:
            if group.batch_ms is None:
                frames, group.frames = group.frames, []
                self._write(group, b"".join(frames), len(frames))
            elif group.timer is None:
                loop = asyncio.get_running_loop()
                group.timer = loop.call_later(group.batch_ms / 1000, self._flush, group)

    def _candidates(self, entry: Entry) -> Iterable[_Group]:
        if not self._by_project:
            return self._any_project
        project_id = entry.project_id
        if project_id is not None:
            own = self._by_project.get(project_id)
            return self._any_project if own is None else (*self._any_project, *own)
        if entry.parent_task_id is None:  # an event of a shared worker or queue: see EventFilter
            return list(self._groups.values())
        return self._any_project

    def _rebuild_index(self) -> None:
        self._any_project = []
        self._by_project = {}
        for group in self._groups.values():
            if group.event_filter.project_id is None:
                self._any_project.append(group)
            else:
                self._by_project.setdefault(group.event_filter.project_id, []).append(group)

    def _flush(self, group: _Group) -> None:
        if group.timer is not None:
            group.timer.cancel()
            group.timer = None
        if group.pending:
            pending, group.pending = group.pending, []
            for start in range(0, len(pending), MAX_BATCH_EVENTS):
                part = pending[start : start + MAX_BATCH_EVENTS]
                self._write(group, text_frame(b"[" + b",".join(part) + b"]"), len(part))

    def _write(self, group: _Group, frames: bytes, event_count: int) -> None:
        limit, size, written = self._limit, len(frames), 0
        for session in group.sessions:
            sink, waiting = session.sink, session.sink.buffered_bytes()
            is_within = waiting <= limit or waiting <= limit + session.allowance_bytes
            if is_within and session.over_limit_since is None:
                session.written += size
                sink.write(frames)
                written += 1
            else:
                self._drop(session, event_count)
        self.counters.events_out += written * event_count

    def _drop(self, session: ClientSession, event_count: int) -> None:
        if session.over_limit_since is None:
            session.over_limit_since = self._clock.monotonic()
        session.dropped += event_count
        self.counters.dropped_slow += event_count

    def send_gap_to_all(self, reason: str, shards: Sequence[int] = ()) -> None:
        """
        Write a ``gap`` to every session: the log could not be read on without a hole.

        Call it on the hub's event loop. Sessions over their byte limit get one from ``sweep``
        later, with the reason ``slow``. A connection that is gone raises nothing.

        Args:
            reason: ``trimmed`` (the log no longer has the next events) or ``epoch`` (it was lost or
                replaced); the others of ``send_gap`` are accepted.
            shards: As for ``send_gap``.

        Raises:
            ValueError: ``reason`` is none of these, and there is a session.
        """
        for group in list(self._groups.values()):
            self._flush(group)
        for session in list(self._sessions):
            if session.over_limit_since is None:
                self.send_gap(session, reason, shards=shards)

    def sweep(self) -> None:
        """
        Resume the sessions that have caught up, and close those that are too slow; never raises.

        A session (client) has caught up at a quarter of its byte limit (4 MiB in the service), and
        gets a ``gap``. It is too slow after ``timeout_sec`` (8 s) over the limit or without taking
        a byte: it is counted in ``counters.slow_closed`` and closed with code 3008. A ``gap`` is a
        message that events are missing. Call it on the hub's event loop, every 0.5 s.
        """
        now = self._clock.monotonic()
        for session in list(self._sessions):
            idle_sec = session.sec_without_progress(now)
            over = session.over_limit_since
            if session.allowance_bytes and session.sink.buffered_bytes() <= self._limit:
                session.allowance_bytes = 0
            if over is not None and session.sink.buffered_bytes() <= self._limit // 4:
                # The group's waiting batch is dropped for it too, so that the gap counts it; the
                # snapshot after the gap includes it anyway.
                self._flush(self._groups[session.event_filter, session.batch_ms])
                session.over_limit_since = None
                dropped, session.dropped = session.dropped, 0
                self.send_gap(session, "slow", dropped)
            elif idle_sec >= self._timeout_sec or (
                over is not None and now - over >= self._timeout_sec
            ):
                self.counters.slow_closed += 1
                self.leave(session)
                session.sink.close(SLOW_CLIENT)

    def tick(self) -> None:
        """Send time and position to sessions with ``has_extras`` that are within their limit."""
        message = (
            TickMessage(
                server_time=iso_utc(self._clock.time_ns()), position=self.ring.last_position
            )
            .model_dump_json()
            .encode()
        )
        for group in list(self._groups.values()):
            self._flush(group)
            for session in group.sessions:
                if session.has_extras and session.over_limit_since is None:
                    session.send(message)
