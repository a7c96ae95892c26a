"""
``redis://``: the sender of the log as a Redis stream; it also publishes where a program listens.

Each batch is one call of a script. The client is synchronous, for one thread, with time-outs of
``MONITORING_SEND_TIMEOUT_MS`` and without retries of its own: with redis-py's defaults one PUBLISH
waits 4.8 s for a killed Redis and more than 14 s for a stopped one. A batch that timed out may have
been applied nevertheless, so the script stores each producer's last number and skips events that
the log has.

Source: measured on Redis 7.0 with redis-py 8.1: 35 to 47 times as fast as one awaited PUBLISH per
event; 0 duplicates under random SIGSTOP, where the same script without that number left 30 to 281.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - see below
import hashlib
import os
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from otel_bridge.errors import FencedError, TransportError
from otel_bridge.lines.line import MAX_LINES
from otel_bridge.publish.redis_clients import REDIS_ERRORS, check_url, close, connect
from otel_bridge.publish.redis_failures import append_failure, failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.shards.layout import SINGLE, TAGS, Layout
from otel_bridge.publish.shards.routing import ShardRouter, layout_refusal
from otel_bridge.publish.transports.base import AppendResult, Outgoing, SpanLines, SpanStack
from otel_bridge.publish.transports.redis_channels import collectors_channel, decide_channels
from otel_bridge.settings import BridgeSettings

# Resolving a host name imports encodings.idna. If the bus's thread did that during a fork, the
# child would keep a half imported module and could resolve no name ("unknown encoding: idna", seen
# in a test). So it is imported here.

__all__ = ["RedisSender"]

_SCRIPTS: Final = resources.files("otel_bridge.publish.transports")
_SCRIPT: Final = _SCRIPTS.joinpath("append.lua").read_bytes()
_SCRIPT_SHA: Final = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()
_FENCE_SCRIPT: Final = _SCRIPTS.joinpath("fence.lua").read_bytes()
_STORE_SCRIPT: Final = _SCRIPTS.joinpath("store.lua").read_bytes()
_LINES_SCRIPT: Final = _SCRIPTS.joinpath("lines.lua").read_bytes()
_STACK_TTL_SEC: Final = 86_400
"""How long the stack of a failure is kept beside the log."""
_LINES_TTL_SEC: Final = {None: 3600, "completed": 900, "failed": 86_400}
"""How long log lines are kept, by the outcome of their node."""
_FENCED: Final = "FENCED"
"""Code of the error with which ``append.lua`` refuses an outdated fencing token."""
_EMPTY_LOG: Final = "0:0-0"
"""The position before the first entry of a log that does not exist yet."""

_RECHECK_SEC: Final = 1.0
"""After so long without a batch the pool looks first whether the server has closed the connection,
which costs as much as a batch does."""


class RedisSender:
    """
    Appends events to the stream in Redis and publishes them to the channels; one thread at a time.

    The first ``send`` connects; after a fork the child opens a connection of its own. An attempt
    takes at most one time-out (``MONITORING_SEND_TIMEOUT_MS``, 100 ms) for connecting and one for
    the answer, plus one each for AUTH and SELECT when the URL has a password or a database number.
    ``send`` raises ``TransportError`` when Redis cannot be reached, and may be called again. If the
    log has several shards, each producer has one of them; see ``shards.routing``.

    Args:
        url: ``redis://host:6379/0``, ``rediss://`` (TLS), ``unix://path``,
            ``redis+sentinel://host,host/service`` or ``redis+cluster://host,host``; ``valkey`` is
            another word for ``redis``.
        settings: Key prefix, channels, the time-out, ``stream_max_events`` (100,000; the oldest are
            trimmed) and ``producer_ttl_sec`` (3,600 s: how long a repeated batch is recognised).

    Raises:
        ConfigurationError: The URL cannot be used; names the setting and the cure.
    """

    def __init__(self, url: str, settings: BridgeSettings) -> None:
        self._url = url
        self._settings = settings
        self._keys = RedisKeys(settings.key_prefix)
        self._router = ShardRouter(
            self._keys,
            settings.producer_ttl_sec,
            lambda *command: self._call(lambda: self._execute(*command)),
        )
        timeout_sec = settings.send_timeout_ms / 1000
        self._options = connection_options(timeout_sec, timeout_sec)
        self._candidate_epoch = secrets.token_hex(4)
        channels = decide_channels(settings.channels, url)
        self._events_channel = "" if channels == "never" else settings.events_channel
        self._collectors = (
            collectors_channel(settings.events_channel) if channels == "where heard" else ""
        )
        self._client: Any = None  # redis-py's execute_command has no types
        # The connection of the client's pool that is in use, if the client has one server only.
        self._connection: Any = None
        self._used_at = float("-inf")
        self._is_script_sent = False
        self._pid = 0
        check_url(url, settings.variable_of(url))

    def send(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        """
        Append one batch to the stream by a script, each event once, in order, and publish it.

        Blocks for one time-out (100 ms by default) at most to connect and one for each answer; and
        for 0.2 s while ``otel-bridge shards`` changes the log's shards, usually milliseconds. After
        an error the same batch may be sent again; the call then connects again, as also after
        ``close``.

        Args:
            producer_id: Unique per process; a forked child uses a new one.
            first_n: Number of the first event, counted from 1 without holes.
            batch: At least one event; not bounded here (256 by default).

        Returns:
            A record: ``position`` of the log's last entry after the append, as text, and how many
            events were ``skipped`` (the log had them already);
            ``refused`` counts Pub/Sub messages that an ACL denied, ``unstored`` stacks that it kept
            from being stored; ``rejected`` is 0. ``linger_ms`` is how long the leader of the
            collectors asks publishers to collect events for a batch.

        Raises:
            TransportRejectedError: Redis answered with an error that no later attempt can avoid.
            TransportError: Redis cannot be reached, or answered with an error that may pass, such
                as a denial by an ACL or a lack of memory.
        """
        stacks = [event.stack for event in batch if event.stack is not None]
        unstored = self.store_stacks(stacks) if stacks else 0
        result = self._router.append(
            producer_id,
            first_n,
            lambda layout, shard: self._append(
                layout, shard, producer_id, first_n, batch, self._events_channel, ""
            ),
        )
        return result._replace(unstored=unstored) if unstored else result

    def store_stacks(self, stacks: Sequence[SpanStack]) -> int:
        """
        Store stacks of failures for a day, each in the hash of its span, by one script.

        Blocks as ``send`` does. A stack that is stored for another project stays.

        Args:
            stacks: At least one; not bounded here.

        Returns:
            How many could not be stored, by an ACL or by that rule.

        Raises:
            TransportError: Redis cannot be reached; try again.
        """
        values: list[Any] = []
        for stack in stacks:
            values += [stack.project_id or "", zlib.compress(stack.text.encode())]
        keys = [self._keys.node(stack.span_id) for stack in stacks]
        return self._store(len(stacks), _STORE_SCRIPT, keys, [_STACK_TTL_SEC, *values])

    def store_lines(self, batch: Sequence[SpanLines]) -> int:
        """
        Add log lines to the lists of their nodes by one script; see ``LineStore.store_lines``.

        Args:
            batch: At least one node; not bounded here.

        Returns:
            How many lines an ACL kept from being stored.

        Raises:
            TransportError: Redis cannot be reached; the lines may be stored or not.
        """
        values: list[Any] = [time.time_ns() // 1_000_000, MAX_LINES]
        for span_id, lines, _, outcome, is_due in batch:
            kept = lines[-MAX_LINES:]  # the older ones would be trimmed
            values += [span_id, _LINES_TTL_SEC[outcome], int(is_due), len(kept), *kept]
        keys = [self._keys.lines_index(), *(self._keys.lines(found[0]) for found in batch)]
        return self._store(sum(len(found[1]) for found in batch), _LINES_SCRIPT, keys, values)

    def _store(self, count: int, script: bytes, keys: list[str], values: list[Any]) -> int:
        """Run a script that answers how many of so many things it could not store."""
        try:
            return int(self._execute("EVAL", script, len(keys), *keys, *values))
        except ResponseError:
            # An ACL without these keys, or what also keeps the events out: the append says so.
            return count
        except REDIS_ERRORS as error:
            self.close()
            raise TransportError(failure_reason(error, self._url)) from error

    def fence(self, token: str) -> str:
        """
        Make a fencing token the only one with which ``send_external`` appends.

        So a collector that was leader before can append nothing more. Blocks for one time-out (100
        ms by default) at most to connect and one for each answer.

        Args:
            token: Unique for each call; not checked.

        Returns:
            The position of the last entry of the log; no append with another token comes after it.

        Raises:
            TransportRejectedError: Redis answered with an error that no later attempt can avoid.
            TransportError: Redis cannot be reached, or answered with an error that may pass; call
                it again.
        """
        keys = (self._keys.log_stream(), self._keys.log_meta(), self._keys.log_layout())
        epoch, last_id = self._call(
            lambda: self._connect().execute_command("EVAL", _FENCE_SCRIPT, 3, *keys, token)
        )
        return f"{epoch.decode()}:{last_id.decode()}" if last_id else _EMPTY_LOG

    def send_external(self, token: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        """
        Append events that an external publisher has published already; publish nothing.

        Each event is appended once, in order. Blocks for one time-out (100 ms by default) at most
        to connect and one for each answer.

        Args:
            token: That of the last ``fence``; it is also the producer's id.
            first_n: Number of the first event, counted from 1 for each token without holes.
            batch: At least one event; not bounded here.

        Returns:
            A record: ``position`` of the log's last entry after the append, as text, and how many
            events were ``skipped`` (the log had them already);
            ``refused`` and ``rejected`` are 0.

        Raises:
            FencedError: There was another ``fence`` since; nothing was appended.
            TransportRejectedError: Redis answered with an error that no later attempt can avoid.
            TransportError: Redis cannot be reached, or answered with an error that may pass; the
                same call may be repeated.
        """
        return self._append(SINGLE, 0, token, first_n, batch, "", token)

    def _append(
        self,
        layout: Layout,
        shard: int,
        producer_id: str,
        first_n: int,
        batch: Sequence[Outgoing],
        events_channel: str,
        token: str,
    ) -> AppendResult:
        settings, tag = self._settings, TAGS[shard]
        arguments: list[Any] = [
            3,
            self._keys.log_stream(tag),
            self._keys.log_producer(producer_id, tag),
            self._keys.log_meta(tag),
            self._candidate_epoch,
            first_n,
            settings.stream_max_events // layout.count,
            settings.producer_ttl_sec,
            events_channel,
            settings.stats_channel,
            settings.project_channel_prefix,
            token,
            self._collectors,
            f"{layout.gen} {shard} {layout.epoch}" if layout.gen else "",
            *_event_arguments(batch),
        ]
        # Each release runs its own script, by its hash, so it knows the reply's elements.
        epoch, last_id, skipped, refused, linger_ms = self._call(lambda: self._run(arguments))
        if epoch.decode() == self._candidate_epoch:
            # The candidate is in use: if the stream is deleted, the new log needs another epoch.
            self._candidate_epoch = secrets.token_hex(4)
        place = last_id.decode()
        if shard:
            place = place.replace("-", f"-{shard}-")
        position = f"{layout.epoch or epoch.decode()}:{place}"
        return AppendResult(position, skipped, refused, linger_ms=linger_ms)

    def _call(self, command: Callable[[], Any]) -> Any:
        try:
            return command()
        except ResponseError as error:
            raise self._failure(error) from error
        except REDIS_ERRORS as error:
            # Whether the command was applied is unknown. The next attempt uses a new connection, on
            # which no late answer can arrive.
            self.close()
            raise TransportError(failure_reason(error, self._url)) from error

    def _connect(self) -> Any:
        if self._client is None or self._pid != os.getpid():
            # A forked child drops the parent's connection without sending anything on its socket.
            self._client = connect(self._url, **self._options)
            self._connection = None
            self._pid = os.getpid()
            self._is_script_sent = False
        return self._client

    def _execute(self, *command: Any) -> Any:
        """
        Send one command and return its reply, on a connection that is kept between the batches.

        redis-py's ``execute_command`` takes it from the pool and returns it each time, which took
        20 of the 34 us of a batch; so the clients of Sentinels and a Cluster do.
        """
        client = self._connect()
        if type(getattr(client, "connection_pool", None)) is not redis.ConnectionPool:
            return client.execute_command(*command)
        now = time.monotonic()
        if self._connection is not None and now - self._used_at < _RECHECK_SEC:
            self._used_at = now
            try:
                self._connection.send_command(*command)
                return self._connection.read_response()
            except redis.ConnectionError:
                # Closed by the server since the last batch. As redis-py does, send it once more on
                # a new one: the script skips what it appended already.
                pass
        if self._connection is not None:
            client.connection_pool.release(self._connection)
            self._connection = None
        self._connection = client.connection_pool.get_connection()
        self._used_at = now
        self._connection.send_command(*command)
        return self._connection.read_response()

    def _run(self, arguments: list[Any]) -> Any:
        self._connect()
        if self._is_script_sent:
            try:
                return self._execute("EVALSHA", _SCRIPT_SHA, *arguments)
            except NoScriptError:
                # Redis neither persists nor replicates scripts: a restart or failover lost it.
                self._is_script_sent = False
        # EVAL also loads the script, so a new connection needs no separate round trip for it.
        reply = self._execute("EVAL", _SCRIPT, *arguments)
        self._is_script_sent = True
        return reply

    def _failure(self, error: ResponseError) -> TransportError:
        text = str(error)
        if _FENCED in text:
            return FencedError("another collector appends the events of external publishers")
        refusal = layout_refusal(text)
        if refusal is not None:
            return refusal
        if isinstance(error, ReadOnlyError) or "READONLY" in text:
            # After a failover this server is a replica: connect again, to the present master.
            self.close()
        return append_failure(error, self._url)

    def close(self) -> None:
        """Close the connection, if there is one; the next ``send`` opens another."""
        client, self._client = self._client, None
        self._connection = None
        if client is not None:
            close(client)


def _event_arguments(batch: Sequence[Outgoing]) -> Iterator[Any]:
    """
    Yield the last arguments of ``append.lua``: what it needs to know of the events.

    A route is a set of channels; a batch has few. In this order: the number of routes, the index of
    each event's route (two bytes each), the routes, the JSON of each event.
    """
    routes: dict[tuple[str | None, bool], int] = {}
    indexes = [routes.setdefault((event[1], event[2]), len(routes)) for event in batch]
    yield len(routes)
    yield struct.pack(f">{len(indexes)}H", *indexes)
    for project_id, is_stats in routes:
        yield ("s" if is_stats else "-") + (project_id or "")
    for event in batch:
        yield event[0]
