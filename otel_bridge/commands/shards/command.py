"""
``otel-bridge shards``: prints a table of the log's shards; with a number, changes how many it has.

It talks to Redis alone: neither a collector nor the publishers need to be stopped or to run.
"""

from __future__ import annotations

import argparse
from typing import Any

from otel_bridge.commands.shards.table import print_shards
from otel_bridge.errors import ConfigurationError, OtelBridgeError, TransportError
from otel_bridge.publish.redis_clients import check_url, close, connect, is_cluster, is_redis
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.shards.layout import MAX_SHARDS, Layout
from otel_bridge.publish.shards.resharding import (
    is_complete,
    read_layout,
    redis_failures,
    reshard,
)
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import redact_url

__all__ = ["run", "shard_count"]

_TIMEOUT_SEC = 2.0


def shard_count(text: str) -> int:
    """
    Read the number of shards, a whole number from 1 to 8.

    Raises:
        argparse.ArgumentTypeError: The number is outside of these bounds.
        ValueError: The text is not a whole number. argparse reports both as a wrong argument.
    """
    number = int(text)
    if not 1 <= number <= MAX_SHARDS:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and {MAX_SHARDS}")
    return number


def run(options: argparse.Namespace) -> int:
    """
    Print the shards of the log in Redis; before that, change their number if one is given.

    Publishers that send meanwhile wait for milliseconds; nothing is lost or repeated. Each command
    of Redis may take 2 s.

    Args:
        options: ``count``: the number of shards to change to, 1 to 8; None: only print them.

    Returns:
        The exit code: 0, or 1 if a shard could not be read.

    Raises:
        ConfigurationError: The log is not in a Redis, or its URL is wrong.
        OtelBridgeError: Redis does not answer, or refuses a command to this user.
    """
    settings = BridgeSettings.load()
    url = settings.bus_url
    if not is_redis(url):
        raise ConfigurationError(
            f"{redact_url(url)} is no Redis that could have the shards of the log",
            "set REDIS_URL or MONITORING_BUS_URL, e.g. redis+cluster://host:6379",
        )
    check_url(url, settings.variable_of(url))
    keys = RedisKeys(settings.key_prefix)
    try:
        with redis_failures(url):
            client = connect(url, **connection_options(_TIMEOUT_SEC, _TIMEOUT_SEC))
            try:
                if options.count is not None:
                    _change(client, keys, options.count, url)
                return print_shards(client, keys, read_layout(client, keys), url)
            finally:
                close(client)
    except TransportError as error:
        raise OtelBridgeError(_explained(error, url)) from error


def _change(client: Any, keys: RedisKeys, count: int, url: str) -> None:
    old = read_layout(client, keys)
    if old.count == count and is_complete(client, keys, old):
        print(f"the log has {_shards(old)} already; nothing was changed")
        return
    new = reshard(client, keys, count)
    print(
        f"the log has {_shards(new)}, it had {_shards(old)}; publishers change over when they next "
        "send, and nothing needs a restart"
    )
    if count > 1 and not is_cluster(url):
        print(
            "all shards are in one Redis, so they share its core: "
            "more than one is of use in a Cluster only (redis+cluster://)"
        )


def _shards(layout: Layout) -> str:
    return "1 shard" if layout.count == 1 else f"{layout.count} shards"


def _explained(error: TransportError, url: str) -> str:
    text = str(error)
    if error.needs_operator and "redis+cluster://" not in text:
        return f"{text}; the Redis user needs the permissions of `operator` in deploy/README.md"
    return text if redact_url(url) in text else f"{redact_url(url)}: {text}"
