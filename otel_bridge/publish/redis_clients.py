"""
Redis clients by URL: one server, a master that Sentinels know, or a Cluster.

* ``redis://[user:password@]host[:port][/database]``, ``rediss://``, ``unix://``
* ``redis+sentinel://[user:password@]host[:port][,host...]/service[/database]``: the Sentinels and
  the name that they know the master by; ``?sentinel_password=`` if they ask for one
* ``redis+cluster://[user:password@]host[:port][,host...]``: some of the Cluster's nodes

With ``rediss+sentinel`` and ``rediss+cluster`` over TLS. Valkey is the same. What of the log must
be atomic lies in one slot by its ``{0}``, so a Cluster carries the log; the reference coordinator's
queues it does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis.exceptions import RedisClusterException, RedisError

from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import redact_url

__all__ = [
    "REDIS_ERRORS",
    "REDIS_SCHEMES",
    "aclose",
    "check_url",
    "close",
    "connect",
    "connect_any_node",
    "connect_async",
    "is_cluster",
    "is_redis",
]

REDIS_ERRORS: Final = (RedisError, RedisClusterException, OSError)
"""What a client raises when Redis is away or answers with an error."""
_PLAIN: Final = ("redis", "rediss", "unix")
REDIS_SCHEMES: Final = (
    *_PLAIN,
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}


class _MissingPartError(ValueError):
    """Says what a URL lacks, in words of our own."""


class _Group(NamedTuple):
    """What a URL of several hosts says."""

    kind: str
    hosts: list[tuple[str, int]]
    service: str
    database: int
    credentials: dict[str, Any]
    sentinel_password: str | None


def is_redis(url: str) -> bool:
    """Whether a URL is one of ours."""
    return url.partition("://")[0] in REDIS_SCHEMES


def is_cluster(url: str) -> bool:
    """Whether a URL of ours names a Cluster: keys of several slots cannot be used together."""
    return is_redis(url) and url.partition("://")[0].endswith("+cluster")


def check_url(url: str) -> None:
    """
    Fail at once on a URL that cannot be read; connects to nothing.

    Raises:
        ConfigurationError: Says what is wrong, without the password.
    """
    try:
        if _group_of(url) is None:
            with redis.Redis.from_url(url) as client:
                # Made, not connected: only this looks at what stands behind the "?".
                client.connection_pool.make_connection()
    except (TypeError, ValueError, redis.RedisError) as error:
        # Others' words quote what they cannot read, which may be a piece of the password.
        why = error if isinstance(error, _MissingPartError) else "it cannot be read"
        raise ConfigurationError(
            f"{redact_url(url)} is not a Redis URL: {why}",
            "use redis://[user:password@]host[:port][/database], "
            "redis+sentinel://host,host/service or redis+cluster://host,host; "
            "in a password write % / ? # @ as %25 %2F %3F %23 %40",
        ) from None


def connect(url: str, **options: Any) -> Any:
    """A client; nothing is sent before its first command (a Cluster's nodes are asked at once)."""
    group = _group_of(url)
    if group is None:
        return redis.Redis.from_url(url, **options)
    if group.kind == "cluster":
        node: Any = redis.cluster.ClusterNode
        nodes = [node(host, port) for host, port in group.hosts]
        return redis.RedisCluster(startup_nodes=nodes, **group.credentials, **options)
    make: Any = redis.sentinel.Sentinel
    sentinels = make(group.hosts, sentinel_kwargs=_to_sentinel(group, options))
    return sentinels.master_for(group.service, db=group.database, **group.credentials, **options)


def _check_version() -> None:
    """Fail where an older redis-py, which arq asks for, knows no transactions in a Cluster."""
    if tuple(int(part) for part in redis.__version__.split(".")[:2]) < (6, 4):
        raise ConfigurationError(
            f"redis+cluster:// needs redis-py 6.4, and {redis.__version__} is installed",
            "pip install 'redis>=6.4' where the collector runs",
        )


def connect_async(url: str, **options: Any) -> Any:
    """As ``connect``, for an event loop; ``single_connection_client`` is for one server only."""
    group = _group_of(url)
    if group is None:
        return redis.asyncio.Redis.from_url(url, **options)
    options.pop("single_connection_client", None)
    if group.kind == "cluster":
        _check_version()
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in group.hosts]
        return redis.asyncio.RedisCluster(startup_nodes=nodes, **group.credentials, **options)
    make: Any = redis.asyncio.sentinel.Sentinel
    sentinels = make(group.hosts, sentinel_kwargs=_to_sentinel(group, options))
    return sentinels.master_for(group.service, db=group.database, **group.credentials, **options)


def close(client: Any) -> None:
    """Close a client of ``connect``, and its connections to the Sentinels."""
    client.close()
    for sentinel in _sentinels_of(client):
        sentinel.close()


async def aclose(client: Any) -> None:
    """Close a client of ``connect_async``, its connections to Sentinels or a Cluster's nodes."""
    await client.aclose()
    for sentinel in _sentinels_of(client):
        await sentinel.aclose()
    # After a lost connection a Cluster's client means to ask for the slots again, and calls that
    # "not initialized": its own aclose() then leaves every connection to the other nodes open.
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
    """As ``connect_async``; of a Cluster one node, another each time: all hear all Pub/Sub."""
    group = _group_of(url)
    if group is None or group.kind != "cluster":
        return connect_async(url, **options)
    host, port = group.hosts[attempt % len(group.hosts)]
    return redis.asyncio.Redis(host=host, port=port, **group.credentials, **options)


def _to_sentinel(group: _Group, options: Mapping[str, Any]) -> dict[str, Any]:
    names = ("socket_timeout", "socket_connect_timeout", "retry", "protocol")
    found = {name: options[name] for name in names if name in options}
    if group.sentinel_password is not None:
        found["password"] = group.sentinel_password
    return found


def _group_of(url: str) -> _Group | None:
    scheme, _, rest = url.partition("://")
    if scheme in _PLAIN or scheme not in REDIS_SCHEMES:
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
    credentials: dict[str, Any] = {}
    user, _, password = login.partition(":")
    if password:
        credentials["password"] = unquote(password)
        if user:
            credentials["username"] = unquote(user)
    if scheme.startswith("rediss"):
        credentials["ssl"] = True
    path = [part for part in parts.path.split("/") if part]
    if kind == "cluster" and path:
        raise _MissingPartError("a Cluster has no databases")
    if kind == "sentinel" and not path:
        raise _MissingPartError("it names no service that the Sentinels know")
    return _Group(
        kind,
        hosts,
        unquote(path[0]) if path else "",
        int(path[1]) if len(path) > 1 else 0,
        credentials,
        next(iter(parse_qs(parts.query).get("sentinel_password", [])), None),
    )
