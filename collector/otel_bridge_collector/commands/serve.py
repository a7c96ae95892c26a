"""
``otel-bridge serve`` and ``demo``: start the parts of the service and stop them in order.

Without a Redis all parts run in one process: the log is in memory, and the coordinator uses an
embedded ``fakeredis`` server. If that package is not installed, ``serve`` has no coordinator and
only shows the events that it receives. With a Redis, workers may run on any host: ``REDIS_URL`` has
the queues and also the log, unless ``MONITORING_BUS_URL`` names another Redis for the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_bridge.bridge import Bridge, configure
from otel_bridge.commands.startup import (
    check_directories,
    no_queues_error,
    open_redis,
    stop_on_signals,
)
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.orchestration.queue.task_types import ResearchTaskRequest
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.orchestration.worker_pool import run_workers
from otel_bridge.publish.redis_clients import is_redis
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.transports import check_scheme
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import redact_url
from otel_bridge_collector.app import CollectorServer, create_app, make_server
from otel_bridge_collector.commands.demo import CURL, DEMO_PACE_SEC, DEMO_REQUEST
from otel_bridge_collector.settings import CollectorSettings

__all__ = ["ServiceOptions", "run_service"]

logger = logging.getLogger(__name__)

EMBEDDED_BUS_URL: Final = "memory://collector"
_EMBEDDED_WORKERS: Final = 4
_CURES: Final = {
    errno.EADDRINUSE: "stop the other program or choose another port with --port",
    errno.EACCES: "choose a port over 1023 with --port",
}


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Options of the command line; None: the environment or the default decides."""

    host: str | None = None
    """Address to listen on."""
    port: int | None = None
    """Port to listen on; 0: a free one."""
    workers: int | None = None
    """Workers in this process; default: 4 when embedded, 0 with a Redis."""
    corpus_dir: Path | None = None
    """Directory of pages; default: the generated corpus."""
    data_dir: Path | None = None
    """Directory for results."""
    pace_sec: float | None = None
    """Delay before each job in seconds; default: 0.6 for the demo, else 0."""
    is_demo: bool = False
    """Whether to submit a research task after the start."""


async def run_service(options: ServiceOptions) -> int:
    """
    Serve until SIGINT or SIGTERM, then stop all parts in order; return the exit code 0.

    Raises:
        ConfigurationError: The port is in use, Redis is unreachable, or the corpus or a package is
            missing.
        OtelBridgeError: The HTTP server did not start.
    """
    # This must come first. Without it, Ctrl-C makes asyncio cancel the main task, and fakeredis
    # suppresses the cancellation while uvicorn logs it as an error.
    stop = stop_on_signals()
    settings = _service_settings(corpus_dir=options.corpus_dir, data_dir=options.data_dir)
    collector_settings = CollectorSettings.load(host=options.host, port=options.port)
    pace_sec = options.pace_sec
    if pace_sec is None:
        pace_sec = DEMO_PACE_SEC if options.is_demo else 0.0

    with _listening(collector_settings.host, collector_settings.port) as listener:
        url = f"http://{_display_host(collector_settings.host)}:{listener.getsockname()[1]}"
        async with open_redis(settings) as redis_client:
            gateway = None
            if redis_client is not None:
                gateway = ResearchGateway(redis_client, keys=RedisKeys(settings.key_prefix))
            workers = options.workers
            if workers is None:
                workers = 0 if settings.redis_url or gateway is None else _EMBEDDED_WORKERS
            if gateway is None and (workers or options.is_demo):
                raise no_queues_error(settings)
            check_directories(settings, workers)
            application = create_app(collector_settings, settings, gateway=gateway)
            server = make_server(application, collector_settings)
            bridge = configure(service_name="otel-bridge", settings=settings, strict=True)
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
                        corpus_dir=settings.corpus_dir,
                        data_dir=settings.data_dir,
                        pace_sec=pace_sec,
                        stop=stop,
                    )
                await stop.wait()
            finally:
                await _stop_in_order(bridge, server, serving)
    return 0


async def _stop_in_order(
    bridge: Bridge, server: CollectorServer, serving: asyncio.Task[None]
) -> None:
    """Publish the last events of the stopped workers, then close the sockets, then the bridge."""
    await asyncio.to_thread(bridge.flush)
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await asyncio.to_thread(bridge.shutdown)


def _announce(url: str, settings: BridgeSettings, workers: int, *, is_demo: bool) -> None:
    where = redact_url(settings.redis_url) if settings.redis_url else "in memory"
    print(f"Dashboard   {url}/")
    print(f"Log         {where}")
    print(f"Workers     {workers} in this process")
    if is_demo:
        print(f"\nOne research task is running. Submit another:\n\n{CURL.format(url=url)}\n")
    print("Press Ctrl-C to stop.", flush=True)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Any:
    """Yield a bound socket. It is bound first, as a port in use is the most common error."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            _CURES.get(error.errno or 0, "name an address of this machine with --host"),
        ) from error
    try:
        yield listener
    finally:
        listener.close()


def _display_host(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def _service_settings(**overrides: Path | None) -> BridgeSettings:
    settings = BridgeSettings.load(**overrides)
    check_scheme(settings.bus_url, settings)
    if settings.redis_url is not None:
        return settings
    if is_redis(settings.bus_url):
        return settings.model_copy(update={"redis_url": settings.bus_url})
    return settings.model_copy(update={"bus_url": EMBEDDED_BUS_URL})
