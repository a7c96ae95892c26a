"""
Which messages of the channel are of external publishers.

What needs a server is in ``tests/integration/test_redis_channels.py``.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.publish.transports import redis_subscription
from otel_bridge.publish.transports.base import splice_position


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b'{"position":"e:1-0","event_type":"task_started"}', False),
        (b'{"event_type":"task_started","position":"e:1-0"}', False),
        (b'{ "position" : "e:1-0" }', False),
        (b'{"event_type":"task_started"}', True),
        (b'{"event_type":"task_started","message":"the \\"position\\" is open"}', True),
        (b'{"meta":{"position":"left wing"}}', True),
        (b'["position"]', True),
        (b'"position" is not JSON', True),
        (b'{"position":' + b"[" * 100_000, True),
        (b"", True),
        (b"\xff\xfe", True),
    ],
)
def test_a_message_without_a_position_is_external(message: bytes, expected: bool) -> None:
    """A message came through the log if it is an object with ``position``, wherever it is."""
    assert redis_subscription._is_external(message) is expected


@given(st.dictionaries(st.text(max_size=9), st.text() | st.integers(), min_size=1))
def test_what_the_log_publishes_is_not_external(event: dict[str, str | int]) -> None:
    """An event is external until the log has inserted its position."""
    event.pop("position", None)
    data = json.dumps({**event, "ts": "x"}).encode()
    assert redis_subscription._is_external(data)
    assert not redis_subscription._is_external(splice_position("e:1-0", data))
