"""
The Redis sender without a server: URL, client options, script arguments, kinds of error replies.

What needs a server is in ``tests/contract/test_transport.py`` and
``tests/integration/test_redis_transport.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.exceptions import ReadOnlyError, ResponseError

from otel_bridge.errors import ConfigurationError, TransportError, TransportRejectedError
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.transports import redis as redis_transport
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings

MakeSettings = Callable[..., BridgeSettings]


@pytest.mark.parametrize("client", [redis.Redis, redis.asyncio.Redis])
def test_the_installed_redis_py_accepts_the_options(client: Any) -> None:
    """Time-outs are seconds, RESP2 needs no handshake, and the client never retries by itself."""
    made = client(**connection_options(0.1, 2.0, db=3))
    options = made.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.1, 2.0)
    assert (options["protocol"], options["db"], options["socket_keepalive"]) == (2, 3, True)
    assert options["retry"].get_retries() == 0


@pytest.mark.parametrize("url", ["redis://host:port", "redis+sentinel://h", "redis://:hunter2@[h"])
def test_a_url_that_cannot_be_parsed_fails_at_once(url: str, make_settings: MakeSettings) -> None:
    """A sender for a malformed URL is an error without the password, before any connection."""
    with pytest.raises(ConfigurationError) as raised:
        RedisSender(url, make_settings())
    assert "hunter2" not in str(raised.value)


def test_a_new_sender_is_not_connected(make_settings: MakeSettings) -> None:
    """The connection is opened by the first batch; closing an unused sender does nothing."""
    sender = RedisSender("redis://127.0.0.1:1", make_settings())
    assert sender._client is None
    sender.close()
    sender.close()


def test_events_of_one_route_share_its_channels() -> None:
    """Routes are few: each is sent once, and each event has the two-byte index of its route."""
    batch = [
        Outgoing(b'{"n":1}', "p1"),
        Outgoing(b'{"n":2}', None),
        Outgoing(b'{"n":3}', "p1"),
        Outgoing(b'{"n":4}', "p1", is_stats=True),
        Outgoing(b'{"n":5}', None, is_stats=True),
    ]
    count, indexes, *rest = redis_transport._event_arguments(batch)
    assert count == 4
    assert struct.unpack(">5H", indexes) == (0, 1, 0, 2, 3)
    assert rest[:4] == ["-p1", "-", "sp1", "s"]
    assert rest[4:] == [outgoing.data for outgoing in batch]


def test_a_batch_may_have_as_many_routes_as_events() -> None:
    """The largest batch, each event of a project of its own, has an index for every event."""
    batch = [Outgoing(b"{}", str(number)) for number in range(1000)]
    count, indexes, *rest = redis_transport._event_arguments(batch)
    assert (count, len(rest)) == (1000, 2000)
    assert struct.unpack(">1000H", indexes) == tuple(range(1000))


@pytest.mark.parametrize(
    "reply",
    [
        "ACL failure in script: ERR NOPERM",
        "BUSY Redis is busy running a script",
        "DENIED by the administrator",
        "MISCONF Errors writing to the AOF file",
        "NOREPLICAS Not enough good replicas to write",
        "OOM command not allowed when used memory > 'maxmemory'",
        "ERR Error running script: -READONLY You can't write against a read only replica",
        "UNKILLABLE Sorry the script already executed write commands",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR this user can't run this command",
        "ERR unauthenticated client",
        "Script attempted to execute a command while the cluster is down",
    ],
)
def test_a_reply_that_is_not_about_the_batch_is_temporary(
    reply: str, make_settings: MakeSettings
) -> None:
    """Redis recovers from these, or an operator fixes them, so the batch is sent again."""
    failure = RedisSender("redis://127.0.0.1:1", make_settings())._failure(ResponseError(reply))
    assert type(failure) is TransportError
    assert str(failure) == f"Redis answered ResponseError: {reply}"


def test_a_reply_of_a_temporary_class_is_temporary(make_settings: MakeSettings) -> None:
    """Of some replies redis-py removes the code, so their class decides."""
    failure = RedisSender("redis://127.0.0.1:1", make_settings())._failure(ReadOnlyError("no"))
    assert type(failure) is TransportError


def test_any_other_reply_rejects_the_batch(make_settings: MakeSettings) -> None:
    """An unknown error reply would come again, so the batch is dropped; its text is shortened."""
    failure = RedisSender("redis://127.0.0.1:1", make_settings())._failure(
        ResponseError("ERR " + "x" * 1000)
    )
    assert type(failure) is TransportRejectedError
    assert str(failure) == "Redis answered ResponseError: ERR " + "x" * 196
