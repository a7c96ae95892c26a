"""Redis URLs: read whole, refused with a cure, and never quoted with their password."""

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
def test_ours_are_known_by_their_scheme(scheme: str) -> None:
    """One server, Sentinels and a Cluster are ours, with TLS and without."""
    assert is_redis(f"{scheme}://host")


@pytest.mark.parametrize("url", ["http://h", "memory://m", "rediss+x://h", "", "REDIS_URL"])
def test_others_are_not_ours(url: str) -> None:
    """What has another scheme, or none, is no Redis URL."""
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
    """A URL that can be read is not connected to, so none of these hosts needs to exist."""
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
    """The error says what the URL lacks and shows one of each kind."""
    with pytest.raises(ConfigurationError) as raised:
        check_url(url)
    assert raised.value.problem.endswith(f" is not a Redis URL: {why}")
    assert "redis+sentinel://host,host/service" in raised.value.cure


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "rediss+cluster"])
@pytest.mark.parametrize("password", ["hun/ter2", "hun?ter2", "hun#ter2", "hunter2"])
def test_a_bad_urls_password_is_not_told(scheme: str, password: str) -> None:
    """A password that was not percent-encoded is in no part of the error; how to encode it is."""
    with pytest.raises(ConfigurationError) as raised:
        check_url(f"{scheme}://user:{password}@host:x/0")
    assert "hun" not in str(raised.value)
    assert "%2F" in raised.value.cure


def test_a_sentinel_url_is_read_whole() -> None:
    """Sentinels, service, database, credentials and the Sentinels' own password."""
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
    told = pool.connection_kwargs
    assert (pool.service_name, told["db"], told["username"], told["password"]) == (
        "my master",
        3,
        "u",
        "p@",
    )
    close(client)


def test_the_masters_password_is_not_told_to_the_sentinels() -> None:
    """Sentinels that ask for no password get none, least of all the master's."""
    client: Any = connect("redis+sentinel://:master@a/m")
    asked = client.connection_pool.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert asked.get("password") is None
    close(client)


@pytest.mark.parametrize(("scheme", "is_tls"), [("redis", False), ("rediss", True)])
def test_tls_is_in_the_scheme(scheme: str, is_tls: bool) -> None:
    """A URL that begins with rediss speaks TLS to the master, also behind Sentinels."""
    client: Any = connect(f"{scheme}+sentinel://a/m")
    assert ("SSL" in client.connection_pool.connection_class.__name__) is is_tls
    close(client)


async def test_an_async_client_is_the_same() -> None:
    """On an event loop a URL gives the same master, and the option for one server is left out."""
    client: Any = connect_async("redis+sentinel://u:p@a/m/3", single_connection_client=True)
    pool = client.connection_pool
    assert (pool.service_name, pool.connection_kwargs["db"]) == ("m", 3)
    await client.aclose()


async def test_a_clusters_nodes_take_turns() -> None:
    """Each attempt asks another node of a Cluster; elsewhere there is one place to ask."""
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
