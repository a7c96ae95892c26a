"""
A worker in a process of its own that starts and ends jobs on command, and can be killed.

``python -m tests.support.commanded_worker URL WORKER_ID HEARTBEAT_SEC META`` takes one command a
line from its standard input: ``start`` with the arguments of ``otel_bridge.job()`` as JSON,
``complete``, or ``fail`` with a reason. It answers ``done`` once what that published is in the log.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import otel_bridge
from otel_bridge.bridge import Bridge
from otel_bridge.settings import BridgeSettings

__all__ = ["NAMESPACE", "CommandedWorker", "can_be_pid_1"]

ROOT: Final = Path(__file__).parents[2]
NAMESPACE: Final = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def can_be_pid_1() -> bool:
    """Whether this machine lets a process be the first of a new pid namespace."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False)
    return done.returncode == 0


class CommandedWorker:
    """
    One such process, from its start to the end of the ``with`` block.

    Args:
        redis_url: Of its log.
        worker_id: Its name.
        heartbeat_sec: Time between two heartbeats.
        is_pid_1: Whether it is the first process of a pid namespace, as a container's is.
        meta: Values reported with the worker; ``host`` and ``pid`` replace its own.
    """

    def __init__(
        self,
        redis_url: str,
        worker_id: str,
        *,
        heartbeat_sec: float = 0.2,
        is_pid_1: bool = False,
        meta: dict[str, Any] | None = None,
    ) -> None:
        arguments = (redis_url, worker_id, str(heartbeat_sec), json.dumps(meta or {}))
        command = [sys.executable, "-m", "tests.support.commanded_worker", *arguments]
        self._process = subprocess.Popen(
            [*NAMESPACE, *command] if is_pid_1 else command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read_answer()

    def start(self, job_id: str, **fields: Any) -> None:
        """Start a job; returns when its start is in the log."""
        self._command("start", {"task_id": job_id, "task_type": "step", **fields})

    def complete(self) -> None:
        """End the job that runs as completed."""
        self._command("complete", None)

    def fail(self, reason: str) -> None:
        """End the job that runs by an exception."""
        self._command("fail", reason)

    def kill(self) -> None:
        """SIGKILL; returns when the worker is gone, and not only the command that started it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        assert self._process.stdout.read() == ""

    def _command(self, name: str, argument: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, argument]) + "\n")
        self._process.stdin.flush()
        self._read_answer()

    def _read_answer(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def _run_job(bridge: Bridge, fields: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError), otel_bridge.job(**fields):
        _answer(bridge)
        name, argument = json.loads(sys.stdin.readline())
        if name == "fail":
            raise ValueError(argument)
        assert name == "complete"


def _answer(bridge: Bridge) -> None:
    assert bridge.flush(20)
    print("done", flush=True)


def main(redis_url: str, worker_id: str, heartbeat_sec: str, meta: str) -> None:
    settings = BridgeSettings(
        redis_url=redis_url,
        heartbeat_interval_sec=float(heartbeat_sec),
        heartbeat_ttl_sec=1000 * float(heartbeat_sec),
    )
    bridge = otel_bridge.configure(service_name="commanded", settings=settings)
    with otel_bridge.worker(worker_id, meta=json.loads(meta)):
        _answer(bridge)
        for line in sys.stdin:
            name, fields = json.loads(line)
            assert name == "start"
            _run_job(bridge, fields)
            _answer(bridge)


if __name__ == "__main__":
    main(*sys.argv[1:])
