"""
``Peers``: answers the other members of a cluster, of the partitions that are held here.

A member asks for views as a client does, with the partitions that it wants of this one. Four times
a second each view that is asked for is computed once, however many members ask for it, the parts of
its partitions are joined, and sent if they have changed. Views that are expensive are computed more
rarely; that this member lives is sent four times a second in any case. A member that does not keep
up is left out until it has taken what it was sent, and then gets the latest: nothing waits for it
in memory.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from otel_bridge_collector.cluster.connections.frames import (
    MAX_ANSWER_BYTES,
    PROTOCOL,
    BadMessageError,
    Pieces,
    answer,
)
from otel_bridge_collector.cluster.facts import facts_to_bytes
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.parts import (
    compute_part,
    encode_part,
    join_parts,
    read_around,
)
from otel_bridge_collector.cluster.states import States
from otel_bridge_collector.views.catalog import Query, parse_query
from otel_bridge_collector.views.listing import Scope

__all__ = ["Call", "PeerLink", "Peers"]

logger = logging.getLogger(__name__)

_INTERVAL_SEC: Final = 0.25
_COST_SHARE: Final = 8
"""The next round comes after so many times what the last one cost, as for the views of clients."""
_FACTS_SEC: Final = 1.0
_FRESH_SEC: Final = 0.1
_MAX_SUBSCRIPTIONS: Final = 2000
"""Of one peer: as many as its clients can have different ones."""
_MAX_PEERS: Final = 64

Call = Callable[[Mapping[str, Any]], bytes]
"""Answers one question of a peer; what it raises is the answer ``error``."""


class _Asked(NamedTuple):
    """What is asked of a view; equal ones are computed once."""

    query: Query
    scope: Scope
    partitions: frozenset[int]
    around: str | None


class _Subscription:
    """What a peer wants of a view, and what it has of it."""

    def __init__(self, asked: _Asked) -> None:
        self.asked = asked
        self.sent: bytes | None = None


class PeerLink:
    """
    The connection of one peer that asks; made by ``Peers.link``.

    Args:
        send: Sends one binary message, and returns when the connection can take more; what it
            raises ends the connection.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self.subscriptions: dict[int, _Subscription] = {}
        self._send = send
        self._waiting: list[bytes] = []
        self._is_awaited = asyncio.Event()
        self._pieces = Pieces()

    @property
    def is_behind(self) -> bool:
        """Whether it has not taken what it was sent."""
        return bool(self._waiting)

    def put(self, message: bytes) -> None:
        """Send a message after those that wait."""
        self._waiting.append(message)
        self._is_awaited.set()

    def read(self, message: str) -> dict[str, Any] | None:
        """As ``Pieces.add``."""
        return self._pieces.add(message)

    async def write(self) -> None:
        """Send what is put, until the connection ends; run it as a task."""
        while True:
            await self._is_awaited.wait()
            while self._waiting:
                await self._send(self._waiting[0])
                del self._waiting[0]
            self._is_awaited.clear()


