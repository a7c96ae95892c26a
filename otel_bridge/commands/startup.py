"""What ``serve`` and ``worker`` check and open first: signals, directories, Redis."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import signal
from collections.abc import AsyncIterator
from typing import Final

import redis.asyncio as redis_asyncio

from otel_bridge.errors import ConfigurationError
from otel_bridge.publish.redis_clients import (
    REDIS_ERRORS,
    aclose,
    check_url,
    connect_async,
    is_cluster,
)
from otel_bridge.settings import BridgeSettings, redact_url

__all__ = ["check_directories", "no_queues_error", "open_redis", "stop_on_signals"]

_PING_TIMEOUT_SEC: Final = 2.0


def stop_on_signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt instead
            continue
    return stop


def check_directories(settings: BridgeSettings, workers: int) -> None:
    """
    Check that the corpus can be read and that workers can write their results.

    Raises:
        ConfigurationError: One of them cannot; names it.
    """
    if settings.corpus_dir is not None and not settings.corpus_dir.is_dir():
        raise ConfigurationError(
            f"corpus {settings.corpus_dir} is not a directory", "name a directory of text files"
        )
    # Results are written last: hours of work would be lost to what can be known now.
    place = settings.data_dir.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if workers and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise ConfigurationError(
            f"results cannot be written to {settings.data_dir.absolute()}",
            "name a directory with --data-dir or MONITORING_DATA_DIR",
        )


def no_queues_error(settings: BridgeSettings) -> ConfigurationError:
    """Why there are no queues to work on: no fakeredis, or a Cluster."""
    if settings.redis_url is None:
        return ConfigurationError(
            "running without REDIS_URL needs fakeredis",
            "pip install 'otel-bridge[demo]', or set REDIS_URL",
        )
    return ConfigurationError(
        f"REDIS_URL={redact_url(settings.redis_url)} is a Cluster, which has no queues",
        "name the Cluster in MONITORING_BUS_URL and a single Redis in REDIS_URL",
    )


@contextlib.asynccontextmanager
async def open_redis(settings: BridgeSettings) -> AsyncIterator[redis_asyncio.Redis | None]:
    """
    Give the Redis of the queues; None for a Cluster, which has no queues, and without fakeredis.

    Raises:
        ConfigurationError: It does not answer within 2 s.
    """
    if settings.redis_url is None:
        if importlib.util.find_spec("fakeredis") is None:
            yield None
            return
        fakeredis = importlib.import_module("fakeredis")
        client: redis_asyncio.Redis = fakeredis.FakeAsyncRedis(decode_responses=True)
    else:
        check_url(settings.redis_url)
        client = connect_async(settings.redis_url, decode_responses=True)
    try:
        try:
            async with asyncio.timeout(_PING_TIMEOUT_SEC):
                await client.ping()
        except (*REDIS_ERRORS, TimeoutError) as error:
            raise ConfigurationError(
                f"{redact_url(settings.redis_url or '')} does not answer: "
                f"{error or type(error).__name__}",
                "start Redis there, or correct REDIS_URL (without it, MONITORING_BUS_URL)",
            ) from error
        yield None if settings.redis_url and is_cluster(settings.redis_url) else client
    finally:
        await aclose(client)
