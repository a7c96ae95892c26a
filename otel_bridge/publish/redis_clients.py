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
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis._parsers import AsyncCommandsParser
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from otel_bridge.errors import ConfigurationError
from otel_bridge.publish.redis_options import (
    NO_HANDSHAKE,
    MissingPartError,
    MultiHostUrl,
    UnknownOptionError,
    parse_multi_host,
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
REDIS_SCHEMES: Final = (
    "unix",
    *(f"{server}{kind}" for kind in ("", "+sentinel", "+cluster") for server in _SERVERS),
)
"""The schemes that ``connect`` and ``connect_async`` accept."""
_START_RETRIES: Final = 3
"""How often a Cluster's client that connects asks a further master, each chosen at random."""


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
        if parse_multi_host(normal) is None:
            with redis.Redis.from_url(_single_server_url(normal)) as client:
                # The connection is created but not opened: only this checks the query of the URL.
                client.connection_pool.make_connection()
    except (TypeError, ValueError, redis.RedisError) as error:
        # The message of a library may quote a part of the URL, and so of the password.
        is_ours = isinstance(error, MissingPartError | UnknownOptionError)
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
            raise MissingPartError("its host is no host name")
    return f"{_ALIASES.get(server, server)}{plus}{kind}://{rest}"


def _single_server_url(url: str) -> str:
    """Return the normal URL of one server with the options that are used; see ``read_query``."""
    base, _, query = url.partition("?")
    used, _ = read_query(query)
    used.pop("sentinel_password", None)
    path = urlsplit(base).path
    if base.startswith("unix://"):
        if not path:
            raise MissingPartError("it names no socket")
    elif not re.fullmatch(r"/?|/[0-9]+", path):
        # redis-py would use database 0.
        raise MissingPartError("its database is not a number")
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
    parsed = parse_multi_host(url)
    if parsed is None:
        return redis.Redis.from_url(_single_server_url(url), **options)
    if parsed.kind == "cluster":
        return _cluster_client(parsed.hosts, **parsed.credentials, **options)
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
    parsed = parse_multi_host(url)
    if parsed is None:
        return redis.asyncio.Redis.from_url(_single_server_url(url), **options)
    options.pop("single_connection_client", None)
    if parsed.kind == "cluster":
        return _AsyncCluster(parsed.hosts, **parsed.credentials, **options)
    make: Any = redis.asyncio.sentinel.Sentinel
    sentinels = make(parsed.hosts, sentinel_kwargs=_sentinel_options(parsed, options))
    return sentinels.master_for(parsed.service, db=parsed.database, **parsed.credentials, **options)


# --- a Cluster with a master away -----------------------------------------------------------------

# Before its first command, redis-py's client of a Cluster asks the master of the first slots for
# the commands that Redis has. If that one is away and has no replica, each new client fails for
# ever, whichever master its command is for. Publishers that had to connect again buffered until
# the master was back, and collectors renewed no lease. So here another master is asked.


def _cluster_client(hosts: Sequence[tuple[str, int]], **options: Any) -> Any:
    make_node: Any = redis.cluster.ClusterNode
    nodes = [make_node(host, port) for host, port in hosts]
    retry = options.get("retry")
    # redis-py 5 makes three more attempts whatever this option says.
    if retry is not None and not redis.__version__.startswith("5."):
        options["retry"] = Retry(NoBackoff(), _START_RETRIES)
    client = redis.RedisCluster(startup_nodes=nodes, **options)
    if retry is not None:
        client.set_retry(retry)
    return client


class _AsyncCluster(redis.asyncio.RedisCluster):
    def __init__(self, hosts: Sequence[tuple[str, int]], **options: Any) -> None:
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in hosts]
        super().__init__(startup_nodes=nodes, **options)
        self.commands_parser = _CommandsParser(self)

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        # redis-py 8.1 sends the first command to a random master, before it knows the slots.
        await self.initialize()
        return await super().execute_command(*args, **kwargs)


class _CommandsParser(AsyncCommandsParser):
    """Knows Redis' commands from the first master that answers."""

    __slots__ = ("_client",)

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client

    async def initialize(self, node: Any = None) -> None:
        try:
            await super().initialize(node)
        except REDIS_ERRORS:
            for other in self._client.get_primaries():
                if other is not node:
                    with contextlib.suppress(*REDIS_ERRORS):
                        return await super().initialize(other)
            raise


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
    parsed = parse_multi_host(_normal(url))
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
    parsed = parse_multi_host(_normal(url))
    if parsed is None or parsed.kind != "cluster":
        raise MissingPartError("it is not the URL of a Cluster")
    options = _options_for(url, options)
    return redis.asyncio.Redis(host=host, port=port, **parsed.credentials, **options)


def _sentinel_options(parsed: MultiHostUrl, options: Mapping[str, Any]) -> dict[str, Any]:
    names = ("socket_timeout", "socket_connect_timeout", "retry", *NO_HANDSHAKE)
    found = {name: options[name] for name in names if name in options}
    if parsed.sentinel_password is not None:
        found["password"] = parsed.sentinel_password
    return found
