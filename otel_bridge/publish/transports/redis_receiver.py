"""
The receiver of ``redis://``: XREAD for the log; ``redis_subscription`` has external publishers.

XREAD COUNT 500 costs 1 to 2 us an event, where redis-py's Pub/Sub costs 10 to 14, and it buffers
nothing on the server for a slow reader. But XREAD does not report a hole: from a position that was
trimmed it silently continues with the oldest entry, and after the stream was deleted it continues
with the new one. So every read that may have skipped entries is checked against the epoch and the
first entry of the log.

Source: measured on Redis 7.0: of 365,000 events XREAD lost none, Pub/Sub 26 to 28 %.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import redis.asyncio

from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.redis_clients import (
    REDIS_ERRORS,
    aclose,
    check_url,
    connect_async,
)
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.transports.base import LogEntry
from otel_bridge.publish.transports.redis_subscription import ChannelSubscription
from otel_bridge.publish.transports.redis_timeouts import tolerate_busy_loop
from otel_bridge.settings import BridgeSettings
from otel_bridge.suppression import suppress_instrumentation
from otel_bridge.urls import redact_url

__all__ = ["LayoutFoundError", "RedisReceiver"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_StreamId = tuple[int, int]

_CONNECT_TIMEOUT_SEC: Final = 2.0
_MAX_BLOCK_SEC: Final = 1.0
"""A longer wait is split into reads of this length. A read times out one second later, so a Redis
that does not answer is noticed soon."""
_CHECK_INTERVAL_SEC: Final = 1.0
"""How often a reader that continues without a break checks the log's epoch."""
_NO_EPOCH: Final = "0"
"""Epoch of positions in a log that does not exist yet; the first epoch of the log continues it."""
_EPOCH: Final = re.compile(rb"[A-Za-z0-9_:.-]{1,32}")
"""What an epoch may be. Ours are 8 hexadecimal digits; another program may have written its own."""
_LAST_SEQUENCE: Final = 2**64 - 1
"""Greatest sequence number of a stream id within one millisecond."""


class LayoutFoundError(Exception):
    """Raised when the log has another layout than one stream; see ``RedisReceiver.layout_gen``."""


