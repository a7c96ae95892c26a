"""
``redis://``: the log as a Redis stream, one script a batch; Pub/Sub as a courtesy beside it.

The sender is a synchronous client of one thread, with time-outs of ``MONITORING_SEND_TIMEOUT_MS``
and no retries of its own: redis-py's defaults keep one PUBLISH waiting 4.8 s on a killed and more
than 14 s on a stopped Redis. "Timed out" is not "not applied", so the script remembers each
producer's last number and skips what it holds.

Source: research on Redis 7.0 and redis-py 8.1: 35 to 47 times an awaited PUBLISH per event, 0
duplicates under random SIGSTOP where the same script without that number left 30 to 281.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - see below
import hashlib
import inspect
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from otel_bridge.errors import TransportError, TransportRejectedError
from otel_bridge.publish import redis_keys
from otel_bridge.publish.redis_clients import REDIS_ERRORS, check_url, close, connect
from otel_bridge.publish.transports.base import AppendResult, Outgoing
from otel_bridge.settings import BridgeSettings

# Resolving a host name imports encodings.idna: done in the bus's thread at the moment of a fork,
# the module would stay half imported in the child, which could then connect to nobody ("unknown
# encoding: idna", met in a test).

__all__ = ["RedisSender", "connection_options"]

_SCRIPT: Final = (
    resources.files("otel_bridge.publish.transports").joinpath("append.lua").read_bytes()
)
_SCRIPT_SHA: Final = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()

_PASSING_ERRORS: Final = (
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
_PASSING_CODES: Final = (
    "ACL failure",
    "BUSY",
    "DENIED",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "UNKILLABLE",
    "WRONGTYPE",
    "can't run this command",
    "unauthenticated",
)
"""Error replies that say nothing about the batch: Redis or its operator will mend them. redis-py
has classes for some codes only, and Redis 6.2 hides those from inside a script in its text. What
an ACL denies inside a script has no code; nor has a password that is asked for since a while."""


class RedisSender:
    """
    Appends to the stream and publishes to the channels; one thread at a time.

    An attempt costs at most one time-out for connecting and one for the answer, plus one each for
    AUTH and SELECT when the URL has a password or a database number.

    Args:
        url: See ``redis_clients``.
        settings: Channels, bounds, time-outs.

    Raises:
        ConfigurationError: The URL cannot be read.
    """

    def __init__(self, url: str, settings: BridgeSettings) -> None:
        self._url = url
        self._settings = settings
        timeout_sec = settings.send_timeout_ms / 1000
        self._options = connection_options(timeout_sec, timeout_sec)
        self._candidate_epoch = secrets.token_hex(4)
        self._client: Any = None  # redis-py's execute_command has no types
        self._is_script_sent = False
        self._pid = 0
        check_url(url)

    def send(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        settings = self._settings
        arguments: list[Any] = [
            3,
            redis_keys.log_stream(),
            redis_keys.log_producer(producer_id),
            redis_keys.log_meta(),
            self._candidate_epoch,
            first_n,
            settings.stream_max_events,
            settings.producer_ttl_sec,
            settings.events_channel,
            settings.stats_channel,
            settings.project_channel_prefix,
            *_routed(batch),
        ]
        try:
            epoch, last_id, skipped, refused = self._run(arguments)
        except ResponseError as error:
            raise self._failure(error) from error
        except REDIS_ERRORS as error:
            # Whether it was applied is unknown; the next attempt gets a clean connection.
            self.close()
            raise TransportError(f"{type(error).__name__}: {error}") from error
        if epoch.decode() == self._candidate_epoch:
            # Used up: a log made anew after a wipe must not carry the name of the lost one.
            self._candidate_epoch = secrets.token_hex(4)
        return AppendResult(f"{epoch.decode()}:{last_id.decode()}", skipped, refused)

    def _run(self, arguments: list[Any]) -> Any:
        if self._client is None or self._pid != os.getpid():
            # In a forked child the parent's connection is let go without a word on its socket.
            self._client = connect(self._url, **self._options)
            self._pid = os.getpid()
            self._is_script_sent = False
        if self._is_script_sent:
            try:
                return self._client.execute_command("EVALSHA", _SCRIPT_SHA, *arguments)
            except NoScriptError:
                # Scripts are neither persisted nor replicated: a restart or failover lost it.
                self._is_script_sent = False
        # EVAL loads the script on the way: no separate round trip on a new connection.
        reply = self._client.execute_command("EVAL", _SCRIPT, *arguments)
        self._is_script_sent = True
        return reply

    def _failure(self, error: ResponseError) -> TransportError:
        text = str(error)
        reason = f"Redis answered {type(error).__name__}: {text[:200]}"
        if isinstance(error, ReadOnlyError) or "READONLY" in text:
            # A failover left us on a replica: connect anew, to whom the name means by now.
            self.close()
        if isinstance(error, _PASSING_ERRORS) or any(code in text for code in _PASSING_CODES):
            return TransportError(reason)
        return TransportRejectedError(reason)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            close(client)


def _routed(batch: Sequence[Outgoing]) -> Iterator[Any]:
    """What ``append.lua`` takes of the events: routes, which event takes which, the JSON."""
    routes: dict[tuple[str | None, bool], int] = {}
    taken = [routes.setdefault((event[1], event[2]), len(routes)) for event in batch]
    yield len(routes)
    yield struct.pack(f">{len(taken)}H", *taken)
    for project_id, is_stats in routes:
        yield ("s" if is_stats else "-") + (project_id or "")
    for event in batch:
        yield event[0]


def connection_options(
    timeout_sec: float, connect_timeout_sec: float, **more: Any
) -> dict[str, Any]:
    """
    Keyword arguments for a redis-py client that gives up soon and never retries by itself.

    RESP2 without ``CLIENT SETINFO`` needs no handshake: one round trip to the first reply, where
    redis-py 8's defaults take five.
    """
    # redis-py 6.4 knows lib_name, later ones deprecate it for driver_info.
    has_driver_info = "driver_info" in inspect.signature(redis.Redis.__init__).parameters
    unnamed = {"driver_info": None} if has_driver_info else {"lib_name": None, "lib_version": None}
    return {
        "socket_timeout": timeout_sec,
        "socket_connect_timeout": connect_timeout_sec,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **unnamed,
        **more,
    }
