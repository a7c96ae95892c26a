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


def test_a_replica_is_left_for_the_present_master(make_settings: MakeSettings) -> None:
    """After READONLY, by class or in the text of a script's error, the sender connects again."""
    sender = RedisSender("redis://127.0.0.1:1", make_settings())
    for error in (ReadOnlyError("no"), ResponseError("ERR script: -READONLY You can't write")):
        client = sender._connect()
        assert type(sender._failure(error)) is TransportError
        assert sender._connect() is not client
    assert type(sender._failure(ResponseError("ERR unknown"))) is TransportRejectedError
