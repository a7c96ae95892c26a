"""
The names by which the append script distinguishes collectors from other subscribers.

What Redis makes of them: ``tests/integration/test_redis_channels.py``.
"""

from __future__ import annotations

import pytest

from otel_bridge.publish.transports.redis_channels import (
    collectors_channel,
    pattern_of,
    sees_all_subscribers,
)


@pytest.mark.parametrize(
    ("channel", "pattern"),
    [
        ("nexus:events", "nexus:event[s]"),
        ("e", "[e]"),
        ("a*b?c", r"a\*b\?[c]"),
        ("shop[eu]", r"shop\[eu[\]]"),
        ("a^b-", r"a\^b[\-]"),
    ],
)
def test_the_pattern_is_not_the_name(channel: str, pattern: str) -> None:
    """The last character is a set of one; what a pattern means otherwise is escaped."""
    assert pattern_of(channel) == pattern


def test_the_collectors_channel_is_below_the_events_channel() -> None:
    """So an ACL for the channels of one key prefix covers it."""
    assert collectors_channel("nexus:events") == "nexus:events:collectors"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", True),
        ("valkeys://host:1/2", True),
        ("unix:///run/redis.sock", True),
        ("redis+sentinel://host/service", False),
        ("rediss+cluster://host", False),
    ],
)
def test_one_server_knows_its_subscribers(url: str, expected: bool) -> None:
    """Subscribers at another node or at a replica are not counted where events are appended."""
    assert sees_all_subscribers(url) is expected
