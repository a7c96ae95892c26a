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
        ("redis+sentinel://a/master/x", "it cannot be read"),
        ("redis://host:port", "it cannot be read"),
        ("redis://host:99999", "it cannot be read"),
        ("redis://[::1", "it cannot be read"),
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
