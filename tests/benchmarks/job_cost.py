"""
CPU time of a no-op job: a real worker, a real producer, and what watches them, each a process.

CPU time and not wall time, because benchmarks share their cores with whatever else runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psutil

from tests.benchmarks.results import ROOT
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

__all__ = ["FRAMEWORKS", "Framework", "JobCost", "Watcher", "measure", "no_watcher", "running"]

_APPS: Final = "tests.benchmarks.noop_apps"
_WARM_UP: Final = 100
_REST_SEC: Final = 1.5
"""After the last job: acknowledgements, the last batch of events, Celery's events of the rest."""
_DONE_SEC: Final = 120.0


class JobCost(NamedTuple):
    """CPU of one job, in microseconds, of each process that takes part."""

    worker: float
    """The worker with its children."""
    producer: float
    watcher: float
    """The collector or Flower; 0 if neither runs."""
    redis: float


@dataclass(frozen=True, slots=True)
class Framework:
    """
    How one framework's worker is started, and how many jobs are measured.

    Attributes:
        command: Arguments of Python; ``-m`` and the module first.
        queue: The key of its queue in Redis.
        jobs: So many that the round takes a few seconds.
    """

    command: tuple[str, ...]
    queue: str
    jobs: int

    def waiting(self, client: Any) -> int:
        """Jobs in the queue; arq's is a sorted set, the others' are lists."""
        is_list = client.type(self.queue) in (b"list", b"none")
        return int(client.llen(self.queue) if is_list else client.zcard(self.queue))


FRAMEWORKS: Final[dict[str, Framework]] = {
    "celery": Framework(
        (
            *("-m", "celery", "-A", f"{_APPS}.celery_app", "worker", "-c", "1", "-l", "error"),
            *("--without-gossip", "--without-mingle"),
        ),
        "celery",
        3000,
    ),
    # Its worker forks for each job.
    "rq": Framework(
        ("-c", f"from {_APPS}.rq_app import work; work()"),
        "rq:queue:default",
        200,
    ),
    "arq": Framework(("-m", "arq", f"{_APPS}.arq_app.WorkerSettings"), "arq:queue", 2000),
    "dramatiq": Framework(
        ("-m", "dramatiq", f"{_APPS}.dramatiq_app", "-p", "1", "-t", "1", "--skip-logging"),
        "dramatiq:default",
        2000,
    ),
    "taskiq": Framework(
        ("-m", "taskiq", "worker", f"{_APPS}.taskiq_app:broker", "--workers", "1"),
        "taskiq",
        3000,
    ),
}

Watcher = Callable[[dict[str, str]], Any]
"""Starts what watches with these variables; a context manager of its process, or of None."""


@contextmanager
def no_watcher(environ: dict[str, str]) -> Iterator[None]:
    """Nothing."""
    yield


def measure(
    name: str, *, is_watched: bool, watcher: Watcher = no_watcher, options: tuple[str, ...] = ()
) -> JobCost:
    """
    Run the jobs of one framework once, on a Redis of their own.

    Args:
        name: One of ``FRAMEWORKS``.
        is_watched: Whether worker and producer call ``configure()`` and the adapter.
        watcher: Flower or the collector.
        options: Further ones of the worker, such as Celery's ``-E``.
    """
    framework = FRAMEWORKS[name]
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        environ = {
            **os.environ,
            "NOOP_BROKER_URL": f"redis://127.0.0.1:{server.port}/1",
            "NOOP_WATCHED": "1" if is_watched else "",
            "REDIS_URL": server.url,
            "OTEL_TRACES_EXPORTER": "none",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        broker = stack.enter_context(server.client(db=1))
        watching = stack.enter_context(watcher(environ))
        worker = stack.enter_context(running(*framework.command, *options, environ=environ))
        # Its first jobs import and connect; until it takes them it is not ready.
        _produce(name, 0, _WARM_UP, environ)
        _wait_until_done(framework, broker, worker)
        processes = (worker, watching, server.pid)
        before = [_cpu_sec(process) for process in processes]
        producer = _produce(name, _WARM_UP, framework.jobs, environ)
        _wait_until_done(framework, broker, worker)
        spent = [_cpu_sec(process) - at for process, at in zip(processes, before, strict=True)]
    # The producer's warm-up jobs are the worker's jobs as well.
    done = framework.jobs + _WARM_UP
    worker_us, watcher_us, redis_us = (sec / done * 1e6 for sec in spent)
    return JobCost(worker_us, producer, watcher_us, redis_us)


def _produce(name: str, warm_up: int, jobs: int, environ: dict[str, str]) -> float:
    command = [sys.executable, "-m", f"{_APPS}.producer", name, str(warm_up), str(jobs)]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, check=True, capture_output=True, text=True, timeout=300
    )
    return float(done.stdout)


def _wait_until_done(framework: Framework, broker: Any, worker: subprocess.Popen[bytes]) -> None:
    def is_done() -> bool:
        assert worker.poll() is None, "the worker has ended"
        return framework.waiting(broker) == 0

    wait_until(is_done, "the worker has taken all jobs", _DONE_SEC)
    time.sleep(_REST_SEC)


def _cpu_sec(process: subprocess.Popen[bytes] | int | None) -> float:
    """Of a process, its children that have ended, and all below it that run."""
    if process is None:
        return 0.0
    root = psutil.Process(process if isinstance(process, int) else process.pid)
    total = 0.0
    for one in [root, *root.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def running(*arguments: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python with these arguments until the block ends."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
