"""
When ``append.lua`` publishes, and the names by which it distinguishes collectors from programs.

A collector listens to the events channel for external publishers only, and throws away what the log
has published: a quarter to a third of its CPU, and Redis' output doubled (measured). So the script
publishes only where another program listens. ``PUBSUB NUMSUB`` does not count patterns, and
``PUBSUB NUMPAT`` counts equal patterns once. Collectors therefore subscribe by one pattern, which
matches the channel alone, and to one channel that says that they do.
"""

from __future__ import annotations

import functools
import logging
from typing import Literal, TypeAlias

__all__ = ["Decision", "collectors_channel", "decide_channels", "pattern_of"]

logger = logging.getLogger(__name__)

Setting: TypeAlias = Literal["auto", "always", "never"]
Decision: TypeAlias = Literal["always", "where heard", "never"]
"""When an event is published to a channel: always, where a program listens to it, or never."""


def pattern_of(channel: str) -> str:
    """
    Return the pattern by which collectors subscribe to a channel.

    Args:
        channel: The events channel, of at least one character.

    Returns:
        A pattern that matches this channel and no other, ``nexus:event[s]`` for ``nexus:events``;
        never the channel's own name, which a program might use as a pattern.

    Raises:
        IndexError: ``channel`` is empty.
    """
    escaped = "".join(f"\\{char}" if char in "*?[]^-\\" else char for char in channel[:-1])
    last = channel[-1]
    return f"{escaped}[{last}]" if last not in "]^-\\" else f"{escaped}[\\{last}]"


def collectors_channel(events_channel: str) -> str:
    """
    Return the channel to which collectors alone subscribe; nothing is published on it.

    Its subscribers are counted, so that a collector on the events channel is not taken for another
    program that listens. Never raises.

    Args:
        events_channel: Its name, to which ``:collectors`` is appended. Not checked.
    """
    return f"{events_channel}:collectors"


def decide_channels(channels: Setting, url: str) -> Decision:
    """
    Return when the events of a Redis log are published to the channels; never raises.

    On a Cluster ``auto`` means ``never``: a Cluster copies each message to all its nodes, so three
    nodes with PUBLISH carry less than one Redis does (measured: 9.2 us an event on the busiest
    node, against 1.5 without it and 6.2 on one Redis). One warning a process says so. Behind
    Sentinels it means ``always``, because a program may subscribe at a replica, which the master
    does not know.

    Args:
        channels: ``MONITORING_CHANNELS``.
        url: Of Redis; only its scheme is read, and not checked.

    Returns:
        ``always``, ``never``, or ``where heard``: to the channels to which a program other than a
        collector listens.
    """
    if channels != "auto":
        return channels
    scheme = url.partition("://")[0]
    if scheme.endswith("+cluster"):
        _warn_of_silent_channels()
        return "never"
    return "always" if "+" in scheme else "where heard"


@functools.cache
def _warn_of_silent_channels() -> None:
    """Log it once in a process, which may have several senders: a cached call is made once."""
    logger.warning(
        "MONITORING_CHANNELS=auto publishes nothing to the channels of a Redis Cluster; "
        "programs that subscribe to them need MONITORING_CHANNELS=always, or the WebSocket "
        "/ws/monitor; MONITORING_CHANNELS=never silences this line"
    )
