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
import gc
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otel_bridge.bridge import Bridge, configure
from otel_bridge.commands.collector_address import display_host
from otel_bridge.commands.startup import (
    check_directories,
    no_queues_error,
    open_redis,
    stop_on_signals,
)
from otel_bridge.errors import OtelBridgeError
from otel_bridge.orchestration.queue.task_types import ResearchTaskRequest
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.orchestration.worker_pool import run_workers
from otel_bridge.publish.redis_clients import is_redis
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.transports import check_scheme
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import redact_url
from otel_bridge_collector.app import CollectorServer, create_app, make_server
from otel_bridge_collector.cluster.connections.group import LocalGroup
from otel_bridge_collector.commands.demo import DEMO_PACE_SEC, DEMO_REQUEST, curl_command
from otel_bridge_collector.commands.listening import listening, shared_socket
from otel_bridge_collector.commands.open_files import raise_open_files
from otel_bridge_collector.commands.process_start import ParentLine, ProcessStart
from otel_bridge_collector.runtime import Collector, log_url
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.wire.first_steps import first_steps

__all__ = ["ServiceOptions", "announce", "run_service", "service_settings"]

logger = logging.getLogger(__name__)

EMBEDDED_BUS_URL: Final = "memory://collector"
_EMBEDDED_WORKERS: Final = 4
_SUBMIT: Final = "Or submit a task to watch"
_GC_THRESHOLDS: Final = (50_000, 20, 1000)


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


async def run_service(options: ServiceOptions, start: ProcessStart | None = None) -> int:
    """
    Serve until SIGINT, SIGTERM or SIGHUP, then stop all parts in order; return exit code 0.

    Await it once in a process, on the main thread's event loop. It reads settings from the
    environment, prints the addresses, and publishes the process's own work. While stopping, running
    jobs have ``MONITORING_SHUTDOWN_TIMEOUT_SEC`` (5) to end, the other members of a cluster 10 s to
    take over, for which a second signal does not wait, and connections 5 s.

    Args:
        options: A record of host, port, number of workers, corpus and data directories, delay
            before each job, and whether it is the demo. None in it: the environment or the default.
        start: Given to one of several processes: it prints no addresses, but reports to its parent,
            also an error at the start, which is then not raised: the exit code is 1. It stops when
            the parent is gone, and the parent says when not to wait: the system may send a signal
            to all processes, and the parent another one. Default: the only process.

    Raises:
        ConfigurationError: A port, for HTTP or gRPC, is in use, a setting is invalid, Redis does
            not answer within 2 s at the start, or the corpus or a package is missing. A later
            outage of Redis does not end the service.
        OtelBridgeError: The HTTP server did not start.
    """
    # This must come first. Without it, Ctrl-C makes asyncio cancel the main task, and fakeredis
    # suppresses the cancellation while uvicorn logs it as an error.
    at_once = asyncio.Event()
    stop = stop_on_signals(at_once if start is None else None)
    if start is None:
        await _serve(options, stop, at_once)
        return 0
    line = ParentLine(start.line, stop, at_once)
    try:
        await _serve(options, stop, at_once, start, line)
    except OtelBridgeError as error:
        line.note_failure(error)
        return 1
    finally:
        line.close()
    return 0


async def _serve(
    options: ServiceOptions,
    stop: asyncio.Event,
    at_once: asyncio.Event,
    start: ProcessStart | None = None,
    line: ParentLine | None = None,
) -> None:
    settings = service_settings(options.corpus_dir, options.data_dir)
    collector_settings = CollectorSettings.load(
        host=options.host,
        port=options.port if start is None else start.port,
        otlp_grpc_port=None if start is None else start.grpc_port,
    )
    raise_open_files(collector_settings.address_max_connections)
    pace_sec = options.pace_sec
    if pace_sec is None:
        pace_sec = DEMO_PACE_SEC if options.is_demo else 0.0

    with _listener(collector_settings, start) as listener:
        url = f"http://{display_host(collector_settings.host)}:{listener.getsockname()[1]}"
        async with open_redis(settings) as redis_client:
            gateway = (
                None
                if redis_client is None
                else ResearchGateway(redis_client, keys=RedisKeys(settings.key_prefix))
            )
            workers = options.workers
            if workers is None:
                workers = 0 if settings.redis_url or gateway is None else _EMBEDDED_WORKERS
            if gateway is None and (workers or options.is_demo):
                raise no_queues_error(settings)
            check_directories(settings, workers)
            application = create_app(
                collector_settings, settings, gateway=gateway, group=_group(start)
            )
            application.state.research_workers = workers if gateway is not None else 0
            server = make_server(application, collector_settings)
            bridge = configure(service_name="otel-bridge", settings=settings, strict=True)
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="serve")
            serving.add_done_callback(lambda _: stop.set())
            up = asyncio.create_task(server.is_up.wait(), name="wait until up")
            await asyncio.wait({up, serving}, return_when=asyncio.FIRST_COMPLETED)
            if not up.done():
                up.cancel()
                await asyncio.to_thread(bridge.shutdown)
                raise _startup_error(serving)
            _tune_garbage_collector()
            if line is not None:
                line.note_up()
            else:
                announce(
                    url,
                    settings,
                    workers=workers,
                    has_gateway=gateway is not None,
                    has_tokens=application.state.authenticator.is_enabled,
                    is_demo=options.is_demo,
                )
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
                await _stop_in_order(bridge, server, serving, application.state.collector, at_once)


