"""
``otel-bridge serve --processes N``: a parent that starts N collectors on one port, and keeps them.

The parent checks the settings once, binds the ports, and then only watches: it reads no log and
serves nothing. The processes are not forked: threads and connections do not survive a fork. Each
binds the port with SO_REUSEPORT, so that the kernel spreads the connections; elsewhere they share
one inherited socket. Together they fold the log, see ``cluster/``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

from otel_bridge.commands.collector_address import display_host
from otel_bridge.commands.startup import (
    check_directories,
    no_queues_error,
    open_redis,
    stop_on_signals,
)
from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import BridgeSettings
from otel_bridge_collector.app import create_app
from otel_bridge_collector.cluster.edge.links import LEAVE_SEC
from otel_bridge_collector.commands.listening import IS_BALANCED, free_port, shared_socket
from otel_bridge_collector.commands.process_start import AT_ONCE, OPTION, ProcessStart, error_of
from otel_bridge_collector.commands.serve import (
    ServiceOptions,
    announce,
    service_settings,
)
from otel_bridge_collector.runtime import log_url
from otel_bridge_collector.settings import CollectorSettings

__all__ = ["run_processes"]

logger = logging.getLogger(__name__)

_BACKOFF_SEC: Final = (0.5, 30.0)
_STABLE_SEC: Final = 60.0
"""A process that lived for so long is started again at once, as if it had never died."""
_CONNECTIONS_SEC: Final = 5.0
"""What a process gives its connections, beside the shutdown time of its jobs."""
_MARGIN_SEC: Final = 3.0


async def run_processes(options: ServiceOptions, count: int) -> int:
    """
    Serve with several processes until SIGINT, SIGTERM or SIGHUP; return exit code 0.

    Await it once, on the main thread's event loop. The first process runs the coordinator's
    workers. One that ends is started again after 0.5 to 30 s, with one line in the log. At the end
    all are stopped together: they hand over to collectors of other machines, not to each other.
    They have the shutdown time, 10 s to hand over, 5 s for their connections and 3 s more; what
    still runs is killed. After a second signal they do not wait for those that take over.

    Args:
        options: As those of ``run_service``.
        count: How many processes, 2 to 24.

    Raises:
        ConfigurationError: As ``run_service``; or the log is in memory, which processes cannot
            share; or the system is Windows.
        OtelBridgeError: A process did not start.
    """
    at_once = asyncio.Event()
    stop = stop_on_signals(at_once)
    settings = service_settings(options.corpus_dir, options.data_dir)
    collector_settings = CollectorSettings.load(host=options.host, port=options.port)
    _check_shared(settings, count)
    async with open_redis(settings) as redis_client:
        has_gateway = redis_client is not None
    workers = options.workers or 0
    if workers and not has_gateway:
        raise no_queues_error(settings)
    check_directories(settings, workers)
    application = create_app(collector_settings, settings)  # checks tokens; it connects to nothing

    host = collector_settings.host
    port = free_port(host, collector_settings.port)
    grpc_port = collector_settings.otlp_grpc_port
    if grpc_port is not None:
        grpc_port = free_port(host, grpc_port)
    directory = tempfile.mkdtemp(prefix="otel-bridge-")  # with the mode 0700
    try:
        with shared_socket(host, port) as listener, _held(host, grpc_port):
            parent = _Parent(
                options,
                count=count,
                directory=directory,
                port=port,
                grpc_port=grpc_port,
                listener=None if IS_BALANCED else listener,
                shutdown_sec=(
                    settings.shutdown_timeout_sec + LEAVE_SEC + _CONNECTIONS_SEC + _MARGIN_SEC
                ),
                stop=stop,
                at_once=at_once,
            )
            try:
                await parent.start()
                if not stop.is_set():
                    announce(
                        f"http://{display_host(host)}:{port}",
                        settings,
                        workers=workers,
                        processes=count,
                        has_gateway=has_gateway,
                        has_tokens=application.state.authenticator.is_enabled,
                        is_demo=False,
                    )
                await parent.watch()
            finally:
                await parent.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def _held(host: str, port: int | None) -> contextlib.AbstractContextManager[object]:
    """Keep the port of gRPC while no process listens on it."""
    if port is None or not IS_BALANCED:
        return contextlib.nullcontext()
    return shared_socket(host, port)


def _check_shared(settings: BridgeSettings, count: int) -> None:
    if log_url(settings).startswith("memory://"):
        raise ConfigurationError(
            f"--processes {count} needs a log that processes can share, and this one is in memory",
            "set REDIS_URL or MONITORING_BUS_URL to a Redis",
        )
    if sys.platform == "win32":
        raise ConfigurationError(
            f"--processes {count} does not work on Windows", "leave it out, or use Linux or macOS"
        )


class _Child:
    """One process, and the parent's end of the line to it."""

    def __init__(self, process: asyncio.subprocess.Process, line: asyncio.StreamReader) -> None:
        self.process = process
        self.line = line


