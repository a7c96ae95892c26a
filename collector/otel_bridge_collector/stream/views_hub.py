"""
``ViewsHub``: carries out what clients of views ask for, and sends them what has changed each tick.

``ViewGroups`` computes each view once for all its clients; each message is made once and written to
each of them, which costs 0.02 ms a tick for each further client (prototype at 4 Hz). The time
between two ticks follows from what the last one cost, so that views take an eighth of a core at
most.

Everything here runs on one event loop and never awaits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge_collector.stream.shared_message import SharedMessage
from otel_bridge_collector.stream.view_groups import (
    MAX_GROUPS,
    GroupWatch,
    ViewGroups,
    ViewsCounters,
)
from otel_bridge_collector.stream.view_session import Group, ViewSession
from otel_bridge_collector.views.catalog import NO_RIGHT, Query, QueryError, parse_query
from otel_bridge_collector.views.listing import Scope, Window
from otel_bridge_collector.wire.close_codes import RESTARTING, SLOW_CLIENT, CloseCode
from otel_bridge_collector.wire.views.messages import (
    MAX_PARAMS_BYTES,
    MAX_SUBSCRIPTIONS,
    Hello,
    HoldOp,
    Limits,
    Refused,
    SubOp,
    Subscribed,
    Tick,
    UnsubOp,
    first_error,
)
from otel_bridge_collector.wire.views.params import MAX_ROWS

__all__ = ["ViewsHub"]

_LIMIT_BYTES: Final = 64 * 1024
"""More than this unsent, and a client is behind."""
_MAX_TEXT_CHARS: Final = 200
_TICK_SHARE: Final = 8
"""The next tick comes after so many times what the last one cost: an eighth of a core at most."""
_MIN_TICK_SEC: Final = 0.1
_MAX_TICK_SEC: Final = 1.0
_LIFE_SEC: Final = 2.0
"""How often every client gets a ``tick``, whatever else it gets."""
_ALWAYS_SENT: Final = "overview"
"""The view that a client on hold still gets, for its counter of what is new."""


class ViewsHub:
    """
    All clients of ``/ws/views`` of one collector, and the views (head and rows) that they see.

    All methods belong to one event loop and never block. A client has at most 16 subscriptions, and
    all clients together 2,000 different ones; a further one is answered with ``refused``. The
    number of clients is not limited here; the route admits 100 for an account, 500 for an address.
    A connection that is gone raises nothing; what ``refresh`` or ``position`` raises passes
    through.

    A client with over 64 KiB unsent, or a ping unanswered for over 2 s, is behind: it gets nothing
    until it has caught up, then the latest state as ``full``.

    Args:
        refresh: Brings the model up to date; called once before windows are computed.
        window: Computes one window as of the latest refresh.
        position: Gives the log's position for ``tick``.
        timeout_sec: How long a client may be behind until it is closed (3008); 8 s in the service.
        watch: Learns which views are looked at; default None. ``window`` may then raise
            ``NotYetError``, and ``full`` follows when it does not.
        clock: Source of the time.

    Attributes:
        counters: What it has counted; all 0 at first.
    """

    def __init__(
        self,
        *,
        refresh: Callable[[], None],
        window: Callable[[Query, Scope], Window],
        position: Callable[[], str],
        timeout_sec: float,
        watch: GroupWatch | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.counters = ViewsCounters()
        self._groups = ViewGroups(
            refresh=refresh, window=window, counters=self.counters, clock=clock, watch=watch
        )
        self._position = position
        self._timeout_sec = timeout_sec
        self._clock = clock
        self._sessions: dict[ViewSession, None] = {}
        self._alive_at = 0.0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def group_count(self) -> int:
        """The number of distinct subscriptions."""
        return len(self._groups)

    # --- clients ---------------------------------------------------------------------------------

    def join(self, session: ViewSession) -> None:
        """
        Add a client, and send it ``hello`` with the limits at once; never raises.

        On the hub's event loop.

        Args:
            session: One that is not closed and has not joined; not checked. It has no subscriptions
                yet.
        """
        self._sessions[session] = None
        limits = Limits(subs=MAX_SUBSCRIPTIONS, count=MAX_ROWS, text=_MAX_TEXT_CHARS)
        session.send(_message(Hello(at=self._at_ms(), limits=limits)))
        session.flush()

    def leave(self, session: ViewSession) -> None:
        """
        Remove a client and end its subscriptions, without closing its socket; never raises.

        Args:
            session: Its ``is_closed`` becomes True. One that is not in the hub: nothing else
                happens.
        """
        session.is_closed = True
        self._sessions.pop(session, None)
        for subscription in list(session.subscriptions):
            self._unsubscribe(session, subscription)

    def close_all(self, code: CloseCode = RESTARTING) -> None:
        """
        Remove and close every client; never raises or blocks. On the hub's event loop.

        Args:
            code: Sent to each; default 1012, "collector is restarting, come back".
        """
        for session in list(self._sessions):
            self.leave(session)
            session.close(code)

    # --- what clients ask for --------------------------------------------------------------------

    def receive(self, session: ViewSession, message: str | bytes) -> None:
        """
        Carry out one message of a client; a bad one is answered with ``refused``, never an error.

        ``sub`` is answered with ``sub`` and then ``full``; or ``gone`` if what it shows does not
        exist, or with ``why`` ``error`` if the view cannot be computed. The subscription stays
        open, and ``full`` follows when it can be shown.
        Messages over 20 in a second, or of a client that is behind, wait for the next tick, the
        latest of each id, at most 16; over that they are counted as refused and not answered, as
        are bad ones that come too fast. One with an unknown ``op`` is ignored.

        Args:
            session: One that has joined.
            message: As it came; JSON of at most 16 KiB.
        """
        now = self._clock.monotonic()
        is_too_fast = not session.may_do(now)
        try:
            op = _parse(message)
        except QueryError as error:
            if is_too_fast:
                self.counters.refused += 1  # without an answer: it would fill the client's buffer
            else:
                self._refuse(session, None, "params", str(error))
                session.flush()
            return
        if op is None:
            return
        key = getattr(op, "id", None)
        if is_too_fast or session.waiting or session.is_behind(now, _LIMIT_BYTES):
            if not session.wait(key, op):
                self.counters.refused += 1
            return
        self._carry_out(session, op)
        session.flush()

    def _carry_out(self, session: ViewSession, op: BaseModel) -> None:
        if isinstance(op, SubOp):
            self._subscribe(session, op)
        elif isinstance(op, UnsubOp):
            self._unsubscribe(session, op.id)
        elif isinstance(op, HoldOp):
            session.is_held = op.on

    def _subscribe(self, session: ViewSession, op: SubOp) -> None:
        subscriptions = session.subscriptions
        if op.id not in subscriptions and len(subscriptions) >= MAX_SUBSCRIPTIONS:
            detail = f"{MAX_SUBSCRIPTIONS} subscriptions are open; unsub one first"
            self._refuse(session, op.id, "limit", detail)
            return
        try:
            query = parse_query(op.view, op.params)
        except QueryError as error:
            self._refuse(session, op.id, "params", str(error))
            return
        if query.needs_lines and not session.may_read_lines:
            self._refuse(session, op.id, "right", NO_RIGHT)
            return
        if not self._groups.has_room(query, session.scope):
            limit = self._groups.limit_of(query.view)
            what = f"different views of {query.view}" if limit < MAX_GROUPS else "different views"
            detail = f"this collector computes {limit} {what}; try again later"
            self._refuse(session, op.id, "busy", detail)
            return
        self._unsubscribe(session, op.id)
        group = self._groups.open(query, session.scope)
        subscriptions[op.id] = group
        session.send(_message(Subscribed(id=op.id, s=group.number)))
        self._send_whole(session, group)

    def _unsubscribe(self, session: ViewSession, subscription: int) -> None:
        group = session.subscriptions.pop(subscription, None)
        if group is None or group in session.subscriptions.values():
            return
        del group.sessions[session]
        if not group.sessions:
            self._groups.close(group)

    def _refuse(self, session: ViewSession, subscription: int | None, why: Any, text: str) -> None:
        self.counters.refused += 1
        session.send(_message(Refused(id=subscription, why=why, detail=text)))

    # --- ticks -----------------------------------------------------------------------------------

    def tick(self) -> float:
        """
        Compute every group, and write to every client what has changed for it.

        A group is all subscriptions to the same view with the same parameters and projects. On the
        hub's event loop.

        A client that keeps up gets ``change``, ``full`` or ``gone`` of its subscriptions, and
        ``tick`` every 2 s; one that is behind gets nothing, and is closed after ``timeout_sec``
        (8 s). A view that cannot be computed is logged and counted, and its clients keep what they
        have.

        Returns:
            After how many seconds to call it again: eight times what it took, 0.1 to 1. Without
            clients 0.1.

        Raises:
            Exception: What ``refresh`` or ``position`` raises; call it again later.
        """
        started = self._clock.monotonic()
        if not self._sessions:
            return _MIN_TICK_SEC
        for session in list(self._sessions):
            self._wake(session, started)
        if self._groups:
            self._groups.refresh()
        for group in self._groups:
            self._spread(group, self._groups.compute(group))
        is_due = started - self._alive_at >= _LIFE_SEC
        if is_due:
            self._alive_at = started
        life = _message(Tick(at=self._at_ms(), position=self._position())) if is_due else None
        for session in list(self._sessions):
            if session.behind_since is None:
                if life is not None:
                    session.send(life)
                session.flush()
                session.ping(started)
        cost = self._clock.monotonic() - started
        return min(_MAX_TICK_SEC, max(_MIN_TICK_SEC, _TICK_SHARE * cost))

    def _wake(self, session: ViewSession, now: float) -> None:
        """Find whether a client keeps up, close it if it has not for long; do what waits."""
        if session.is_behind(now, _LIMIT_BYTES):
            if session.behind_since is None:
                session.behind_since = now
            self.counters.skipped += 1
            if now - session.behind_since >= self._timeout_sec:
                self.counters.slow_closed += 1
                self.leave(session)
                session.close(SLOW_CLIENT)
            return
        session.behind_since = None
        waiting, session.waiting = session.waiting, {}
        for op in waiting.values():
            self._carry_out(session, op)

    def _spread(self, group: Group, change: SharedMessage | None) -> None:
        is_overview = group.query.view == _ALWAYS_SENT
        for session, lacks_whole in group.sessions.items():
            if session.behind_since is not None or (session.is_held and not is_overview):
                if change is not None:
                    group.sessions[session] = True
            elif lacks_whole:
                self._send_whole(session, group)
            elif change is not None:
                session.send(change)

    def _send_whole(self, session: ViewSession, group: Group) -> None:
        message = self._groups.whole(group)
        if message is None:  # other processes have not answered yet
            group.sessions[session] = True
            return
        session.send(message)
        group.sessions[session] = False
        self.counters.fulls += group.shown is not None

    def _at_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000


def _message(model: BaseModel) -> SharedMessage:
    return SharedMessage(model.model_dump_json().encode())


def _parse(message: str | bytes) -> SubOp | UnsubOp | HoldOp | None:
    """Read a client's message; None: one of a kind that only a newer collector knows."""
    if len(message) > MAX_PARAMS_BYTES:
        raise QueryError(f"a message has at most {MAX_PARAMS_BYTES} bytes")
    try:
        fields = from_json(message)
    except ValueError:
        raise QueryError("a message is a JSON object") from None
    if not isinstance(fields, dict):
        raise QueryError("a message is a JSON object")
    model = _OPS.get(str(fields.get("op")))
    if model is None:
        return None
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise QueryError(first_error(error)) from None


_OPS: Final[dict[str, type[SubOp] | type[UnsubOp] | type[HoldOp]]] = {
    "sub": SubOp,
    "unsub": UnsubOp,
    "hold": HoldOp,
}
