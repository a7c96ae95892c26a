"""
``ExternalIngester``: appends the events of external publishers to the log, once each.

Every collector receives what external publishers publish to the events channel, and holds it until
it reads it in the log (``log/external.py``). The leader appends it, without publishing it again. A
leader that lost its lease may go on for a while, so each one first sets a fencing token in the log;
Redis refuses appends with an older token. Then it reads the log up to where it was at that moment.
What it still holds is what the log lacks, and only that is appended. After any error it starts
with a new token, so a batch whose answer was lost is not appended twice.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from otel_bridge.cancellation import cancel
from otel_bridge.errors import FencedError, TransportError, TransportRejectedError
from otel_bridge.publish.transports.base import AppendResult, Outgoing

__all__ = ["ExternalIngester", "ExternalSender", "HeldMessages"]

logger = logging.getLogger(__name__)

_BATCH_MAX_EVENTS: Final = 256
_REACH_TIMEOUT_SEC: Final = 10.0
_BACKOFF_SEC: Final = (0.1, 2.0)
_FENCED_WAIT_SEC: Final = 1.0
"""Pause after another collector has taken over; by then the leader knows whether it still leads."""

_T = TypeVar("_T")


class ExternalSender(Protocol):
    """
    The part of ``RedisSender`` that appends external events to the log, the stream of all events.

    External events are those that a program published to the channel and not to the log. The
    methods block the calling thread, as long as the sender's time-outs allow, and are called by one
    thread at a time. They raise ``TransportError``, or ``FencedError`` if another collector has
    taken over.
    """

    def fence(self, token: str) -> str:
        """Set the fencing token; see ``RedisSender.fence``."""

    def send_external(self, token: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        """Append without publishing; see ``RedisSender.send_external``."""

    def close(self) -> None:
        """Close the connection."""


class HeldMessages(Protocol):
    """
    The part of ``ExternalMessages`` that the ingester uses: external events that the log may lack.

    External events are those that a program published to the channel and not to the log. Its
    methods are called on its event loop, and never wait or raise.

    Attributes:
        arrived: Set while there are events that wait to be appended.
    """

    arrived: asyncio.Event

    def take(self, limit: int) -> list[Any]:
        """See ``ExternalMessages.take``."""

    def note_appended(self, batch: list[Any]) -> None:
        """See ``ExternalMessages.note_appended``."""

    def note_rejected(self, batch: list[Any]) -> None:
        """See ``ExternalMessages.note_rejected``."""

    def retry(self) -> None:
        """See ``ExternalMessages.retry``."""


class ExternalIngester:
    """
    Appends the events of external publishers to the log while this collector leads, once each.

    An external publisher publishes to the events channel in Redis and knows nothing of the log (the
    stream of all events). ``start`` and ``stop`` are called once each, on the event loop of
    ``messages``. Batches have at most 256 events; each is sent in a thread. Nothing is raised. An
    error of Redis is logged, the first in a row, and tried again after 0.1 to 2 s, without end; the
    events stay held meanwhile, for 30 s. If another collector has taken over, it waits 1 s.

    Args:
        messages: The events that the log may lack.
        sender: Used by one thread at a time; closed by ``stop``.
        leading: Set while this collector leads.
        reach: Waits until the log is read up to a position, for at most the given seconds (10);
            returns False if it is not, which counts as an error.
    """

    def __init__(
        self,
        messages: HeldMessages,
        *,
        sender: ExternalSender,
        leading: asyncio.Event,
        reach: Callable[[str, float], Awaitable[bool]],
    ) -> None:
        self._messages = messages
        self._sender = sender
        self._leading = leading
        self._reach = reach
        self._task: asyncio.Task[None] | None = None
        self._call: asyncio.Future[Any] | None = None

    def start(self) -> None:
        """
        Start the task that appends; nothing is sent before the first external event while leading.

        Call it once: a second task would append beside the first.

        Raises:
            RuntimeError: No event loop runs.
        """
        self._task = asyncio.create_task(self._run(), name="external-ingester")

    async def stop(self) -> None:
        """
        End the task, wait for its call to Redis in progress, and close the connection (async).

        It waits as long as the sender's own time-outs allow. Without ``start`` it only closes the
        connection. What was not appended stays held; the next leader holds it too. Raises nothing
        itself.
        """
        if self._task is not None:
            await cancel([self._task])
        if self._call is not None:
            await asyncio.wait([self._call])
        self._sender.close()

    async def _run(self) -> None:
        delay_sec = _BACKOFF_SEC[0]
        is_failing = False
        while True:
            await self._leading.wait()
            await self._messages.arrived.wait()
            if not self._leading.is_set():
                continue
            try:
                await self._ingest()
                delay_sec, is_failing = _BACKOFF_SEC[0], False
            except FencedError as error:
                logger.info("%s", error)
                self._messages.arrived.set()
                await asyncio.sleep(_FENCED_WAIT_SEC)
            except Exception as error:
                if not isinstance(error, TransportError):
                    logger.exception("the ingester of external events failed and is started again")
                elif not is_failing:
                    logger.warning("cannot append events of external publishers: %s", error)
                is_failing = True
                self._messages.arrived.set()  # what is in flight must be tried again
                await asyncio.sleep(delay_sec)
                delay_sec = min(delay_sec * 2, _BACKOFF_SEC[1])

    async def _ingest(self) -> None:
        """Append until this collector leads no more; raises after any error."""
        token = secrets.token_hex(16)
        position = await self._in_thread(lambda: self._sender.fence(token))
        if not await self._reach(position, _REACH_TIMEOUT_SEC):
            raise TransportError("the log was not read to its end in time")
        self._messages.retry()
        first_n = 1
        while self._leading.is_set():
            batch = self._messages.take(_BATCH_MAX_EVENTS)
            if batch:
                await self._append(token, first_n, batch)
                first_n += len(batch)
            else:
                await self._messages.arrived.wait()

    async def _append(self, token: str, first_n: int, batch: list[Any]) -> None:
        events = [Outgoing(message.data, None) for message in batch]
        try:
            await self._in_thread(lambda: self._sender.send_external(token, first_n, events))
        except TransportRejectedError:
            self._messages.note_rejected(batch)
            raise
        self._messages.note_appended(batch)

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        # Shielded, so that ``stop`` can wait for the thread before it closes the connection.
        self._call = asyncio.ensure_future(asyncio.to_thread(call))
        return await asyncio.shield(self._call)
