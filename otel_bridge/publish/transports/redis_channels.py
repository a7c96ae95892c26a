"""
Names by which ``append.lua`` distinguishes collectors from other subscribers of the channels.

A collector listens to the events channel for external publishers only, and throws away what the log
has published: a quarter to a third of its CPU, and Redis' output doubled (measured). So the script
publishes only where another program listens. ``PUBSUB NUMSUB`` does not count patterns, and
``PUBSUB NUMPAT`` counts equal patterns once. Collectors therefore subscribe by one pattern, which
matches the channel alone, and to one channel that says that they do.
"""

from __future__ import annotations

__all__ = ["collectors_channel", "pattern_of", "sees_all_subscribers"]


def pattern_of(channel: str) -> str:
    r"""
    Return the pattern by which collectors subscribe to a channel.

    Args:
        channel: The events channel, of at least one character.

    Returns:
        A pattern that matches this channel and no other, ``nexus:event[s]`` for ``nexus:events``;
        never the channel's own name, which a program might use as a pattern.
    """
    escaped = "".join(f"\\{char}" if char in "*?[]^-\\" else char for char in channel[:-1])
    last = channel[-1]
    return f"{escaped}[{last}]" if last not in "]^-\\" else f"{escaped}[\\{last}]"


def collectors_channel(events_channel: str) -> str:
    """The channel on which nothing is published; that it has subscribers shows collectors."""
    return f"{events_channel}:collectors"


def sees_all_subscribers(url: str) -> bool:
    """
    Whether the server of this URL knows all subscribers.

    False for a Cluster, where each node counts its own, and behind Sentinels, where a program may
    subscribe at a replica.
    """
    return "+" not in url.partition(":")[0]
