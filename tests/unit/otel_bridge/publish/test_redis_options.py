"""Which options of a Redis URL are used, which are ignored with a warning, and which are errors."""

from __future__ import annotations

import pytest
import redis
import redis.asyncio

from otel_bridge.publish.redis_options import (
    NO_HANDSHAKE,
    UnknownOptionError,
    connection_options,
    read_query,
    warn_of_ignored_options,
)

OPTIONS_OF_REDIS_PY = {*redis.connection.URL_QUERY_ARGUMENT_PARSERS, "decode_responses", "retry"}


def test_identity_and_tls_are_used() -> None:
    """Database, credentials, name and TLS are read from the query; an empty value is not given."""
    query = "db=2&username=u&password=p%26&client_name=c&ssl_ca_certs=%2Frun%2Fca&ssl_keyfile="
    used, ignored = read_query(query)
    assert used == {
        "db": "2",
        "username": "u",
        "password": "p&",
        "client_name": "c",
        "ssl_ca_certs": "/run/ca",
    }
    assert ignored == []


@pytest.mark.parametrize("name", sorted(OPTIONS_OF_REDIS_PY))
def test_every_other_option_of_redis_py_is_ignored(name: str) -> None:
    """An option that redis-py would take from the URL is used or ignored, and never an error."""
    used, ignored = read_query(f"{name}=1")
    assert (list(used), ignored) == (
        ([name], []) if name == "db" or name.startswith("ssl_") else ([], [name])
    )


@pytest.mark.parametrize("query", ["hunter2=1", "hunter2", "password=a&hunter2"])
def test_an_unknown_option_is_not_named(query: str) -> None:
    """What may be the rest of a password with a raw ``&`` is an error that quotes nothing."""
    with pytest.raises(UnknownOptionError) as raised:
        read_query(query)
    assert "hunter2" not in str(raised.value)


def test_ignored_options_are_one_warning_for_each_url(caplog: pytest.LogCaptureFixture) -> None:
    """However many connections use a URL, one line names its ignored options, and no password."""
    for _ in range(3):
        warn_of_ignored_options("redis://:hunter2@once/1", ["protocol", "timeout", "protocol"])
        warn_of_ignored_options("redis://other-host-without-options", [])
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("redis://once/1: the options protocol, timeout are ignored")
    assert "hunter2" not in line


def test_a_connection_sends_nothing_before_its_first_command() -> None:
    """Both kinds of client take the options, and neither would name its library to the server."""
    for kind in (redis.Redis, redis.asyncio.Redis):
        client = kind(**NO_HANDSHAKE)
        options = client.connection_pool.connection_kwargs
        assert options["protocol"] == 2
        assert [options.get(name) for name in NO_HANDSHAKE if name != "protocol"] == [
            None for name in NO_HANDSHAKE if name != "protocol"
        ]
    options = connection_options(2, 1, decode_responses=True)
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (2, 1)
    assert options["decode_responses"]
    assert options["retry"]._retries == 0