def _listener(
    settings: CollectorSettings, start: ProcessStart | None
) -> contextlib.AbstractContextManager[socket.socket]:
    if start is None:
        return listening(settings.host, settings.port)
    if start.listener is not None:
        return start.inherited()
    return shared_socket(settings.host, start.port)


def _group(start: ProcessStart | None) -> LocalGroup | None:
    """The processes of this machine that share the fold; None: this one alone."""
    return (
        None
        if start is None
        else LocalGroup(start.directory, start.group, start.processes, start.number)
    )


def _tune_garbage_collector() -> None:
    """
    Spare the garbage collector what the past has left: the model's records stay for hours.

    Measured at 500 events a read: a third of the time of an event was the garbage collector's, and
    next to nothing is after this. Not done by a library import: the process is the service's own.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _startup_error(serving: asyncio.Task[None]) -> BaseException:
    """The error for a server that ended before it was up; one of the system gets one line."""
    error = serving.exception()
    if error is None or isinstance(error, OSError):
        return OtelBridgeError(f"the HTTP server did not start: {error}")
    return error


async def _stop_in_order(
    bridge: Bridge,
    server: CollectorServer,
    serving: asyncio.Task[None],
    collector: Collector,
    at_once: asyncio.Event,
) -> None:
    """Publish the last events of stopped workers, hand over, close the sockets, then the bridge."""
    await asyncio.to_thread(bridge.flush)
    if collector.cluster is not None:
        # Before the sockets: members on other machines ask over them until they have taken over.
        await collector.cluster.leave(at_once)
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await asyncio.to_thread(bridge.shutdown)


def announce(
    url: str,
    settings: BridgeSettings,
    *,
    workers: int,
    has_gateway: bool,
    has_tokens: bool,
    is_demo: bool,
    processes: int = 1,
) -> None:
    """
    Print the addresses, and how to send events, once for all processes.

    Args:
        url: The address of the service.
        settings: Name the log and the queues.
        workers: Workers of the coordinator that run here.
        has_gateway: Whether research tasks are taken.
        has_tokens: Whether requests need credentials.
        is_demo: Whether a research task was submitted.
        processes: How many share the port; default 1.
    """
    log = log_url(settings)
    steps = first_steps(
        url,
        log_url=log,
        redis_url=settings.redis_url,
        key_prefix=settings.key_prefix,
        has_tokens=has_tokens,
        has_coordinator=has_gateway and not workers,
    )
    print(f"Dashboard   {url}/")
    print(f"Log         {'in memory' if log.startswith('memory://') else redact_url(log)}")
    if processes > 1:
        print(f"Processes   {processes} on one port")
        print(f"Workers     {workers} in the first process")
    else:
        print(f"Workers     {workers} in this process")
    print("\nInstall otel-bridge where your work runs, and start it with one of these lines.")
    print("The line for any language needs no installation.\n")
    width = max(len(name) for name, _ in steps)
    for name, command in steps:
        print(f"  {name:<{width}}  {command}")
    print()
    if has_gateway and workers:
        intro = "One research task is running. Submit another" if is_demo else _SUBMIT
        print(f"{intro}:\n\n{curl_command(url, has_tokens=has_tokens)}\n")
    print("Press Ctrl-C to stop.", flush=True)


def service_settings(corpus_dir: Path | None, data_dir: Path | None) -> BridgeSettings:
    """
    Read the bridge's settings, and choose the log of a service without a Redis: in memory.

    Args:
        corpus_dir: Takes precedence over the environment, if given.
        data_dir: As well.

    Raises:
        ConfigurationError: A setting is invalid.
    """
    settings = BridgeSettings.load(corpus_dir=corpus_dir, data_dir=data_dir)
    check_scheme(settings.bus_url, settings)
    if settings.redis_url is not None:
        return settings
    if is_redis(settings.bus_url):
        return settings.model_copy(update={"redis_url": settings.bus_url})
    return settings.model_copy(update={"bus_url": EMBEDDED_BUS_URL})
