"""First steps of ``serve`` and ``worker``: signal handlers, checks of directories, Redis."""

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
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import redact_url

__all__ = ["check_directories", "no_queues_error", "open_redis", "stop_on_signals"]

_PING_TIMEOUT_SEC: Final = 2.0


def stop_on_signals(again: asyncio.Event | None = None) -> asyncio.Event:
    """
    Install signal handlers on the running loop; return an event that they set.

    The signals are SIGINT, SIGTERM and SIGHUP. Call it on the main thread, inside a coroutine. On
    Windows no handler is installed, and Ctrl-C raises
    ``KeyboardInterrupt``. A terminal that is closed sends SIGHUP; without a handler it would end
    the process in the middle of its work. ``nohup`` starts a process with SIGHUP ignored, which
    stays so.

    Args:
        again: Set by a second signal, of the same kind or another; default: it does nothing more.

    Raises:
        RuntimeError: No event loop runs here, or this is not the main thread.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note() -> None:
        if stop.is_set() and again is not None:
            again.set()
        stop.set()

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            continue
        try:
            loop.add_signal_handler(number, note)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt instead
            continue
    return stop


def check_directories(settings: BridgeSettings, workers: int) -> None:
    """
    Check that the corpus is a directory and that workers can write to the data directory.

    Nothing is created or written; a directory that does not exist yet must have a parent that
    workers can write to. Free space is not checked.

    Args:
        settings: Name both directories: ``corpus_dir`` (None: not checked) and ``data_dir``.
        workers: Number of workers; with 0 the data directory is not checked.

    Raises:
        ConfigurationError: A check failed; the message names the directory.
    """
    if settings.corpus_dir is not None and not settings.corpus_dir.is_dir():
        raise ConfigurationError(
            f"corpus {settings.corpus_dir} is not a directory", "name a directory of text files"
        )
    # Results are written last. Without this check hours of work could be lost.
    existing = settings.data_dir.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if workers and not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise ConfigurationError(
            f"results cannot be written to {settings.data_dir.absolute()}",
            "name a directory with --data-dir or MONITORING_DATA_DIR",
        )


def no_queues_error(settings: BridgeSettings) -> ConfigurationError:
    """
    Return, without raising it, the error to raise if ``open_redis`` gives None. Never raises.

    Args:
        settings: Without ``redis_url`` the error says that fakeredis (the embedded Redis) is
            missing, else that the queue does not work on a Redis Cluster.
    """
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
    Connect to the Redis that holds the jobs; an async context manager that closes it at the end.

    It binds a client that decodes answers to text. Without ``settings.redis_url`` it is an embedded
    fakeredis. It is None if fakeredis is not installed, or if the URL is that of a Cluster, on
    which the queue does not work. One PING is sent, with a limit of 2 s; later commands have the
    default time-outs of redis-py and raise its ``RedisError``.

    Args:
        settings: Its ``redis_url`` is used.

    Raises:
        ConfigurationError: The URL is no Redis URL, or Redis refuses or does not answer within 2 s.
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
