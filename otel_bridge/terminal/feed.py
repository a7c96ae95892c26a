"""
``ViewFeed``: the views of a collector over its WebSocket ``/ws/views``, kept up to date.

The same rules as the page's: nothing is resumed. After each ``hello`` the feed asks for its views
again, and each comes whole; until then the rows stay, as of the time that they were true.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from otel_bridge.terminal.coming_back import asked_wait_sec
from otel_bridge.terminal.printable import one_line, refusal_text
from otel_bridge.terminal.window import ShownWindow, next_window

__all__ = ["Connection", "Subscription", "ViewFeed", "views_url"]

_PROTOCOL: Final = 1
_BACKOFF_FIRST_SEC: Final = 0.5
_BACKOFF_MAX_SEC: Final = 3.0
"""A collector that is back is shown within 5 s, of which its answers take up to 2 s."""
_STALE_AFTER_SEC: Final = 5.0
"""The collector sends a message at least every 2 s: after two missed ones what is shown is old."""
_RECONNECT_AFTER_SEC: Final = 20.0
_BUSY_RETRY_SEC: Final = 5.0
_CLOCK_WINDOW_SEC: Final = 60.0
"""How far back a message counts for the clock: the clocks of two machines drift apart."""


@dataclass(frozen=True, slots=True)
class Connection:
    """
    How the connection is; an immutable record.

    Attributes:
        kind: ``connecting`` at first; ``live``; ``stale``: open, and nothing was heard for 5 s;
            ``lost``: it is tried again; ``refused``: trying again cannot help.
        why: One line for people why it is not live; empty while it is.
    """

    kind: Literal["connecting", "live", "stale", "lost", "refused"]
    why: str = ""


@dataclass(slots=True)
class Subscription:
    """
    One view that is shown, made by ``ViewFeed.subscribe``; read it, and do not change it.

    Attributes:
        number: The client's number of it.
        view: The name of the view.
        params: Its parameters.
        shown: The newest window; None before the first, and while it is gone.
        refusal: The collector's sentence why it does not show this; empty if it does.
        gone: ``unknown``, ``evicted`` or ``error``: there is nothing to show; empty if there is.
        is_awaited: Whether it was asked for, and no answer has come yet.
    """

    number: int
    view: str
    params: Mapping[str, Any]
    shown: ShownWindow | None = None
    refusal: str = ""
    gone: str = ""
    is_awaited: bool = True


@dataclass(slots=True)
class _Clock:
    """The collector's clock, estimated from the times in its messages; ms."""

    last_at: int | None = None
    _samples: deque[tuple[float, float]] = field(default_factory=deque)

    def note(self, at: int) -> None:
        # A message can be late but never early: the smallest difference is closest to the truth.
        received = time.monotonic()
        behind = received * 1000 - at
        while self._samples and self._samples[0][0] < received - _CLOCK_WINDOW_SEC:
            self._samples.popleft()
        while self._samples and self._samples[-1][1] >= behind:
            self._samples.pop()
        self._samples.append((received, behind))
        self.last_at = max(at, self.last_at or at)

    def now(self) -> float:
        if not self._samples:
            return time.time() * 1000
        return time.monotonic() * 1000 - self._samples[0][1]


def views_url(url: str) -> str:
    """Return the address of the views of a collector: ``ws://host:port/ws/views``; never raises."""
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme in ("https", "wss") else "ws"
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/ws/views", "", ""))


def _backoff_sec(attempt: int) -> float:
    ceiling = min(_BACKOFF_MAX_SEC, _BACKOFF_FIRST_SEC * 2.0 ** min(attempt - 1, 6))
    # One half is random, so that not all clients of a collector come back at one moment.
    return ceiling * random.uniform(0.5, 1)  # noqa: S311


