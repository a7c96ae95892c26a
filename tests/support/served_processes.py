"""``otel-bridge serve --processes N`` on a real Redis, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from tests.support.app_server import Answer, fetch
from tests.support.waiting import wait_until

__all__ = ["ServedProcesses"]


class ServedProcesses:
    """
    The parent and its processes, on a free port; use it as a context manager.

    Args:
        redis_url: Of the log.
        count: How many processes.
        arguments: Further ones of ``serve``.
        environment: Further variables.
        beside: How many members there are before.
    """

    def __init__(
        self,
        redis_url: str,
        count: int,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        beside: int = 0,
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "otel_bridge_collector", "serve"),
            *("--processes", str(count)),
            *(arguments if "--port" in arguments else ("--port", "0", *arguments)),
        ]
        self._environment = {**os.environ, "REDIS_URL": redis_url, **(environment or {})}
        self._members = beside + count
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def parent(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    @property
    def children(self) -> list[psutil.Process]:
        """Its processes, in the order of their start."""
        return sorted(self.parent.children(), key=lambda child: child.create_time())

    @property
    def ws_url(self) -> str:
        return self.url.replace("http://", "ws://")

    def start(self) -> ServedProcesses:
        """Start; return when all processes serve all partitions."""
        self._process = subprocess.Popen(
            self._command,
            cwd=Path(__file__).parents[2],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("Dashboard"), self.errors()
        self.url = line.split()[1].rstrip("/")
        self.wait_whole(self._members)
        return self

    def members(self) -> frozenset[str]:
        """Return the ids of the members, as one of them knows them."""
        return frozenset(self.get("/readyz").json()["folds"])

    def wait_whole(
        self, members: int, timeout_sec: float = 30.0, former: frozenset[str] | None = None
    ) -> None:
        """
        Wait until members serve all partitions, as 8 answers in a row say.

        Args:
            members: How many there must be.
            timeout_sec: The longest wait.
            former: Of these at least one must have gone.
        """

        def is_whole() -> bool:
            for _ in range(8):
                found = self.get("/readyz")
                fields = found.json()
                if found.status != 200 or fields.get("members") != members:
                    return False
                if former is not None and former <= set(fields["folds"]):
                    return False
                if fields["partitions_missing"] or fields["partitions"]["rebuilding"]:
                    return False
            return True

        wait_until(is_whole, f"{members} members with all partitions", timeout_sec, 0.05)

    def get(self, path: str, **headers: str) -> Answer:
        return fetch(f"{self.url}{path}", headers=headers)

    def view(self, name: str, **params: Any) -> dict[str, Any]:
        """One view over HTTP, from whichever process answers."""
        answer = self.get(f"/monitor/views/{name}?params={quote(json.dumps(params))}")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json()
        return found

    def errors(self) -> str:
        """What it has written to standard error."""
        self._errors.seek(0)
        return self._errors.read()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(30)

    def kill_parent(self) -> None:
        """SIGKILL for the parent alone."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> ServedProcesses:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                children = self.children
                self._process.kill()
                self._process.wait()
                psutil.wait_procs(children, 10)
            assert self._process.stdout is not None
            self._process.stdout.close()
        self._errors.close()
