"""
``ChannelSubscription``: messages of external publishers, from the events channel in Redis.

Raw Pub/Sub over a connection of its own: redis-py's ``PubSub`` costs 10 to 14 us a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

from redis.exceptions import NoPermissionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from otel_bridge.publish.redis_clients import REDIS_ERRORS, aclose, connect_any_node
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.transports.redis_channels import collectors_channel, pattern_of
from otel_bridge.suppression import suppress_instrumentation
from otel_bridge.urls import redact_url

__all__ = ["ChannelSubscription"]

logger = logging.getLogger(__name__)

_RESUBSCRIBE_SEC: Final = 1.0
"""Pause before a lost subscription is opened again."""
_SILENCE_SEC: Final = 15.0
"""After this time without a message the subscription is sent a PING; without an answer to it within
the same time, it is opened again."""

_DENIED: Final = b"denied"


class ChannelSubscription:
    """
    One collector's subscription to the events channel in Redis; for one asyncio loop.

    Making it connects to nothing; iterating over ``external_messages`` does, and ends the
    connection when it ends. It has no limits of its own and raises nothing for a Redis that cannot
    be reached: that is logged and tried again.

    Args:
        url: Of Redis, e.g. ``redis://host:6379/0`` or ``redis+cluster://host,host``; a wrong one
            raises ``ValueError`` from ``external_messages``.
        channel: The name of the events channel.
        options: Keyword arguments for redis-py's client. ``socket_timeout`` is not used, because a
            channel may be silent for ever.
    """

    def __init__(self, url: str, channel: str, options: Mapping[str, Any]) -> None:
        self._url = url
        self._channel = channel
        self._options = options
        self._subscriptions = 0

    async def external_messages(self) -> AsyncIterator[bytes]:
        """
        Yield messages that programs published past the log, the stream of all events.

        They are the messages on the events channel that have no ``position``, unchecked, of any
        size. A subscription that is lost, refused or cannot be opened is logged, the first time in
        a row, and opened again after 1 s, without an error; a silent one is noticed after 30 s.
        Messages published meanwhile are lost. It never ends: cancel its task, which closes the
        connection.

        Iterate in one task at a time.

        Raises:
            ValueError: The URL is not one of Redis.
        """
        is_failing = False
        while True:
            try:
                async with contextlib.aclosing(self._subscribe()) as messages:
                    async for message in messages:
                        if is_failing:
                            logger.info("subscribed to %s again", self._channel)
                            is_failing = False
                        if message and _is_external(message):
                            yield message
            except (*REDIS_ERRORS, TimeoutError) as error:
                if not is_failing:
                    reason = failure_reason(error, self._url)
                    shown = redact_url(self._url)
                    logger.warning("lost the subscription on %s: %s", shown, reason)
                is_failing = True
            await asyncio.sleep(_RESUBSCRIBE_SEC)

    async def _subscribe(self) -> AsyncGenerator[bytes, None]:
        """
        Yield messages on the events channel, first an empty one when the subscription is open.

        It subscribes by a pattern, so that ``append.lua`` does not take it for another program; if
        an ACL denies that, to the channel itself.

        Raises an error of ``REDIS_ERRORS`` when the connection is lost.
        """
        options = {**self._options, "socket_timeout": None}
        self._subscriptions += 1
        client: Any = connect_any_node(self._url, self._subscriptions, **options)
        connection: Any = None
        try:
            with suppress_instrumentation():
                connection = client.connection_pool.make_connection()
                await connection.connect()
                await connection.send_command("PSUBSCRIBE", pattern_of(self._channel))
            waits_for = "pattern"
            was_pinged = False
            while True:
                with suppress_instrumentation():
                    reply = await _read_reply(connection)
                    if reply is None:
                        if was_pinged:
                            raise RedisTimeoutError("no answer to PING")
                        await connection.send_command("PING")
                        was_pinged = True
                        continue
                was_pinged = False
                kind = reply[0]
                if kind in (b"pmessage", b"message"):
                    yield reply[-1]
                elif waits_for == "pattern":
                    is_denied = kind == _DENIED
                    waits_for = "channel" if is_denied else "collectors"
                    channel = self._channel if is_denied else collectors_channel(self._channel)
                    with suppress_instrumentation():
                        await connection.send_command("SUBSCRIBE", channel)
                    if not is_denied:
                        yield b""
                elif waits_for == "channel":
                    if kind == _DENIED:
                        raise NoPermissionError(f"the channel {self._channel} is denied")
                    waits_for = ""
                    yield b""
                else:
                    waits_for = ""  # denied: the log's own messages come as well
        finally:
            if connection is not None:
                await connection.disconnect()
            await aclose(client)


async def _read_reply(connection: Any) -> Any:
    """One reply of a subscription; None after a silence, ``_DENIED`` first if an ACL denies it."""
    try:
        return await connection.read_response(timeout=_SILENCE_SEC, disconnect_on_error=False)
    except (TimeoutError, RedisTimeoutError):
        return None  # redis-py 8 returns None where other versions raise
    except NoPermissionError:
        return (_DENIED,)


def _is_external(message: bytes) -> bool:
    """Whether a message did not pass through the log, so that it has no ``position``."""
    if message.startswith(b'{"position":"'):
        return False
    if b'"position"' not in message:
        return True
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        return True
    return not (isinstance(fields, dict) and "position" in fields)
