"""
Which transport a bus URL names: ``memory``, ``redis``, ``rediss``, ``unix``, ``http``, ``https``.

The module of a scheme is imported when it is used, so that a worker on ``http://`` never loads the
Redis client.
"""

from __future__ import annotations

from typing import Final

from otel_bridge.errors import ConfigurationError, UnknownTransportError
from otel_bridge.publish.transports.base import Receiver, Sender
from otel_bridge.settings import BridgeSettings

__all__ = ["KNOWN_SCHEMES", "check_scheme", "open_receiver", "open_sender"]

KNOWN_SCHEMES: Final = (
    *("memory", "redis", "rediss", "unix", "http", "https"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)


def open_sender(url: str, settings: BridgeSettings) -> Sender:
    """
    Make the sender for a bus URL; it connects with its first batch.

    Raises:
        UnknownTransportError: Nobody handles the URL's scheme.
        ConfigurationError: The URL is not one that the transport can use.
    """
    scheme = check_scheme(url, settings)
    if scheme == "memory":
        from otel_bridge.publish.transports.memory import MemorySender, memory_log

        return MemorySender(memory_log(_memory_name(url), settings.stream_max_events))
    if scheme in ("http", "https"):
        from otel_bridge.publish.transports.http import HttpSender

        return HttpSender(url, settings)
    from otel_bridge.publish.transports.redis import RedisSender

    return RedisSender(url, settings)


def open_receiver(url: str, settings: BridgeSettings) -> Receiver:
    """
    Make the receiver for a bus URL; ``Receiver.open`` connects it.

    Raises:
        UnknownTransportError: Nobody handles the URL's scheme.
        ConfigurationError: The transport has no receiver (``http``), or the URL cannot be used.
    """
    scheme = check_scheme(url, settings)
    if scheme == "memory":
        from otel_bridge.publish.transports.memory import MemoryReceiver, memory_log

        return MemoryReceiver(memory_log(_memory_name(url), settings.stream_max_events))
    if scheme in ("http", "https"):
        raise ConfigurationError(
            f"{_setting_name(url, settings)} is an {scheme}:// URL, which can only be sent to",
            "read the log it feeds instead: set redis:// or memory:// for the collector",
        )
    from otel_bridge.publish.transports.redis_receiver import RedisReceiver

    return RedisReceiver(url, settings)


def check_scheme(url: str, settings: BridgeSettings) -> str:
    """
    The scheme of a bus URL.

    Raises:
        UnknownTransportError: Nobody handles it; names the setting that it came from.
    """
    # Not by urlsplit: it raises for a URL that it cannot read, before anyone can say which.
    scheme, mark, _ = url.partition("://")
    if not mark:
        scheme = ""  # what stands there may be a password
    if scheme not in KNOWN_SCHEMES:
        raise UnknownTransportError(scheme, _setting_name(url, settings), KNOWN_SCHEMES)
    return scheme


def _memory_name(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _setting_name(url: str, settings: BridgeSettings) -> str:
    return "REDIS_URL" if url == settings.redis_url else "MONITORING_BUS_URL"
