"""
When the append script publishes, and by which names it distinguishes collectors.

What Redis makes of them: ``tests/integration/test_redis_channels.py``.
"""

from __future__ import annotations

import logging

import pytest

from otel_bridge.publish.transports import redis_channels
from otel_bridge.publish.transports.redis_channels import (
    collectors_channel,
    decide_channels,
    pattern_of,
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
        ("redis://host", "where heard"),
        ("valkeys://host:1/2", "where heard"),
        ("unix:///run/redis.sock?x=+cluster", "where heard"),
        ("redis+sentinel://host/service", "always"),
        ("rediss+cluster://host", "never"),
        ("valkey+cluster://host", "never"),
    ],
)
def test_by_itself_it_publishes_where_all_subscribers_are_known(url: str, expected: str) -> None:
    """A master does not know a replica's subscribers; a Cluster copies a message to all nodes."""
    assert decide_channels("auto", url) == expected
    assert decide_channels("always", url) == "always"
    assert decide_channels("never", url) == "never"


def test_a_cluster_without_channels_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning a process names the setting and the cure; a choice of one's own needs none."""
    redis_channels._warn_of_silent_channels.cache_clear()
    with caplog.at_level(logging.INFO):
        decide_channels("always", "redis+cluster://host")
        decide_channels("never", "redis+cluster://host")
        assert caplog.messages == []
        decide_channels("auto", "redis+cluster://host")
        decide_channels("auto", "redis+cluster://host")
    (line,) = caplog.messages
    assert "MONITORING_CHANNELS=auto" in line
    assert "MONITORING_CHANNELS=always" in line
    assert "/ws/monitor" in line
