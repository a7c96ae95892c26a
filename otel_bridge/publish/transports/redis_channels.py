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


def sees_all_subscribers(url: str) -> bool:
    """
    Return whether the server of this URL knows all subscribers of a channel; never raises.

    If not, events are published without looking for subscribers first.

    Args:
        url: Of Redis; only its scheme is read, and not checked.

    Returns:
        False for a Cluster, where each node counts its own, and behind Sentinels, where a program
        may subscribe at a replica; both have a ``+`` in the scheme. Else True.
    """
    return "+" not in url.partition(":")[0]