class Peers:
    """
    The answering side of all peer connections of one member, on the collector's event loop.

    What a peer sends raises nothing here: a message that cannot be read closes the connection, and
    is counted and logged once a minute at most.

    Args:
        member_id: Of this member; peers check that they have reached the right one.
        states: What is held here.
        refresh: Brings the states up to date.
        position: How far the log is read.
        calls: Answers to single questions, by name.

    Attributes:
        counters: What it has counted: ``rounds``, ``sent`` messages, ``skipped`` rounds of peers
            that did not keep up, ``bad`` messages, ``too_large`` parts that were not sent,
            ``errors`` of views.
    """

    def __init__(
        self,
        member_id: str,
        states: States,
        *,
        refresh: Callable[[], None],
        position: Callable[[], str],
        calls: Mapping[str, Call],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._member_id = member_id
        self._states = states
        self._refresh = refresh
        self._position = position
        self._calls = calls
        self._links: dict[PeerLink, None] = {}
        self._facts_at = self._refreshed_at = float("-inf")
        self._logged: set[str] = set()

    def __len__(self) -> int:
        return len(self._links)

    @property
    def links(self) -> list[PeerLink]:
        """Those that are connected, to be looked at."""
        return list(self._links)

    @property
    def is_asked(self) -> bool:
        """Whether a peer follows a view of what is held here."""
        return any(link.subscriptions for link in self._links)

    @property
    def has_room(self) -> bool:
        """Whether a further peer may connect: at most 64."""
        return len(self._links) < _MAX_PEERS

    async def serve(
        self, send: Callable[[bytes], Awaitable[None]], receive: Callable[[], Awaitable[str | None]]
    ) -> None:
        """
        Serve one peer until it leaves (async).

        Args:
            send: As of ``PeerLink``.
            receive: Waits for its next text; None: it has left.
        """
        link = PeerLink(send)
        link.put(answer({"hello": self._member_id, "v": PROTOCOL, "partitions": PARTITIONS}))
        self._links[link] = None
        writing = asyncio.create_task(link.write(), name="peer")
        reading = asyncio.create_task(self._read(link, receive), name="peer reader")
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.pop(link, None)
            for task in (writing, reading):
                task.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)

    async def _read(self, link: PeerLink, receive: Callable[[], Awaitable[str | None]]) -> None:
        while (message := await receive()) is not None:
            try:
                fields = link.read(message)
                if fields is not None:
                    self._carry_out(link, fields)
            except (ValueError, KeyError, TypeError) as error:
                self._note_bad(error)
                return

    def _carry_out(self, link: PeerLink, fields: Mapping[str, Any]) -> None:
        op = fields.get("op")
        if op == "sub":
            self._subscribe(link, fields)
        elif op == "unsub":
            link.subscriptions.pop(fields["sub"], None)
        elif op == "call":
            self._call(link, fields)
        # Another one is of a newer release.

    def _subscribe(self, link: PeerLink, fields: Mapping[str, Any]) -> None:
        number, subscriptions = fields["sub"], link.subscriptions
        asked = _Asked(
            parse_query(fields["view"], fields["params"]),
            None if fields["scope"] is None else frozenset(map(str, fields["scope"])),
            frozenset(map(int, fields["partitions"])),
            _around(fields.get("around")),
        )
        if number not in subscriptions and len(subscriptions) >= _MAX_SUBSCRIPTIONS:
            raise BadMessageError("a peer has too many subscriptions")
        found = subscriptions[number] = _Subscription(asked)
        if not link.is_behind:
            self._refresh_lately()
            self._send_changes(link, {number: found}, {})

    def _refresh_lately(self) -> None:
        """Bring the states up to date, but not for each of many questions that come together."""
        now = asyncio.get_running_loop().time()
        if now - self._refreshed_at > _FRESH_SEC:
            self._refresh()
            self._refreshed_at = asyncio.get_running_loop().time()

    def _call(self, link: PeerLink, fields: Mapping[str, Any]) -> None:
        number, name = fields["n"], fields["name"]
        call = self._calls.get(name)
        head: dict[str, Any] = {"n": number}
        body = b""
        if call is None:
            head["error"] = "unknown"
        else:
            try:
                body = call(fields.get("args") or {})
            except Exception as error:
                logger.exception("a question of a peer could not be answered: %s", name)
                head["error"] = type(error).__name__
        if len(body) > MAX_ANSWER_BYTES // 2:
            self.counters["too_large"] += 1
            head["error"], body = "too large", b""
        link.put(answer(head, body))

    # --- rounds ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what has changed to each peer, and that this member lives; run it as a task."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                self._round(started)
            except Exception:
                self.counters["errors"] += 1
                logger.exception("the peers could not be answered")
            pause_sec = max(_INTERVAL_SEC, _COST_SHARE * (loop.time() - started))
            # In parts, or after a round of 0.11 s it would be silent for a second.
            parts = math.ceil(pause_sec / _INTERVAL_SEC)
            for _ in range(parts - 1):
                await asyncio.sleep(pause_sec / parts)
                self._say_alive()
            await asyncio.sleep(pause_sec / parts)

    def _round(self, now: float) -> None:
        if not self._links:
            return
        self.counters["rounds"] += 1
        if self.is_asked:
            self._refresh_lately()
        facts = None
        if now - self._facts_at >= _FACTS_SEC - _INTERVAL_SEC / 2:
            self._facts_at = now
            facts = answer({"facts": True}, facts_to_bytes(self._states.facts()))
        life = answer({"tick": self._position()})
        computed: dict[_Asked, bytes | None] = {}
        for link in list(self._links):
            if link.is_behind:
                self.counters["skipped"] += 1
                continue
            self._send_changes(link, link.subscriptions, computed)
            link.put(life if facts is None else facts)

    def _say_alive(self) -> None:
        life = answer({"tick": self._position()})
        for link in self._links:
            if not link.is_behind:
                link.put(life)

    def _send_changes(
        self,
        link: PeerLink,
        subscriptions: Mapping[int, _Subscription],
        computed: dict[_Asked, bytes | None],
    ) -> None:
        for number, one in subscriptions.items():
            if one.asked not in computed:
                computed[one.asked] = self._part(one.asked)
            part = computed[one.asked]
            if part is not None and part != one.sent:
                one.sent = part
                self.counters["sent"] += 1
                link.put(answer({"sub": number}, part))

    def _part(self, asked: _Asked) -> bytes | None:
        """The part of a view; None: it cannot be answered now."""
        held = self._states.held
        if not all(one in held and held[one].is_ready for one in asked.partitions):
            return None
        query = asked.query
        try:
            parts = [
                compute_part(held[one].view_state, query, asked.scope)
                for one in sorted(asked.partitions)
            ]
            found = encode_part(query, join_parts(query, parts, asked.around), asked.around)
        except Exception as error:
            self.counters["errors"] += 1
            self._log_once(f"{query.view}: {type(error).__name__}", error)
            return None
        if len(found) > MAX_ANSWER_BYTES // 2:
            self.counters["too_large"] += 1
            return None
        return found

    def _note_bad(self, error: Exception) -> None:
        self.counters["bad"] += 1
        self._log_once("bad message", error)

    def _log_once(self, what: str, error: Exception) -> None:
        if what not in self._logged and len(self._logged) < 100:
            self._logged.add(what)
            logger.warning("a peer was not answered (%s): %s", what, error, exc_info=error)


def _around(found: Any) -> str | None:
    read_around(found)  # raises for what is none
    return None if found is None else str(found)
