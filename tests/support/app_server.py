"""
A real collector for tests: uvicorn with our protocol class on a free port.

``AppServer`` runs it in a thread of the test's process, so that the test can look inside;
``AppProcess`` runs it in a process of its own, to be killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from otel_bridge_collector.app import STATIC_DIR, create_app, make_server
from otel_bridge_collector.routes.tasks import TaskGateway
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.settings import BridgeSettings
from tests.support.ports import free_port
from tests.support.waiting import wait_until

__all__ = ["Answer", "AppProcess", "AppServer", "fetch"]

_T = TypeVar("_T")


class Answer:
    """An HTTP answer, whatever its status."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


def fetch(
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One HTTP request, without following or raising."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as found:
            return Answer(found.status, dict(found.headers), found.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Small, and inherited by connections: a client that does not read shows soon.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    listener.bind(("127.0.0.1", port))
    return listener


class AppServer:
    """
    A collector in a thread.

    Args:
        bridge_settings: Its log.
        gateway: Takes research tasks.
        port: 0 chooses a free one.
        static_dir: The built dashboard; None: the package's own.
        server_options: Of ``uvicorn.Config``.
        settings: Fields of ``CollectorSettings``.
    """

    def __init__(
        self,
        bridge_settings: BridgeSettings,
        *,
        gateway: TaskGateway | None = None,
        port: int = 0,
        static_dir: Path | None = None,
        server_options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self._listener = _listener(port or free_port())
        self.port = int(self._listener.getsockname()[1])
        collector_settings = CollectorSettings(port=self.port, **settings)
        self._bridge_settings = bridge_settings
        self.app = create_app(
            collector_settings,
            bridge_settings,
            gateway=gateway,
            static_dir=static_dir or STATIC_DIR,
        )
        self._server = make_server(self.app, collector_settings, **(server_options or {}))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="app-server", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/monitor"

    @property
    def collector(self) -> Collector:
        """Look, do not touch: it lives on the server's event loop."""
        found: Collector = self.app.state.collector
        return found

    @property
    def connections(self) -> set[Any]:
        """The protocols of the open connections, for looking only."""
        return set(self._server.server_state.connections)

    def call(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine on the server's loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(20)

    def start(self) -> AppServer:
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive(), "the server")
        assert self._server.started, "the server did not start"
        return self

    def stop(self) -> None:
        """Stop as SIGTERM does."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"
        self._listener.close()

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._listener])

        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(serve())

    def __enter__(self) -> AppServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


_SCRIPT = """
import asyncio, json, socket, sys
from otel_bridge_collector.app import STATIC_DIR, create_app, make_server
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge.settings import BridgeSettings
options = json.loads(sys.argv[1])
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", options["port"]))
settings = CollectorSettings(port=options["port"], **options["settings"])
app = create_app(settings, BridgeSettings(**options["bridge"]))
server = make_server(app, settings)
with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
    runner.run(server.serve(sockets=[listener]))
"""


class AppProcess:
    """
    A collector in a process of its own.

    Args:
        bridge: Fields of ``BridgeSettings``.
        settings: Fields of ``CollectorSettings``; ``port`` 0, the default, chooses a free one.
    """

    def __init__(self, bridge: dict[str, Any], **settings: Any) -> None:
        self.port = int(settings.pop("port", 0)) or free_port()
        options = {"port": self.port, "bridge": bridge, "settings": settings}
        self._command = [sys.executable, "-c", _SCRIPT, json.dumps(options)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/monitor"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> AppProcess:
        """Start, or start again on the same port; returns when it answers."""
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(self._command, cwd=root)
        wait_until(self._is_ready, "the collector to answer", every_sec=0.02)
        return self

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the collector died"
        try:
            return fetch(f"{self.url}/readyz").status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(20)

    def __enter__(self) -> AppProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
