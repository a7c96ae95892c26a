"""
Redis clients by URL: for one server, for a master behind Sentinels, or for a Cluster.

* ``redis://[user:password@]host[:port][/database]``, ``rediss://``, ``unix://``
* ``redis+sentinel://[user:password@]host[:port][,host...]/service[/database]``: the Sentinels and
  the service name of the master; with ``?sentinel_password=`` if the Sentinels require one
* ``redis+cluster://[user:password@]host[:port][,host...]``: some of the Cluster's nodes

``rediss+sentinel`` and ``rediss+cluster`` use TLS; ``valkey`` is another word for ``redis`` in each
of them, ``valkeys`` for ``rediss``. ``redis_options`` says what the query may hold. A Cluster can
hold the log, because the ``{0}`` in the keys of the log puts them into one slot, which makes its
script atomic. It cannot hold the queues of the reference coordinator.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.cluster
import redis.connection
import redis.sentinel
from redis.exceptions import RedisClusterException, RedisError

from otel_bridge.errors import ConfigurationError
from otel_bridge.publish.redis_options import (
    NO_HANDSHAKE,
    UnknownOptionError,
    read_query,
    warn_of_ignored_options,
)
from otel_bridge.urls import ENCODING_CURE, is_host_name, is_readable, redact_url

__all__ = [
    "REDIS_ERRORS",
    "REDIS_SCHEMES",
    "aclose",
    "check_url",
    "close",
    "cluster_hosts",
    "connect",
    "connect_any_node",
    "connect_async",
    "connect_node",
    "is_cluster",
    "is_redis",
]

REDIS_ERRORS: Final = (RedisError, RedisClusterException, OSError)
"""What a client raises when Redis cannot be reached or answers with an error."""
_ALIASES: Final = {"valkey": "redis", "valkeys": "rediss"}
_SERVERS: Final = ("redis", "rediss", *_ALIASES)
_SINGLE_SERVER: Final = ("redis", "rediss", "unix")
REDIS_SCHEMES: Final = (
    "unix",
    *(f"{server}{kind}" for kind in ("", "+sentinel", "+cluster") for server in _SERVERS),
)
"""The schemes that ``connect`` and ``connect_async`` accept."""
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
"""Default ports."""


class _MissingPartError(ValueError):
    """Raised when a URL lacks a usable part; its message quotes nothing of the URL."""


class _MultiHostUrl(NamedTuple):
    """The parts of a URL for Sentinels or a Cluster."""

    kind: str
    """``sentinel`` or ``cluster``."""
    hosts: list[tuple[str, int]]
    service: str
    database: int
    credentials: dict[str, Any]
    sentinel_password: str | None


def is_redis(url: str) -> bool:
    """Whether the scheme of a URL is one of ``REDIS_SCHEMES``; False for any other text."""
    return url.partition("://")[0] in REDIS_SCHEMES


def is_cluster(url: str) -> bool:
    """Whether a URL names a Cluster, where one command cannot use keys of several slots."""
    return is_redis(url) and url.partition("://")[0].endswith("+cluster")


def check_url(url: str, variable: str = "REDIS_URL") -> None:
    """
    Check that a Redis URL can be used; opens no connection.

    Options in its query that have no effect are a warning, once for each URL.

    Args:
        url: ``redis://host:6379/0``, ``rediss://`` (TLS), ``unix://path``,
            ``redis+sentinel://host,host/service`` or ``redis+cluster://host,host``; ``valkey`` is
            another word for ``redis``.
        variable: The environment variable that holds it, for the error; default ``REDIS_URL``.

    Raises:
        ConfigurationError: Says what is wrong, how to write the URL, and never the password. It is
            the only error.
    """
    try:
        normal = _normal(url)
        _, ignored = read_query(urlsplit(normal).query)
        if _parse_multi_host(normal) is None:
            with redis.Redis.from_url(_single_server_url(normal)) as client:
                # The connection is created but not opened: only this checks the query of the URL.
                client.connection_pool.make_connection()
    except (TypeError, ValueError, redis.RedisError) as error:
        # The message of a library may quote a part of the URL, and so of the password.
        is_ours = isinstance(error, _MissingPartError | UnknownOptionError)
        raise ConfigurationError(
            f"{variable}={redact_url(url)} is not a Redis URL: "
            f"{error if is_ours else 'it cannot be read'}",
            "use redis://[user:password@]host[:port][/database], "
            "redis+sentinel://host,host/service or redis+cluster://host,host; " + ENCODING_CURE,
        ) from None
    warn_of_ignored_options(url, ignored)


def _normal(url: str) -> str:
    """Return a URL with ``redis`` for ``valkey``; raise ``ValueError`` if it cannot be used."""
    scheme, _, rest = url.partition("://")
    server, plus, kind = scheme.partition("+")
    if not is_readable(url) or "#" in url:
        raise ValueError
    if kind or server != "unix":
        addresses = urlsplit(f"//{rest}").netloc.rpartition("@")[2].split(",")
        if not all(is_host_name(urlsplit(f"//{one}").hostname or "") for one in addresses):
            raise _MissingPartError("its host is no host name")
    return f"{_ALIASES.get(server, server)}{plus}{kind}://{rest}"


def _single_server_url(url: str) -> str:
    """Return the normal URL of one server with the options that are used; see ``read_query``."""
    base, _, query = url.partition("?")
    used, _ = read_query(query)
    used.pop("sentinel_password", None)
    path = urlsplit(base).path
    if base.startswith("unix://"):
        if not path:
            raise _MissingPartError("it names no socket")
    elif not re.fullmatch(r"/?|/[0-9]+", path):
        # redis-py would use database 0.
        raise _MissingPartError("its database is not a number")
    return f"{base}?{urlencode(used)}" if used else base


def _options_for(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    options = {**NO_HANDSHAKE, **options}
    if url.startswith("unix://"):
        options.pop("socket_keepalive", None)  # redis-py's connection by a socket refuses it
    return options


def connect(url: str, **options: Any) -> Any:
    """
    Return a synchronous redis-py client for a URL.

    It connects with its first command; only a Cluster's client asks for the nodes at once. Its
    commands raise ``RedisError``, ``RedisClusterException`` or ``OSError`` when Redis cannot be
    reached or answers with an error.

    Args:
        url: E.g. ``redis://host:6379/0``, ``rediss://``, ``unix://``,
            ``redis+sentinel://host,host/service`` or ``redis+cluster://host,host``.
        **options: Keyword arguments for redis-py's client: ``socket_timeout`` bounds each answer,
            ``socket_connect_timeout`` connecting, both in seconds. Without them the defaults of the
            installed redis-py hold: in version 8 time-outs of 5 s, and retries. Not checked here:
            redis-py raises for a wrong one when it connects.

    Returns:
        A ``redis.Redis`` or ``redis.RedisCluster``, which the caller ends with ``close``.

    Raises:
        ValueError: The URL cannot be used.
        redis.RedisError, redis.exceptions.RedisClusterException: No node of the Cluster answers.
    """
    url = _normal(url)
    options = _options_for(url, options)
    parsed = _parse_multi_host(url)
    if parsed is None:
        return redis.Redis.from_url(_single_server_url(url), **options)
    if parsed.kind == "cluster":
        node: Any = redis.cluster.ClusterNode
        nodes = [node(host, port) for host, port in parsed.hosts]
        return redis.RedisCluster(startup_nodes=nodes, **parsed.credentials, **options)
    make: Any = redis.sentinel.Sentinel
    sentinels = make(parsed.hosts, sentinel_kwargs=_sentinel_options(parsed, options))
    return sentinels.master_for(parsed.service, db=parsed.database, **parsed.credentials, **options)


def connect_async(url: str, **options: Any) -> Any:
    """
    Return a redis-py client of asyncio for a URL; it connects with its first command.

    Its commands raise ``RedisError``, ``RedisClusterException`` or ``OSError`` when Redis cannot be
    reached or answers with an error.

    Args:
        url: E.g. ``redis://host:6379/0``, ``rediss://``, ``unix://``,
            ``redis+sentinel://host,host/service`` or ``redis+cluster://host,host``.
        **options: Keyword arguments for redis-py's client, not checked here; without them its
            defaults hold: in version 8 time-outs of 5 s, and retries. ``single_connection_client``
            applies to one server only and is left out for Sentinels and a Cluster.

    Returns:
        A ``redis.asyncio`` client for the loop that first uses it; end it with ``aclose``.

    Raises:
        ValueError: The URL cannot be used.
    """
    url = _normal(url)
    options = _options_for(url, options)
    parsed = _parse_multi_host(url)
    if parsed is None:
        return redis.asyncio.Redis.from_url(_single_server_url(url), **options)
    options.pop("single_connection_client", None)
    if parsed.kind == "cluster":
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in parsed.hosts]
        return redis.asyncio.RedisCluster(startup_nodes=nodes, **parsed.credentials, **options)
    make: Any = redis.asyncio.sentinel.Sentinel
    sentinels = make(parsed.hosts, sentinel_kwargs=_sentinel_options(parsed, options))
    return sentinels.master_for(parsed.service, db=parsed.database, **parsed.credentials, **options)


def close(client: Any) -> None:
    """Close a client of ``connect``, including its connections to the Sentinels."""
    client.close()
    for sentinel in _sentinels_of(client):
        sentinel.close()


async def aclose(client: Any) -> None:
    """
    Close a client of ``connect_async`` with its connections to Sentinels or Cluster nodes.

    Await it on the loop that used the client; a second call is allowed. There is no time limit.

    Args:
        client: The client; a later command would connect it again.

    Raises:
        RedisError, RedisClusterException, OSError: A connection that was lost could not be closed
            in order; those not closed yet may stay open.
    """
    await client.aclose()
    for sentinel in _sentinels_of(client):
        await sentinel.aclose()
    # After a lost connection the client of a Cluster counts as not initialized until it has asked
    # for the slots again. In that state its own aclose() leaves the other connections open.
    for node in _nodes_of(client):
        with contextlib.suppress(*REDIS_ERRORS):
            await node.disconnect()


def _sentinels_of(client: Any) -> list[Any]:
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


def _nodes_of(client: Any) -> list[Any]:
    manager = getattr(client, "nodes_manager", None)
    if manager is None:
        return []
    return [*manager.nodes_cache.values(), *manager.startup_nodes.values()]


def connect_any_node(url: str, attempt: int, **options: Any) -> Any:
    """
    Return a redis-py client of asyncio for a URL; if it names a Cluster, for one node only.

    Every node of a Cluster receives every Pub/Sub message, so a subscriber needs just one. It
    connects with its first command, which raises ``RedisError`` or ``OSError`` if that node cannot
    be reached. End it with ``aclose``.

    Args:
        url: E.g. ``redis://host:6379/0`` or ``redis+cluster://host,host``.
        attempt: Which node to use, counted modulo the nodes in the URL: raise it by one after each
            failure. Ignored unless the URL names a Cluster.
        **options: Keyword arguments for redis-py's client, not checked here; without them its
            defaults hold: in version 8 time-outs of 5 s, and retries.

    Raises:
        ValueError: The URL cannot be used.
    """
    hosts = cluster_hosts(url)
    if not hosts:
        return connect_async(url, **options)
    return connect_node(url, *hosts[attempt % len(hosts)], **options)


def cluster_hosts(url: str) -> list[tuple[str, int]]:
    """
    Return host and port of each node that the URL of a Cluster names; none for another URL.

    Raises:
        ValueError: The URL cannot be used.
    """
    parsed = _parse_multi_host(_normal(url))
    return [] if parsed is None or parsed.kind != "cluster" else parsed.hosts


def connect_node(url: str, host: str, port: int, **options: Any) -> Any:
    """
    Return a redis-py client of asyncio for one node of a Cluster; it connects with its first use.

    A command for a slot of another node raises ``MovedError``. End it with ``aclose``.

    Args:
        url: Of the Cluster, for its password and TLS; one of another kind is an error.
        host: The node's, as the URL or ``CLUSTER SLOTS`` has it.
        port: The same.
        **options: Keyword arguments for redis-py's client, not checked here.

    Raises:
        ValueError: The URL cannot be used.
    """
    parsed = _parse_multi_host(_normal(url))
    if parsed is None or parsed.kind != "cluster":
        raise _MissingPartError("it is not the URL of a Cluster")
    options = _options_for(url, options)
    return redis.asyncio.Redis(host=host, port=port, **parsed.credentials, **options)


def _sentinel_options(parsed: _MultiHostUrl, options: Mapping[str, Any]) -> dict[str, Any]:
    names = ("socket_timeout", "socket_connect_timeout", "retry", *NO_HANDSHAKE)
    found = {name: options[name] for name in names if name in options}
    if parsed.sentinel_password is not None:
        found["password"] = parsed.sentinel_password
    return found


def _parse_multi_host(url: str) -> _MultiHostUrl | None:
    """Parse a normal URL for Sentinels or a Cluster; None for a URL of one server."""
    scheme, _, rest = url.partition("://")
    if scheme in _SINGLE_SERVER or scheme not in REDIS_SCHEMES:
        return None
    kind = scheme.partition("+")[2]
    parts = urlsplit(f"//{rest}")
    login, _, addresses = parts.netloc.rpartition("@")
    hosts = []
    for address in addresses.split(","):
        one = urlsplit(f"//{address}")
        if not one.hostname:
            raise _MissingPartError("it names no host")
        hosts.append((one.hostname, one.port or _PORTS[kind]))
    used, _ = read_query(parts.query)
    sentinel_password = used.pop("sentinel_password", None)
    if "db" in used:
        raise _MissingPartError("its database belongs into the path, after the service")
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
        raise _MissingPartError("its ssl_ options need rediss")
    path = [part for part in parts.path.split("/") if part]
    if kind == "cluster" and path:
        raise _MissingPartError("a Cluster has no databases")
    if kind == "sentinel" and not path:
        raise _MissingPartError("it names no service that the Sentinels know")
    return _MultiHostUrl(
        kind,
        hosts,
        unquote(path[0]) if path else "",
        int(path[1]) if len(path) > 1 else 0,
        credentials,
        sentinel_password,
    )
