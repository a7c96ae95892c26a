"""
The Redis receiver without a server: its URLs and positions.

What needs a server is in ``tests/contract/test_transport.py`` and
``tests/integration/test_redis_transport.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import ConfigurationError, PositionLostError
from otel_bridge.publish.transports import redis_receiver
from otel_bridge.publish.transports.base import splice_position
from otel_bridge.publish.transports.redis_receiver import RedisReceiver
from otel_bridge.settings import BridgeSettings

MakeSettings = Callable[..., BridgeSettings]

LAST = 2**64 - 1


@pytest.mark.parametrize("url", ["redis://host:port", "redis+sentinel://h", "redis://:hunter2@[h"])
def test_a_url_that_cannot_be_parsed_fails_at_once(url: str, make_settings: MakeSettings) -> None:
    """A receiver for a malformed URL is an error without the password, before any connection."""
    with pytest.raises(ConfigurationError) as raised:
        RedisReceiver(url, make_settings())
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "position",
    ["", "x", ":", "e:", "e:1", "e:-", "e:1-", "e:-1", "e:1-x", "e:1-²", ":1-1", "e:1-" + "9" * 21],
)
async def test_a_malformed_position_is_lost_without_a_connection(
    position: str, make_settings: MakeSettings
) -> None:
    """Reading after a text that is no position fails before anything is sent to Redis."""
    receiver = RedisReceiver("redis://127.0.0.1:1", make_settings())
    with pytest.raises(PositionLostError) as raised:
        await receiver.read(position, wait_ms=0)
    assert (raised.value.position, raised.value.reason) == (position, "malformed")
    assert receiver._client is None
    await receiver.close()


@given(st.from_regex(r"[0-9a-f]{8}", fullmatch=True), st.integers(0, LAST), st.integers(0, LAST))
def test_a_position_is_epoch_and_stream_id(epoch: str, milliseconds: int, sequence: int) -> None:
    """Entries get the position of their stream id, and parsing it gives the same parts."""
    stream_id = f"{milliseconds}-{sequence}"
    (entry,) = redis_receiver._entries(epoch, [(stream_id.encode(), [b"e", b'{"ts":"x"}'])])
    assert entry.position == f"{epoch}:{stream_id}"
    assert entry.data == splice_position(entry.position, b'{"ts":"x"}')
    assert redis_receiver._parse(entry.position) == (epoch, (milliseconds, sequence))
    assert redis_receiver._stream_id(stream_id.encode()) == (milliseconds, sequence)


@pytest.mark.parametrize(
    ("stream_id", "first", "expected"),
    [
        ((5, 0), (5, 1), True),
        ((5, 7), (5, 8), True),
        ((5, LAST), (6, 0), True),
        ((5, 0), (5, 2), False),
        ((5, 0), (6, 0), False),
        ((5, LAST), (7, 0), False),
        ((5, LAST), (6, 1), False),
    ],
)
def test_the_id_before_the_first_entry_is_no_hole(
    stream_id: tuple[int, int], first: tuple[int, int], expected: bool
) -> None:
    """Only the id right before the log's first entry continues with it; sequences carry over."""
    assert redis_receiver._is_just_before(stream_id, first) is expected
