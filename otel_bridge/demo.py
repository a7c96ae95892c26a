"""
``otel-bridge serve``, ``demo`` and ``worker``: the parts, put together and taken down in order.

Without a Redis everything is in one process: the log in memory, the coordinator's Redis a
``fakeredis`` server; where that is not installed ``serve`` has no coordinator and shows what others
send. With a Redis, everything runs on it and workers may be anywhere: ``REDIS_URL`` has the queues
and, unless ``MONITORING_BUS_URL`` names another Redis, the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis.asyncio as redis_asyncio

from otel_bridge.bridge import Bridge, configure
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.orchestration.gateway import ResearchGateway
from otel_bridge.orchestration.task_types import ResearchTaskRequest
from otel_bridge.orchestration.worker_pool import run_workers
from otel_bridge.redis_clients import (
    REDIS_ERRORS,
    aclose,
    check_url,
    connect_async,
    is_cluster,
    is_redis,
)
from otel_bridge.settings import BridgeSettings, redact_url
from otel_bridge.transports import check_scheme

__all__ = ["ServiceOptions", "run_service", "run_worker_process"]

logger = logging.getLogger(__name__)

EMBEDDED_BUS_URL: Final = "memory://collector"
_EMBEDDED_WORKERS: Final = 4
_DEMO_PACE_SEC: Final = 0.6
"""Stretches the bundled corpus's jobs to about a minute with four workers: time to look."""
_PING_TIMEOUT_SEC: Final = 2.0
_ANOTHER: Final = {
    errno.EADDRINUSE: "stop the other program or choose another port with --port",
    errno.EACCES: "choose a port over 1023 with --port",
}

DEMO_REQUEST: Final[dict[str, Any]] = {
    "title": "Private Schools GA",
    "research_query": "List and profile private K-12 schools in Georgia",
    "research_type": "data_aggregation",
    "user_id": "dev",
    "project_id": "default_project",
    "data_aggregation_config": {
        "entities": ["private schools"],
        "attributes": ["address", "tuition", "enrollment"],
        "search_space": "in Georgia",
        "domain_hint": "schools",
    },
}

_CURL: Final = """curl -sS -X POST {url}/tasks -H 'Content-Type: application/json' -d '{{
  "title": "Private Schools GA", "research_query": "List and profile private K-12 schools in Georgia",
  "research_type": "data_aggregation", "user_id": "dev", "project_id": "default_project",
  "data_aggregation_config": {{"entities": ["private schools"], "attributes": ["address", "tuition", "enrollment"],
    "search_space": "in Georgia", "domain_hint": "schools"}}}}'"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What the command line said; None leaves a choice to the environment or the default."""

    host: str | None = None
    port: int | None = None
    workers: int | None = None
    corpus_dir: Path | None = None
    data_dir: Path | None = None
    pace_sec: float | None = None
    is_demo: bool = False


async def run_service(options: ServiceOptions) -> int:
    """
    Serve until SIGINT or SIGTERM, then stop in order; returns the exit code.

    Raises:
        ConfigurationError: A taken port, an unreachable Redis, a missing corpus or package.
    """
    # First: asyncio's own answer to Ctrl-C is to cancel, which fakeredis swallows and uvicorn logs.
    stop = _stop_on_signals()
    app = _collector_module("app")
    settings = _service_settings()
    collector_settings = _collector_module("settings").CollectorSettings.load(
        host=options.host,
        port=options.port,
        corpus_dir=options.corpus_dir,
        data_dir=options.data_dir,
    )
    pace_sec = options.pace_sec
    if pace_sec is None:
        pace_sec = _DEMO_PACE_SEC if options.is_demo else 0.0

    with _listening(collector_settings.host, collector_settings.port) as listener:
        url = f"http://{_shown_host(collector_settings.host)}:{listener.getsockname()[1]}"
        async with _redis(settings) as redis_client:
            gateway = None if redis_client is None else ResearchGateway(redis_client)
            workers = options.workers
            if workers is None:
                workers = 0 if settings.redis_url or gateway is None else _EMBEDDED_WORKERS
            if gateway is None and (workers or options.is_demo):
                raise _no_queues(settings)
            _check_directories(collector_settings, workers)
            application = app.create_app(collector_settings, settings, gateway=gateway)
            server = app.make_server(application, collector_settings)
            bridge = configure(service_name="otel-bridge", settings=settings)
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="serve")
            serving.add_done_callback(lambda _: stop.set())
            up = asyncio.create_task(server.is_up.wait(), name="wait until up")
            await asyncio.wait({up, serving}, return_when=asyncio.FIRST_COMPLETED)
            if not up.done():
                up.cancel()
                raise OtelBridgeError("the collector did not start; its log says why")
            _announce(url, settings, workers, is_demo=options.is_demo)
            try:
                if gateway is not None and options.is_demo and not stop.is_set():
                    await gateway.submit(ResearchTaskRequest.model_validate(DEMO_REQUEST))
                if redis_client is not None and workers:
                    await run_workers(
                        redis_client,
                        settings,
                        workers=workers,
                        corpus_dir=collector_settings.corpus_dir,
                        data_dir=collector_settings.data_dir,
                        pace_sec=pace_sec,
                        stop=stop,
                    )
                await stop.wait()
            finally:
                await _stop_in_order(bridge, server, serving)
    return 0


