"""
Options of Redis connections: ours, and those that a URL carries in its query and elsewhere.

``REDIS_URL`` is often shared with other programs, whose options would break these connections: a
``socket_timeout`` shorter than a blocking read, answers decoded to text, another protocol, a limit
of one connection. From the query of a URL only these are used: ``db``, ``username``, ``password``,
``client_name``, ``sentinel_password`` and the ``ssl_...`` options. redis-py's other options are
ignored, with one warning; an option that redis-py does not know is an error.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
import redis.connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from otel_bridge.urls import redact_url

__all__ = [
    "NO_HANDSHAKE",
    "MissingPartError",
    "MultiHostUrl",
    "UnknownOptionError",
    "connection_options",
    "parse_multi_host",
    "read_query",
    "warn_of_ignored_options",
]

logger = logging.getLogger(__name__)

_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
"""Default ports."""
_USED: Final = frozenset({"db", "username", "password", "client_name", "sentinel_password"})
_IGNORED: Final = frozenset(
    {
        *("protocol", "legacy_responses", "decode_responses", "encoding", "encoding_errors"),
        *("socket_timeout", "socket_connect_timeout", "timeout"),
        *("socket_keepalive", "socket_keepalive_options", "socket_read_size", "socket_type"),
        *("retry", "retry_on_timeout", "retry_on_error", "health_check_interval"),
        *("max_connections", "single_connection_client", "auto_close_connection_pool"),
        *("lib_name", "lib_version", "driver_info", "cache", "cache_config"),
        *("connection_class", "parser_class", "credential_provider", "maint_notifications_config"),
    }
)


class MissingPartError(ValueError):
    """Raised when a URL lacks a usable part; its message quotes nothing of the URL."""


class UnknownOptionError(ValueError):
    """Raised when a query has an option that redis-py does not know; the message quotes nothing."""


class MultiHostUrl(NamedTuple):
    """The parts of a URL for Sentinels or a Cluster."""

    kind: str
    """``sentinel`` or ``cluster``."""
    hosts: list[tuple[str, int]]
    service: str
    database: int
    credentials: dict[str, Any]
    sentinel_password: str | None


def _no_handshake() -> dict[str, Any]:
    # redis-py 6.4 has lib_name; later versions deprecate it in favour of driver_info.
    has_driver_info = "driver_info" in inspect.signature(redis.Redis.__init__).parameters
    unnamed = {"driver_info": None} if has_driver_info else {"lib_name": None, "lib_version": None}
    return {"protocol": 2, **unnamed}


NO_HANDSHAKE: Final[Mapping[str, Any]] = _no_handshake()
"""
RESP2 without ``CLIENT SETINFO``: the first reply takes one round trip, where redis-py 8's defaults
take five. A user that may not run that command would also get an entry in ``ACL LOG`` for each
connection, on Redis 7.2 and later.
"""


def connection_options(
    timeout_sec: float, connect_timeout_sec: float, **more: Any
) -> dict[str, Any]:
    """
    Return keyword arguments for a redis-py client that times out soon and never retries by itself.

    Only builds a dict and never raises; redis-py raises for a wrong value when it connects.

    Args:
        timeout_sec: Limit for each answer, in seconds; then the command raises a ``TimeoutError``
            of redis-py.
        connect_timeout_sec: Limit for connecting, in seconds, with the same error.
        **more: Further keyword arguments of redis-py, which are added or take precedence.
    """
    return {
        "socket_timeout": timeout_sec,
        "socket_connect_timeout": connect_timeout_sec,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        **NO_HANDSHAKE,
        **more,
    }


def read_query(query: str) -> tuple[dict[str, str], list[str]]:
    """
    Read the options in the query of a Redis URL; their values are not checked.

    Args:
        query: What follows ``?``, percent-encoded, of any length; empty: no options.

    Returns:
        The options that are used, by name, as decoded text: ``db``, ``username``, ``password``,
        ``client_name``, ``sentinel_password`` and ``ssl_...``. And the names of redis-py's other
        options, such as ``socket_timeout``, which are ignored. An option without a value is left
        out of the first; of two values the first counts.

    Raises:
        UnknownOptionError: It has an option that redis-py does not know. Its name is not in the
            message, because it may be a part of a password with an unescaped ``&``.
    """
    used: dict[str, str] = {}
    ignored = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _USED or name.startswith("ssl_"):
            if value:
                used.setdefault(name, value)
        elif name in _IGNORED:
            ignored.append(name)
        else:
            raise UnknownOptionError("it has an option that is none of redis-py's")
    return used, ignored


def parse_multi_host(url: str) -> MultiHostUrl | None:
    """
    Parse the URL of Sentinels or of a Cluster.

    Args:
        url: With ``redis`` or ``rediss``, not ``valkey``.

    Returns:
        Its parts; None for a URL of one server.

    Raises:
        MissingPartError, UnknownOptionError: Says which part cannot be used.
        ValueError: It cannot be read.
    """
    scheme, _, rest = url.partition("://")
    server, _, kind = scheme.partition("+")
    if server not in ("redis", "rediss") or kind not in _PORTS:
        return None
    parts = urlsplit(f"//{rest}")
    login, _, addresses = parts.netloc.rpartition("@")
    hosts = []
    for address in addresses.split(","):
        one = urlsplit(f"//{address}")
        if not one.hostname:
            raise MissingPartError("it names no host")
        hosts.append((one.hostname, one.port or _PORTS[kind]))
    used, _ = read_query(parts.query)
    sentinel_password = used.pop("sentinel_password", None)
    if "db" in used:
        raise MissingPartError("its database belongs into the path, after the service")
    # redis-py's own parser gives each option its type.
    parse_options: Any = redis.connection.parse_url
    credentials: dict[str, Any] = parse_options(f"redis://?{urlencode(used)}")
    user, _, password = login.partition(":")
    if password:
        credentials["password"] = unquote(password)
        if user:
            credentials["username"] = unquote(user)
    if scheme.startswith("rediss"):
        credentials["ssl"] = True
    elif any(name.startswith("ssl_") for name in used):
        raise MissingPartError("its ssl_ options need rediss")
    path = [part for part in parts.path.split("/") if part]
    if kind == "cluster" and path:
        raise MissingPartError("a Cluster has no databases")
    if kind == "sentinel" and not path:
        raise MissingPartError("it names no service that the Sentinels know")
    return MultiHostUrl(
        kind,
        hosts,
        unquote(path[0]) if path else "",
        int(path[1]) if len(path) > 1 else 0,
        credentials,
        sentinel_password,
    )


def warn_of_ignored_options(url: str, ignored: list[str]) -> None:
    """
    Log one warning, once in a process for the same URL, that options in its query are ignored.

    Never raises. The last 64 URLs are remembered; after more, a URL is warned about again.

    Args:
        url: The Redis URL; its password is not shown.
        ignored: Names of the options, e.g. ``socket_timeout``; none: nothing is logged.
    """
    if ignored:
        _warn(redact_url(url), ", ".join(dict.fromkeys(ignored)))


@functools.lru_cache(maxsize=64)  # several connections use one URL
def _warn(shown_url: str, names: str) -> None:
    logger.warning(
        "%s: the options %s are ignored, because these connections need values of their own; "
        "remove them from the URL, unless another program reads it",
        shown_url,
        names,
    )
