"""
Which transport a bus URL names: ``memory``, ``http``, ``https``, or a scheme of ``redis_clients``.

The module of a transport is imported on first use, so that a process imports only its own.
"""

from __future__ import annotations

from typing import Final

from otel_bridge.errors import ConfigurationError, UnknownTransportError
from otel_bridge.publish.transports.base import LineStore, Receiver
from otel_bridge.settings import BridgeSettings

__all__ = ["KNOWN_SCHEMES", "check_scheme", "open_receiver", "open_sender"]

KNOWN_SCHEMES: Final = (
    *("memory", "http", "https", "unix", "redis", "rediss", "valkey", "valkeys"),
    *("redis+sentinel", "rediss+sentinel", "valkey+sentinel", "valkeys+sentinel"),
    *("redis+cluster", "rediss+cluster", "valkey+cluster", "valkeys+cluster"),
)
"""The schemes of bus URLs that have a transport."""


def open_sender(url: str, settings: BridgeSettings) -> LineStore:
    """
    Create the sender for a bus URL, which appends events to the log; connects with its first batch.

    The log is the stream of all events. One that cannot be reached raises nothing here.

    Args:
        url: E.g. ``redis://host:6379/0``, ``http://host:12000``, ``memory://name``.
        settings: Bounds, channels and time-outs: by default 100 ms for connecting and for each
            answer, and a log of 100,000 events.

    Raises:
        UnknownTransportError: The scheme of the URL has no transport.
        ConfigurationError: The transport cannot use the URL.
    """
    scheme = check_scheme(url, settings)
    if scheme == "memory":
        from otel_bridge.publish.transports.memory import MemorySender, memory_log

        return MemorySender(memory_log(memory_name(url), settings.stream_max_events))
    if scheme in ("http", "https"):
        from otel_bridge.publish.transports.http import HttpSender

        return HttpSender(url, settings)
    from otel_bridge.publish.transports.redis import RedisSender

    return RedisSender(url, settings)


def open_receiver(url: str, settings: BridgeSettings) -> Receiver:
    """
    Create the receiver for a bus URL, which reads the log of events; ``Receiver.open`` connects it.

    A log that cannot be reached raises nothing here.

    Args:
        url: E.g. ``redis://host:6379/0`` or ``memory://name``; not ``http`` or ``https``, which can
            only be sent to.
        settings: The key prefix and the events channel; for ``memory`` the bound of a new log
            (default 100,000 events).

    Raises:
        UnknownTransportError: The scheme of the URL has no transport.
        ConfigurationError: The transport has no receiver (``http``), or cannot use the URL.
    """
    scheme = check_scheme(url, settings)
    if scheme == "memory":
        from otel_bridge.publish.transports.memory import MemoryReceiver, memory_log

        return MemoryReceiver(memory_log(memory_name(url), settings.stream_max_events))
    if scheme in ("http", "https"):
        raise ConfigurationError(
            f"{settings.variable_of(url)} is an {scheme}:// URL, which can only be sent to",
            "set the redis:// or memory:// URL of the log that the collector reads",
        )
    from otel_bridge.publish.transports.sharded.log_receiver import RedisLogReceiver

    return RedisLogReceiver(url, settings)


def check_scheme(url: str, settings: BridgeSettings) -> str:
    """
    Return the scheme of a bus URL, the part before ``://``; nothing else of the URL is checked.

    A bus URL says where events are sent. Upper case counts as unknown. Opens nothing.

    Args:
        url: The bus URL, of any length.
        settings: They say which variable holds it, for the error.

    Raises:
        UnknownTransportError: The scheme is none of ``KNOWN_SCHEMES`` (``memory``, ``http``,
            ``https`` and those of Redis), or there is none. The error names the setting that holds
            the URL.
    """
    # Not by urlsplit: for a URL that it cannot parse it raises an error without the setting's name.
    scheme, mark, _ = url.partition("://")
    if not mark:
        scheme = ""  # the text may be a password, so it is not quoted
    if scheme not in KNOWN_SCHEMES:
        raise UnknownTransportError(scheme, settings.variable_of(url), KNOWN_SCHEMES)
    return scheme


def memory_name(url: str) -> str:
    """The name of the log of a ``memory://NAME`` URL."""
    return url.partition("://")[2].partition("/")[0]
