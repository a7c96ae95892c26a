"""How long publishers collect events for a batch: set by the leader, read from each reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.support.redis_server import Kind, RedisServer

pytestmark = pytest.mark.redis

MakeSettings = Callable[..., BridgeSettings]
META = DEFAULT_KEYS.log_meta()
EVENT = Outgoing(b'{"event_type":"task_started"}', None)


@pytest.fixture(params=["redis", "oldest", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    kind: Kind = request.param
    with RedisServer(kind=kind) as made:
        yield made


def test_the_reply_has_the_linger_until_its_time(
    server: RedisServer, make_settings: MakeSettings
) -> None:
    """Also for a batch that the log has already; past its time, or unreadable, it is 0."""
    sender = RedisSender(server.url, make_settings())
    assert sender.send("a", 1, [EVENT]).linger_ms == 0
    with server.client() as client:
        seconds, _ = client.time()
        for linger, until, expected in (
            (25, seconds + 60, 25),
            (25, seconds - 60, 0),
            (0, seconds + 60, 0),
            ("soon", seconds + 60, 0),
            (25, "never", 0),
        ):
            until_ms = until * 1000 if isinstance(until, int) else until
            client.hset(META, mapping={"linger_ms": linger, "linger_until_ms": until_ms})
            assert sender.send("a", 1, [EVENT])[1:] == (1, 0, 0, 0, expected)
        client.hdel(META, "linger_until_ms")
        assert sender.send("a", 2, [EVENT]).linger_ms == 0
    sender.close()
