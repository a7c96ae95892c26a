"""
``PeerClient``: asks one other member of a cluster, over a connection that it opens again and again.

Between processes of one machine it is a Unix socket in a private directory, else a WebSocket to the
member's HTTP address with ``MONITORING_CLUSTER_TOKEN``. What the member sends is passed on as it
comes; nothing is kept here, and nothing that it sends raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import InvalidStatus, WebSocketException

from otel_bridge.cancellation import cancel
from otel_bridge_collector.cluster.connections.frames import (
    MAX_ANSWER_BYTES,
    PROTOCOL,
    BadMessageError,
    pieces,
    read_answer,
)
from otel_bridge_collector.cluster.connections.group import PeerAddress
from otel_bridge_collector.cluster.facts import Facts, read_facts
from otel_bridge_collector.cluster.partitions import PARTITIONS

__all__ = ["PeerClient", "PeerError", "Receiver"]

logger = logging.getLogger(__name__)

_BACKOFF_SEC: Final = (0.1, 2.0)
_UNFIT_SEC: Final = 30.0
"""How long a member of another protocol or with another token is left alone."""
_OPEN_SEC: Final = 5.0
_CALL_SEC: Final = 2.0
_MAX_WAITING: Final = 4000
"""Texts that wait to be sent: two for each subscription there can be. The member reads at once, or
is not there."""


class PeerError(Exception):
    """Raised for a question that a member did not answer; the text says why."""


class Receiver(Protocol):
    """What takes the answers of a member; on the event loop, must not raise."""

    def connected(self, client: PeerClient) -> None:
        """The connection is open: send all subscriptions."""

    def take_part(self, number: int, data: bytes) -> None:
        """The newest part of a subscription, encoded."""


class PeerClient:
    """
    The connection to one member; ``start`` and ``stop`` once each, on one event loop.

    Args:
        member_id: Whom it must reach.
        address: Where.
        token: Given to a member on another machine; empty: only Unix sockets are used.
        receiver: Takes the answers.
        counters: Where it counts ``connects``, ``failures``, ``refused`` (a wrong token), ``unfit``
            (another protocol) and ``bad`` messages.

    Attributes:
        heard_at: When it last sent anything, by the event loop's clock; -inf at first.
        facts: Its newest facts; None: unknown.
        facts_at: When they came, by the event loop's clock.
        position: How far it has read the log; empty: unknown.
        is_open: Whether the connection is open.
        failure: Why it is not, in a few words; None.
        is_leaving: Whether the member has said that it is about to end; set by the owner.
    """

    def __init__(
        self,
        member_id: str,
        address: PeerAddress,
        token: str,
        receiver: Receiver,
        counters: Counter[str],
    ) -> None:
        self.member_id = member_id
        self.address = address
        self.heard_at = float("-inf")
        self.facts: Facts | None = None
        self.facts_at = float("-inf")
        self.position = ""
        self.is_open = False
        self.failure: str | None = None
        self.is_leaving = False
        self._token = token
        self._receiver = receiver
        self._counters = counters
        self._out: asyncio.Queue[str] = asyncio.Queue(_MAX_WAITING)
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, in a task, until ``stop``."""
        self._task = asyncio.create_task(self._run(), name="peer client")

    async def stop(self) -> None:
        """Close the connection."""
        if self._task is not None:
            await cancel([self._task])

    def subscribe(self, number: int, fields: Mapping[str, Any]) -> None:
        """
        Ask for a view of some partitions; does nothing without a connection.

        Args:
            number: In its answers. The same again replaces what was asked.
            fields: ``view``, ``params``, ``scope``, ``partitions`` and ``around``, as JSON values.
        """
        self._send({"op": "sub", "sub": number, **fields})

    def unsubscribe(self, number: int) -> None:
        """End a subscription."""
        self._send({"op": "unsub", "sub": number})

    async def call(self, name: str, args: dict[str, Any] | None = None) -> bytes:
        """
        Ask a single question, and wait for the answer, at most 2 s.

        Raises:
            PeerError: There is no connection, or no answer, or it is an error.
        """
        if not self.is_open:
            raise PeerError(self.failure or "not connected")
        self._number += 1
        number = self._number
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        self._send({"op": "call", "n": number, "name": name, "args": args or {}})
        try:
            async with asyncio.timeout(_CALL_SEC):
                return await future
        except TimeoutError:
            raise PeerError("no answer") from None
        finally:
            del self._calls[number]

    def _send(self, fields: dict[str, Any]) -> None:
        if self.is_open:
            for piece in pieces(json.dumps(fields, separators=(",", ":"))):
                try:
                    self._out.put_nowait(piece)
                except asyncio.QueueFull:
                    # It reads nothing: the connection is opened again, and all is asked for again.
                    self._drop("reads nothing")
                    return

    def _drop(self, why: str) -> None:
        self.failure, self.is_open = why, False

    # --- the connection --------------------------------------------------------------------------

    async def _run(self) -> None:
        delay_sec = _BACKOFF_SEC[0]
        while True:
            try:
                async with await self._connect() as connection:
                    self._counters["connects"] += 1
                    await self._follow(connection)
                delay_sec = _BACKOFF_SEC[0]
                self._note_failure("closed", "closed")
            except InvalidStatus as error:
                status = error.response.status_code
                what = "refused" if status in (401, 403) else "failures"
                self._note_failure(what, f"answered {status}")
                delay_sec = _UNFIT_SEC if what == "refused" else delay_sec
            except _UnfitError as error:
                self._note_failure("unfit", str(error))
                delay_sec = _UNFIT_SEC
            except BadMessageError as error:
                self._note_failure("bad", str(error))
            except (OSError, WebSocketException, TimeoutError) as error:
                self._note_failure("failures", str(error) or type(error).__name__)
            self._end()
            await asyncio.sleep(delay_sec * random.uniform(0.5, 1.0))  # noqa: S311
            delay_sec = min(2 * delay_sec, max(delay_sec, _BACKOFF_SEC[1]))

    async def _connect(self) -> Any:
        options: dict[str, Any] = {
            "max_size": MAX_ANSWER_BYTES,
            "compression": None,
            "open_timeout": _OPEN_SEC,
            "close_timeout": 1.0,
        }
        if self.address.is_local:
            return unix_connect(self.address.path, "ws://localhost/", **options)
        url = self.address.websocket_url(self.member_id)
        if not url or not self._token:
            raise OSError("it is on another machine, and there is no address or token for that")
        headers = {"Authorization": f"Bearer {self._token}"}
        return connect(url, additional_headers=headers, proxy=None, **options)

    async def _follow(self, connection: ClientConnection) -> None:
        writing = asyncio.create_task(self._write(connection), name="peer writer")
        try:
            async for message in connection:
                if isinstance(message, bytes):
                    self._take(message)
                if not self.is_open and self.failure == "reads nothing":
                    return
        finally:
            await cancel([writing])

    async def _write(self, connection: ClientConnection) -> None:
        with contextlib.suppress(WebSocketException, OSError):
            while True:
                await connection.send(await self._out.get())

    def _take(self, message: bytes) -> None:
        found = read_answer(message)
        fields, loop = found.fields, asyncio.get_running_loop()
        self.heard_at = loop.time()
        if "hello" in fields:
            self._greet(fields)
        elif "sub" in fields:
            self._receiver.take_part(fields["sub"], found.body)
        elif "n" in fields:
            self._note_answer(fields, found.body)
        elif "facts" in fields:
            try:
                self.facts, self.facts_at = read_facts(found.body), loop.time()
            except ValueError:
                raise BadMessageError("facts are none") from None
        elif "tick" in fields:
            self.position = str(fields["tick"])

    def _greet(self, fields: dict[str, Any]) -> None:
        if fields["hello"] != self.member_id:
            raise BadMessageError("another member answers at its address")
        if fields.get("v") != PROTOCOL or fields.get("partitions") != PARTITIONS:
            raise _UnfitError("it is of another release")
        if self.failure is not None:
            logger.info("the member %s answers again", self.member_id)
        self.is_open, self.failure = True, None
        self._receiver.connected(self)

    def _note_answer(self, fields: dict[str, Any], body: bytes) -> None:
        future = self._calls.get(fields["n"])
        if future is None or future.done():
            return
        if "error" in fields:
            future.set_exception(PeerError(str(fields["error"])))
        else:
            future.set_result(body)

    def _note_failure(self, what: str, why: str) -> None:
        self._counters[what] += 1
        if self.failure is None and not self.is_leaving:
            logger.warning("the member %s does not answer: %s", self.member_id, why)
        self.failure = why

    def _end(self) -> None:
        self.is_open = False
        self.facts = None
        self._out = asyncio.Queue(_MAX_WAITING)
        for future in self._calls.values():
            if not future.done():
                future.set_exception(PeerError("the connection ended"))


class _UnfitError(Exception):
    """The member speaks another protocol."""
