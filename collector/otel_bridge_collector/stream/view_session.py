"""
``ViewSession``: one client of ``/ws/views``; ``Group``: what several of them have subscribed to.

A client that does not keep up is sent nothing until it does, and then one ``full`` of each
subscription: the latest wins, and nothing waits for it in memory.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

from otel_bridge_collector.stream.sessions import Sink
from otel_bridge_collector.stream.shared_message import SharedMessage
from otel_bridge_collector.views.catalog import Query
from otel_bridge_collector.views.listing import Scope, Window
from otel_bridge_collector.wire.close_codes import CloseCode

__all__ = ["Group", "ViewSession", "ViewSink"]

_PONG_TIMEOUT_SEC: Final = 2.0
"""Without a pong for so long a client is behind, though its proxy takes all we send. Through nginx
a client that paused for 8 s read 123 old messages without this, 23 with it."""
_PING_INTERVAL_SEC: Final = 1.0
_MAX_OPS_PER_SEC: Final = 20
_MAX_WAITING_OPS: Final = 16


class ViewSink(Sink, Protocol):
    """
    A ``Sink`` that shows whether the client itself, and not only a proxy, reads. An interface.

    To ``write``, ``buffered_bytes`` and ``close`` it adds ``limit_kernel_buffer`` and ``ping``.
    ``TransportSink`` and ``AsgiSink`` implement it. Called on the event loop; never blocks or
    raises. The bytes that wait are not limited here: ``ViewsHub`` stops writing above 64 KiB.

    Attributes:
        takes_deflated: Whether its client takes compressed messages (permessage-deflate without
            state between messages, a window of 32 KiB); fixed once the connection is open.
    """

    takes_deflated: bool

    def limit_kernel_buffer(self) -> None:
        """Let the kernel hold little that the client has not read, where that is possible."""

    def ping(self) -> bool:
        """Send a WebSocket ping; False if there is no way to, so that no pong will come."""


class Group:
    """
    All subscriptions with one query (view and parameters) and one scope (projects of the reader).

    ``ViewsHub`` makes it for the first of them and forgets it after the last. A record, for the
    hub's event loop; checks and limits nothing, and raises nothing.

    Args:
        number: ``s`` in its messages; unique in this collector.
        query: What its window is computed for.
        scope: The projects that its clients may see; None: all.

    Attributes:
        version: ``v`` of the window that its clients have; 0 before the first, then it rises by one
            with each change.
        shown: That window; None before it was computed, and while it is gone.
        gone: Why there is none; None while there is, and before it was computed.
        due_at: Monotonic time before which it is not computed again; 0 at first.
        whole: The message ``full`` or ``gone``; None until a client needs one, and after each
            change.
        sessions: Its clients, each with whether it lacks what is shown and needs ``whole``; empty
            at first.
    """

    __slots__ = (
        "due_at",
        "gone",
        "number",
        "query",
        "scope",
        "sessions",
        "shown",
        "version",
        "whole",
    )

    def __init__(self, number: int, query: Query, scope: Scope) -> None:
        self.number = number
        self.query = query
        self.scope = scope
        self.version = 0
        self.due_at = 0.0
        self.shown: Window | None = None
        self.gone: Literal["unknown", "evicted", "error"] | None = None
        self.whole: SharedMessage | None = None
        self.sessions: dict[ViewSession, bool] = {}

    def replace(self) -> None:
        """Let every client need the whole again: no change leads to what is shown."""
        self.whole = None
        self.sessions = dict.fromkeys(self.sessions, True)


class ViewSession:
    """
    One client of ``/ws/views``; the WebSocket's route makes it, and the ``ViewsHub`` fills it.

    Use it on the hub's event loop. It writes what it is given; the hub gives it nothing while over
    64 KiB are unsent, and at most 16 subscriptions. No method blocks, or raises if the client is
    gone.

    Args:
        sink: Where its bytes go.
        scope: The projects that it may see, fixed for its life; None: all.
        may_read_lines: Whether it has the right ``lines``: log lines are more private than events.
            Default: only if it sees all projects.

    Attributes:
        subscriptions: Its open ones: the client's number to the shared group; empty at first.
        is_held: Whether it asked to be sent only the view ``overview``; False at first.
        behind_since: Monotonic time since which it has not kept up; None while it does, and at
            first.
        is_closed: Whether it has left; False at first.
        waiting: Messages that came too fast, the latest of each id; carried out at the next tick.
            At most 16; empty at first.
        out: Frames of this tick; empty after each ``flush``.
    """

    __slots__ = (
        "_ops",
        "_ops_second",
        "_ping_at",
        "_pong_at",
        "behind_since",
        "is_closed",
        "is_held",
        "may_read_lines",
        "out",
        "scope",
        "sink",
        "subscriptions",
        "waiting",
    )

    def __init__(self, sink: ViewSink, scope: Scope, *, may_read_lines: bool | None = None) -> None:
        sink.limit_kernel_buffer()
        self.sink = sink
        self.scope = scope
        self.may_read_lines = scope is None if may_read_lines is None else may_read_lines
        self.subscriptions: dict[int, Group] = {}
        self.is_held = False
        self.is_closed = False
        self.behind_since: float | None = None
        self.waiting: dict[Any, Any] = {}
        self.out: list[bytes] = []
        self._ping_at = 0.0
        self._pong_at = 0.0
        self._ops = 0
        self._ops_second = -1

    def may_do(self, now: float) -> bool:
        """
        Count one message of the client; False if it is over 20 in this second. Never raises.

        The hub, on whose event loop it is called, then lets the message wait for the next tick.

        Args:
            now: Monotonic time in seconds; each whole second is counted by itself.
        """
        if int(now) != self._ops_second:
            self._ops_second, self._ops = int(now), 0
        self._ops += 1
        return self._ops <= _MAX_OPS_PER_SEC

    def wait(self, key: Any, op: Any) -> bool:
        """
        Keep a message for the next tick, in place of the former one with this key. Never raises.

        On the hub's event loop.

        Args:
            key: The client's number of the subscription; None: the message is of none.
            op: The message as it was read.

        Returns:
            False if 16 others wait; then it is not kept.
        """
        if key not in self.waiting and len(self.waiting) >= _MAX_WAITING_OPS:
            return False
        self.waiting[key] = op
        return True

    def send(self, message: SharedMessage) -> None:
        """Add a message to the frames of this tick, compressed if the client takes that."""
        self.out.append(message.frame(is_deflated=self.sink.takes_deflated))

    def flush(self) -> None:
        """Write the frames of this tick at once: one write instead of one per view."""
        if self.out:
            self.sink.write(b"".join(self.out))
            self.out.clear()

    def ping(self, now: float) -> None:
        """
        Send a ping, at most one a second, and none while one is unanswered. Never raises.

        On the hub's event loop. Where the server cannot send pings it does nothing.

        Args:
            now: Monotonic time in seconds.
        """
        is_answered = self._pong_at >= self._ping_at
        is_due = is_answered and now - self._ping_at >= _PING_INTERVAL_SEC
        if is_due and self.sink.ping():
            self._ping_at = now

    def note_pong(self, now: float) -> None:
        """
        Note that the client has answered: it has read all that was sent before the ping.

        From now on it is not behind for want of an answer. On the hub's event loop; never raises.

        Args:
            now: Monotonic time in seconds.
        """
        self._pong_at = now

    def is_behind(self, now: float, limit_bytes: int) -> bool:
        """
        Return whether the client does not take what it is sent; on the hub's event loop.

        True while more than ``limit_bytes`` are unsent, or when a ping is unanswered for over 2 s;
        False else. A server that cannot ping shows the first only. Never raises.

        Args:
            now: Monotonic time in seconds.
            limit_bytes: The hub gives 64 KiB.
        """
        if self.sink.buffered_bytes() > limit_bytes:
            return True
        return self._ping_at > self._pong_at and now - self._ping_at > _PONG_TIMEOUT_SEC

    def close(self, code: CloseCode) -> None:
        """
        Close its connection with a code, and free the socket 1 s later; may be called again.

        On the hub's event loop; never blocks or raises.

        Args:
            code: Sent to the client. The session stays in the hub: call ``ViewsHub.leave`` before.
        """
        self.sink.close(code)
