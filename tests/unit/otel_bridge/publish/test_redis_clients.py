"""Redis URLs: parsed in all their parts, rejected with a cure, never quoted with a password."""

from __future__ import annotations

from typing import Any

import pytest

from otel_bridge.errors import ConfigurationError
from otel_bridge.publish.redis_clients import (
    REDIS_SCHEMES,
    check_url,
    close,
    connect,
    connect_any_node,
    connect_async,
    is_redis,
)
from otel_bridge.publish.redis_options import connection_options


@pytest.mark.parametrize("scheme", REDIS_SCHEMES)
def test_a_redis_url_is_known_by_its_scheme(scheme: str) -> None:
    """URLs of one server, Sentinels and a Cluster are Redis URLs, with TLS and without."""
    assert is_redis(f"{scheme}://host")


@pytest.mark.parametrize("url", ["http://h", "memory://m", "rediss+x://h", "", "REDIS_URL"])
def test_other_urls_are_no_redis_urls(url: str) -> None:
    """A text with another scheme, or with none, is no Redis URL."""
    assert not is_redis(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "rediss://u:p@host:6380/3",
        "unix:///run/redis.sock?db=2",
        "redis://host?socket_timeout=2&max_connections=3",
        "rediss://host?ssl_cert_reqs=none&ssl_ca_certs=/run/ca.pem",
        "redis://[::1]:6379/0",
        "redis+sentinel://a,b:26380/master",
        "rediss+sentinel://u:p%2F@a/master/4?sentinel_password=s",
        "redis+cluster://[::1]:7000,[::2]:7001",
        "valkey://localhost/0",
        "valkeys+cluster://a,b",
        "redis://user:p@ss@host",
        "rediss+sentinel://a/m?ssl_ca_certs=/run/ca.pem&client_name=shop",
    ],
)
def test_good_urls_pass_without_a_connection(url: str) -> None:
    """Checking a URL opens no connection, so none of these hosts needs to exist."""
    check_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+sentinel://a,b", "it names no service that the Sentinels know"),
        ("redis+sentinel:///master", "it names no host"),
        ("redis+sentinel://a,,b/master", "it names no host"),
        ("redis+cluster://a/1", "a Cluster has no databases"),
        ("redis+sentinel://a/m?db=3", "its database belongs into the path, after the service"),
        ("redis+sentinel://a/m?ssl_ca_certs=/ca", "its ssl_ options need rediss"),
        ("redis://a..b", "its host is no host name"),
        ("redis+sentinel://u:p@a,b..c:1/m", "its host is no host name"),
        ("redis+cluster://.a", "its host is no host name"),
        ("redis://host/shop", "its database is not a number"),
        ("redis://host/1/2", "its database is not a number"),
        ("unix://", "it names no socket"),
        ("redis://host?hunter2=1", "it has an option that is none of redis-py's"),
        ("redis+cluster://host?hunter2", "it has an option that is none of redis-py's"),
        ("redis+sentinel://a/master/x", "it cannot be read"),
        ("redis://host:port", "it cannot be read"),
        ("redis://host:99999", "it cannot be read"),
        ("redis://[::1", "it cannot be read"),
        ("redis://user:12?34@host", "it cannot be read"),
        ("redis+sentinel://a/m?sentinel_password=a#b", "it cannot be read"),
        ("redis+cluster://[::1", "it cannot be read"),
        ("redis://host?ssl_cert_reqs=none", "it cannot be read"),
        ("rediss://host?ssl_cert_reqs=CERT_NONE", "it cannot be read"),
    ],
)
def test_a_bad_url_says_what_is_missing(url: str, why: str) -> None:
    """The error says what the URL lacks and shows a URL of each kind."""
    with pytest.raises(ConfigurationError) as raised:
        check_url(url)
    assert raised.value.problem.endswith(f" is not a Redis URL: {why}")
    assert "redis+sentinel://host,host/service" in raised.value.cure


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "rediss+cluster"])
@pytest.mark.parametrize("password", ["hun/ter2", "hun?ter2", "hun#ter2", "hunter2"])
def test_the_password_of_a_bad_url_is_not_shown(scheme: str, password: str) -> None:
    """The error contains no part of a password, and says how to percent-encode one."""
    with pytest.raises(ConfigurationError) as raised:
        check_url(f"{scheme}://user:{password}@host:x/0")
    assert "hun" not in str(raised.value)
    assert "%2F" in raised.value.cure


def options_of(client: Any) -> dict[str, Any]:
    options: dict[str, Any] = client.connection_pool.connection_kwargs
    return options


@pytest.mark.parametrize(
    ("alias", "url"),
    [
        ("valkey://u:p@h:1/2", "redis://u:p@h:1/2"),
        ("valkeys://h", "rediss://h"),
        ("valkeys+sentinel://u:p@a:1/m/3", "rediss+sentinel://u:p@a:1/m/3"),
    ],
)
def test_valkey_is_another_word_for_redis(alias: str, url: str) -> None:
    """Both URLs give a client of the same server, with the same options."""
    made, expected = connect(alias), connect(url)
    for kind in (made, expected):
        assert type(kind.connection_pool) is type(expected.connection_pool)
        assert kind.connection_pool.connection_class is expected.connection_pool.connection_class
    ours, theirs = options_of(made), options_of(expected)
    ours.pop("connection_pool", None)
    theirs.pop("connection_pool", None)
    assert {name: str(value) for name, value in ours.items() if name != "retry"} == {
        name: str(value) for name, value in theirs.items() if name != "retry"
    }
    close(made)
    close(expected)


