"""
``Hub`` and ``ClientSession``: events to all clients, each encoded once and framed once per filter.

Sessions with the same filter and batching form a group. Per tick (one batch from the feed) a group
joins the frames of its events once and writes the same bytes to every session, so that the cost of
a tick grows with events times distinct filters, and per client there is one ``write``.

A session writes through a ``Sink``. One that does not keep up is over its byte limit: events are
dropped for it and counted, a ``gap`` says so when it has caught up, and past the time limit, or
without any progress for so long, it is closed as slow and its socket aborted. Nobody else notices.

Everything here runs on one event loop and never awaits, so that "what a session got so far" and
"what is in the ring" cannot drift apart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock, iso_utc
from otel_bridge_collector.stream.ring import Entry, ReplayRing
from otel_bridge_collector.stream.sessions import MAX_BATCH_EVENTS, ClientSession, text_frame
from otel_bridge_collector.wire.close_codes import RESTARTING, SLOW_CLIENT, CloseCode
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.messages import GapMessage, TickMessage

__all__ = ["Hub", "HubCounters"]

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_SEC: Final = 0.5
TICK_INTERVAL_SEC: Final = 2.0


class HubCounters:
    """What the hub has done since the start."""

    __slots__ = ("dropped_slow", "events_out", "slow_closed")

    def __init__(self) -> None:
        self.events_out = 0
        """Events written to clients, each counted per client."""
        self.dropped_slow = 0
        """Events not written because a client was over its limit, each counted per client."""
        self.slow_closed = 0


class _Group:
    __slots__ = ("batch_ms", "frames", "pending", "sessions", "timer", "wanted")

    def __init__(self, wanted: EventFilter, batch_ms: int | None) -> None:
        self.wanted = wanted
        self.batch_ms = batch_ms
        self.sessions: list[ClientSession] = []
        self.frames: list[bytes] = []
        self.pending: list[bytes] = []
        self.timer: asyncio.TimerHandle | None = None


class Hub:
    """
    All sessions of one collector, in groups of the same wish.

    Args:
        ring: Read for gaps and resumes; appended to by the feed before ``broadcast``.
        limit_bytes: Buffered per session before events are dropped for it.
        timeout_sec: How long a session may stay over it, or stuck.
        make_snapshot: The snapshot message for a filter, true at the ring's newest entry.
        clock: Gives the time.
    """

    def __init__(
        self,
        ring: ReplayRing,
        *,
        limit_bytes: int,
        timeout_sec: float,
        make_snapshot: Callable[[EventFilter], bytes],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.ring = ring
        self.counters = HubCounters()
        self._limit = limit_bytes
        self._timeout_sec = timeout_sec
        self._make_snapshot = make_snapshot
        self._clock = clock
        self._groups: dict[tuple[EventFilter, int | None], _Group] = {}
        self._any_project: list[_Group] = []
        self._by_project: dict[str, list[_Group]] = {}
        self._sessions: set[ClientSession] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def filters(self) -> int:
        """Distinct groups."""
        return len(self._groups)

    # --- sessions --------------------------------------------------------------------------------

    def join(self, session: ClientSession, after_index: int | None = None) -> None:
        """
        Add a session; it gets everything newer than this moment.

        Args:
            session: Not closed.
            after_index: First send what the ring holds after this index; None: nothing.
        """
        key = (session.wanted, session.batch_ms)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(*key)
            self._index()
        else:
            self._flush(group)
        if after_index is not None and after_index < self.ring.last_index:
            self.counters.events_out += session.send_entries(self.ring.after_index(after_index))
        group.sessions.append(session)
        self._sessions.add(session)

    def leave(self, session: ClientSession) -> None:
        """Forget a session; safe to call again."""
        session.is_closed = True
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        key = (session.wanted, session.batch_ms)
        group = self._groups[key]
        group.sessions.remove(session)
        if not group.sessions:
            if group.timer is not None:
                group.timer.cancel()
            del self._groups[key]
            self._index()

    def send_snapshot(self, session: ClientSession) -> None:
        """Write a fresh snapshot."""
        snapshot = self._make_snapshot(session.wanted)
        session.allowance = session.sink.buffered_bytes() + len(snapshot)
        session.send(snapshot)

    def send_gap(self, session: ClientSession, reason: Any, dropped: int | None = None) -> None:
        """Say that events are missing here; a fresh snapshot follows if it asked for snapshots."""
        gap = GapMessage(reason=reason, position=self.ring.last_position, dropped=dropped)
        session.send(gap.model_dump_json().encode())
        if session.wants_snapshot:
            self.send_snapshot(session)

    def close_all(self, code: CloseCode = RESTARTING) -> None:
        """Flush what waits, then close every session."""
        for group in list(self._groups.values()):
            self._flush(group)
        for session in list(self._sessions):
            self.leave(session)
            session.sink.close(code)

    # --- events ----------------------------------------------------------------------------------

    def broadcast(self, entries: Sequence[Entry]) -> None:
        """Send events to everybody who wants them; each must be in the ring already."""
        if not self._groups:
            return
        touched: dict[_Group, None] = {}
        for entry in entries:
            frame: bytes | None = None
            for group in self._candidates(entry):
                if not group.wanted.matches(entry):
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
        if entry.parent_task_id is None:  # belongs to nobody: see EventFilter
            return list(self._groups.values())
        return self._any_project

    def _index(self) -> None:
        self._any_project = []
        self._by_project = {}
        for group in self._groups.values():
            if group.wanted.project_id is None:
                self._any_project.append(group)
            else:
                self._by_project.setdefault(group.wanted.project_id, []).append(group)

    def _flush(self, group: _Group) -> None:
        if group.timer is not None:
            group.timer.cancel()
            group.timer = None
        if group.pending:
            pending, group.pending = group.pending, []
            for start in range(0, len(pending), MAX_BATCH_EVENTS):
                part = pending[start : start + MAX_BATCH_EVENTS]
                self._write(group, text_frame(b"[" + b",".join(part) + b"]"), len(part))

    def _write(self, group: _Group, frames: bytes, events: int) -> None:
        limit = self._limit
        written = 0
        for session in group.sessions:
            if session.over_since is None and (
                session.sink.buffered_bytes() <= limit + session.allowance
            ):
                session.write(frames)
                written += 1
            else:
                self._drop(session, events)
        self.counters.events_out += written * events

    def _drop(self, session: ClientSession, events: int) -> None:
        if session.over_since is None:
            session.over_since = self._clock.monotonic()
        session.dropped += events
        self.counters.dropped_slow += events

    def gap_all(self, reason: str) -> None:
        """Tell every session that the log could not be read on without a hole."""
        for group in list(self._groups.values()):
            self._flush(group)
        for session in list(self._sessions):
            if session.over_since is None:
                self.send_gap(session, reason)

    # --- time ------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Let sessions that caught up go on, close those that will not; every half second."""
        now = self._clock.monotonic()
        for session in list(self._sessions):
            stuck_sec = session.stuck_sec(now)
            over = session.over_since
            if session.allowance and session.sink.buffered_bytes() <= self._limit:
                session.allowance = 0
            if over is not None and session.sink.buffered_bytes() <= self._limit // 4:
                # What waits in its group is part of the gap; a snapshot tells it anyway.
                self._flush(self._groups[session.wanted, session.batch_ms])
                session.over_since = None
                dropped, session.dropped = session.dropped, 0
                self.send_gap(session, "slow", dropped)
            elif stuck_sec >= self._timeout_sec or (
                over is not None and now - over >= self._timeout_sec
            ):
                self.counters.slow_closed += 1
                self.leave(session)
                session.sink.close(SLOW_CLIENT)

    def tick(self) -> None:
        """Send the time and the position to clients that use an added parameter."""
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
                if session.has_extras and session.over_since is None:
                    session.send(message)