class _Parent:
    def __init__(
        self,
        options: ServiceOptions,
        *,
        count: int,
        directory: str,
        port: int,
        grpc_port: int | None,
        listener: socket.socket | None,
        shutdown_sec: float,
        stop: asyncio.Event,
        at_once: asyncio.Event,
    ) -> None:
        self._options = options
        self._count = count
        self._directory = directory
        self._group = secrets.token_hex(6)
        self._port = port
        self._grpc_port = grpc_port
        self._listener = listener
        self._shutdown_sec = shutdown_sec
        self._stop = stop
        self._at_once = at_once
        self._children: dict[int, _Child] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        """Start all; return when all are up, or when the parent is to stop."""
        children = [await self._spawn(index) for index in range(self._count)]
        ups = [asyncio.ensure_future(self._wait_up(child)) for child in children]
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            while pending := {up for up in ups if not up.done()}:
                await asyncio.wait({*pending, stopping}, return_when=asyncio.FIRST_COMPLETED)
                for up in ups:
                    if up.done():
                        up.result()
                if stopping.done():
                    return
        finally:
            stopping.cancel()
            for up in ups:
                up.cancel()
            await asyncio.gather(stopping, *ups, return_exceptions=True)

    @staticmethod
    async def _wait_up(child: _Child) -> None:
        error = error_of(await child.line.readline())
        if error is not None:
            raise error

    async def watch(self) -> None:
        """Start those again that die, until the parent is to stop."""
        if self._stop.is_set():
            return
        self._tasks = [
            asyncio.create_task(self._keep(index), name=f"process {index + 1}")
            for index in range(self._count)
        ]
        await self._stop.wait()

    async def _keep(self, index: int) -> None:
        delay_sec = _BACKOFF_SEC[0]
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        while True:
            code = await self._children[index].process.wait()
            if self._stop.is_set():
                return
            if loop.time() - started_at > _STABLE_SEC:
                delay_sec = _BACKOFF_SEC[0]
            logger.warning(
                "process %d of %d ended with code %d; it is started again in %g s",
                *(index + 1, self._count, code, delay_sec),
            )
            await asyncio.sleep(delay_sec)
            delay_sec = min(2 * delay_sec, _BACKOFF_SEC[1])
            started_at = loop.time()
            child = await self._spawn(index)
            error = error_of(await child.line.readline())
            if error is not None:
                logger.warning("process %d of %d: %s", index + 1, self._count, error)

    async def _spawn(self, index: int) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            start = ProcessStart(
                number=index,
                processes=self._count,
                directory=self._directory,
                group=self._group,
                port=self._port,
                grpc_port=self._grpc_port,
                line=theirs.fileno(),
                listener=None if self._listener is None else self._listener.fileno(),
            )
            inherited = [theirs.fileno()]
            if self._listener is not None:
                inherited.append(self._listener.fileno())
            process = await asyncio.create_subprocess_exec(
                *_command(self._options, start),
                pass_fds=inherited,
                stdin=asyncio.subprocess.DEVNULL,
            )
        line, writer = await asyncio.open_unix_connection(sock=ours)
        self._writers.append(writer)  # closed, it would end the process
        child = self._children[index] = _Child(process, line)
        return child

    async def stop(self) -> None:
        """Stop all that run, and wait for them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        running = [child.process for child in self._children.values()]
        running = [process for process in running if process.returncode is None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        hurrying = asyncio.create_task(self._hurry())
        try:
            async with asyncio.timeout(self._shutdown_sec):
                await asyncio.gather(*(process.wait() for process in running))
        except TimeoutError:
            for process in running:
                if process.returncode is None:
                    logger.warning("process %d did not stop in time and was killed", process.pid)
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
            await asyncio.gather(*(process.wait() for process in running))
        hurrying.cancel()
        for writer in self._writers:
            writer.close()

    async def _hurry(self) -> None:
        await self._at_once.wait()
        for writer in self._writers:
            writer.write(AT_ONCE)


def _command(options: ServiceOptions, start: ProcessStart) -> Sequence[str]:
    found = [sys.executable]
    if os.getcwd() not in sys.path and "" not in sys.path:
        found.append("-P")  # as the parent: no module of the current directory is imported
    found += ["-m", "otel_bridge_collector"]
    if logging.getLogger().isEnabledFor(logging.INFO):
        found.append("--verbose")
    found.append("serve")
    values = {
        "--host": options.host,
        "--port": start.port,
        "--workers": (options.workers or 0) if start.number == 0 else 0,
        "--corpus": options.corpus_dir,
        "--data-dir": options.data_dir,
        "--pace": options.pace_sec,
        OPTION: start.text(),
    }
    for name, value in values.items():
        if value is not None:
            found += [name, str(value)]
    return found