async def run_worker_process(
    *, workers: int, corpus_dir: Path | None, data_dir: Path | None, pace_sec: float
) -> int:
    """
    Run workers and one research runner on ``REDIS_URL`` until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: No or an unreachable ``REDIS_URL``, a missing corpus.
    """
    stop = _stop_on_signals()
    settings = BridgeSettings.load()
    if settings.redis_url is None:
        raise ConfigurationError(
            "otel-bridge worker needs REDIS_URL",
            "set it, e.g. REDIS_URL=redis://localhost:6379/0, or run otel-bridge demo",
        )
    directories = _collector_module("settings").CollectorSettings.load(
        corpus_dir=corpus_dir, data_dir=data_dir
    )
    _check_directories(directories, workers)
    async with _redis(settings) as redis_client:
        if redis_client is None:
            raise _no_queues(settings)
        bridge = configure(service_name="otel-bridge-worker", settings=settings)
        print(f"{workers} workers on {redact_url(settings.redis_url)}; Ctrl-C stops them")
        try:
            await run_workers(
                redis_client,
                settings,
                workers=workers,
                corpus_dir=directories.corpus_dir,
                data_dir=directories.data_dir,
                pace_sec=pace_sec,
                stop=stop,
            )
        finally:
            await asyncio.to_thread(bridge.shutdown)
    return 0


async def _stop_in_order(bridge: Bridge, server: Any, serving: asyncio.Task[None]) -> None:
    """The workers have stopped: let their last events through, then close the sockets."""
    await asyncio.to_thread(bridge.flush)
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await asyncio.to_thread(bridge.shutdown)


def _announce(url: str, settings: BridgeSettings, workers: int, *, is_demo: bool) -> None:
    where = redact_url(settings.redis_url) if settings.redis_url else "embedded, nothing to install"
    print(f"Dashboard   {url}/")
    print(f"Log         {where}")
    print(f"Workers     {workers} in this process")
    if is_demo:
        print(f"\nOne research task is running. Submit another:\n\n{_CURL.format(url=url)}\n")
    print("Ctrl-C stops it.", flush=True)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt instead
            continue
    return stop


def _check_directories(settings: Any, workers: int) -> None:
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


@contextlib.contextmanager
def _listening(host: str, port: int) -> Any:
    """A bound socket, before anything else is started: a taken port is the commonest trouble."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            _ANOTHER.get(error.errno or 0, "name an address of this machine with --host"),
        ) from error
    try:
        yield listener
    finally:
        listener.close()


def _shown_host(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def _service_settings() -> BridgeSettings:
    settings = BridgeSettings.load()
    check_scheme(settings.bus_url, settings)
    if settings.redis_url is not None:
        return settings
    if is_redis(settings.bus_url):
        return settings.model_copy(update={"redis_url": settings.bus_url})
    return settings.model_copy(update={"bus_url": EMBEDDED_BUS_URL})


def _no_queues(settings: BridgeSettings) -> ConfigurationError:
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
async def _redis(settings: BridgeSettings) -> AsyncIterator[redis_asyncio.Redis | None]:
    """The queues' Redis; None for a Cluster, which carries the log alone, and without fakeredis."""
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


def _collector_module(name: str) -> Any:
    # Not an import statement: the library never depends on the service (import-linter).
    try:
        return importlib.import_module(f"collector.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"the collector is not installed ({error})", "pip install 'otel-bridge[demo]'"
        ) from error