class RedisReceiver:
    """
    Reads the stream of events in Redis; for one asyncio loop, on which its methods are awaited.

    It reads with one connection, one call at a time; ``external_messages`` opens a second one. A
    connection attempt takes at most 2 s and an answer 2 s; then ``TransportError`` is raised, and
    the next call connects again. ``read`` returns 500 entries at most and waits 1 s, by default; it
    raises ``PositionLostError`` if the stream was trimmed or replaced after that position.

    Args:
        url: ``redis://host:6379/0``, ``rediss://`` (TLS), ``unix://path``,
            ``redis+sentinel://host,host/service`` or ``redis+cluster://host,host``; ``valkey`` is
            another word for ``redis``.
        settings: The key prefix and the events channel.

    Attributes:
        layout_gen: Number of the layout by which the log is one stream; 0, the default: none was
            ever written. When the log has another one, a method raises ``LayoutFoundError``, and
            no entry was returned that came after it.

    Raises:
        ConfigurationError: The URL cannot be used; names the setting and the cure.
    """

    def __init__(self, url: str, settings: BridgeSettings) -> None:
        self.layout_gen = 0
        self._url = url
        self._options = connection_options(_MAX_BLOCK_SEC + 1, _CONNECT_TIMEOUT_SEC)
        check_url(url, settings.variable_of(url))
        self._subscription = ChannelSubscription(url, settings.events_channel, self._options)
        self._client: Any = None  # redis-py's execute_command has no types
        keys = RedisKeys(settings.key_prefix)
        self._stream, self._meta = keys.log_stream(), keys.log_meta()
        self._layout = keys.log_layout()
        self._checked_at = float("-inf")
        self._cursor: str | None = None
        self._was_full = False

    async def open(self) -> str:
        """
        Connect; return the position before the first entry that the log still has.

        A position is opaque text for a place in the log. Raises ``TransportError`` after 2 s
        without a connection or an answer, or for an error of Redis; may be called again.
        """
        return await self._call(self._open)

    async def _open(self) -> str:
        epoch, _, first, _ = await self._bounds()
        if first is None:
            return f"{_NO_EPOCH}:0-0"
        milliseconds, sequence = first
        before = (milliseconds, sequence - 1) if sequence else (milliseconds - 1, _LAST_SEQUENCE)
        return f"{epoch}:{before[0]}-{before[1]}"

    async def read(
        self, after: str, *, limit: int = 500, wait_ms: int = 1000
    ) -> Sequence[LogEntry]:
        """
        Return the entries after a position, oldest first; one call at a time, on one event loop.

        Args:
            after: Position (opaque text for a place in the log) of the last entry that it has.
            limit: Bound on the entries returned, at least 1; default 500.
            wait_ms: How long to wait for a first entry, in milliseconds, default 1000; 0: do not
                wait. A longer wait is split into reads of at most 1 s.

        Returns:
            Entries with ``position`` and ``data``, the event's JSON as bytes. Empty if there was
            none within ``wait_ms``.

        Raises:
            PositionLostError: The position was trimmed, belongs to another log or is malformed.
            TransportError: No connection or no answer within 2 s, or an error of Redis. The next
                call connects again.
        """
        epoch, stream_id = _parse(after)
        deadline = time.monotonic() + wait_ms / 1000
        while True:
            block_ms = round(1000 * min(deadline - time.monotonic(), _MAX_BLOCK_SEC))
            entries = await self._call(
                functools.partial(self._read, after, epoch, stream_id, limit, block_ms)
            )
            if entries or block_ms <= 0:
                return entries

    async def _read(
        self, after: str, epoch: str, stream_id: _StreamId, limit: int, block_ms: int
    ) -> Sequence[LogEntry]:
        # A caller that continues where the last read ended was checked during that read.
        is_due = time.monotonic() - self._checked_at >= _CHECK_INTERVAL_SEC
        found = epoch
        if after != self._cursor or epoch == _NO_EPOCH or is_due:
            found = await self._check(after, epoch, stream_id)
        block = ("BLOCK", block_ms) if block_ms > 0 else ()
        stream_id_text = f"{stream_id[0]}-{stream_id[1]}"
        commands: list[tuple[Any, ...]] = [
            ("XREAD", "COUNT", limit, *block, "STREAMS", self._stream, stream_id_text),
            # Asked after the entries: if there is no other layout yet, all of them came before it,
            # and so before the first entry of any other shard.
            ("HGET", self._layout, "gen"),
        ]
        if self._was_full:
            # Most likely this one is full too: what is checked then comes with it, in a quarter of
            # the time of a second question.
            commands += [
                ("HGET", self._meta, "epoch"),
                ("XRANGE", self._stream, "-", "+", "COUNT", 1),
            ]
        reply, gen, *bounds = await self._ask(commands)
        self._compare_layout(gen)
        rows = reply[0][1] if reply else []
        self._was_full = len(rows) >= limit
        # Trimming keeps the newest thousands of entries, so only a full reply can have skipped
        # trimmed ones.
        if rows and (found == _NO_EPOCH or self._was_full):
            if _is_whole(found, stream_id, bounds):
                self._checked_at = time.monotonic()
            else:
                # With the position's own epoch: a position in an empty log has no id to compare
                # with the first entry, and would look trimmed under the epoch that the log has got
                # since.
                before, found = found, await self._check(after, epoch, stream_id)
                if before not in (found, _NO_EPOCH):
                    raise PositionLostError(after, "epoch")
        entries = _entries(found, rows)
        self._cursor = entries[-1].position if entries else after
        return entries

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """
        Send commands by one write and return their replies.

        On the connection itself, where two cost as much as one by ``execute_command`` (80 us), and
        a pipeline 140; the clients of Sentinels and a Cluster have none of their own.
        """
        client = self._connect()
        if type(getattr(client, "connection_pool", None)) is not redis.asyncio.ConnectionPool:
            async with client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(await pipe.execute())
        await client.initialize()
        connection = client.connection
        await connection.send_packed_command(connection.pack_commands(commands))
        return [await connection.read_response() for _ in commands]

    def _compare_layout(self, gen: bytes | None) -> None:
        if int(gen or 0) != self.layout_gen:
            raise LayoutFoundError

    def is_at(self, position: str) -> bool:
        """Whether this receiver has read up to a position, on a connection that still stands."""
        return position == self._cursor

    async def _check(self, after: str, epoch: str, stream_id: _StreamId) -> str:
        """
        Check that the log continues from a position without a hole; return the log's epoch.

        Raises:
            PositionLostError: It does not.
        """
        found, first_ever, first, last = await self._bounds()
        if epoch == _NO_EPOCH:
            if first is not None and first_ever != first:
                raise PositionLostError(after, "trimmed")
        elif found != epoch or last is None or last < stream_id:
            raise PositionLostError(after, "epoch")
        elif first is not None and stream_id < first and not _is_just_before(stream_id, first):
            raise PositionLostError(after, "trimmed")
        self._checked_at = time.monotonic()
        return found

    async def _bounds(self) -> tuple[str, _StreamId | None, _StreamId | None, _StreamId | None]:
        """Return the epoch, the id of the first entry ever, of the first entry and of the last."""
        client = self._connect()
        epoch, epoch_after = b"", None
        while epoch != epoch_after:
            # No transaction: a Redis that is out of memory refuses every command inside MULTI, also
            # those that only read. The epoch is read twice instead, because the log may be replaced
            # in between.
            async with client.pipeline(transaction=False) as pipe:
                pipe.hmget(self._meta, "epoch", "first")
                pipe.execute_command("XRANGE", self._stream, "-", "+", "COUNT", 1)
                pipe.execute_command("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
                pipe.hget(self._meta, "epoch")
                pipe.hget(self._layout, "gen")
                (epoch, first_ever), oldest, newest, epoch_after, gen = await pipe.execute()
        self._compare_layout(gen)
        if not (oldest and newest) or epoch is None:
            return _NO_EPOCH, None, None, None
        if not _EPOCH.fullmatch(epoch):
            raise TransportError(
                f"the epoch in {self._meta} was not written by otel-bridge; delete that key"
            )
        return (
            epoch.decode(),
            _stream_id(first_ever) if first_ever else None,
            _stream_id(oldest[0][0]),
            _stream_id(newest[0][0]),
        )

    async def last_position(self) -> str:
        """
        Return the position of the newest entry; in an empty log, the position before its first.

        A position is opaque text for a place in the log. Raises ``TransportError`` after 2 s
        without a connection or an answer, or for an error of Redis; may be called again.
        """
        return await self._call(self._last_position)

    async def _last_position(self) -> str:
        epoch, _, _, last = await self._bounds()
        return f"{epoch}:{last[0]}-{last[1]}" if last else f"{_NO_EPOCH}:0-0"

    async def read_back(self, limit: int, *, before: str | None = None) -> Sequence[LogEntry]:
        """
        Return the newest entries, newest first; never waits for one.

        Args:
            limit: Bound on the entries returned, at least 1; it has no upper bound.
            before: Position of the entry to start before; default None: start at the newest entry.

        Returns:
            Entries with ``position`` and ``data``, the event's JSON as bytes. Empty if the log has
            none there any more.

        Raises:
            PositionLostError: ``before`` belongs to another log or is malformed.
            TransportError: No connection or no answer within 2 s, or an error of Redis.
        """
        return await self._call(lambda: self._read_back(limit, before))

    async def _read_back(self, limit: int, before: str | None) -> Sequence[LogEntry]:
        end = "+"
        epoch, stream_id = _parse(before) if before is not None else ("", (0, 0))
        found, *_ = await self._bounds()
        if before is not None:
            if epoch not in (found, _NO_EPOCH):
                raise PositionLostError(before, "epoch")
            # "(" makes the bound exclusive, since Redis 6.2.
            end = f"({stream_id[0]}-{stream_id[1]}"
        rows = await self._connect().execute_command(
            "XREVRANGE", self._stream, end, "-", "COUNT", limit
        )
        return _entries(found, rows)

    async def _call(self, command: Callable[[], Awaitable[_T]]) -> _T:
        try:
            with suppress_instrumentation():
                return await command()
        except (*REDIS_ERRORS, TimeoutError) as error:
            await self._disconnect()
            reason = failure_reason(error, self._url)
            raise TransportError(f"{redact_url(self._url)}: {reason}") from error
        except asyncio.CancelledError:
            # Otherwise the next command would read the answer to the cancelled one.
            await self._disconnect()
            raise

    def _connect(self) -> Any:
        if self._client is None:
            self._client = connect_async(self._url, single_connection_client=True, **self._options)
            tolerate_busy_loop(self._client)
            for name in ("XRANGE", "XREVRANGE", "XREAD"):
                # redis-py makes a dict of each entry; the unchanged reply is a third faster.
                self._client.set_response_callback(name, _unchanged)
            self._checked_at = float("-inf")
        return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._cursor = None
        if client is not None:
            with contextlib.suppress(*REDIS_ERRORS, TimeoutError):
                await aclose(client)

    def external_messages(self) -> AsyncIterator[bytes]:
        """
        Yield messages that programs published past the log, the stream of all events.

        They are the messages on the events channel that have no ``position``, unchecked, of any
        size. A lost subscription is logged and opened again after 1 s, without an error; a silent
        one is noticed after 30 s. Messages published meanwhile are lost. It never ends: cancel its
        task.
        """
        return self._subscription.external_messages()

    async def close(self) -> None:
        """Close the connection of the reads; errors are ignored. A later call connects again."""
        await self._disconnect()


def _unchanged(reply: Any, **_: Any) -> Any:
    return reply


def _parse(position: str) -> tuple[str, _StreamId]:
    # From the right: an epoch that was set by hand may contain a colon.
    epoch, _, stream_id = position.rpartition(":")
    milliseconds, _, sequence = stream_id.partition("-")
    if not (epoch and _is_number(milliseconds) and _is_number(sequence)):
        raise PositionLostError(position, "malformed")
    return epoch, (int(milliseconds), int(sequence))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _stream_id(raw: bytes) -> _StreamId:
    milliseconds, _, sequence = raw.partition(b"-")
    return int(milliseconds), int(sequence)


def _is_just_before(stream_id: _StreamId, first: _StreamId) -> bool:
    milliseconds, sequence = stream_id
    if sequence == _LAST_SEQUENCE:
        return first == (milliseconds + 1, 0)
    return first == (milliseconds, sequence + 1)


def _is_whole(epoch: str, stream_id: _StreamId, bounds: Sequence[Any]) -> bool:
    """Whether the epoch and the first entry, asked after a read, say that it has no hole."""
    if epoch == _NO_EPOCH or not bounds:
        return False
    found, oldest = bounds
    if found is None or found.decode(errors="replace") != epoch or not oldest:
        return False
    first = _stream_id(oldest[0][0])
    return first <= stream_id or _is_just_before(stream_id, first)


def _entries(epoch: str, rows: Sequence[Any]) -> list[LogEntry]:
    # As ``splice_position`` does it, in 0.4 us an entry instead of 0.65: the bytes are made at
    # once, and the record without its own ``__new__``, which is a Python function.
    before, between = f"{epoch}:", b'",'
    opening = b'{"position":"' + before.encode()
    make, join = tuple.__new__, b"".join
    return [
        make(LogEntry, (before + raw_id.decode(), join((opening, raw_id, between, fields[1][1:]))))
        for raw_id, fields in rows
    ]