class ViewFeed:
    """
    The views that a client shows, and its connection; run ``run()`` on the event loop.

    All methods are called on that event loop, at any time, connected or not. At most 16
    subscriptions are open at a time, which is the collector's limit; more are refused by it.

    Args:
        url: Address of the collector, http or https, already checked.
        token: Bearer token; empty: none is sent.
        changed: Called after anything that is shown has changed; must not block or raise.

    Attributes:
        connection: How the connection is.
    """

    def __init__(self, url: str, token: str, changed: Callable[[], None]) -> None:
        self.connection = Connection("connecting")
        self._url = views_url(url)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._changed = changed
        self._clock = _Clock()
        self._subscriptions: dict[int, Subscription] = {}
        self._by_shared: dict[int, set[int]] = {}
        self._next_number = 1
        self._messages: deque[dict[str, Any]] = deque()
        self._has_messages = asyncio.Event()
        self._held_at: float | None = None

    def now(self) -> float:
        """Return the collector's time, ms; it stands still on hold, and while nothing is heard."""
        if self._held_at is not None:
            return self._held_at
        if self.connection.kind != "live" and self._clock.last_at is not None:
            return float(self._clock.last_at)
        return self._clock.now()

    @property
    def is_held(self) -> bool:
        """Whether ``hold`` is on."""
        return self._held_at is not None

    def hold(self, *, on: bool) -> None:
        """Stop and restart everything but the view ``overview``; never raises."""
        if on == self.is_held:
            return
        self._held_at = self.now() if on else None
        self._send({"op": "hold", "on": on})
        self._changed()

    def subscribe(
        self, view: str, params: Mapping[str, Any], old: Subscription | None = None
    ) -> Subscription:
        """
        Show a view from now on; never raises.

        Args:
            view: Its name.
            params: Its parameters; those that are None are left out.
            old: A subscription to replace: it takes the new parameters, and keeps its rows until
                those of the new ones come. Default None: a new one.
        """
        given = {name: value for name, value in params.items() if value is not None}
        if old is None or old.number not in self._subscriptions:
            old = Subscription(self._next_number, view, given)
            self._next_number += 1
            self._subscriptions[old.number] = old
        elif (old.view, old.params) == (view, given):
            return old
        old.view, old.params = view, given
        self._ask(old)
        return old

    def unsubscribe(self, subscription: Subscription) -> None:
        """Show a view no longer; one that is not shown is ignored. Never raises."""
        if self._subscriptions.pop(subscription.number, None) is not None:
            self._forget(subscription.number)
            self._send({"op": "unsub", "id": subscription.number})

    async def run(self) -> None:
        """
        Stay connected until cancelled, or until the collector refuses for good (``refused``).

        A lost connection is made again after 0.25 to 3 s, one half of it random; after 0 to 5 s if
        the collector restarts, and after the time that it asks for, 60 s at most.
        """
        attempt = 0
        while True:
            self._messages.clear()  # they are of a former connection
            self._clock = _Clock(last_at=self._clock.last_at)
            asked_sec: float | None = None
            try:
                async with connect(
                    self._url, max_size=None, additional_headers=self._headers
                ) as socket:
                    attempt = 0
                    why = await self._talk(socket)
            except InvalidStatus as error:
                status = error.response.status_code
                why = f"the collector answered {status}"
                asked_sec = asked_wait_sec(error)
                if 400 <= status < 500 and status != 429:
                    why = refusal_text(error.response.body) or why
                    self._set("refused", why + ("; set MONITORING_TOKEN" if status == 401 else ""))
                    return
            except ConnectionClosed as error:
                code, text = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
                why = one_line(text) or f"closed with code {code}"
                asked_sec = asked_wait_sec(error)
                if 4400 <= code < 4500:
                    self._set("refused", why)
                    return
            except (InvalidHandshake, OSError) as error:
                why = one_line(str(error)) or type(error).__name__
            if self.connection.kind == "refused":
                return
            self._set("lost", why)
            attempt += 1
            await asyncio.sleep(_backoff_sec(attempt) if asked_sec is None else asked_sec)

    # --- messages --------------------------------------------------------------------------------

    async def _talk(self, socket: ClientConnection) -> str:
        """Receive until the connection is silent or the server is no collector; return why."""
        sender = asyncio.create_task(self._send_all(socket))
        silent_sec = 0.0
        try:
            while silent_sec < _RECONNECT_AFTER_SEC:
                try:
                    async with asyncio.timeout(_STALE_AFTER_SEC):
                        text = await socket.recv()
                except TimeoutError:
                    silent_sec += _STALE_AFTER_SEC
                    self._set("stale", "nothing is heard from the collector")
                    continue
                silent_sec = 0.0
                try:
                    self._take(json.loads(text))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    self._set("refused", f"the server is no collector ({one_line(str(error))})")
                if self.connection.kind == "refused":
                    return self.connection.why
            return "the collector is silent"
        finally:
            sender.cancel()

    async def _send_all(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._has_messages.wait()
                self._has_messages.clear()
                while self._messages:
                    await socket.send(json.dumps(self._messages.popleft()))

    def _send(self, message: dict[str, Any]) -> None:
        # Without a connection it is dropped: after ``hello`` all views are asked for again.
        if self.connection.kind in ("live", "stale"):
            self._messages.append(message)
            self._has_messages.set()

    def _ask(self, subscription: Subscription) -> None:
        self._forget(subscription.number)
        subscription.is_awaited = True
        self._send(
            {
                "op": "sub",
                "id": subscription.number,
                "view": subscription.view,
                "params": subscription.params,
            }
        )

    def _forget(self, number: int) -> None:
        for numbers in self._by_shared.values():
            numbers.discard(number)

    def _set(self, kind: Any, why: str = "") -> None:
        if self.connection != Connection(kind, why):
            self.connection = Connection(kind, why)
            self._changed()

    def _take(self, message: dict[str, Any]) -> None:
        if self.connection.kind == "stale":
            self._set("live")
        if isinstance(message.get("at"), int):
            self._clock.note(message["at"])
        kind = message["t"]
        if kind == "hello":
            self._begin(message)
        elif kind == "sub":
            self._forget(message["id"])
            if message["id"] in self._subscriptions:  # else it was ended before this answer came
                self._by_shared.setdefault(message["s"], set()).add(message["id"])
        elif kind == "refused":
            self._take_refusal(message)
        elif kind in ("full", "change", "gone"):
            for number in tuple(self._by_shared.get(message["s"], ())):
                self._take_window(self._subscriptions[number], message)
        self._changed()

    def _begin(self, hello: dict[str, Any]) -> None:
        if hello.get("protocol") != _PROTOCOL:
            self._set("refused", "the collector speaks another version; install the same release")
            return
        self._set("live")
        self._by_shared.clear()
        for subscription in self._subscriptions.values():
            self._ask(subscription)
        if self.is_held:
            self._send({"op": "hold", "on": True})

    def _take_refusal(self, message: dict[str, Any]) -> None:
        subscription = self._subscriptions.get(message.get("id") or 0)
        if subscription is None:
            return
        subscription.refusal = one_line(str(message.get("detail") or message.get("why")))
        subscription.is_awaited = False
        if message.get("why") == "busy":
            asyncio.get_running_loop().call_later(_BUSY_RETRY_SEC, self._ask_again, subscription)

    def _ask_again(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.number) is subscription and subscription.refusal:
            self._ask(subscription)

    def _take_window(self, subscription: Subscription, message: dict[str, Any]) -> None:
        if message["t"] == "gone":
            subscription.shown, subscription.gone = None, str(message.get("why"))
        elif message["t"] == "change" and subscription.is_awaited:
            return  # of the window before, whose whole is on its way
        else:
            subscription.shown = next_window(subscription.shown, message)
            subscription.gone = ""
            if subscription.shown is None:
                self._ask(subscription)
                return
        subscription.refusal = ""
        subscription.is_awaited = False
