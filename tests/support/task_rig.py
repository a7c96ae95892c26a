"""A real worker and a producer of one task framework, and the events that they cause."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.waiting import wait_until

__all__ = ["ARQ_BIN", "FRAMEWORKS", "TaskRig", "bin_of"]

ROOT: Final = Path(__file__).parents[2]
_APPS: Final = "tests.support.task_apps"
_BIN: Final = Path(sys.executable).parent
ARQ_BIN: Final = Path(f"{sys.prefix}-arq", "bin")
"""
Commands of an environment with arq alone, as ``pip install 'otel-bridge[arq]'`` makes it.

arq 0.28 needs redis-py before 6, Celery 5.7 one from 6.1. So the dev requirements, which have both,
hold arq 0.25, which is what no application of arq alone gets. ``make test`` makes this environment
from ``requirements/arq.txt``.
"""


def bin_of(framework: str) -> Path:
    """
    Where the commands and the Python of a framework are.

    ``OTEL_BRIDGE_CELERY_BIN`` and the like name another environment, with another version of the
    framework: ``make frameworks`` sets it. Else arq's own environment if it is made.
    """
    named = os.environ.get(f"OTEL_BRIDGE_{framework.upper()}_BIN")
    if named:
        return Path(named)
    return ARQ_BIN if framework == "arq" and ARQ_BIN.is_dir() else _BIN


FRAMEWORKS: Final[dict[str, list[str]]] = {
    "celery": [
        *(
            f"{bin_of('celery')}/celery",
            "-A",
            f"{_APPS}.celery_app",
            "worker",
            "--concurrency",
            "2",
        ),
        *("--loglevel", "warning", "--without-gossip", "--without-mingle"),
    ],
    "rq": [f"{bin_of('rq')}/python", "-m", f"{_APPS}.rq_app"],
    "arq": [f"{bin_of('arq')}/arq", f"{_APPS}.arq_app.WorkerSettings"],
    "dramatiq": [
        *(
            f"{bin_of('dramatiq')}/dramatiq",
            f"{_APPS}.dramatiq_app",
            "--processes",
            "1",
            "--threads",
            "2",
        ),
        *("--skip-logging", "--path", str(ROOT)),
    ],
    "taskiq": [
        *(f"{bin_of('taskiq')}/taskiq", "worker", f"{_APPS}.taskiq_app:broker", "--workers", "1"),
        *("--max-async-tasks", "2", "--max-prefetch", "0"),
    ],
}
"""The command that starts a worker, as its users type it."""


class TaskRig:
    """
    A worker and a producer of one framework on one Redis.

    Args:
        framework: One of ``FRAMEWORKS``.
        redis_url: Broker and bus.
        environ: Further variables for both.
    """

    def __init__(self, framework: str, redis_url: str, **environ: str) -> None:
        self.framework = framework
        self.redis_url = redis_url
        self._client: Any = redis.Redis.from_url(redis_url)
        self._directory = tempfile.TemporaryDirectory(prefix="otel-bridge-rig-")
        self._environ = {
            **os.environ,
            "REDIS_URL": redis_url,
            "MONITORING_HEARTBEAT_INTERVAL_SEC": "0.5",
            "MONITORING_QUEUE_DEPTH_INTERVAL_SEC": "0.5",
            "OTEL_TRACES_EXPORTER": "none",
            "dramatiq_queue_prefetch": "1",
            "PYTHONPATH": str(ROOT),
            **environ,
        }
        self.log = Path(self._directory.name) / "worker.log"
        self.worker: subprocess.Popen[bytes] | None = None
        self._beside: list[subprocess.Popen[bytes]] = []
        self._producer: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._producer = subprocess.Popen(
            [f"{bin_of(self.framework)}/python", "-m", f"{_APPS}.producer", self.framework],
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._producer.stdout is not None
        assert self._producer.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._producer is not None:
            self._producer.communicate(timeout=30)
        self.stop_worker()
        for process in self._beside:
            process.terminate()
            process.wait(20)
        if error is not None and self.log.exists():
            print(self.log.read_text(encoding="utf-8", errors="replace")[-4000:])
        self._client.close()
        self._directory.cleanup()

    def stack_of(self, event: dict[str, Any]) -> str:
        """The stack that is stored for the event of a failure."""
        span_id = event["span_id"] if event.get("stack") else event["stack_of"]
        data = self._client.hget(DEFAULT_KEYS.node(span_id), "stack")
        return zlib.decompress(data).decode()

    def start_worker(self, *options: str, within: Sequence[str] = ()) -> None:
        """
        Start the worker in a session of its own, so that all its processes can be ended.

        ``within`` is a command that runs another one, such as ``unshare``.
        """
        self.worker = self._start(*within, *FRAMEWORKS[self.framework], *options)

    def kill_worker(self) -> None:
        """SIGKILL of all processes of the worker."""
        assert self.worker is not None
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()
        self.worker = None

    def start_beside(self, command: str, *options: str) -> None:
        """Start another program of the framework, such as its scheduler; ended with the rig."""
        self._beside.append(self._start(f"{bin_of(self.framework)}/{command}", *options))

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop_worker(self) -> None:
        """
        SIGTERM, as a supervisor does, again every 5 s; SIGKILL for whatever is left after 20 s.

        Again, because an arq worker swallows the cancellation at times: without our adapter it went
        on in 6 of 12 runs on a machine with three busy processes.
        """
        if self.worker is None:
            return
        for _ in range(4):
            self.worker.terminate()
            try:
                self.worker.wait(5)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            os.killpg(self.worker.pid, signal.SIGKILL)
            self.worker.wait()
        self.worker = None

    def path(self, name: str) -> str:
        """A file name for a job to look at."""
        return str(Path(self._directory.name) / name)

    def remove_keys(self, *names: str) -> None:
        """Delete keys in Redis, as an operator does."""
        self._client.delete(*names)

    def submit(
        self, name: str, *args: Any, research_task: str | None = None, phase: str = "search"
    ) -> str:
        """Enqueue a job, in a phase of a research task if one is named; its id."""
        told = {"name": name, "args": args}
        if research_task:
            told |= {"research_task": research_task, "phase": phase, "project_id": "alpha"}
        assert self._producer is not None
        assert self._producer.stdin
        assert self._producer.stdout
        self._producer.stdin.write(json.dumps(told) + "\n")
        self._producer.stdin.flush()
        return self._producer.stdout.readline().strip()

    def events(self, task_id: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """
        What is in the log, of one job or of one type.

        A heartbeat that names the job is the worker's event: it comes only if it is asked for.
        """
        absent = dict.fromkeys(MonitoringEvent.model_fields)
        found = [
            absent | json.loads(fields[b"e"])
            for _, fields in self._client.xrange(DEFAULT_KEYS.log_stream())
        ]
        return [
            event
            for event in found
            if (task_id is None or event["task_id"] == task_id)
            and (kind is None or event["event_type"] == kind)
            and (task_id is None or kind or event["event_type"] != "worker_heartbeat")
        ]

    def kinds(self, task_id: str) -> list[str]:
        """The types of a job's own events, sorted by time; a worker's beats name it as well."""
        found = sorted(self.events(task_id), key=lambda event: event["ts"])
        kinds = [event["event_type"] for event in found]
        return [kind for kind in kinds if kind.startswith("task_")]

    def wait_for_kinds(self, task_id: str, kinds: list[str]) -> None:
        """Wait until these are the job's events, no more and no fewer; sender and worker race."""
        found: list[str] = []

        def is_so() -> bool:
            found[:] = sorted(self.kinds(task_id))
            return found == sorted(kinds) or len(found) > len(kinds)

        wait_until(is_so, f"{self.framework}: {kinds}", timeout_sec=40)
        assert found == sorted(kinds)

    def wait_for(self, kind: str, task_id: str | None = None, count: int = 1) -> dict[str, Any]:
        """Wait until there are so many such events; the last of them."""
        what = f"{self.framework}: {count} {kind} of {task_id}"
        wait_until(lambda: len(self.events(task_id, kind)) >= count, what, timeout_sec=40)
        return self.events(task_id, kind)[-1]