async def test_a_socket_takes_the_options_of_a_connection() -> None:
    """redis-py's connection by a socket refuses a keep-alive; path and database are used."""
    for client in (
        connect("unix://u:p@/run/redis.sock?db=2", **connection_options(2, 1)),
        connect_async("unix://u:p@/run/redis.sock?db=2", **connection_options(2, 1)),
    ):
        connection = client.connection_pool.make_connection()
        assert (connection.path, connection.db, connection.username) == ("/run/redis.sock", 2, "u")


@pytest.mark.parametrize("url", ["redis://h/3", "redis+sentinel://h/m/3", "redis+cluster://h"])
@pytest.mark.parametrize("make", [connect_any_node, connect_async])
async def test_options_in_the_url_cannot_break_a_connection(make: Any, url: str) -> None:
    """Protocol, decoding, time-outs, retries and pool size are ours, whatever the URL says."""
    theirs = (
        "?protocol=3&decode_responses=true&socket_timeout=0.5&max_connections=1"
        "&retry_on_timeout=true&health_check_interval=5&encoding=latin-1&client_name=shop"
    )
    arguments = (url + theirs, 0) if make is connect_any_node else (url + theirs,)
    client: Any = make(*arguments, **connection_options(2, 1))
    cluster_nodes = getattr(client, "nodes_manager", None)
    options = cluster_nodes.connection_kwargs if cluster_nodes else options_of(client)
    assert (options["protocol"], options["socket_timeout"]) == (2, 2)
    assert not options.get("decode_responses")
    assert options.get("health_check_interval") in (None, 0)
    assert options.get("encoding", "utf-8") == "utf-8"
    assert options["client_name"] == "shop"
    if not cluster_nodes:
        assert client.connection_pool.max_connections > 1
    await client.aclose()


def test_ignored_options_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Checking a URL warns of its options that have no effect, once."""
    for _ in range(2):
        check_url("redis://ignored-options:1?socket_timeout=0.5&protocol=3")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("redis://ignored-options:1: the options socket_timeout, protocol ")


def test_tls_options_of_the_url_reach_the_master() -> None:
    """Behind Sentinels too, a certificate authority in the URL is used, with redis-py's types."""
    client: Any = connect("rediss+sentinel://a/m?ssl_ca_certs=/ca.pem&ssl_check_hostname=false")
    options = options_of(client)
    assert (options["ssl_ca_certs"], options["ssl_check_hostname"]) == ("/ca.pem", False)
    close(client)


def test_every_part_of_a_sentinel_url_is_used() -> None:
    """Sentinels, service, database, credentials and the Sentinels' password reach the client."""
    client: Any = connect(
        "redis+sentinel://u:p%40@a:1,b/my%20master/3?sentinel_password=s%26", socket_timeout=2
    )
    pool = client.connection_pool
    found = [
        (s.connection_pool.connection_kwargs["host"], s.connection_pool.connection_kwargs["port"])
        for s in pool.sentinel_manager.sentinels
    ]
    assert found == [("a", 1), ("b", 26379)]
    asked = pool.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert (asked["password"], asked["socket_timeout"]) == ("s&", 2)
    master = pool.connection_kwargs
    assert (pool.service_name, master["db"], master["username"], master["password"]) == (
        "my master",
        3,
        "u",
        "p@",
    )
    close(client)


def test_sentinels_do_not_get_the_masters_password() -> None:
    """Without ``sentinel_password`` no password is sent to the Sentinels."""
    client: Any = connect("redis+sentinel://:master@a/m")
    asked = client.connection_pool.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert asked.get("password") is None
    close(client)


@pytest.mark.parametrize(("scheme", "is_tls"), [("redis", False), ("rediss", True)])
def test_tls_is_in_the_scheme(scheme: str, is_tls: bool) -> None:
    """A URL with ``rediss`` uses TLS to the master, also behind Sentinels."""
    client: Any = connect(f"{scheme}+sentinel://a/m")
    assert ("SSL" in client.connection_pool.connection_class.__name__) is is_tls
    close(client)


async def test_an_async_client_has_the_same_master() -> None:
    """For asyncio a URL gives the same master; an option for one server is left out."""
    client: Any = connect_async("redis+sentinel://u:p@a/m/3", single_connection_client=True)
    pool = client.connection_pool
    assert (pool.service_name, pool.connection_kwargs["db"]) == ("m", 3)
    await client.aclose()


async def test_each_attempt_uses_another_node_of_a_cluster() -> None:
    """Attempts go round the nodes of a Cluster; any other URL has one server."""
    hosts = []
    for attempt in range(4):
        client: Any = connect_any_node("redis+cluster://:p@a:1,b:2,c", attempt)
        kwargs = client.connection_pool.connection_kwargs
        hosts.append((kwargs["host"], kwargs["port"], kwargs["password"]))
        await client.aclose()
    assert hosts == [("a", 1, "p"), ("b", 2, "p"), ("c", 6379, "p"), ("a", 1, "p")]
    plain: Any = connect_any_node("redis://host:7/2", 5)
    assert plain.connection_pool.connection_kwargs["host"] == "host"
    await plain.aclose()
